"""Runs that wait for an answer: parked, holding nothing, and woken by mail or by time, wherever they are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Limits, ToolContext, Wait, tool
from holdfast.engine.events import RunFinished, ToolFinished, ToolStarted, ToolWaiting, WaitResolved
from holdfast.errors import StorageLocked
from holdfast.journal.port import Head
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import stream_id

RAN: list[str] = []
GATE: list[asyncio.Event] = []


@tool
async def ask(token: str, deadline: int | None = None) -> Wait:
    """Asks somebody."""
    RAN.append(token)
    return Wait(token, "question", deadline, "Well?")


@tool(effect="none")
async def ask_later(token: str) -> Wait:
    """Asks somebody, once it may."""
    await GATE[0].wait()
    return Wait(token, "question", None, "Well?")


@tool(effect="none")
async def work() -> str:
    """Takes its time."""
    await GATE[1].wait()
    return "worked"


@tool
async def once(context: ToolContext) -> str:
    """Must not happen twice."""
    RAN.append(context.call_id)
    return "happened"


AGENT = Agent(MODEL, tools=[ask, ask_later, work, once])


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATE[:] = [asyncio.Event(), asyncio.Event()]


def asking(*tokens: str, deadline: int | None = None) -> Turn:
    return Turn(calls=[Call("ask", {"token": token, "deadline": deadline}) for token in tokens])


async def head(s: Scene) -> Head:
    found = await s.runtime.journal.head(stream_id("local", "s"))
    assert found is not None
    return found


async def parked(s: Scene, turn: Turn, **options: Any) -> Run:
    """Returns a run that waits."""
    run = await s.runtime.start(AGENT, "go", session="s", **options)
    await soon(seen(run, "tool.waiting", len([call for call in turn.calls if call.name == "ask"])))
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    return run


def results(s: Scene) -> list[str]:
    return [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]


@pytest.mark.requirement("engine:wait-parks", "engine:wait-resumes-on-answer", "tools:wait-from-a-tool")
async def test_a_run_that_waits_holds_no_task_and_no_lease_and_the_answer_is_the_calls_result() -> None:
    async with scene([asking("t"), "thanks"]) as s:
        run = await parked(s, asking("t"))
        assert ((await head(s)).state, (await head(s)).owner) == ("waiting", None)
        driving = [task for task in asyncio.all_tasks() if "_drive" in str(task.get_coro())]
        assert not driving
        assert (await run.answer("t", "blue")).status == "accepted"
        result = await soon(run.result())
        log = await s.log()
        assert results(s) == ["blue"]
    assert (result.status, result.output) == ("completed", "thanks")
    assert all_answered(log)
    assert [waiting.wait.prompt for waiting in of(ToolWaiting, log)] == ["Well?"]


@pytest.mark.requirement("engine:wait-shown-at-once")
async def test_a_question_is_there_to_be_answered_while_another_call_of_the_turn_takes_its_time() -> None:
    turn = Turn(calls=[Call("ask_later", {"token": "t"}), Call("work", {})])
    async with scene([turn, "thanks"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.started", 2))
        GATE[0].set()
        await soon(seen(run, "tool.waiting"))
        assert (await run.answer("t", "blue")).status == "accepted"
        GATE[1].set()
        assert (await soon(run.result())).output == "thanks"
        assert results(s) == ["blue", "worked"]


@pytest.mark.requirement("engine:wait-resumes-on-answer", "runtime:two-runtimes-one-database")
async def test_an_answer_from_another_runtime_wakes_the_run_where_it_was_parked(tmp_path: Path) -> None:
    async with scene([asking("t"), "thanks"], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await parked(s, asking("t"))
        async with s.other() as other:
            assert (await other.run("s", run.key).answer("t", "blue")).status == "accepted"
            assert (await soon(other.run("s", run.key).result())).output == "thanks"
        assert (await soon(run.result())).output == "thanks"
        assert results(s) == ["blue"]


@pytest.mark.requirement("engine:wait-survives-restart")
@pytest.mark.parametrize("how", ["sweep", "resume", "answer later"])
async def test_a_wait_outlives_the_process_that_began_it(how: str, tmp_path: Path) -> None:
    async with scene([asking("t"), "thanks"], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await parked(s, asking("t"))
        if how != "answer later":
            await run.answer("t", "blue")
        await s.runtime.close()
        async with s.other() as other:
            if how == "sweep":
                assert await other.sweep() == 1
            else:
                await other.resume("s")
            if how == "answer later":
                await until(lambda: other._worker.tail(stream_id("local", "s")) is None)
                await other.run("s", run.key).answer("t", "blue")
            assert (await soon(other.run("s", run.key).result())).output == "thanks"
        assert RAN == ["t"], "a call that waits is not made again"
        assert results(s) == ["blue"]


@pytest.mark.requirement("engine:wait-deadline")
@pytest.mark.parametrize("url", ["memory:", "sqlite"])
async def test_a_wait_that_nobody_answers_ends_at_its_deadline_by_itself(url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    turn = asking("t", deadline=clock.now() + 3_600_000_000)
    url = url if url == "memory:" else f"sqlite:///{tmp_path}/s.db"
    async with scene([turn, "never mind"], url=url, clock=clock) as s:
        run = await parked(s, turn)
        await clock.advance(3599)
        assert (await head(s)).state == "waiting"
        assert len(s.server.requests) == 1
        await clock.advance(2)
        assert (await soon(run.result())).output == "never mind"
        assert results(s) == ["Nobody answered in time."]
        (resolved,) = of(WaitResolved, await s.log())
        assert resolved.content is None
        assert (await run.answer("t", "too late")).status == "accepted"


async def test_a_deadline_that_passed_while_nobody_was_there_counts_when_somebody_is(tmp_path: Path) -> None:
    clock = FakeClock()
    turn = asking("t", deadline=clock.now() + 60_000_000)
    async with scene([turn, "never mind"], url=f"sqlite:///{tmp_path}/s.db", clock=clock) as s:
        run = await parked(s, turn)
        await s.runtime.close()
        await clock.advance(3600)
        async with s.other() as other:
            assert await other.sweep() == 1
            assert (await soon(other.run("s", run.key).result())).output == "never mind"


async def test_the_end_of_the_runs_time_ends_a_wait() -> None:
    clock = FakeClock()
    async with scene([asking("t"), "never"], clock=clock) as s:
        run = await parked(s, asking("t"), limits=Limits(seconds=60))
        await clock.advance(61)
        result = await soon(run.result())
        assert (result.status, result.reason) == ("limited", "seconds")
        assert all_answered(await s.log())


@pytest.mark.requirement("engine:wait-two-at-once")
@pytest.mark.parametrize("order", ["tu", "ut"])
async def test_two_waits_of_a_turn_are_answered_in_any_order_and_what_finished_beside_them_stays(order: str) -> None:
    turn = Turn(calls=[Call("ask", {"token": "t"}), Call("once"), Call("ask", {"token": "u"})])
    async with scene([turn, "thanks"]) as s:
        run = await parked(s, turn)
        for number, token in enumerate(order):
            await run.answer(token, f"answer {token}")
            if number == 0:
                await soon(seen(run, "wait.resolved"))
                await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
                assert (await head(s)).state == "waiting"
        assert (await soon(run.result())).output == "thanks"
        assert results(s) == ["answer t", "happened", "answer u"]
        log = await s.log()
    assert sorted(RAN) == ["call_0_1", "t", "u"]
    assert len(of(ToolFinished, log)) == 1
    assert len(of(ToolStarted, log)) == 3
    assert all_answered(log)


@pytest.mark.requirement("engine:wait-answered-twice", "engine:wait-unknown-token")
async def test_a_second_answer_says_so_and_one_to_a_stranger_changes_nothing() -> None:
    async with scene([asking("t"), "thanks"]) as s:
        run = await parked(s, asking("t"))
        assert (await run.answer("nobody", "x")).status == "accepted"
        await soon(seen(run, "wait.resolved"))
        await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
        assert (await head(s)).state == "waiting"
        assert [(await run.answer("t", text)).status for text in ("first", "second")] == ["accepted", "duplicate"]
        await run.answer("t", "third", key="another letter")
        assert (await soon(run.result())).output == "thanks"
        assert results(s) == ["first"]


async def test_a_token_that_is_longer_than_a_key_may_be_is_answered_once_all_the_same() -> None:
    token = "t" * 1000
    async with scene([asking(token), "thanks"]) as s:
        run = await parked(s, asking(token))
        assert [(await run.answer(token, text)).status for text in ("first", "second")] == ["accepted", "duplicate"]
        assert (await soon(run.result())).output == "thanks"
        assert results(s) == ["first"]


async def test_an_answer_may_say_that_it_went_wrong() -> None:
    async with scene([asking("t"), "pity"]) as s:
        run = await parked(s, asking("t"))
        await run.answer("t", "no such colour", is_error=True)
        await soon(run.result())
        assert results(s) == ["no such colour"]


async def test_a_waiting_run_hears_an_abort_and_keeps_what_is_said_to_it_for_later() -> None:
    async with scene([asking("t"), "to the steer", "to b"]) as s:
        run = await parked(s, asking("t"))
        await run.steer("keep this")
        await soon(seen(run, "input.received", 2))
        second = await s.runtime.start(AGENT, "b", session="s")
        await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
        assert (await head(s)).state == "waiting"
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        assert (await soon(second.result())).output == "to b"
        log = await s.log()
        assert all(paired(messages) for messages in asked(s.server))
    assert all_answered(log)
    assert len(of(RunFinished, log)) == 3, "the steer that came too late was answered as well"


async def test_a_run_that_cannot_be_woken_at_once_is_woken_later() -> None:
    clock = FakeClock()

    class Locked(Wrapped):
        locked = False

        async def claim(self, *args: Any, **options: Any) -> Any:
            if self.locked:
                Locked.locked = False
                raise StorageLocked("somebody else has the database")
            return await self.inner.claim(*args, **options)

    async with scene([asking("t"), "thanks"], clock=clock, wrap=Locked) as s:
        run = await parked(s, asking("t"))
        Locked.locked = True
        await run.answer("t", "blue")
        await until(lambda: not Locked.locked)
        assert (await head(s)).unread
        await clock.advance(2)
        assert (await soon(run.result())).output == "thanks"


async def test_a_thousand_runs_that_wait_hold_no_task() -> None:
    before = len(asyncio.all_tasks())
    async with scene([asking("t"), "thanks"], seconds=30) as s:
        runs = [await s.runtime.start(AGENT, f"go {number}", session=f"s{number}") for number in range(1000)]
        await until(lambda: not s.runtime._worker._live, "all are parked", 20)
        assert len(asyncio.all_tasks()) < before + 10
        for run in runs[:100]:
            await run.answer("t", "blue")
        assert {(await soon(run.result())).output for run in runs[:100]} == {"thanks"}
