"""A stretch of work that can be stopped without ending its task."""

from __future__ import annotations

import asyncio

import pytest
from tests.running import soon

from holdfast.flow.clock import SystemClock
from holdfast.flow.interrupting import Interruptible
from holdfast.testing.clock import FakeClock

CLOCK = SystemClock()


class Work:
    """A task inside a scope, and what became of it."""

    def __init__(self, scope: Interruptible) -> None:
        self.scope = scope
        self.inside = asyncio.Event()
        self.after = False

    async def run(self) -> None:
        with self.scope:
            self.inside.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.after = True


@pytest.mark.requirement("flow:interruptible-scope")
async def test_work_inside_stops_and_its_task_goes_on_behind_the_scope() -> None:
    work = Work(Interruptible(CLOCK))
    task = asyncio.create_task(work.run())
    await soon(work.inside.wait())
    work.scope.interrupt()
    work.scope.interrupt()
    await soon(task)
    assert work.after
    assert work.scope.interrupted
    assert not task.cancelling()


@pytest.mark.requirement("flow:interruptible-scope")
async def test_a_cancellation_from_outside_gets_through() -> None:
    work = Work(Interruptible(CLOCK))
    task = asyncio.create_task(work.run())
    await soon(work.inside.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert not work.after
    assert not work.scope.interrupted


@pytest.mark.requirement("flow:interruptible-scope")
@pytest.mark.parametrize("interrupt_first", [True, False])
async def test_a_cancellation_at_the_same_time_as_an_interrupt_gets_through(interrupt_first: bool) -> None:
    work = Work(Interruptible(CLOCK))
    task = asyncio.create_task(work.run())
    await soon(work.inside.wait())
    for act in (work.scope.interrupt, task.cancel) if interrupt_first else (task.cancel, work.scope.interrupt):
        act()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert not work.after


async def test_time_ends_it_by_the_clock_it_was_given_and_a_scope_left_in_time_leaves_no_timer() -> None:
    clock = FakeClock()
    with Interruptible(clock, 5) as early:
        pass
    assert (early.interrupted, clock.waiting) == (False, 0)
    work = Work(Interruptible(clock, 5))
    task = asyncio.create_task(work.run())
    await soon(work.inside.wait())
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.2)
    await soon(task)
    assert work.scope.interrupted
    assert work.after


async def test_no_time_left_stops_at_the_first_wait() -> None:
    with Interruptible(CLOCK, -1) as scope:
        await asyncio.Event().wait()
    assert scope.interrupted


async def test_an_interrupt_before_or_after_the_scope_does_nothing() -> None:
    scope = Interruptible(CLOCK)
    scope.interrupt()
    with scope:
        await asyncio.sleep(0)
    scope.interrupt()
    await asyncio.sleep(0)
    assert not scope.interrupted


async def test_an_error_of_the_work_is_not_swallowed_by_an_interrupt() -> None:
    async def work(scope: Interruptible) -> None:
        with scope:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise OSError("while stopping") from None

    scope = Interruptible(CLOCK)
    task = asyncio.create_task(work(scope))
    await asyncio.sleep(0)
    scope.interrupt()
    with pytest.raises(OSError, match="while stopping"):
        await soon(task)
    assert not task.cancelling()


async def test_an_inner_timeout_and_an_outer_scope_do_not_take_each_others_cancellation() -> None:
    async def work(scope: Interruptible, timed_out: asyncio.Event) -> None:
        with scope:
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            except TimeoutError:
                timed_out.set()
            await asyncio.Event().wait()

    scope, timed_out = Interruptible(CLOCK), asyncio.Event()
    task = asyncio.create_task(work(scope, timed_out))
    await soon(timed_out.wait())
    scope.interrupt()
    await soon(task)
    assert scope.interrupted


async def test_children_of_a_task_group_inside_are_stopped_and_awaited() -> None:
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def work(scope: Interruptible) -> None:
        with scope:
            async with asyncio.TaskGroup() as group:
                group.create_task(child("a"))
                group.create_task(child("b"))
        ended.append("after")

    scope = Interruptible(CLOCK)
    task = asyncio.create_task(work(scope))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scope.interrupt()
    await soon(task)
    assert sorted(ended[:2]) == ["a", "b"]
    assert ended[2:] == ["after"]
