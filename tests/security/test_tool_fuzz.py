"""Whatever a model, a hook or a tool elsewhere says: nothing falls over, and each call comes to exactly one result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.running import MODEL, all_answered, asked, of, paired, scene, soon

from holdfast import Agent, Hooks, tool
from holdfast.engine.events import ModelFinished, ToolFinished
from holdfast.testing import Call, Turn
from holdfast.tools.binding import Tool
from holdfast.tools.contract.checking import answered
from holdfast.tools.hooks.port import Finding, Note, Ruling, ToolHooks
from holdfast.tools.hooks.programs import ProgramAfter, ProgramBefore
from holdfast.types import ToolError, ToolResult

pytestmark = pytest.mark.requirement("injections:one-result-per-call")
WHOLE_RUNS = settings(
    max_examples=2_000 if os.environ.get("HOLDFAST_CAMPAIGN") else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Place(msgspec.Struct):
    street: str
    number: int | None = None
    inner: list[Place] = []


@tool(effect="none")
async def plain(text: str, count: int = 1, ratio: float = 0.5, flag: bool = False) -> str:
    """Takes what is plain."""
    return f"{text}{count}{ratio}{flag}"


@tool(effect="none")
async def nested(place: Place, more: dict[str, list[int | str]], pair: tuple[int, str] = (1, "a")) -> Any:
    """Takes what is nested."""
    return [place, more, pair]


@tool(effect="none")
async def bounded(
    few: Annotated[list[str], msgspec.Meta(max_length=2)],
    word: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=5)] = "a",
    small: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0,
    which: Literal["one", "two", 3] = "one",
) -> str:
    """Takes what has bounds."""
    return f"{few}{word}{small}{which}"


@tool(effect="none")
async def anything(value: Any = None, extra: dict[str, Any] | None = None) -> Any:
    """Takes anything."""
    return {"value": value, "extra": extra}


@tool
async def nothing() -> None:
    """Takes nothing, and says nothing."""


TOOLS: list[Tool | str] = [plain, nested, bounded, anything, nothing]
AGENT = Agent(MODEL, tools=TOOLS)
NAMES = ["plain", "nested", "bounded", "anything", "nothing", "none_such", "Plain"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
FIELDS = st.sampled_from(
    ["text", "count", "ratio", "flag", "place", "more", "pair", "few", "word", "small", "which", "value", "extra", "x"]
)
OBJECTS = st.dictionaries(FIELDS, DATA, max_size=4).map(json.dumps)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A text that was JSON once."""
    text = draw(OBJECTS)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(["", ",", "}", '"', "\\", "\n", "'", "`", "[" * 40, "\u202e"]))
            + text[at + 1 :]
        )
    return text


TEXTS = st.one_of(
    OBJECTS, damaged(), st.text(max_size=20), st.sampled_from(["", "null", "[" * 20_000, '{"a":' * 9_000])
)
CALLS = st.builds(Call, st.sampled_from(NAMES), TEXTS, st.sampled_from(["", "", "a", "b", "a/0", "\u202e"]))
TURNS = st.builds(Turn, calls=st.lists(CALLS, min_size=1, max_size=5), stop=st.sampled_from([None, "length", "stop"]))


async def log_of(turns: list[Turn], hooks: Hooks | None = None) -> Any:
    """Returns the log of a run; each of its calls came to one result, and the model read it."""
    async with scene([*turns, Turn(text="done")], hooks=hooks) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
        assert result.status in ("completed", "limited", "failed"), result
        assert all_answered(log)
        assert all(paired(each) for each in asked(s.server))
    calls = [each for data in of(ModelFinished, log) for each in data.message.calls]
    assert [each.id for each in calls] != [] or not turns
    assert len(calls) == len(of(ToolFinished, log))
    return log


@WHOLE_RUNS
@given(st.lists(TURNS, min_size=1, max_size=2))
async def test_whatever_a_model_calls_with(turns: list[Turn]) -> None:
    await log_of(turns)


# ---- hooks --------------------------------------------------------------------------------------------------

ODD = st.one_of(LEAVES, DATA, st.binary(max_size=4), st.just(object()), st.builds(ValueError, st.text(max_size=9)))
WORDS = st.one_of(st.text(max_size=9), st.just("\ud800"), st.just("x" * 9_000), ODD)
NOTES = st.builds(Note, WORDS, WORDS, WORDS, st.lists(WORDS, max_size=2).map(tuple), WORDS)
RULINGS = st.builds(
    Ruling,
    verdict=st.sampled_from(["pass", "ask", "deny", "allow", None, 3]),
    reason=WORDS,
    notes=st.one_of(st.lists(NOTES, max_size=2).map(tuple), ODD),
    context=st.one_of(st.lists(WORDS, max_size=2).map(tuple), ODD),
)
ERRORS = st.one_of(st.none(), st.builds(ToolError, WORDS, WORDS, WORDS), ODD)
METADATA = st.one_of(st.dictionaries(st.text(max_size=4), ODD, max_size=2), ODD)
RESULTS = st.builds(ToolResult, WORDS, ERRORS, METADATA)
MANY_NOTES = st.one_of(st.lists(NOTES, max_size=2).map(tuple), ODD)
FINDINGS = st.builds(Finding, result=st.one_of(st.none(), RESULTS, ODD), notes=MANY_NOTES)
HOOKS = [Turn(calls=[Call("plain", {"text": "a"}), Call("anything", {"value": 1})])]


