from __future__ import annotations

import asyncio

import pytest

from holdfast.testing.clock import FakeClock


@pytest.mark.requirement("flow:fake-clock-drives-time")
async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock = FakeClock()
    start = clock.now()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, (clock.now() - start) / 1e6))

    tasks = [
        asyncio.create_task(sleep("a", 2, 3)),
        asyncio.create_task(sleep("b", 1, 2)),
        asyncio.create_task(sleep("c", 9)),
    ]
    await clock.advance(6)
    assert woken == [("b", 1), ("a", 2), ("b", 3), ("a", 5)]
    assert clock.now() - start == 6_000_000
    assert clock.monotonic() == 6
    assert clock.waiting == 1
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert clock.waiting == 0


@pytest.mark.requirement("flow:fake-clock-drives-time")
async def test_a_timer_is_called_when_due_unless_it_was_cancelled() -> None:
    clock = FakeClock()
    called: list[str] = []
    clock.call_later(1, lambda: called.append("one"))
    clock.call_later(1, lambda: called.append("two")).cancel()
    clock.call_later(0, lambda: called.append("now"))
    assert called == []
    await clock.advance(0)
    assert called == ["now"]
    await clock.advance(0.999999)
    assert called == ["now"]
    await clock.advance(0.000001)
    assert called == ["now", "one"]


async def test_sleeping_for_nothing_waits_for_nothing() -> None:
    await asyncio.wait_for(FakeClock().sleep(0), 5)
