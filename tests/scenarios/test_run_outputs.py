"""Runs whose answer has to be data: every kind of type in every mode, and one answer that is asked for again."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import msgspec
import pytest
from pydantic import BaseModel, Field
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Control, Limits, Phase, Pipeline, tool
from holdfast.engine.events import CODEC, AnswerJudged, AnswerUnfinished, RunStarted
from holdfast.errors import UsageError
from holdfast.flow.ids import WorkerId
from holdfast.journal.owning import Pen
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.types import Digest, OutputMode, TextDelta, stream_id

MODES: tuple[OutputMode, ...] = ("native", "tool", "text")


class City(msgspec.Struct):
    name: str
    people: int
    twin: City | None = None


@dataclasses.dataclass
class Wind:
    knots: float
    gusts: list[float] = dataclasses.field(default_factory=list[float])


class Sky(TypedDict):
    colour: Literal["blue", "grey"]


class Person(BaseModel):
    name: str = Field(min_length=1)
    age: int | None = None


@tool(effect="none")
async def look(name: str) -> str:
    """Looks something up."""
    return f"{name} is there"


BONN = City("Bonn", 3, City("Oxford", 2))
GOOD: Any = {"name": "Bonn", "people": 3, "twin": {"name": "Oxford", "people": 2}}
BAD: Any = {"name": "Bonn"}
SAID = msgspec.json.encode(GOOD).decode()


def turn(mode: str, value: Any, *, call: str = "final_answer") -> Turn | str:
    """What a model answers in a mode."""
    return Turn(calls=[Call(call, value)]) if mode == "tool" else msgspec.json.encode(value).decode()


def whole(value: Any) -> Any:
    return value if isinstance(value, dict) else {"answer": value}


# ---- types and modes ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("models:structured-output", "output:types", "output:value")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("output", "said", "value"),
    [
        (City, GOOD, BONN),
        (Wind, {"knots": 2}, Wind(2.0)),
        (Sky, {"colour": "grey"}, {"colour": "grey"}),
        (Person, {"name": "Ada"}, Person(name="Ada")),
        (City | None, GOOD, BONN),
        (City | Wind, {"knots": 2, "gusts": [3]}, Wind(2.0, [3.0])),
        (Person | City, GOOD, BONN),
        (list[Person], [{"name": "Ada", "age": 36}], [Person(name="Ada", age=36)]),
        (int, 42, 42),
        (Literal["yes", "no"], "no", "no"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 1}, {"a": 1}),
        ({"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
    ],
    ids=lambda each: str(getattr(each, "__name__", each))[:24],
)
async def test_an_answer_comes_back_as_the_type_that_was_declared(
    mode: OutputMode, output: Any, said: Any, value: Any
) -> None:
    agent = Agent(MODEL, output=output, output_mode=mode)
    async with scene([turn(mode, whole(said))]) as s:
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
    assert (result.status, result.reason, result.steps) == ("completed", "", 1)
    assert result.value == value
    assert msgspec.json.decode(result.output) == said, "the output stays JSON, without what stands around it"
    assert all_answered(log)


@pytest.mark.requirement("output:value")
async def test_an_agent_without_an_output_has_text_and_no_value() -> None:
    async with scene([SAID]) as s:
        result = await soon((await s.runtime.start(Agent(MODEL), "go", session="s")).result())
        kinds = await s.kinds()
    assert (result.output, result.value) == (SAID, None)
    assert "answer.judged" not in kinds


@pytest.mark.requirement("models:structured-output", "output:read-leniently")
@pytest.mark.parametrize("mode", MODES)
async def test_a_fence_and_words_around_the_answer_are_tolerated_and_are_not_in_the_output(mode: OutputMode) -> None:
    async with scene([f"Here you are:\n```json\n{SAID}\n```\n"]) as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
    assert (result.status, result.output, result.value) == ("completed", SAID, BONN)


@pytest.mark.requirement("models:structured-output")
async def test_an_agent_with_tools_works_first_and_hands_in_then_and_no_call_beside_it_is_lost() -> None:
    script = [
        Turn(calls=[Call("look", {"name": "Bonn"})]),
        Turn(calls=[Call("look", {"name": "b"}), Call("final_answer", GOOD)]),
    ]
    async with scene(script) as s:
        agent = Agent(MODEL, tools=[look], output=City)
        result = await soon((await s.runtime.start(agent, "go", session="s", mode="read-only")).result())
        log = await s.log()
        sent = [cast("dict[str, Any]", each.json()) for each in s.server.requests]
    assert [each["tool_choice"] for each in sent] == ["required"] * 2
    assert (result.status, result.value, result.steps) == ("completed", BONN, 2)
    assert all_answered(log)


@pytest.mark.requirement("output:streams")
@pytest.mark.parametrize("mode", ["native", "text"])
async def test_a_typed_answer_streams_like_any(mode: OutputMode) -> None:
    async with scene([Turn(SAID, chunk=5)]) as s:
        run = await s.runtime.start(Agent(MODEL, output=City, output_mode=mode), "go", session="s")
        deltas = [item.text async for item in run.events() if isinstance(item, TextDelta)]
        result = await run.result()
        (sent,) = [cast("dict[str, Any]", each.json()) for each in s.server.requests]
    assert deltas
    assert "".join(deltas) == SAID
    assert result.value == BONN
    assert ("response_format" in sent) == (mode == "native")


# ---- asked again ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("models:structured-output", "output:asked-again-once")
@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_does_not_fit_is_asked_for_once_more_with_what_is_wrong(mode: OutputMode) -> None:
    async with scene([turn(mode, BAD), turn(mode, GOOD)]) as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
        told = asked(s.server)[1][-1]["content"]
    assert (result.status, result.value, result.steps) == ("completed", BONN, 2)
    assert "people" in told
    assert len(of(AnswerJudged, log)) == (0 if mode == "tool" else 2)
    assert all_answered(log)


@pytest.mark.requirement("models:structured-output", "output:second-misfit-ends")
@pytest.mark.parametrize("mode", MODES)
async def test_a_second_answer_that_does_not_fit_ends_the_run_and_is_kept_as_it_was(mode: OutputMode) -> None:
    async with scene([turn(mode, BAD), turn(mode, {"people": "many"}), turn(mode, GOOD)]) as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
        assert len(s.server.requests) == 2
    assert (result.status, result.value, result.steps) == ("failed", None, 2)
    assert result.reason.startswith("output_unfit: Expected `int`, got `str` - at `$.people`")
    assert msgspec.json.decode(result.output) == {"people": "many"}
    assert all_answered(log)


@pytest.mark.requirement("output:asked-again-once")
async def test_several_answers_of_one_turn_count_as_one_and_words_count_where_a_call_was_wanted() -> None:
    both = Turn(calls=[Call("final_answer", BAD), Call("final_answer", {"name": 1})])
    async with scene([both, "I hand in Bonn.", turn("tool", GOOD)]) as s:
        agent = Agent(MODEL, output=City, output_mode="tool")
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
    assert (result.status, result.reason, result.output) == (
        "failed",
        "output_unfit: it holds no JSON",
        "I hand in Bonn.",
    )
    assert all_answered(log)


@pytest.mark.requirement("output:asked-again-once")
async def test_damaged_arguments_of_the_call_count_as_an_answer_too() -> None:
    broken = Turn(calls=[Call("final_answer", '{"name": "Bonn", "people": ')])
    async with scene([broken, broken, turn("tool", GOOD)]) as s:
        agent = Agent(MODEL, output=City, output_mode="tool")
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
    assert (result.status, result.steps) == ("failed", 2)
    assert result.output == '{"name": "Bonn", "people": '


@pytest.mark.requirement("output:asked-again-once")
async def test_an_announcement_is_told_once_that_it_is_no_answer() -> None:
    script = [Turn(calls=[Call("look", {"name": "a"})]), "Now let me write the answer:", turn("tool", GOOD)]
    async with scene(script) as s:
        agent = Agent(MODEL, tools=[look], output=City)
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
    assert result.value == BONN
    assert (len(of(AnswerJudged, log)), len(of(AnswerUnfinished, log))) == (1, 0)


@pytest.mark.requirement("output:asked-again-once")
async def test_what_is_said_to_an_answer_asks_for_another_which_may_be_corrected_once_as_well() -> None:
    bad, good = turn("text", BAD), turn("text", GOOD)
    async with scene([bad, good, bad, good]) as s:
        agent = Agent(MODEL, output=City, output_mode="text")
        run = await s.runtime.start(agent, "go", session="s", control=Control(review=1))
        await soon(seen(run, "review.requested"))
        (wait,) = await s.runtime.waiting("s")
        assert wait.prompt == SAID
        await run.request_changes(wait.token, "more people")
        await soon(seen(run, "review.requested", 2))
        (wait,) = await s.runtime.waiting("s")
        await run.approve(wait.token)
        result = await soon(run.result())
    assert (result.status, result.value, result.steps) == ("completed", BONN, 4)


@pytest.mark.requirement("output:limits-bind")
@pytest.mark.parametrize("mode", MODES)
async def test_a_limit_binds_the_second_answer_like_any(mode: OutputMode) -> None:
    async with scene([turn(mode, BAD), turn(mode, GOOD)]) as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        result = await soon((await s.runtime.start(agent, "go", session="s", limits=Limits(steps=1))).result())
        assert len(s.server.requests) == 1
    assert (result.status, result.reason, result.value) == ("limited", "steps", None)


@pytest.mark.requirement("output:limits-bind")
@pytest.mark.parametrize("mode", ["native", "text"])
async def test_an_answer_that_ran_into_its_length_cap_is_limited_and_not_asked_again(mode: OutputMode) -> None:
    async with scene([Turn(SAID[:20], stop="length")]) as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
    assert (result.status, result.reason, result.output) == ("limited", "max_output_tokens", SAID[:20])


# ---- death, and other processes ------------------------------------------------------------------------------------


@pytest.mark.requirement("output:asked-again-once", "output:survives-crash")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answers", [[GOOD], [BAD, GOOD], [BAD, BAD]], ids=["good", "bad-good", "bad-bad"])
async def test_a_run_that_died_after_any_of_its_events_comes_to_the_same_end(
    mode: OutputMode, answers: list[Any]
) -> None:
    agent = Agent(MODEL, output=City, output_mode=mode)
    async with scene([turn(mode, each) for each in answers]) as s:
        whole = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
        for dies_after in range(2, len(log)):
            session = f"died-{dies_after}"
            claim = await s.runtime.journal.claim(stream_id("local", session), WorkerId("gone"), 10**7)
            pen = Pen(s.runtime.journal, claim, CODEC, s.clock, lambda _: None)
            for event in log[:dies_after]:
                pen.write(event.data, cause=event.cause)
            await pen.sync()
            await s.runtime.journal.release(pen.stream, pen.epoch)
            result = await soon((await s.runtime.resume(session, agent)).result())
            assert (result.status, result.reason, result.output, result.value, result.steps) == (
                whole.status,
                whole.reason,
                whole.output,
                whole.value,
                whole.steps,
            )
            again = [event.type for event in await s.log(session)]
            assert [each for each in again if each == "answer.judged"] == [
                each.type for each in log if each.type == "answer.judged"
            ]


@pytest.mark.requirement("output:plain-without-type", "output:survives-crash")
@pytest.mark.parametrize("mode", MODES)
async def test_another_process_goes_on_by_the_schema_alone_and_has_plain_data(mode: OutputMode, tmp_path: Path) -> None:
    hung = turn(mode, BAD)
    calls = [Call("final_answer", GOOD)] if mode == "tool" else []
    late = Turn("" if calls else SAID, calls=calls, fault=Hang(times=1))
    async with scene([hung, late], url=f"sqlite:///{tmp_path}/s.db") as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        run = await s.runtime.start(agent, "go", session="s")
        await soon(s.server.arrived(2))
        await s.runtime.close()
        del agent, run
        async with s.other() as other:
            result = await soon((await other.resume("s")).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert (result.status, result.value, result.steps) == ("completed", GOOD, 2)
    assert sum(bool(each.text) for each in of(AnswerJudged, log)) == (0 if mode == "tool" else 1)
    assert asked(s.server)[-1] == asked(s.server)[-2], "the same question, word for word"


async def test_an_agent_without_an_output_cannot_go_on_with_a_run_whose_answer_has_to_be_data(tmp_path: Path) -> None:
    late = Turn(msgspec.json.encode(GOOD).decode(), fault=Hang(times=1))
    async with scene([late], url=f"sqlite:///{tmp_path}/s.db") as s:
        agent = Agent(MODEL, output=City, output_mode="native")
        await s.runtime.start(agent, "go", session="s")
        await soon(s.server.arrived(1))
        await s.runtime.close()
        async with s.other() as other:
            with pytest.raises(UsageError, match="has no output: give it the same"):
                await soon((await other.resume("s", Agent(MODEL))).result())
            result = await soon((await other.resume("s", agent)).result())
    assert (result.status, result.value) == ("completed", msgspec.convert(GOOD, City))


# ---- children and pipelines ----------------------------------------------------------------------------------------


@pytest.mark.requirement("output:children")
@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_that_is_a_tool_gives_the_other_one_its_json(mode: OutputMode) -> None:
    child = Agent("openai/child", name="child", output=City, output_mode=mode)
    parent = Agent("openai/parent", tools=[child.as_tool("ask")])
    fenced = f"So:\n```\n{SAID}\n```" if mode != "tool" else turn(mode, GOOD)
    async with scene(
        {"parent": [Turn(calls=[Call("ask", {"prompt": "Which?"})]), "Bonn."], "child": [turn(mode, BAD), fenced]}
    ) as s:
        result = await soon((await s.runtime.start(parent, "go", session="s")).result())
        heard = [each[-1]["content"] for each in asked(s.server) if each[-1]["role"] == "tool"]
    assert (result.status, result.output, result.value) == ("completed", "Bonn.", None)
    assert msgspec.json.decode(heard[-1]) == GOOD


@pytest.mark.requirement("output:children")
async def test_a_pipeline_answers_with_the_value_of_its_last_phase() -> None:
    last = Agent("openai/last", name="last", output=City, output_mode="text")
    line = Pipeline([Phase("first", Agent("openai/first", output=int), "{query}"), Phase("last", last, "{first}")])
    async with scene({"first": ['{"answer": 7}'], "last": [f"Here: {SAID}"]}) as s:
        result = await soon((await s.runtime.start(line, "go", session="s")).result())
        assert asked(s.server)[1][-1]["content"] == "7"
    assert (result.status, result.output, result.value) == ("completed", SAID, BONN)


# ---- hostile answers -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("output:hostile-answers")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "said",
    ['{"name": "a", "twin": ' * 40_000, '{"name": "Bonn", "people": NaN}', "[" * 100_000],
    ids=["deep", "nan", "brackets"],
)
async def test_a_hostile_answer_is_one_that_does_not_fit(mode: OutputMode, said: str) -> None:
    bad = Turn(calls=[Call("final_answer", said)]) if mode == "tool" else said
    async with scene([bad, turn(mode, GOOD)]) as s:
        agent = Agent(MODEL, output=City, output_mode=mode)
        result = await soon((await s.runtime.start(agent, "go", session="s")).result(), seconds=10)
    assert (result.status, result.value, result.steps) == ("completed", BONN, 2)


@pytest.mark.requirement("output:hostile-answers")
async def test_an_answer_of_eight_megabytes_holds_nobody_up() -> None:
    large = msgspec.json.encode({"name": "x" * 8_000_000, "people": 1}).decode()
    async with scene([Turn(large, chunk=500_000)], seconds=30) as s:
        run = await s.runtime.start(Agent(MODEL, output=City, output_mode="text"), "go", session="s")
        result = await soon(run.result(), seconds=25)
        await until(lambda: len(asyncio.all_tasks()) > 0)
    assert result.value is not None
    assert len(result.value.name) == 8_000_000


# ---- around --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("output:value")
async def test_the_log_says_that_an_answer_has_to_be_data_and_a_run_by_its_key_has_plain_data() -> None:
    async with scene([SAID]) as s:
        run = await s.runtime.start(Agent(MODEL, output=City, output_mode="text"), "go", session="s")
        assert (await soon(run.result())).value == BONN
        assert (await soon(s.runtime.run("s", run.key).result())).value == GOOD
        (started,) = of(RunStarted, await s.log())
    assert started.setup.typed
    assert started.setup.spec != Digest("")


@pytest.mark.requirement("models:structured-output-schema-refused")
async def test_an_output_that_cannot_be_asked_for_never_becomes_an_agent() -> None:
    with pytest.raises(UsageError, match="no JSON Schema"):
        Agent(MODEL, output={"type": "nonsense"})