def saying(said: Any) -> Any:
    def hook(*_: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    return hook


@WHOLE_RUNS
@given(st.lists(st.one_of(RULINGS, ODD), max_size=2), st.lists(st.one_of(FINDINGS, ODD), max_size=2))
async def test_whatever_hooks_say(before: list[Any], after: list[Any]) -> None:
    given_ = ToolHooks(before=tuple(map(saying, before)), after=tuple(map(saying, after)), seconds=5)
    async with scene([*HOOKS, Turn(text="done")], hooks=Hooks(tools=given_)) as s:
        run = await s.runtime.start(AGENT, "go", session="s", unattended=True)
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
    assert all_answered(log)
    assert len(of(ToolFinished, log)) == 2


PRINTED = st.one_of(
    st.binary(max_size=60),
    DATA.map(json.dumps).map(str.encode),
    st.builds(
        lambda fields: json.dumps(fields).encode(),
        st.dictionaries(st.sampled_from(["verdict", "reason", "notes", "context", "result"]), DATA | st.just("deny")),
    ),
    st.just(b'{"notes":' + b"[" * 20_000),
)


@pytest.fixture(scope="module")
def programs() -> Iterator[tuple[list[bytes], Any]]:
    """Hooks whose programs print what is in a list, without being started."""
    from holdfast.tools.hooks import programs as module

    printed: list[Any] = []

    async def run(self: Any, said: Any) -> Any:
        return module._Ended(*printed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Program, "_run", run)
        yield printed, ToolHooks(before=(ProgramBefore(["x"]),), after=(ProgramAfter(["x"]),))


@WHOLE_RUNS
@given(st.sampled_from([0, 0, 0, 1, 2, -9, 255]), PRINTED, st.binary(max_size=30))
async def test_whatever_programs_of_hooks_print(programs: Any, code: int, output: bytes, errors: bytes) -> None:
    printed, hooks = programs
    printed[:] = [code, output, errors]
    await log_of(HOOKS, Hooks(tools=hooks))


# ---- tools elsewhere ----------------------------------------------------------------------------------------


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """What may be an answer by the contract."""
    said: dict[str, Any] = {"tool_contract_version": "v1", "request_id": "r", "status": "ok", "output": {"result": "x"}}
    said |= draw(st.dictionaries(st.sampled_from([*said, "error", "usage", "trace", "x"]), DATA, max_size=4))
    error = {"code": draw(WORDS.filter(lambda each: isinstance(each, str))), "message": "m", "details": draw(DATA)}
    said |= draw(st.sampled_from([{}, {"status": "error", "error": error}, {"status": "denied", "error": error}]))
    text = json.dumps(said).encode()
    at = draw(st.integers(0, len(text)))
    return text if draw(st.booleans()) else text[:at] + draw(st.binary(max_size=3)) + text[at:]


@settings(max_examples=300, deadline=None)
@given(st.one_of(replies(), st.binary(max_size=40), st.just(b'{"output":' + b"[" * 100_000)))
def test_whatever_a_tool_elsewhere_answers(body: bytes) -> None:
    result = answered("afar", body, "r")
    assert isinstance(result, ToolResult)
    json.loads(msgspec.json.encode(result))


@WHOLE_RUNS
@given(st.lists(st.one_of(replies(), st.binary(max_size=40)), min_size=1, max_size=3))
async def test_each_such_answer_is_one_result_of_one_call(bodies: list[bytes]) -> None:
    @tool(effect="none")
    async def afar(at: int) -> ToolResult:
        """Looks elsewhere."""
        return answered("afar", bodies[at], "r")

    turns = [Turn(calls=[Call("afar", {"at": at}) for at in range(len(bodies))]), Turn(text="done")]
    async with scene(turns) as s:
        result = await soon((await s.runtime.start(Agent(MODEL, tools=[afar]), "go", session="s")).result())
        log = await s.log()
        assert all(paired(each) for each in asked(s.server))
    assert result.status == "completed"
    assert all_answered(log)
    assert len(of(ToolFinished, log)) == len(bodies)
