"""A pool for the jobs of many users, one promise after another."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from tests.counting import counting
from tests.laning import Gate, quick, turns
from tests.running import soon, until

from holdfast.errors import LaneFull, UsageError
from holdfast.flow.lane import Lane, Ticket
from holdfast.flow.lane_stats import LaneStats
from holdfast.testing.clock import FakeClock


@pytest.mark.requirement("flow:lane-resizes-live")
async def test_a_wider_lane_starts_more_at_once_and_a_narrower_one_ends_nothing() -> None:
    lane, log = Lane(FakeClock(), 1), list[str]()
    gates = [Gate(f"{number}", log) for number in range(8)]
    tickets = [lane.submit(gate, user="u") for gate in gates]
    assert [ticket.state for ticket in tickets[:2]] == ["running", "queued"]
    lane.resize(4)
    assert [ticket.state for ticket in tickets].count("running") == 4
    lane.resize(0)
    gates[0].open()
    gates[1].open()
    assert await soon(tickets[0].result()) == "0"
    assert (lane.stats().running, lane.stats().queued) == (2, 4)
    lane.resize(3)
    assert (lane.stats().running, lane.stats().queued) == (3, 3)
    for gate in gates:
        gate.open()
    await soon(lane.close(drain=True))
    assert log == list("01234567")
    assert lane.stats().finished == 8


@pytest.mark.requirement("flow:lane-cancels-queued-only")
async def test_cancelling_withdraws_what_queues_and_says_no_to_everything_else() -> None:
    lane, log = Lane(FakeClock(), 1), list[str]()
    gate = Gate("runs", log)
    first, second = lane.submit(gate, user="u"), lane.submit(quick("never", log), user="u")
    assert (first.position, second.position) == (0, 1)
    assert not first.cancel()
    assert second.cancel()
    assert not second.cancel()
    with pytest.raises(asyncio.CancelledError, match="withdrawn"):
        await soon(second.result())
    gate.open()
    assert await soon(first.result()) == "runs"
    assert not first.cancel()
    assert log == ["runs"]


@pytest.mark.requirement("flow:lane-isolates-jobs")
async def test_a_job_that_fails_in_any_way_hurts_neither_the_lane_nor_another_job() -> None:
    lane, log = Lane(FakeClock(), 1), list[str]()

    def at_the_call() -> Coroutine[Any, Any, str]:
        raise OSError("at the call")

    class Panic(BaseException):
        pass

    gates = [Gate("error", log), Gate("panic", log), Gate("cancelled", log)]
    tickets = [lane.submit(gate, user="u") for gate in gates]
    tickets += [lane.submit(at_the_call, user="u"), lane.submit(quick("well", log), user="u")]
    for gate, error in zip(gates, (OSError("later"), Panic(), asyncio.CancelledError()), strict=True):
        gate.open(error)
    for ticket, kind in zip(tickets, (OSError, Panic, asyncio.CancelledError, OSError), strict=False):
        with pytest.raises(kind):
            await soon(ticket.result())
    assert await soon(tickets[-1].result()) == "well"
    stats = lane.stats()
    assert (stats.finished, stats.failed, stats.cancelled) == (1, 3, 1)


@pytest.mark.requirement("flow:lane-isolates-jobs")
async def test_a_job_sees_the_context_of_its_own_submission_though_another_job_made_room_for_it() -> None:
    lane, who = Lane(FakeClock(), 1), ContextVar("who", default="nobody")

    async def job() -> str:
        seen = who.get()
        who.set("a job")
        return seen

    tickets: list[Ticket[str]] = []
    for user in ("ann", "bob", "cy"):
        who.set(user)
        tickets.append(lane.submit(job, user=user))
    who.set("somebody else")
    assert [await soon(ticket.result()) for ticket in tickets] == ["ann", "bob", "cy"]


@pytest.mark.requirement("flow:lane-isolates-jobs")
async def test_an_error_that_nobody_asks_for_is_reported_by_the_loop() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    lane = Lane(FakeClock(), 1)
    gate = Gate("g", [])
    gate.open(OSError("nobody asked"))
    lane.submit(gate, user="u")
    await soon(lane.close())
    await turns()
    gate.error = None
    gc.collect()
    assert [str(each["exception"]) for each in reports] == ["nobody asked"]


async def test_a_result_may_be_awaited_by_many_and_whoever_stops_waiting_leaves_the_job_alone() -> None:
    lane, gate = Lane(FakeClock(), 1), Gate("g", [])
    ticket = lane.submit(gate, user="u", name="job of u", priority=3)
    assert (ticket.user, ticket.name, ticket.priority) == ("u", "job of u", 3)
    waiting = [asyncio.create_task(ticket.result()) for _ in range(3)]
    await turns()
    assert "job of u" in {task.get_name() for task in asyncio.all_tasks()}
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(waiting[0])
    assert ticket.state == "running"
    gate.open()
    assert await soon(asyncio.gather(*waiting[1:])) == ["g", "g"]
    assert await soon(ticket.result()) == "g"


@pytest.mark.requirement("flow:lane-run-follows-caller")
async def test_running_a_job_is_awaiting_it_also_in_how_it_fails() -> None:
    lane, gate = Lane(FakeClock(), 1), Gate("g", [])
    assert await soon(lane.run(quick("q", []), user="u")) == "q"
    gate.open(OSError("no"))
    with pytest.raises(OSError, match="no"):
        await soon(lane.run(gate, user="u"))


@pytest.mark.requirement("flow:lane-run-follows-caller")
async def test_a_cancelled_caller_withdraws_a_job_that_queues_and_waits_for_the_end_of_one_that_runs() -> None:
    lane, log, clean = Lane(FakeClock(), 1), list[str](), asyncio.Event()

    async def careful() -> None:
        log.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            await clean.wait()
            log.append("cleaned")

    runs = asyncio.create_task(lane.run(careful, user="u"))
    await until(lambda: log == ["began"])
    queues = asyncio.create_task(lane.run(quick("never", log), user="u"))
    await turns()
    queues.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(queues)
    assert (lane.stats().queued, lane.stats().running) == (0, 1)
    for _ in range(3):
        runs.cancel("enough")
        await turns()
    assert not runs.done()
    clean.set()
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await soon(runs)
    assert log == ["began", "cleaned"]
    assert (lane.stats().running, lane.stats().cancelled) == (0, 2)


@pytest.mark.requirement("flow:lane-bounds-its-queue")
async def test_a_full_queue_refuses_with_what_to_do_and_takes_nothing() -> None:
    lane = Lane(FakeClock(), 1, max_queued=3, max_queued_per_user=2)
    gate = Gate("g", [])
    ticket = lane.submit(gate, user="a")
    own = [lane.submit(gate, user="a") for _ in range(2)]
    with pytest.raises(LaneFull, match=r"2 jobs of user 'a' wait in the lane.*withdraw some"):
        lane.submit(gate, user="a")
    lane.submit(gate, user="b")
    with pytest.raises(LaneFull, match=r"3 jobs wait in the lane.*submit that of user 'c' when"):
        await lane.run(gate, user="c")
    assert lane.stats().queued_by_user == {"a": 2, "b": 1}
    assert own[0].cancel()
    assert lane.submit(gate, user="a").position == 2
    lane.resize(9)
    assert lane.submit(gate, user="a").state == "running"
    gate.open()
    await soon(ticket.result())
    await soon(lane.close())
    with pytest.raises(UsageError, match="give 0 or more"):
        lane.resize(-1)
    with pytest.raises(UsageError, match="max_queued"):
        Lane(FakeClock(), 1, max_queued=-1)


@pytest.mark.requirement("flow:lane-closes")
@pytest.mark.parametrize("drain", [True, False])
async def test_closing_waits_for_what_runs_and_runs_or_cancels_what_queues(drain: bool) -> None:
    lane, log = Lane(FakeClock(), 1), list[str]()
    gate = Gate("runs", log)
    tickets = [lane.submit(gate, user="u"), lane.submit(quick("queued", log), user="u")]
    closing = asyncio.create_task(lane.close(drain=drain))
    await turns()
    with pytest.raises(UsageError, match="closed"):
        lane.submit(gate, user="u")
    assert not closing.done()
    gate.open()
    await soon(closing)
    assert log == (["runs", "queued"] if drain else ["runs"])
    assert [ticket.state for ticket in tickets] == ["finished", "finished" if drain else "cancelled"]
    await soon(lane.close())


@pytest.mark.requirement("flow:lane-closes")
async def test_draining_can_be_given_up_and_a_paused_lane_drains_once_it_is_resized() -> None:
    for way in ("given up", "withdrawn", "resized"):
        lane, log = Lane(FakeClock(), 0), list[str]()
        ticket = lane.submit(quick("queued", log), user="u")
        draining = asyncio.create_task(lane.close(drain=True))
        await turns()
        assert not draining.done()
        match way:
            case "given up":
                await soon(lane.close())
            case "withdrawn":
                assert ticket.cancel()
            case _:
                lane.resize(1)
        await soon(draining)
        assert ticket.state == ("finished" if way == "resized" else "cancelled")


@pytest.mark.requirement("flow:lane-closes")
async def test_a_job_that_closes_its_own_lane_is_told_instead_of_waiting_for_itself() -> None:
    lane = Lane(FakeClock(), 1)
    with pytest.raises(UsageError, match="from outside"):
        await soon(lane.run(lane.close, user="u"))


@pytest.mark.requirement("flow:lane-tells-how-it-stands")
async def test_the_last_minute_and_the_estimate_follow_the_clock() -> None:
    clock = FakeClock()
    lane = Lane(clock, 2)
    assert lane.stats().eta(1) is None
    tickets = [lane.submit(lambda: clock.sleep(10), user=user) for user in "aaaaaaaabb"]
    assert lane.stats().queued_by_user == {"a": 6, "b": 2}
    assert tickets[-1].position == 2
    await clock.advance(10)
    stats = lane.stats()
    assert (stats.last_minute, stats.finished, stats.seconds_per_job) == (2, 2, 10)
    assert stats.queued_by_user == {"a": 5, "b": 1}
    assert stats.eta(tickets[-1].position) == 10  # b's last is second in turn, and two start every ten seconds
    assert stats.eta(5) == 30
    assert stats.eta(0) == 0
    await clock.advance(30)
    assert [ticket.state for ticket in tickets].count("finished") == 8
    await clock.advance(30)
    assert lane.stats().last_minute == 8  # those of the second ten have run out of the minute
    await clock.advance(60)
    assert (lane.stats().last_minute, lane.stats().finished) == (0, 10)
    lane.resize(0)
    assert lane.stats().eta(1) is None


@pytest.mark.requirement("flow:lane-cost-flat")
async def test_submitting_withdrawing_and_asking_for_a_position_run_as_many_lines_in_a_long_queue_as_in_a_short() -> (
    None
):
    log: list[str] = []

    def cost(lane: Lane, queued: int) -> int:
        job = quick("j", log)
        tickets = [lane.submit(job, user=f"u{n % 10}", priority=n % 3) for n in range(queued)]
        with counting("flow") as lines:
            more = [lane.submit(job, user=f"u{n % 10}", priority=n % 3) for n in range(30)]
            assert all(each.position for each in more)
            assert all(each.cancel() for each in tickets[30:60])
        return lines.count

    short, long = Lane(FakeClock(), 0), Lane(FakeClock(), 0)
    assert cost(long, 20_000) <= cost(short, 300)
    await soon(short.close())
    await soon(long.close())


@pytest.mark.requirement("flow:lane-cost-flat")
async def test_what_was_withdrawn_from_behind_one_that_waits_is_not_kept() -> None:
    lane = Lane(FakeClock(), 0)
    first = lane.submit(quick("first", []), user="u")
    gone, job = list[weakref.ref[Any]](), None
    for number in range(10_000):
        job = quick("gone", [])
        gone.append(weakref.ref(job))
        assert lane.submit(job, user="u", priority=number % 3 - 1).cancel()
    job = None
    gc.collect()
    assert not [each for each in gone if each() is not None]
    assert len(lane._queue._users["u"]._lines[0]._places) <= 2
    assert (first.position, lane.stats().queued) == (1, 1)
    await soon(lane.close())


def test_an_estimate_says_nothing_where_nothing_is_known() -> None:
    stats = LaneStats(2, 0, 0, {}, 0, 0, 0, 0, None)
    assert stats.eta(3) is None
