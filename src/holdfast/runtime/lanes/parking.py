"""Sessions this process drove that wait for mail, or for a time: no task, no lease, only an ear and a timer each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

from holdfast.flow.clock import Clock, Timer
from holdfast.journal.port import Head, Journal
from holdfast.runtime.lanes.line import Whose
from holdfast.types import StreamId

__all__ = ("Parking",)


@dataclass(slots=True, eq=False)
class _Parked:
    """One that waits."""

    stop_listening: Callable[[], None]
    timer: Timer | None
    whose: Whose


@final
class Parking:
    """Hears when one of them may have something to do."""

    def __init__(self, journal: Journal, clock: Clock, wake: Callable[[StreamId], None]) -> None:
        """`wake` is told of each that may have something to do; it may be called for nothing."""
        self._journal = journal
        self._clock = clock
        self._wake = wake
        self._parked: dict[StreamId, _Parked] = {}

    def __contains__(self, stream: object) -> bool:
        """Whether the session waits here."""
        return stream in self._parked

    def __iter__(self) -> Iterator[StreamId]:
        """Yields the sessions that wait."""
        return iter(tuple(self._parked))

    def __len__(self) -> int:
        """Returns how many wait."""
        return len(self._parked)

    def add(self, head: Head, whose: Whose) -> None:
        """Has a session wait that has just been parked like that."""
        timer = None if head.wake_at is None else self._timer(head.stream, (head.wake_at - self._clock.now()) / 1e6)
        stop = self._journal.listen(head.stream, partial(self._wake, head.stream), mail=True)
        self._parked[head.stream] = _Parked(stop, timer, whose)

    def remove(self, stream: StreamId) -> bool:
        """Lets go of a session; returns False when it does not wait here."""
        parked = self._parked.pop(stream, None)
        if parked is None:
            return False
        parked.stop_listening()
        if parked.timer is not None:
            parked.timer.cancel()
        return True

    def again(self, stream: StreamId, seconds: float) -> bool:
        """Has it looked at again later; returns False when it does not wait here."""
        parked = self._parked.get(stream)
        if parked is not None:
            if parked.timer is not None:
                parked.timer.cancel()
            parked.timer = self._timer(stream, seconds)
        return parked is not None

    def whose(self, stream: StreamId) -> Whose:
        """Returns for whom a session that waits here is driven."""
        return self._parked[stream].whose

    def _timer(self, stream: StreamId, seconds: float) -> Timer:
        return self._clock.call_later(max(0.0, seconds), partial(self._wake, stream))
