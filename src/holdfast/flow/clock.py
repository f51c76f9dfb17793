"""Where time comes from.

UTC microseconds go into the log, the monotonic clock measures limits. Everything that waits for time to pass
waits through a clock, so that one fake clock drives all of it in tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, time_ns
from typing import Protocol, final

__all__ = ("Clock", "SystemClock", "Timer")


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """Sees to it that it is not."""
        ...


class Clock(Protocol):
    """A source of time."""

    def now(self) -> int:
        """Returns µs since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Returns seconds that never run backwards; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds; at once for zero or less."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Calls back, in the running event loop, after so many seconds."""
        ...


@final
class SystemClock(Clock):
    """The machine's own time."""

    def now(self) -> int:
        """Returns µs since 1970, UTC."""
        return time_ns() // 1000

    def monotonic(self) -> float:
        """Returns seconds of the monotonic clock."""
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Calls back after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, callback)
