"""A stretch of a task's work that something else, or a deadline, may stop.

It cancels the task it runs in and swallows that one cancellation at its end, as `asyncio.timeout` does, but it
makes a timer only where there is a deadline, and never a task, so that each model call and each tool call can
have one.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

import msgspec

from holdfast.flow.clock import Clock, Timer

__all__ = ("Interruptible", "cancellations")


def cancellations() -> int:
    """Returns how often somebody wanted the current task to end. One that rose since is a cancellation of now: a group
    of tasks that failed may leave an old one behind (Python 3.11).
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class Interruptible(msgspec.Struct, eq=False):
    """A scope that `interrupt` leaves early; afterwards `interrupted` says whether that happened."""

    _clock: Clock
    _seconds: float | None = None
    """How long it lasts at most."""
    _known: asyncio.Task[object] | None = None
    """The task that will enter it, if the caller knows."""
    _task: asyncio.Task[object] | None = None
    """The task that is in it."""
    _timer: Timer | None = None
    _before: int = 0
    """Cancellations that the task had when it entered: a group of tasks that failed may leave one (Python 3.11)."""
    interrupted: bool = False

    def __enter__(self) -> Interruptible:
        self._task = self._known or asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()
        if self._seconds is not None:
            self._timer = self._clock.call_later(max(0.0, self._seconds), self.interrupt)
        return self

    def interrupt(self) -> None:
        """Stops the work inside at its next await; does nothing outside the scope or a second time.

        Not for the work itself: it is called from other tasks and from timers.
        """
        if self._task is not None and not self.interrupted:
            self.interrupted = True
            self._task.cancel()

    def prolong(self, seconds: float) -> None:
        """Moves the deadline to so many seconds from now; does nothing outside the scope, or where there is none."""
        if self._task is not None and self._timer is not None:
            self._timer.cancel()
            self._timer = self._clock.call_later(max(0.0, seconds), self.interrupt)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        task = self._task
        self._task = self._known = None
        if self._timer is not None:
            self._timer.cancel()
        if not self.interrupted or task is None:
            return False
        # Somebody else may have cancelled the task as well: then the cancellation has to go on outwards.
        return task.uncancel() <= self._before and kind is asyncio.CancelledError
