"""Things that shall happen a moment later, many of them with one timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from holdfast.flow.clock import Clock

__all__ = ("Soon",)


@final
class Soon:
    """Calls back, in the event loop, not before half of `seconds` after being asked and at most `seconds` after it; all
    who asked at about the same time together.

    Whoever takes the wish back in the first half, as most do, was never called: a timer that is shared by all would
    else fire for some a moment after they asked.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._half = seconds / 2
        self._due: dict[Callable[[], None], None] = {}
        """Those who are called next."""
        self._later: dict[Callable[[], None], None] = {}
        """Those who asked since the timer was set, and are called the time after."""
        self._timed = False

    def __call__(self, callback: Callable[[], None]) -> None:
        """Asks for one call."""
        if callback not in self._due:
            self._later[callback] = None
        if not self._timed:
            self._set()

    def forget(self, callback: Callable[[], None]) -> None:
        """Takes a wish back that is not being fulfilled yet, so that nothing is kept alive for it."""
        self._due.pop(callback, None)
        self._later.pop(callback, None)

    def _set(self) -> None:
        self._timed = True
        self._clock.call_later(self._half, self._fire)

    def _fire(self) -> None:
        due, self._due, self._later, self._timed = list(self._due), self._later, {}, False
        if self._due:
            self._set()
        for number, callback in enumerate(due, 1):
            try:
                callback()
            except BaseException:
                for other in due[number:]:  # one that fails is the loop's to report, and no reason to forget the rest
                    self(other)
                raise
