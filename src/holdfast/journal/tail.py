"""What happens in one live session, handed to readers of this process as it happens.

Durable events are published here only after their append was acknowledged; deltas pass through and are gone, but
never before the events that came before them. A reader that joins in mid-answer first gets the answer so far, as one
delta of each kind in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.flow.broadcast import Broadcast, Reader
from holdfast.types import CallDelta, Delta, Event, Reset, StreamId, TextDelta, ThinkingDelta

__all__ = ("Tail", "coalesce")

_RECENT = 2048
"""Durable events kept in memory for readers that join a little late."""


class Tail:
    """The live end of one stream."""

    def __init__(self, stream: StreamId, after: int) -> None:
        self.stream = stream
        self.after = after
        """Sequence number before the oldest event in `recent`."""
        self.recent: list[Event] = []
        self.broadcast: Broadcast[Event | Delta] = Broadcast()
        self.error: BaseException | None = None
        self._partial: list[Delta] = []
        self._held: list[Delta] = []
        """Deltas whose turn comes after event `_held_after`, which is not durable yet."""
        self._held_after = 0
        self.closed = False

    @property
    def last(self) -> int:
        """Sequence number of the last event published."""
        return self.after + len(self.recent)

    def join(self) -> tuple[Reader[Event | Delta], list[Delta]]:
        """Returns a reader of everything from now on, and the answer so far."""
        return self.broadcast.join(), coalesce(self._partial)

    def commit(self, events: Sequence[Event]) -> None:
        """Publishes events that are durable, and the deltas that waited for them."""
        before = self._held_after - self.last
        if self._held and before <= len(events):
            held, self._held = self._held, []
            self._commit(events[:before])
            self.publish(held, self._held_after)
            events = events[before:]
        if events:
            self._commit(events)

    def _commit(self, events: Sequence[Event]) -> None:
        self._partial.clear()
        self.recent.extend(events)
        if len(self.recent) > _RECENT:
            drop = len(self.recent) - _RECENT // 2
            del self.recent[:drop]
            self.after += drop
        self.broadcast.publish(events, self.last)

    def publish(self, deltas: Sequence[Delta], after: int) -> None:
        """Publishes deltas once the events up to `after` are; they are nowhere else."""
        if self.last < after:
            self._held.extend(deltas)
            self._held_after = after
            return
        self._partial.extend(deltas)
        self.broadcast.publish(deltas, after)

    def reset(self, reason: str) -> None:
        """Takes back the deltas since the last durable event."""
        self._held.clear()
        if self._partial:
            self._partial.clear()
            self.broadcast.publish([Reset(reason)], self.last)

    def close(self, error: BaseException | None = None) -> None:
        """Ends every reader; with an error, readers raise it after what was published."""
        self.reset("closed")
        self.closed = True
        self.error = error
        self.broadcast.close()


def coalesce(deltas: Sequence[Delta]) -> list[Delta]:
    """Returns fewer deltas that say the same: neighbours of one kind are joined."""
    out: list[Delta] = []
    for delta in deltas:
        last = out[-1] if out else None
        match last, delta:
            case TextDelta(), TextDelta():
                out[-1] = TextDelta(last.text + delta.text)
            case ThinkingDelta(), ThinkingDelta():
                out[-1] = ThinkingDelta(last.text + delta.text)
            case CallDelta(), CallDelta() if last.index == delta.index:
                out[-1] = CallDelta(last.index, last.id, last.name, last.arguments + delta.arguments)
            case _:
                out.append(delta)
    return out
