"""A bound on how many sessions a process drives at once: who waits, waits fairly, durably, and hears what is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Wrapped, asked, of, scene, soon, until

from holdfast import Agent, Limits, ToolContext, Wait, tool
from holdfast.engine.events import ModelFinished, RunFinished, RunStarted, ToolWaiting
from holdfast.errors import LeaseHeld, StorageError, UsageError
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.types import stream_id

GATE: list[asyncio.Event] = []
INSIDE: list[int] = [0, 0]
"""How many are in the tool now, and how many were at most."""


@tool(effect="none")
async def think() -> str:
    """Takes its time."""
    INSIDE[0] += 1
    INSIDE[1] = max(INSIDE)
    try:
        for _ in range(3):
            await asyncio.sleep(0)
        if GATE:
            await GATE[0].wait()
    finally:
        INSIDE[0] -= 1
    return "thought"


@tool(effect="none")
async def ask(context: ToolContext) -> Wait:
    """Asks somebody."""
    return Wait(token=context.key, kind="question", prompt="well?")


@pytest.fixture(autouse=True)
def fresh() -> None:
    GATE.clear()
    INSIDE[:] = [0, 0]


AGENT = Agent(MODEL, tools=[think, ask])
THINKS = [Turn(calls=[Call("think", {})]), "done"]


async def holding(runtime: Runtime) -> Run:
    """Returns a run that has the one place there is until the gate opens."""
    GATE.append(asyncio.Event())
    run = await runtime.start(AGENT, "hold", session="holder")
    await until(lambda: INSIDE[0] == 1)
    return run


async def results(runs: list[Run]) -> set[str]:
    return {(await soon(run.result(), 12)).status for run in runs}


def url_of(store: str, folder: Path) -> str:
    return store if store == "memory:" else f"sqlite:///{folder}/s.db"


@pytest.mark.requirement("runtime:lane-bounds-driving")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_no_more_sessions_are_driven_at_once_than_there_are_places_and_all_finish(
    tmp_path: Path, store: str
) -> None:
    async with scene(THINKS, url=url_of(store, tmp_path), at_once=3) as s:
        s.runtime.resize(0)
        runs = [await s.runtime.start(AGENT, "go", session=f"s{n}") for n in range(20)]
        assert (s.runtime.stats().driven, s.runtime.stats().queued) == (0, 20)
        s.runtime.resize(3)
        assert (s.runtime.stats().at_once, s.runtime.stats().queued) == (3, 17)
        assert await results(runs) == {"completed"}
        await until(lambda: not s.runtime.stats().driven)
        assert INSIDE[1] <= 3
        assert s.runtime.stats().queued_by_user == {}


@pytest.mark.requirement("runtime:lane-bounds-driving")
async def test_a_runtime_without_a_bound_drives_everything_and_cannot_be_resized() -> None:
    async with scene(THINKS) as s:
        assert await results([await s.runtime.start(AGENT, "go", session=f"s{n}") for n in range(5)]) == {"completed"}
        assert s.runtime.stats().at_once is None
        with pytest.raises(UsageError, match="open it with at_once"):
            s.runtime.resize(2)
        with pytest.raises(UsageError, match="no priority"):
            await s.runtime.start(AGENT, "go", priority=10**9)


@pytest.mark.requirement("runtime:lane-fair")
@pytest.mark.parametrize("at_once", [1, 3])
async def test_the_first_run_of_a_user_waits_for_no_more_than_one_place_per_user(at_once: int) -> None:
    async with scene(["ok"], at_once=at_once, seconds=30) as s:
        s.runtime.resize(0)
        runs = [await s.runtime.start(AGENT, "ada", session=f"a{n}", user="ada") for n in range(100)]
        runs.append(await s.runtime.start(AGENT, "bob", session="b", user="bob"))
        assert s.runtime.stats().queued_by_user == {"ada": 100, "bob": 1}
        s.runtime.resize(at_once)
        assert await results(runs) == {"completed"}
        order = [request[-1]["content"] for request in asked(s.server)]
    assert order.index("bob") <= at_once
    assert order.count("ada") == 100


@pytest.mark.requirement("runtime:lane-fair")
async def test_a_priority_orders_the_runs_of_one_user_and_is_in_the_log() -> None:
    async with scene(["ok"], at_once=1) as s:
        s.runtime.resize(0)
        runs = [await s.runtime.start(AGENT, f"p{each}", session=f"s{each}", priority=each) for each in (-1, 0, 7, 3)]
        s.runtime.resize(1)
        assert await results(runs) == {"completed"}
        assert [request[-1]["content"] for request in asked(s.server)] == ["p7", "p3", "p0", "p-1"]
        assert of(RunStarted, await s.log("s7"))[0].setup.priority == 7


@pytest.mark.requirement("runtime:lane-fair")
async def test_one_session_with_many_prompts_gives_its_place_up_between_its_runs() -> None:
    async with scene(["ok"] * 5, at_once=1) as s:
        s.runtime.resize(0)
        runs = [await s.runtime.start(AGENT, "ada", session="a", user="ada") for _ in range(5)]
        runs.append(await s.runtime.start(AGENT, "bob", session="b", user="bob"))
        s.runtime.resize(1)
        assert await results(runs) == {"completed"}
        order = [request[-1]["content"] for request in asked(s.server)]
    assert order.index("bob") <= 1
    assert len(order) == 6


@pytest.mark.requirement("runtime:lane-children")
async def test_two_hundred_children_of_twenty_parents_finish_with_two_places() -> None:
    helper = Agent("openai/helper", tools=[think], name="helper")
    leader = Agent("openai/leader", tools=[helper.as_tool("help")], name="leader")
    jobs = Turn(calls=[Call("help", {"prompt": str(n)}) for n in range(10)])
    async with scene({"leader": [jobs, "all"], "helper": THINKS}, at_once=2, seconds=40) as s:
        runs = [await s.runtime.start(leader, "go", session=f"s{n}") for n in range(20)]
        assert {(await soon(run.result(), 35)).output for run in runs} == {"all"}
        assert len(s.server.requests) == 20 * 2 + 200 * 2
    assert INSIDE[1] <= 2


@pytest.mark.requirement("runtime:lane-children")
async def test_more_children_than_a_parents_inbox_holds_finish_with_one_place() -> None:
    helper = Agent("openai/helper", name="helper")
    leader = Agent("openai/leader", tools=[helper.as_tool("help")], name="leader", limits=Limits(children=90))
    jobs = Turn(calls=[Call("help", {"prompt": str(n)}) for n in range(90)])
    async with scene({"leader": [jobs, "all"], "helper": ["ok"]}, at_once=1, seconds=40) as s:
        run = await s.runtime.start(leader, "go", session="s", priority=-1)  # no child is overtaken by it
        assert (await soon(run.result(), 35)).output == "all"
        assert len(s.server.requests) == 92


@pytest.mark.requirement("runtime:lane-parks-free")
async def test_a_run_that_waits_for_a_person_holds_no_place() -> None:
    script = {"scripted": [Turn(calls=[Call("ask", {})]), "over"], "other": ["ok"]}
    async with scene(script, at_once=1) as s:
        asks = await s.runtime.start(AGENT, "go", session="asks")
        await until(lambda: bool(s.runtime.stats().parked))
        other = await s.runtime.start(Agent("openai/other"), "go", session="other")
        assert (await soon(other.result())).output == "ok"
        await asks.answer(of(ToolWaiting, await s.log("asks"))[0].wait.token, "yes")
        assert (await soon(asks.result())).output == "over"


@pytest.mark.requirement("runtime:lane-control")
@pytest.mark.parametrize("word", ["abort", "exit"])
async def test_a_run_that_waits_for_a_place_can_be_ended_and_asks_no_model(word: str) -> None:
    async with scene(THINKS, at_once=1) as s:
        holder = await holding(s.runtime)
        run = await s.runtime.start(AGENT, "go", session="q")
        assert s.runtime.stats().queued == 1
        await (run.abort("no need") if word == "abort" else run.exit("no need"))
        result = await soon(run.result())
        assert (result.status, result.steps) == ("aborted", 0)
        assert not of(ModelFinished, await s.log("q"))
        assert s.runtime.stats().queued == 0
        GATE[0].set()
        assert await results([holder]) == {"completed"}
        assert len(s.server.requests) == 2


@pytest.mark.requirement("runtime:lane-control")
async def test_an_abort_of_one_of_several_queued_prompts_lets_the_others_wait_on() -> None:
    async with scene(THINKS, at_once=1) as s:
        holder = await holding(s.runtime)
        first, second = [await s.runtime.start(AGENT, "go", session="q") for _ in range(2)]
        await first.abort("no need")
        assert (await soon(first.result())).status == "aborted"
        await until(lambda: s.runtime.stats().queued == 1)
        assert INSIDE == [1, 1]
        GATE[0].set()
        assert await results([holder, second]) == {"completed"}
        assert len(s.server.requests) == 4


@pytest.mark.requirement("runtime:lane-control")
async def test_what_is_said_to_a_run_that_waits_for_a_place_is_heard_when_it_has_one() -> None:
    async with scene(THINKS, at_once=1) as s:
        holder = await holding(s.runtime)
        run = await s.runtime.start(AGENT, "go", session="q")
        await run.pause()
        GATE[0].set()
        assert await results([holder]) == {"completed"}
        await until(lambda: bool(s.runtime.stats().parked))
        assert not of(RunStarted, await s.log("q"))
        await run.steer("and quickly")
        await run.resume()
        assert await results([run]) == {"completed"}
        assert any(each["content"] == "and quickly" for each in asked(s.server)[-1])


@pytest.mark.requirement("runtime:lane-durable")
async def test_a_session_that_waits_for_a_place_has_no_lease_and_is_taken_up_after_a_kill(tmp_path: Path) -> None:
    async with scene(THINKS, url=url_of("sqlite", tmp_path)) as s:
        async with Runtime.open(s.url, at_once=1) as gone:
            holder = await holding(gone)
            run = await gone.start(AGENT, "go", session="q", priority=5)
            head = await gone.journal.head(stream_id("local", "q"))
            assert head is not None
            assert (head.owner, head.unread) == (None, True)
        GATE.clear()
        assert await s.runtime.sweep() == 2
        assert await results([s.runtime.run("holder", holder.key), s.runtime.run("q", run.key)]) == {"completed"}


@pytest.mark.requirement("runtime:lane-durable")
async def test_another_process_that_has_room_drives_what_waits_here(tmp_path: Path) -> None:
    async with scene(THINKS, url=url_of("sqlite", tmp_path), at_once=1) as s, s.other() as other:
        holder = await holding(s.runtime)
        run = await s.runtime.start(Agent(MODEL), "go", session="q")
        assert await other.sweep() == 1
        await until(lambda: INSIDE[0] == 1 and len(s.server.requests) >= 2)
        GATE[0].set()
        assert await results([run, holder]) == {"completed"}
        await until(lambda: not s.runtime.stats().driven and not s.runtime.stats().queued)
        assert len(of(RunFinished, await s.log("q"))) == 1


@pytest.mark.requirement("runtime:lane-durable")
async def test_resume_and_sweep_wait_for_a_place_like_a_start(tmp_path: Path) -> None:
    async with scene(THINKS, url=url_of("sqlite", tmp_path), at_once=1) as s:
        async with s.other() as gone:
            GATE.append(asyncio.Event())
            left = [await gone.start(AGENT, "go", session=f"s{n}") for n in range(4)]
            await until(lambda: INSIDE[0] == 4)
            with pytest.raises(LeaseHeld):
                await s.runtime.resume("s0")
        assert await s.runtime.sweep() == 4
        assert await s.runtime.sweep() == 0
        again = [await s.runtime.resume(f"s{n}") for n in range(4)]
        assert [run.key for run in again] == [run.key for run in left]
        assert s.runtime.stats().queued == 3
        GATE[0].set()
        assert await results(again) == {"completed"}


@pytest.mark.requirement("runtime:lane-resizes")
async def test_places_can_be_added_and_taken_away_while_sessions_are_driven() -> None:
    async with scene(THINKS, at_once=1) as s:
        GATE.append(asyncio.Event())
        runs = [await s.runtime.start(AGENT, "go", session=f"s{n}") for n in range(6)]
        await until(lambda: INSIDE[0] == 1)
        s.runtime.resize(4)
        await until(lambda: INSIDE[0] == 4)
        s.runtime.resize(0)
        GATE[0].set()
        await until(lambda: not s.runtime.stats().driven)
        assert s.runtime.stats().queued == 2
        with pytest.raises(UsageError):
            s.runtime.resize(-1)
        s.runtime.resize(2)
        assert await results(runs) == {"completed"}


@pytest.mark.requirement("runtime:lane-control")
async def test_a_session_that_left_the_line_to_hear_an_abort_is_begun_all_the_same_when_the_store_was_busy() -> None:
    refused: list[str] = []

    class Busy(Wrapped):
        async def claim(self, stream: str, *rest: object, **more: object) -> object:
            if stream.endswith("/y") and not refused:
                refused.append(stream)
                raise StorageError("busy for a moment: try again")
            return await self.inner.claim(stream, *rest, **more)  # type: ignore[arg-type]

    async with scene([*THINKS], wrap=Busy, at_once=1) as s:
        holder = await holding(s.runtime)
        first = await s.runtime.start(AGENT, "one", session="y")
        second = await s.runtime.start(AGENT, "two", session="y")
        await second.abort("no")
        await until(lambda: bool(refused))
        GATE[0].set()
        await soon(holder.result())
        assert (await soon(first.result())).status == "completed"
        assert (await soon(second.result())).status == "aborted"
