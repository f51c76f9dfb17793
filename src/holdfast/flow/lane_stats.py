"""What a lane can say about itself, and what it remembers for that: a bounded amount, however much it runs."""

from __future__ import annotations

from collections import deque
from typing import Literal, final

import msgspec

from holdfast.flow.clock import Clock

__all__ = ("Ending", "LaneRecord", "LaneStats")

Ending = Literal["finished", "failed", "cancelled"]

_LATEST = 64
"""Jobs whose running times are the estimate for those to come."""


class LaneStats(msgspec.Struct, frozen=True):
    """How a lane was at one moment."""

    width: int
    """How many jobs may run at once; 0 while it is paused."""
    running: int
    queued: int
    queued_by_user: dict[str, int]
    """Those who have something queued, whoever is served next first."""
    finished: int
    """Jobs that returned, since the lane was made."""
    failed: int
    """Jobs that raised, since the lane was made."""
    cancelled: int
    """Jobs that were withdrawn, or that a cancellation ended while they ran, since the lane was made."""
    last_minute: int
    """Jobs that ran and ended, however they did, within the last 60 seconds; exact to a second."""
    seconds_per_job: float | None
    """How long the latest jobs ran, on average; None before the first has ended."""

    def eta(self, position: int) -> float | None:
        """Returns in how many seconds a job at that position among its user's own starts, at best guess.

        The guess is that jobs go on taking as long as the latest did, and that nobody submits anything more. None
        when there is nothing to go by, or the lane is paused; 0 for a job that does not queue.
        """
        if position <= 0:
            return 0.0
        if self.seconds_per_job is None or not self.width:
            return None
        turns = sum(min(position, count) for count in self.queued_by_user.values())
        return turns * self.seconds_per_job / self.width


@final
class LaneRecord:
    """Counts what came of a lane's jobs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[Ending, int] = {"finished": 0, "failed": 0, "cancelled": 0}
        self._took: deque[float] = deque(maxlen=_LATEST)
        self._seconds: deque[list[int]] = deque()
        """Pairs of a second and how many ended in it, those of the last minute only."""

    def ran(self, ending: Ending, began: float) -> None:
        """Notes that a job ended which ran since `began`, in seconds of the monotonic clock."""
        now = self._clock.monotonic()
        self._counts[ending] += 1
        self._took.append(now - began)
        self._forget(now)
        if not self._seconds or self._seconds[-1][0] != int(now):
            self._seconds.append([int(now), 0])
        self._seconds[-1][1] += 1

    def withdrawn(self) -> None:
        """Notes that a job was cancelled before it ran."""
        self._counts["cancelled"] += 1

    def stats(self, width: int, running: int, queued: dict[str, int]) -> LaneStats:
        """Returns how things are now, with what the lane itself knows."""
        self._forget(self._clock.monotonic())
        return LaneStats(
            width=width,
            running=running,
            queued=sum(queued.values()),
            queued_by_user=queued,
            finished=self._counts["finished"],
            failed=self._counts["failed"],
            cancelled=self._counts["cancelled"],
            last_minute=sum(count for _, count in self._seconds),
            seconds_per_job=sum(self._took) / len(self._took) if self._took else None,
        )

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= int(now) - 60:
            self._seconds.popleft()
