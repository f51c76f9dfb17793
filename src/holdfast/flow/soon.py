"""Things that shall happen a moment later, many of them with one timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from holdfast.flow.clock import Clock

__all__ = ("Soon",)


@final
class Soon:
    """Calls back, in the event loop, within `seconds` of being asked; all who asked meanwhile together."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._due: dict[Callable[[], None], None] = {}
        self._timed = False

    def __call__(self, callback: Callable[[], None]) -> None:
        """Asks for one call."""
        self._due[callback] = None
        if not self._timed:
            self._timed = True
            self._clock.call_later(self._seconds, self._fire)

    def forget(self, callback: Callable[[], None]) -> None:
        """Takes a wish back that is not being fulfilled yet, so that nothing is kept alive for it."""
        self._due.pop(callback, None)

    def _fire(self) -> None:
        due, self._due, self._timed = list(self._due), {}, False
        for number, callback in enumerate(due, 1):
            try:
                callback()
            except BaseException:
                for other in due[number:]:  # one that fails is the loop's to report, and no reason to forget the rest
                    self(other)
                raise
