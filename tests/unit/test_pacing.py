"""What runs do together when a provider says that it counts too many requests."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import RateLimited
from holdfast.models.pacing import LONGEST_WAIT, Pace
from holdfast.testing.clock import FakeClock


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def go(pace: Pace, count: int) -> int:
    """Enters up to so often; returns how often there was nothing to wait for."""
    return sum(pace.enter() for _ in range(count))


@pytest.mark.requirement("pacing:free-until-refused")
def test_until_something_is_refused_nobody_waits() -> None:
    pace = Pace(FakeClock())
    assert (go(pace, 10_000), pace.width) == (10_000, None)


@pytest.mark.requirement("pacing:waits-as-asked", "pacing:fewer-at-once")
async def test_after_a_refusal_all_wait_as_long_as_was_asked_and_then_half_as_many_go() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    go(pace, 8)
    pace.refused(5.0)
    for _ in range(8):
        pace.leave(answered=False)
    assert not pace.enter()
    waiting = [asyncio.ensure_future(pace.wait("a/m")) for _ in range(10)]
    await settle()
    await clock.advance(4.9)
    await settle()
    assert not any(task.done() for task in waiting)
    await clock.advance(0.2)
    await settle()
    assert [task.done() for task in waiting] == [True] * 4 + [False] * 6, "half as many, in the order they came"
    pace.leave(answered=True)
    await settle()
    assert sum(task.done() for task in waiting) == 5
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.requirement("pacing:waits-as-asked")
async def test_what_would_wait_too_long_fails_at_once_and_says_how_long() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    go(pace, 2)
    pace.refused(1.0)
    early = asyncio.ensure_future(pace.wait("a/m"))
    await settle()
    pace.refused(LONGEST_WAIT + 30)
    with pytest.raises(RateLimited, match=r"'a/m'.*try again in 90 s"):
        await early
    with pytest.raises(RateLimited) as caught:
        await pace.wait("a/m")
    assert caught.value.retry_after == LONGEST_WAIT + 30


@pytest.mark.requirement("pacing:fewer-at-once")
async def test_refusals_of_what_was_under_way_together_count_once() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    go(pace, 100)
    for _ in range(100):
        pace.refused(1.0)
        pace.leave(answered=False)
    assert pace.width == 50
    await clock.advance(1.1)
    assert go(pace, 100) == 50


@pytest.mark.requirement("pacing:widens-again")
async def test_answers_make_it_wider_until_nobody_counts_any_more() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    go(pace, 2)
    pace.refused(1.0)
    pace.leave(answered=False)
    pace.leave(answered=False)
    await clock.advance(1.1)
    widths: list[int | None] = []
    for _ in range(100_000):
        assert pace.enter()
        pace.leave(answered=True)
        widths.append(pace.width)
    assert widths[0] == 2
    assert widths[-1] is None
    wide = [width for width in widths if width is not None]
    assert wide == sorted(wide)


async def test_who_gives_up_waiting_takes_no_place() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    go(pace, 2)
    pace.refused(1.0)
    tasks = [asyncio.ensure_future(pace.wait("a/m")) for _ in range(3)]
    await settle()
    tasks[0].cancel()
    await settle()
    pace.leave(answered=False)
    pace.leave(answered=False)
    await clock.advance(1.1)
    await settle()
    assert [task.cancelled() for task in tasks] == [True, False, False]
    assert tasks[1].done()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert pace.active == 1


class Crowd:
    """Who uses a pace, and what is expected of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pace = Pace(self.clock)
        self.waiting: list[asyncio.Task[None]] = []
        self.held = 0

    def act(self, act: str) -> None:
        if act == "enter":
            self.held += self.pace.enter()
        elif act == "wait":
            self.waiting.append(asyncio.ensure_future(self.pace.wait("a/m")))
        elif act == "cancel" and self.waiting:
            self.waiting.pop().cancel()
        elif act == "refuse" and self.held:
            self.pace.refused(2.0)
        elif act in ("answer", "fail") and self.held:
            self.leave(1, answered=act == "answer")

    def leave(self, count: int, *, answered: bool = True) -> None:
        self.held -= count
        for _ in range(count):
            self.pace.leave(answered=answered)

    async def look(self, seconds: float = 0.0) -> None:
        await self.clock.advance(seconds)
        await settle()
        self.held += sum(task.done() for task in self.waiting)
        self.waiting = [task for task in self.waiting if not task.done()]
        assert self.pace.active == self.held


@settings(deadline=None)
@given(st.lists(st.sampled_from(("enter", "wait", "answer", "fail", "refuse", "time", "cancel")), max_size=80))
def test_nobody_waits_for_ever_and_each_place_is_somebodys(acts: list[str]) -> None:
    async def play() -> None:
        crowd = Crowd()
        for act in acts:
            crowd.act(act)
            await crowd.look(1.5 if act == "time" else 0.0)
        for _ in range(100):
            crowd.leave(crowd.held)
            await crowd.look(3.0)
        assert not crowd.waiting

    asyncio.run(play())
