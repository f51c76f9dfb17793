"""What the outbox's own stream comes to: which runs are expected, and which deliveries are not done.

Pure: `fold` changes the state by one event, and nothing else does. An id follows from run and target alone, so an
outbox that is built anew from the log has the same ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from holdfast.runtime.delivering.events import (
    DeliveryDone,
    DeliveryFailed,
    DeliveryStarted,
    Pending,
    RunEnded,
    RunExpected,
    Seen,
    Summed,
)
from holdfast.types import Event, StreamId

__all__ = ("ATTEMPTS", "Outbox", "delay_after", "delivery_id")

ATTEMPTS = 16
"""How often a delivery is tried before it is dead: for about four hours."""
_FIRST, _LONGEST = 1.0, 3600.0
"""Seconds until the second attempt, and at most until any."""
_DEAD = 1_000
"""Dead deliveries that are still told of; older ones are left to the log."""


def delivery_id(stream: StreamId, run: int, target: str) -> str:
    """Returns the id of a run's delivery to a target."""
    return "d-" + hashlib.sha256(f"{stream}\n{run}\n{target}".encode()).hexdigest()[:40]


def delay_after(attempts: int, asked: float | None = None) -> float:
    """Returns the seconds until the next attempt after so many; `asked` is what the target asked for."""
    return min(_LONGEST, max(_FIRST * 2.0 ** min(attempts - 1, 20), asked or 0.0))


class Outbox(msgspec.Struct):
    """The outbox of one tenant."""

    seq: int = 0
    summed: int = 0
    """Where it was summed up last."""
    position: int = 0
    """Of the feed: everything up to there is accounted for."""
    expected: dict[StreamId, RunExpected] = {}
    """Runs that are open and whose results are wanted."""
    pending: dict[str, Pending] = {}

    def fold(self, event: Event) -> None:
        """Changes the state by one event."""
        self.seq = event.seq
        match event.data:
            case RunExpected() as data:
                self.expected[data.stream] = data
            case RunEnded() as data:
                self._ended(data)
            case DeliveryStarted() as data if (pending := self.pending.get(data.id)) is not None:
                pending.attempts += 1
                pending.started_at = event.at
            case DeliveryDone() as data:
                self.pending.pop(data.id, None)
            case DeliveryFailed() as data if (pending := self.pending.get(data.id)) is not None:
                _failed(pending, data)
            case Seen() as data:
                self.position = max(self.position, data.position)
            case Summed() as data:
                self._summed(data, event.seq)
            case _:
                pass

    def _ended(self, data: RunEnded) -> None:
        targets = data.targets
        if not targets and (expected := self.expected.pop(data.stream, None)) is not None:
            targets = expected.targets
        for target in targets:
            each = Pending(delivery_id(data.stream, data.run, target), data.stream, data.run, data.end, target)
            self.pending[each.id] = each

    def _summed(self, data: Summed, seq: int) -> None:
        self.summed, self.position = seq, data.position
        self.expected = {each.stream: each for each in data.expected}
        self.pending = {each.id: msgspec.structs.replace(each) for each in data.pending}

    def sum(self) -> Summed:
        """Returns all that matters, in one event."""
        dead = [each for each in self.pending.values() if each.dead]
        kept = [each for each in self.pending.values() if not each.dead] + dead[-_DEAD:]
        # Copies: what is folded later must not change what was written.
        return Summed(self.position, tuple(self.expected.values()), tuple(map(msgspec.structs.replace, kept)))

    def ready(self, now: int) -> Iterator[Pending]:
        """Yields the deliveries whose time has come, oldest first."""
        return (each for each in self.pending.values() if not each.dead and each.retry_at <= now)

    def next_at(self, now: int) -> int | None:
        """Returns when the next delivery's time comes, of those whose time has not; None when there is none."""
        later = (each.retry_at for each in self.pending.values() if not each.dead and each.retry_at > now)
        return min(later, default=None)


def _failed(pending: Pending, data: DeliveryFailed) -> None:
    pending.error = data.error
    pending.retry_at = data.retry_at or 0
    pending.dead = data.retry_at is None
    if data.certain:
        pending.started_at = 0
