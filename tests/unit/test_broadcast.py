"""One publisher, many readers, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.running import soon

from holdfast.flow.broadcast import Broadcast, Reader
from holdfast.flow.soon import Soon
from holdfast.testing.clock import FakeClock


async def everything(reader: Reader[int]) -> list[int]:
    """Returns what a reader gets until it is told of the end, or that it lost some."""
    got: list[int] = []
    while items := await soon(reader.take()):
        got += items
    return got


@pytest.mark.requirement("flow:broadcast-publisher-never-waits")
def test_publishing_to_a_reader_that_never_takes_holds_no_more_than_the_bound() -> None:
    broadcast: Broadcast[int] = Broadcast(limit=100)
    stalled = broadcast.join()
    for number in range(10_000):
        broadcast.publish([number] * 10, number)
    assert len(stalled._items) <= 100
    assert stalled.lost


@pytest.mark.requirement("flow:broadcast-coalesces-then-lags")
async def test_what_came_meanwhile_is_one_list_and_past_the_bound_the_backlog_is_gone() -> None:
    broadcast: Broadcast[int] = Broadcast(limit=5)
    reader = broadcast.join()
    broadcast.publish([1, 2], 1)
    broadcast.publish([3], 2)
    assert await soon(reader.take()) == [1, 2, 3]
    assert (reader.mark, reader.lost) == (2, False)
    broadcast.publish([4, 5, 6], 3)
    broadcast.publish([7, 8, 9], 4)
    assert await soon(reader.take()) == []
    assert (reader.mark, reader.lost) == (2, True), "it is told how far it got, not how far it would have"


@pytest.mark.requirement("flow:broadcast-coalesces-then-lags")
async def test_a_reader_that_lost_some_gets_nothing_from_behind_the_gap() -> None:
    broadcast: Broadcast[int] = Broadcast(limit=3)
    reader = broadcast.join()
    broadcast.publish([1], 1)
    assert await soon(reader.take()) == [1]
    broadcast.publish([2, 3, 4, 5], 2)
    broadcast.publish([6], 3)
    assert await everything(reader) == []
    assert (reader.mark, reader.lost) == (1, True)


@pytest.mark.requirement("flow:broadcast-lists-per-wake-up")
async def test_a_sleeping_reader_is_woken_once_for_all_that_came_in_the_same_turn() -> None:
    broadcast: Broadcast[int] = Broadcast()
    reader = broadcast.join()
    woken: list[list[int]] = []

    async def read() -> None:
        while items := await reader.take():
            woken.append(items)

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    for number in range(1000):
        broadcast.publish([number], number)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == [list(range(1000))]
    broadcast.close()
    await soon(task)


@pytest.mark.requirement("flow:broadcast-subscriber-isolated")
async def test_a_reader_that_changes_its_list_or_leaves_alters_nothing_for_the_others() -> None:
    broadcast: Broadcast[int] = Broadcast()
    rude, polite, leaver = broadcast.join(), broadcast.join(), broadcast.join()
    given = [1, 2, 3]
    broadcast.publish(given, 1)
    (await soon(rude.take())).clear()
    leaver.close()
    leaver.close()
    broadcast.publish([4], 2)
    assert await soon(polite.take()) == [1, 2, 3, 4]
    assert given == [1, 2, 3]
    assert await soon(leaver.take()) == [1, 2, 3]
    assert await soon(leaver.take()) == []
    assert len(broadcast) == 2


async def test_the_end_wakes_every_reader_after_what_was_published() -> None:
    broadcast: Broadcast[int] = Broadcast()
    readers = [broadcast.join() for _ in range(3)]
    waiting = [asyncio.create_task(everything(reader)) for reader in readers]
    await asyncio.sleep(0)
    broadcast.publish([1], 1)
    broadcast.close()
    assert await soon(asyncio.gather(*waiting)) == [[1]] * 3
    assert all(reader.closed for reader in readers)
    assert len(broadcast) == 0


async def test_a_reader_whose_waiting_is_cancelled_loses_nothing() -> None:
    broadcast: Broadcast[int] = Broadcast()
    reader = broadcast.join()
    task = asyncio.create_task(reader.take())
    await asyncio.sleep(0)
    broadcast.publish([1], 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await soon(reader.take()) == [1]


@pytest.mark.requirement("flow:broadcast-passing")
async def test_what_passes_by_a_reader_that_waits_is_its_sinks_on_the_spot_and_nobody_is_woken() -> None:
    broadcast: Broadcast[int] = Broadcast()
    reader, other = broadcast.join(), broadcast.join()
    sunk: list[int] = []
    reader.sink = lambda items: not sunk.extend(items)
    broadcast.publish([1], 1, passing=True)
    assert not sunk, "it does not wait yet"
    assert await soon(reader.take()) == [1]
    waiting = asyncio.create_task(reader.take())
    await asyncio.sleep(0)
    broadcast.publish([2], 1, passing=True)
    assert sunk == [2]
    await asyncio.sleep(0)
    assert not waiting.done()
    broadcast.publish([3], 2)
    broadcast.publish([4], 2, passing=True)
    assert await soon(waiting) == [3, 4], "what has to be remembered is taken, and what came behind it stays behind"
    assert (sunk, reader.mark) == ([2], 2)
    assert await soon(other.take()) == [1, 2, 3, 4]


@pytest.mark.requirement("flow:broadcast-passing")
@given(
    steps=st.lists(st.sampled_from(["passes", "stays", "both", "a turn"]), max_size=40),
    answers=st.lists(st.sampled_from([True, False, None]), max_size=40),
)
def test_a_reader_has_all_in_order_whatever_its_sink_takes_refuses_or_fails_at(
    steps: list[str], answers: list[bool | None]
) -> None:
    asyncio.run(_in_order(steps, answers))


async def _in_order(steps: list[str], answers: list[bool | None]) -> None:
    broadcast: Broadcast[int] = Broadcast()
    reader = broadcast.join()
    heard: list[int] = []
    left = iter(answers)

    def sink(items: Sequence[int]) -> bool:
        if (answer := next(left, True)) is None:
            raise OSError("the sink is full")
        if answer:
            heard.extend(items)
        return answer

    async def read() -> None:
        while items := await reader.take():
            heard.extend(items)

    reader.sink = sink
    task = asyncio.create_task(read())
    numbers = itertools.count()
    for step in steps:
        if step == "a turn":
            await asyncio.sleep(0)
            continue
        for passing in {"passes": (True,), "stays": (False,), "both": (True, False)}[step]:
            broadcast.publish([next(numbers)], 0, passing=passing)
    for _ in range(3):
        await asyncio.sleep(0)
    broadcast.close()
    await soon(task)
    assert heard == list(range(next(numbers)))


async def test_callbacks_that_were_asked_for_together_are_called_together_a_moment_later() -> None:
    clock = FakeClock()
    called: list[int] = []
    later = Soon(clock, 0.002)
    later(lambda: called.append(1))
    later(lambda: called.append(2))
    assert (called, clock.waiting) == ([], 1)
    await clock.advance(0.002)
    later(lambda: called.append(3))
    assert called == [1, 2]
    await clock.advance(0.002)
    assert called == [1, 2, 3]


async def test_whoever_asks_just_before_others_are_called_has_at_least_half_the_time_to_take_it_back() -> None:
    clock = FakeClock()
    called: list[int] = []
    later = Soon(clock, 2.0)
    later(first := partial(called.append, 1))
    await clock.advance(0.9)
    later(second := partial(called.append, 2))
    await clock.advance(1.0)
    assert called == []
    later.forget(second)
    later(third := partial(called.append, 3))
    await clock.advance(0.1)
    assert called == [1]
    later(third)
    assert first is not third
    await clock.advance(1.0)
    assert called == [1, 3]
    await clock.advance(10)
    assert (called, clock.waiting) == ([1, 3], 0)


async def test_what_is_not_wanted_any_more_is_neither_called_nor_kept() -> None:
    clock = FakeClock()
    called: list[int] = []
    later = Soon(clock, 0.002)

    class Owner:
        def call(self) -> None:
            called.append(1)

    owner = Owner()
    later(owner.call)
    later(lambda: called.append(2))
    gone = weakref.ref(owner)
    later.forget(owner.call)
    del owner
    assert gone() is None
    await clock.advance(0.002)
    assert called == [2]


async def test_a_callback_that_fails_does_not_take_the_others_along() -> None:
    clock = FakeClock()
    called: list[int] = []
    later = Soon(clock, 0.002)
    later(lambda: called.append(1))
    later(lambda: called.remove(0))
    later(lambda: called.append(2))
    with pytest.raises(ValueError, match="not in list"):
        await clock.advance(0.002)
    await clock.advance(0.002)
    assert called == [1, 2]
