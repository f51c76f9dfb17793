"""What the outbox's own stream comes to: which runs are expected, and which deliveries are not done.

Pure: `fold` changes the state by one event, and nothing else does. An id follows from run and target alone, so an
outbox that is built anew from the log has the same ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

import msgspec

from holdfast.runtime.delivering.events import (
    DeliveryDone,
    DeliveryFailed,
    DeliveryRevived,
    DeliveryStarted,
    Pending,
    RunEnded,
    RunExpected,
    Seen,
    Summed,
)
from holdfast.types import Event, EventId, StreamId

__all__ = ("ATTEMPTS", "Outbox", "delay_after", "delivery_id")

ATTEMPTS = 16
"""How often a delivery is tried before it is dead: for about four hours."""
_FIRST, _LONGEST = 1.0, 3600.0
"""Seconds until the second attempt, and at most until any."""
_DEAD = 1_000
"""Dead deliveries that are still told of; older ones are left to the log."""
_STALE = 64
"""Times that may be kept beyond twice as many as there are deliveries."""


def delivery_id(stream: StreamId, began: EventId, target: str) -> str:
    """Returns the id of a run's delivery to a target, by the event that the run began with."""
    return "d-" + hashlib.sha256(f"{stream}\n{began}\n{target}".encode()).hexdigest()[:40]


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
    due: dict[str, dict[str, None]] = {}
    """Which of `pending` may be tried, oldest first, by their targets; a target that was just tried stands last."""
    later: list[tuple[int, str]] = []
    """When the others' time comes: a heap, which may hold what was tried or done meanwhile, too."""

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
                if (pending := self.pending.pop(data.id, None)) is not None:
                    self._take_out(pending)
            case DeliveryFailed() as data if (pending := self.pending.get(data.id)) is not None:
                _failed(pending, data)
                self._take_out(pending)
                self._put(pending)
            case DeliveryRevived() as data if (pending := self.pending.get(data.id)) is not None and pending.dead:
                pending.dead, pending.attempts = False, 0
                self._put(pending)
            case Seen() as data:
                self.position = max(self.position, data.position)
            case Summed() as data:
                self._summed(data, event.seq)
            case _:
                pass

    def _ended(self, data: RunEnded) -> None:
        targets, began = data.targets, data.began
        if not targets and (expected := self.expected.pop(data.stream, None)) is not None:
            targets = expected.targets
        for target in targets:
            each = Pending(delivery_id(data.stream, began, target), data.stream, data.run, began, data.end, target)
            self.pending[each.id] = each
            self._put(each)

    def _summed(self, data: Summed, seq: int) -> None:
        self.summed, self.position = seq, data.position
        self.expected = {each.stream: each for each in data.expected}
        self.pending = {each.id: msgspec.structs.replace(each) for each in data.pending}
        self.due, self.later = {}, []
        for each in self.pending.values():
            self._put(each)

    def _put(self, pending: Pending) -> None:
        """Has a delivery stand where its time says."""
        if pending.dead:
            return
        if not pending.retry_at:
            self.due.setdefault(pending.target, {})[pending.id] = None
            return
        heappush(self.later, (pending.retry_at, pending.id))
        if len(self.later) > 2 * len(self.pending) + _STALE:
            self.later = [entry for entry in self.later if self._holds(entry)]
            heapify(self.later)

    def _take_out(self, pending: Pending) -> None:
        if (ids := self.due.pop(pending.target, None)) is not None:
            ids.pop(pending.id, None)
            if ids:
                self.due[pending.target] = ids

    def _holds(self, entry: tuple[int, str]) -> bool:
        pending = self.pending.get(entry[1])
        return pending is not None and not pending.dead and pending.retry_at == entry[0]

    def sum(self) -> Summed:
        """Returns all that matters, in one event."""
        dead = [each for each in self.pending.values() if each.dead]
        kept = [each for each in self.pending.values() if not each.dead] + dead[-_DEAD:]
        # Copies: what is folded later must not change what was written.
        return Summed(self.position, tuple(self.expected.values()), tuple(map(msgspec.structs.replace, kept)))

    def due_at(self, now: int) -> Mapping[str, Mapping[str, None]]:
        """Returns the ids of the deliveries whose time has come, oldest first, by their targets."""
        while self.later and (self.later[0][0] <= now or not self._holds(self.later[0])):
            entry = heappop(self.later)
            if self._holds(entry):
                pending = self.pending[entry[1]]
                self.due.setdefault(pending.target, {})[pending.id] = None
        return self.due

    def next_at(self, now: int) -> int | None:
        """Returns when the next delivery's time comes, of those whose time has not; None when there is none."""
        self.due_at(now)
        return self.later[0][0] if self.later else None


def _failed(pending: Pending, data: DeliveryFailed) -> None:
    pending.error = data.error
    pending.retry_at = data.retry_at or 0
    pending.dead = data.retry_at is None
    if data.certain:
        pending.started_at = 0
