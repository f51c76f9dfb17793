"""What every clock does, the machine's own and the one that tests move by hand: the one stands for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from holdfast.flow.clock import Clock, SystemClock
from holdfast.testing.clock import FakeClock

pytestmark = pytest.mark.requirement("testing:doubles-behave")
Pass = Callable[[float], Awaitable[object]]
"""Lets so much time go by."""


@pytest.fixture(params=["real", "fake"])
def timed(request: pytest.FixtureRequest) -> tuple[Clock, Pass]:
    if request.param == "real":
        return SystemClock(), asyncio.sleep
    clock = FakeClock()
    return clock, clock.advance


async def test_both_of_its_times_go_on_together(timed: tuple[Clock, Pass]) -> None:
    clock, go = timed
    before, wall, begun = clock.monotonic(), clock.now(), clock.monotonic()
    await go(0.03)
    ended, passed, after = clock.monotonic(), clock.now() - wall, clock.monotonic()
    assert isinstance(wall, int)
    assert ended - begun >= 0.029
    assert ended - begun - 0.002 <= passed / 1e6 <= after - before + 0.002, "a real one may be set right meanwhile"


async def test_who_sleeps_longer_wakes_later_and_nobody_too_early(timed: tuple[Clock, Pass]) -> None:
    clock, go = timed
    begun, woken = clock.monotonic(), list[tuple[str, float]]()

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic() - begun))

    tasks = [asyncio.create_task(sleep(*each)) for each in (("late", 0.04), ("early", 0.01), ("now", 0), ("past", -1))]
    await go(0.1)
    await asyncio.gather(*tasks)
    names = [name for name, _ in woken]
    assert set(names[:2]) == {"now", "past"}
    assert names[2:] == ["early", "late"]
    assert [slept >= wanted for (_, slept), wanted in zip(woken[2:], (0.0095, 0.0395), strict=True)] == [True, True]


async def test_a_sleeper_that_is_cancelled_is_gone(timed: tuple[Clock, Pass]) -> None:
    clock, go = timed
    task = asyncio.create_task(clock.sleep(0.01))
    await asyncio.sleep(0)
    task.cancel()
    await go(0.03)
    assert task.cancelled()


async def test_a_timer_calls_back_once_when_it_is_due_and_never_when_it_was_cancelled(
    timed: tuple[Clock, Pass],
) -> None:
    clock, go = timed
    called: list[str] = []
    clock.call_later(0.01, lambda: called.append("due"))
    clock.call_later(0.01, lambda: called.append("cancelled")).cancel()
    later = clock.call_later(60, lambda: called.append("later"))
    assert called == []
    await go(0.05)
    assert called == ["due"]
    later.cancel()
    later.cancel()
