"""Pipelines: another way to decide, on the same loop, the same log, the same children."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import Scene, asked, of, scene, soon, until

from holdfast import Agent, Limits, tool
from holdfast.engine.events import CODEC, InputApplied, InputDropped, PhaseFailed, PhaseStarted
from holdfast.journal.reading import Follower
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Status
from holdfast.types import Event, stream_id

GATE: list[asyncio.Event] = []
THOUGHT: list[int] = []


@tool(effect="none")
async def think() -> str:
    """Takes its time."""
    THOUGHT.append(1)
    if GATE:
        await GATE[0].wait()
    return "thought"


@pytest.fixture(autouse=True)
def fresh() -> None:
    GATE.clear()
    THOUGHT.clear()


SCOUT = Agent("openai/scout", name="scout", tools=[think], limits=Limits(model_retries=0, steps=2))
WRITER = Agent("openai/writer", name="writer", limits=Limits(model_retries=0))
LINE = Pipeline(
    [Phase("facts", SCOUT, "Find: {query}"), Phase("text", WRITER, "Write on {query} from {facts} {{odd}}.")]
)
BROKEN = Turn(fault=Status(400))


def prompts(s: Any) -> list[str]:
    return [request[-1]["content"] for request in asked(s.server)]


@pytest.mark.requirement("engine:pipeline-phases")
async def test_each_phase_is_told_what_those_before_it_came_to_and_the_last_one_answers() -> None:
    async with scene({"scout": ["It is blue."], "writer": ["A blue text."]}) as s:
        result = await soon((await s.runtime.start(LINE, "the sky", session="s")).result())
        log = await s.log()
        assert prompts(s) == ["Find: the sky", "Write on the sky from It is blue. {odd}."]
    assert (result.status, result.output, result.steps) == ("completed", "A blue text.", 0)
    assert [each.phase for each in of(PhaseStarted, log)] == [0, 1]
    assert result.usage.total_tokens > 0


@pytest.mark.requirement("engine:pipeline-phases")
async def test_a_phase_that_runs_out_of_steps_gives_what_it_has_and_the_pipeline_goes_on() -> None:
    look = Turn(text="Half of it.", calls=[Call("think", {})])
    async with scene({"scout": [look, look], "writer": ["From half."]}) as s:
        result = await soon((await s.runtime.start(LINE, "q", session="s")).result())
        assert prompts(s)[-1] == "Write on q from Half of it. {odd}."
    assert (result.status, result.output) == ("completed", "From half.")


@pytest.mark.requirement("engine:pipeline-phases")
@pytest.mark.parametrize(
    ("fallback", "status", "output"), [("nothing known", "completed", "From that."), (None, "failed", "")]
)
async def test_an_optional_phase_that_fails_counts_as_its_fallback_and_any_other_ends_the_pipeline(
    fallback: str | None, status: str, output: str
) -> None:
    line = Pipeline([Phase("facts", SCOUT, fallback=fallback), Phase("text", WRITER, "From {facts}")])
    async with scene({"scout": [BROKEN], "writer": ["From that."]}) as s:
        result = await soon((await s.runtime.start(line, "q", session="s")).result())
        if fallback:
            assert prompts(s)[-1] == "From nothing known"
    assert (result.status, result.output) == (status, output)
    assert ("phase 'facts'" in result.reason) == (fallback is None)


@pytest.mark.requirement("engine:pipeline-phases")
@pytest.mark.parametrize("whom", ["pipeline", "phase"])
async def test_an_abort_ends_the_pipeline_also_in_an_optional_phase(whom: str) -> None:
    GATE.append(asyncio.Event())
    line = Pipeline([Phase("facts", SCOUT, fallback="never mind"), Phase("text", WRITER)])
    async with scene({"scout": [Turn(calls=[Call("think", {})])], "writer": ["never"]}) as s:
        run = await s.runtime.start(line, "q", session="s")
        await until(lambda: len(s.server.requests) == 1)
        child = of(PhaseStarted, await s.log())[0].wait.subject
        if whom == "pipeline":
            await run.abort("enough")
        else:
            await s.runtime.run(child, f"start:child:{child}").abort("enough")
        result = await soon(run.result())
        assert result.status == "aborted"
        assert "enough" in result.reason

        assert (await soon(s.runtime.run(child, f"start:child:{child}").result())).status == "aborted"


@pytest.mark.requirement("engine:pipeline-phases")
async def test_a_pipeline_goes_on_in_another_process_at_the_phase_where_it_was(tmp_path: Path) -> None:
    GATE.append(asyncio.Event())
    scripts = {"scout": ["Facts."], "writer": [Turn(calls=[Call("think", {})]), "Done."]}
    writer = Agent("openai/writer", name="writer", tools=[think])
    line = Pipeline([Phase("facts", SCOUT), Phase("text", writer, "{facts}")])
    async with scene(scripts, url=f"sqlite:///{tmp_path}/s.db") as s:
        async with s.other() as gone:
            run = await gone.start(line, "q", session="s")
            await until(lambda: bool(THOUGHT))
        GATE.clear()
        await s.runtime.sweep()
        result = await soon(s.runtime.run("s", run.key).result())
        assert (result.status, result.output) == ("completed", "Done.")
        assert len(s.server.requests) == 3, "the first phase was not asked again"
        assert len(of(PhaseStarted, await s.log())) == 2


@pytest.mark.requirement("engine:pipeline-phases")
async def test_a_phase_that_takes_too_long_is_aborted_and_counts_as_failed() -> None:
    GATE.append(asyncio.Event())
    line = Pipeline([Phase("facts", SCOUT, fallback="too slow", seconds=0.2), Phase("text", WRITER, "{facts}")])
    async with scene({"scout": [Turn(calls=[Call("think", {})])], "writer": ["Fine."]}) as s:
        result = await soon((await s.runtime.start(line, "q", session="s")).result())
        assert (result.status, result.output) == ("completed", "Fine.")
        assert prompts(s)[-1] == "too slow"
        child = of(PhaseStarted, await s.log())[0].wait.subject
        await soon(s.runtime.run(child, f"start:child:{child}").result())


@pytest.mark.requirement("engine:pipeline-phases")
async def test_a_phase_that_may_not_be_started_fails_with_the_reason() -> None:
    line = Pipeline([Phase("facts", SCOUT)], limits=Limits(depth=0))
    async with scene({"scout": ["no"]}) as s:
        result = await soon((await s.runtime.start(line, "q", session="s")).result())
        assert of(PhaseFailed, await s.log())[0].phase == 0
    assert result.status == "failed"
    assert "as deep as one may" in result.reason


@pytest.mark.requirement("engine:descendants-counted")
@pytest.mark.parametrize("most", [1, 2])
async def test_phases_count_as_what_a_pipeline_starts(most: int) -> None:
    async with scene({"scout": ["Facts."], "writer": ["Done."]}) as s:
        run = await s.runtime.start(LINE, "q", session="s", limits=Limits(descendants=most))
        result = await soon(run.result())
        failed = of(PhaseFailed, await s.log())
    if most == 2:
        assert (result.status, failed) == ("completed", [])
    else:
        assert (result.status, [each.phase for each in failed]) == ("failed", [1])
        assert "have started 1 others, as many as they may" in failed[0].why
        assert "phase 'text'" in result.reason


THINKS = Turn(calls=[Call("think", {})])


async def phase_of(s: Scene, session: str = "s") -> str:
    """Returns the session of the first phase, once it is in the log."""
    started = await soon(event_of(s, session, "phase.started"))
    assert isinstance(started.data, PhaseStarted)
    return started.data.wait.subject


async def event_of(s: Scene, session: str, kind: str) -> Event:
    """Returns the first event of that type of a session, once it is durable."""
    follower = Follower(s.runtime.journal, stream_id("local", session), CODEC, lambda _: None)
    try:
        while True:
            for event in await follower.next():
                if isinstance(event, Event) and event.type == kind:
                    return event
    finally:
        follower.close()


async def heard(s: Scene, session: str) -> None:
    """Returns when a session that makes a call knows that somebody spoke."""
    live, stream = s.runtime._worker._live, stream_id("local", session)
    await until(lambda: stream in live and live[stream].attempt.hurried)


@pytest.mark.requirement("engine:pipeline-heard")
async def test_a_steer_reaches_the_phase_that_is_under_way_and_a_follow_up_the_last_one() -> None:
    GATE.append(asyncio.Event())
    scripts = {"scout": [THINKS, "It is grey."], "writer": ["A grey text.", "A short grey text."]}
    async with scene(scripts) as s:
        run = await s.runtime.start(LINE, "the sky", session="s")
        await until(lambda: bool(THOUGHT))
        then = await run.follow_up("Now shorter.")
        steer = await run.steer("It is raining.")
        await soon(steer.committed())
        await soon(then.committed())
        child = await phase_of(s)
        await heard(s, child)
        GATE[0].set()
        result = await soon(run.result())
        scout, first, second = [request[-1]["content"] for request in asked(s.server)[1:]]
        assert not of(InputDropped, await s.log(child))
        assert len(of(InputApplied, await s.log())) == 2
    assert (scout, second) == ("It is raining.", "Now shorter.")
    assert first == "Write on the sky from It is grey. {odd}."
    assert (result.status, result.output) == ("completed", "A short grey text.")


@pytest.mark.requirement("engine:pipeline-heard")
async def test_what_is_said_to_a_pipeline_that_nobody_drives_its_phase_hears_once_in_the_next_process(
    tmp_path: Path,
) -> None:
    GATE.append(asyncio.Event())
    async with scene({"scout": [THINKS, "It is grey."], "writer": ["Text."]}, url=f"sqlite:///{tmp_path}/s.db") as s:
        async with s.other() as gone:
            run = await gone.start(LINE, "the sky", session="s")
            await until(lambda: bool(THOUGHT))
            child = await phase_of(s)
        await s.runtime.run("s", run.key).steer("It is raining.")
        await s.runtime.run("s", run.key).pause()
        await s.runtime.sweep()
        await until(lambda: len(THOUGHT) == 2)
        await soon(event_of(s, "s", "session.paused"))
        head = await s.runtime.journal.head(stream_id("local", child))
        assert head is not None
        assert not head.unread, "it is paused, and passes nothing on"
        await s.runtime.run("s", run.key).resume()
        await heard(s, child)
        GATE[0].set()
        assert (await soon(s.runtime.run("s", run.key).result())).status == "completed"
        assert [text for text in prompts(s) if text == "It is raining."] == ["It is raining."]


@pytest.mark.requirement("engine:pipeline-heard")
async def test_a_steer_reaches_a_phase_that_is_a_pipeline_itself() -> None:
    GATE.append(asyncio.Event())
    inner = Pipeline([Phase("facts", SCOUT, "Find: {query}")], name="inner")
    async with scene({"scout": [THINKS, "It is grey."]}) as s:
        run = await s.runtime.start(Pipeline([Phase("inner", inner)]), "the sky", session="s")
        await until(lambda: bool(THOUGHT))
        await run.steer("It is raining.")
        await heard(s, await phase_of(s, await phase_of(s)))
        GATE[0].set()
        assert (await soon(run.result())).output == "It is grey."
        assert prompts(s)[-1] == "It is raining."
