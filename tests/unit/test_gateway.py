"""The one gateway for effects: what may run, what it comes to, and that nothing a tool does breaks a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.places import sandbox_at
from tests.running import soon

from holdfast import Effect, ToolContext, ToolFailure, ToolResult, tool
from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.tools.binding import Tool
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.results import Refused, canceled, unknown_outcome
from holdfast.types import CallId, EventId, StreamId, ToolCall, ToolError, Wait

RAN: list[Any] = []


@tool
async def add(a: int, b: int = 0) -> int:
    """Adds."""
    RAN.append((a, b))
    return a + b


@tool(effect=Effect(workspace=True, outside="none"), touches=lambda arguments: (arguments.path,))
async def save(path: str) -> str:
    """Saves."""
    return path


def named(tools: Sequence[Tool]) -> dict[str, Tool]:
    return {each.spec.name: each for each in tools}


def gateway(*tools: Tool, workspace: Path | None = None) -> Gateway:
    blobs = MemoryBlobStore()
    place = None if workspace is None else sandbox_at(workspace, blobs)
    return Gateway(
        tools=named(tools or (add, save)), stream=StreamId("local/s"), run=EventId("e"), sandbox=place, blobs=blobs
    )


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(CallId("c1"), name, arguments)


def admitted(gate: Gateway, name: str, arguments: str = "{}") -> Admitted:
    verdict = gate.admit(call(name, arguments), "3/c1")
    assert isinstance(verdict, Admitted), verdict
    return verdict


def refused(verdict: Admitted | Refused | Wait) -> tuple[str, ToolError]:
    assert isinstance(verdict, Refused)
    assert verdict.result.error is not None
    return verdict.result.content, verdict.result.error


async def result_of(function: Callable[..., Any], **options: Any) -> ToolResult:
    """Returns what a call of a tool made of the function comes to."""
    gate = gateway(tool(name="t", **options)(function))
    ready = admitted(gate, "t")
    outcome = await soon(gate.perform(ready))
    assert isinstance(outcome, ToolResult), outcome
    finished = await gate.finish(ready, outcome)
    assert msgspec.json.decode(msgspec.json.encode(finished), type=ToolResult) == finished, "it can be written down"
    return finished


# ---- admit -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools:stages-named")
async def test_admitting_has_no_effect_and_performing_is_the_effect() -> None:
    gate = gateway()
    RAN.clear()
    ready, *_ = [admitted(gate, "add", '{"a": 1, "b": 2}') for _ in range(3)]
    assert RAN == []
    raw = await gate.perform(ready)
    assert RAN == [(1, 2)]
    assert isinstance(raw, ToolResult)
    assert await gate.finish(ready, raw) == ToolResult("3")


@pytest.mark.requirement("tools:unknown-tool", "tools:refusals-are-results")
def test_a_tool_that_is_not_there_is_refused_with_those_that_are() -> None:
    text, error = refused(gateway().admit(call("sub"), "3/c1"))
    assert "'sub'" in text
    assert "add, save" in text
    assert error == ToolError("unsupported_tool", "tool_unsupported", "error", retryable=False)
    empty = Gateway(tools={}, stream=StreamId("local/s"), run=EventId("e"), sandbox=None, blobs=MemoryBlobStore())
    assert "none" in refused(empty.admit(call("sub"), "3/c1"))[0]


@pytest.mark.requirement("tools:arguments-fed-back", "tools:refusals-are-results")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ('{"a": "one"}', "$.a"),
        ("{}", "`a`"),
        ('{"a": 1, "c": 2}', "`c`"),
        ("[1, 2]", "object"),
        ('"a"', "object"),
        ('{"a": 1e999}', ""),
        ('{"a": 1', "truncated"),
    ],
)
def test_arguments_that_do_not_fit_are_fed_back_with_the_field(arguments: str, names: str) -> None:
    text, error = refused(gateway().admit(call("add", arguments), "3/c1", cut=True))
    assert names in text
    assert "'add'" in text
    assert (error.code, error.reason) == ("invalid_input", "tool_invalid_input")


@pytest.mark.requirement("tools:arguments-repaired")
@pytest.mark.parametrize(
    "damaged",
    ['{"a": 1,}', "{'a': 1}", '```json\n{"a": 1}\n```', '{"a": 1, "b": [}'.replace("[", "0 "), '\ufeff{"a": 1}'],
)
def test_damage_that_can_mean_only_one_thing_is_mended(damaged: str) -> None:
    assert admitted(gateway(), "add", damaged).arguments.a == 1


@pytest.mark.requirement("tools:arguments-repaired")
def test_what_the_models_cap_cut_off_is_not_mended() -> None:
    closed = '{"path": "x"'
    assert admitted(gateway(), "save", closed).arguments.path == "x"
    assert isinstance(gateway().admit(call("save", closed), "3/c1", cut=True), Refused)
    assert isinstance(gateway().admit(call("save", '{"path": "x'), "3/c1"), Refused)


@pytest.mark.parametrize(
    "arguments", ['{"a":' + "[" * 200_000, "[" * 200_000, '{"a":' * 100_000, "\ud800", '{"a": "\ud800"}']
)
def test_hostile_arguments_are_refused_like_any_other(arguments: str) -> None:
    assert refused(gateway().admit(call("add", arguments), "3/c1"))[1].code == "invalid_input"


@given(st.text(max_size=200))
def test_no_argument_text_gets_past_as_anything_but_a_call_or_a_refusal(text: str) -> None:
    assert isinstance(gateway().admit(call("add", text), "3/c1"), Admitted | Refused)


def test_a_call_without_arguments_may_leave_its_text_out() -> None:
    @tool
    async def now() -> str:
        """Tells the time."""
        return "noon"

    assert admitted(gateway(now), "now", "").call.name == "now"


@pytest.mark.parametrize("wrong", [KeyError("x"), ValueError("x"), RecursionError()])
async def test_an_effect_or_touches_function_that_raises_refuses_the_call(wrong: Exception, tmp_path: Path) -> None:
    def raise_it(*_: Any) -> Any:
        raise wrong

    unsure = msgspec.structs.replace(save, effect=raise_it)
    text, error = refused(gateway(unsure).admit(call("save", '{"path": "x"}'), "3/c1"))
    assert type(wrong).__name__ in text
    assert error.code == "execution_failed"
    lost = gateway(msgspec.structs.replace(save, touches=raise_it), workspace=tmp_path)
    verdict = await lost.protect(admitted(lost, "save", '{"path": "x"}'))
    assert type(wrong).__name__ in refused(verdict)[0]


def test_an_effect_may_depend_on_the_arguments() -> None:
    careful = msgspec.structs.replace(
        save, effect=lambda arguments, _: Effect(outside="unsafe" if arguments.path == "/" else "none")
    )
    gate = gateway(careful)
    assert [admitted(gate, "save", f'{{"path": "{path}"}}').effect.outside for path in "/x"] == ["unsafe", "none"]


# ---- protect ---------------------------------------------------------------------------------------------------


async def test_files_are_saved_before_a_call_that_may_change_them_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("before")
    gate = gateway(workspace=tmp_path)
    ready = await gate.protect(admitted(gate, "save", '{"path": "x"}'))
    assert isinstance(ready, Admitted)
    assert ready.snapshot is not None
    (tmp_path / "x").write_text("after")
    await gate.restore(ready.snapshot)
    assert (tmp_path / "x").read_text() == "before"


async def test_a_path_that_leads_out_is_denied_before_the_call_runs(tmp_path: Path) -> None:
    gate = gateway(workspace=tmp_path)
    text, error = refused(await gate.protect(admitted(gate, "save", '{"path": "../x"}')))
    assert "'../x'" in text
    assert (error.status, error.code) == ("denied", "permission_denied")


async def test_files_that_cannot_be_saved_are_not_put_at_risk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> Any:
        raise SandboxError("too large")

    monkeypatch.setattr(TreeSnapshots, "capture", fails)
    gate = gateway(workspace=tmp_path)
    text, error = refused(await gate.protect(admitted(gate, "save", '{"path": "x"}')))
    assert "too large" in text
    assert error.code == "execution_failed"


# ---- perform ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools:exception-becomes-result")
@pytest.mark.parametrize(
    "wrong", [ValueError("bad day"), SystemExit(3), KeyError("k"), asyncio.CancelledError(), TimeoutError()]
)
@pytest.mark.parametrize("plain", [False, True])
async def test_whatever_a_tool_raises_is_a_result_with_its_kind_and_words(wrong: BaseException, plain: bool) -> None:
    def fails() -> str:
        """Fails."""
        raise wrong

    async def fails_later() -> str:
        """Fails."""
        raise wrong

    result = await result_of(fails if plain else fails_later, timeout=5 if isinstance(wrong, ValueError) else None)
    assert type(wrong).__name__ in result.content
    assert str(wrong) in result.content
    assert result.error == ToolError("execution_failed", "tool_backend_failure", retryable=True)


async def test_a_failure_the_author_worded_comes_as_it_was_worded() -> None:
    async def fails() -> str:
        """Fails."""
        raise ToolFailure("no such row", code="invalid_input", metadata={"row": 3})

    async def odd() -> str:
        """Fails."""
        raise ToolFailure("no", metadata={"row": object()})

    result = await result_of(fails)
    assert result == ToolResult("no such row", ToolError("invalid_input", "tool_invalid_input"), {"row": 3})
    assert (await result_of(odd)).metadata == {}


async def test_a_call_past_its_time_is_stopped_and_says_so() -> None:
    stopped = asyncio.Event()

    async def slow() -> str:
        """Waits."""
        try:
            return await asyncio.Event().wait() and ""
        finally:
            stopped.set()

    result = await result_of(slow, timeout=0.01)
    assert stopped.is_set()
    assert "0.01 s" in result.content
    assert result.error == ToolError("timeout", "tool_execution_timeout", retryable=True)


async def test_a_call_that_is_cancelled_is_cancelled() -> None:
    async def waits() -> str:
        """Waits."""
        await asyncio.Event().wait()
        return ""

    gate = gateway(tool(name="t")(waits))
    task = asyncio.create_task(gate.perform(admitted(gate, "t")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


@pytest.mark.requirement("tools:idempotency-key-handed-over")
async def test_a_tool_learns_its_call_its_place_and_the_key_that_stays_the_same(tmp_path: Path) -> None:
    seen: list[ToolContext] = []

    @tool
    async def peek(context: ToolContext) -> str:
        """Looks."""
        seen.append(context)
        return ""

    for _ in range(2):
        gate = gateway(peek, workspace=tmp_path)
        await gate.perform(admitted(gate, "peek"))
    fork = Gateway(
        tools=named((peek,)), stream=StreamId("local/child"), run=EventId("f"), sandbox=None, blobs=MemoryBlobStore()
    )
    await fork.perform(admitted(fork, "peek"))
    assert [each.key for each in seen] == ["local/s/e/3/c1", "local/s/e/3/c1", "local/child/f/3/c1"]
    assert seen[0].call_id == "c1"
    assert seen[0].workspace is not None
    assert seen[0].workspace.root == Workspace(tmp_path).root
    assert seen[2].workspace is None


def test_calls_that_never_ended_say_what_is_known() -> None:
    for result, words in ((canceled("the run was stopped"), "the run was stopped"), (unknown_outcome("pay"), "'pay'")):
        assert words in result.content
        assert result.error is not None
