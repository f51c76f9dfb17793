"""A clock that a test moves by hand.

It stands still until it is told to advance; what waits by it is called in the order of its deadlines, and what
follows from one call happens before the next.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import final

from holdfast.flow.clock import Clock, Timer

__all__ = ("FakeClock",)

_ROUNDS = 20
"""Turns of the event loop after each call: enough for a chain of tasks that wake one another."""


class _Timer(Timer):
    __slots__ = ("callback", "cancelled", "due", "order")

    def __init__(self, due: int, order: int, callback: Callable[[], object]) -> None:
        self.due = due
        self.order = order
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __lt__(self, other: _Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


@final
class FakeClock(Clock):
    """Time under a test's control, from the beginning of 2026 unless told otherwise."""

    def __init__(self, now: int = 1_767_225_600_000_000) -> None:
        self._start = now
        self._now = now
        self._order = itertools.count()
        self._timers: list[_Timer] = []

    def now(self) -> int:
        """Returns µs since 1970, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Returns seconds since the clock was made."""
        return (self._now - self._start) / 1e6

    async def sleep(self, seconds: float) -> None:
        """Returns after the test advanced the clock so far; at once for zero or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: woken.done() or woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls back when the test advanced the clock so far; never before it advances it at all."""
        timer = _Timer(self._now + max(0, round(seconds * 1e6)), next(self._order), callback)
        heapq.heappush(self._timers, timer)
        return timer

    @property
    def waiting(self) -> int:
        """How many sleepers and timers wait by this clock."""
        return sum(not timer.cancelled for timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Moves on, calling what is due one after another, each at its own time, and lets tasks run."""
        until = self._now + round(seconds * 1e6)
        await _run_tasks()
        while self._timers and self._timers[0].due <= until:
            timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            timer.cancelled = True
            self._now = max(self._now, timer.due)
            timer.callback()
            await _run_tasks()
        self._now = max(self._now, until)


async def _run_tasks() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
