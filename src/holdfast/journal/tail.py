"""What happens in one live session, handed to readers of this process as it happens.

Durable events are published here only after their append was acknowledged; deltas pass through and are gone, but
never before the events that came before them. A reader that joins in mid-answer first gets the answer so far, as one
delta of each kind in a row.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from itertools import groupby

from holdfast.flow.broadcast import Broadcast, Reader
from holdfast.types import CallDelta, Delta, Event, Reset, StreamId, TextDelta, ThinkingDelta

__all__ = ("Tail", "coalesce")

_RECENT = 2048
"""Durable events kept in memory for readers that join a little late."""


class Tail:
    """The live end of one stream."""

    error: BaseException | None = None
    closed = False

    def __init__(self, stream: StreamId, after: int, loop: AbstractEventLoop | None = None) -> None:
        self.stream = stream
        self.after = after
        """Sequence number before the oldest event in `recent`."""
        self.last = after
        """Sequence number of the last event published."""
        self.recent: list[Event] = []
        self.broadcast: Broadcast[Event | Delta] = Broadcast(loop=loop)
        self._partial: list[Delta] = []
        self._held: list[tuple[int, list[Delta]]] = []
        """Deltas of answers that come after events that are not durable yet, each with the last of these events."""

    def join(self) -> tuple[Reader[Event | Delta], list[Delta]]:
        """Returns a reader of everything from now on, and the answer so far."""
        return self.broadcast.join(), coalesce(self._partial) if self._partial else []

    def commit(self, events: Sequence[Event]) -> None:
        """Publishes events that are durable, and the deltas that waited for them, as one list."""
        items: Sequence[Event | Delta] = events
        before = self.last
        self.last = last = before + len(events)
        if self._held:
            items = self._with_held(events, before)
        elif self._partial:
            self._partial.clear()
        recent = self.recent
        recent += events
        if len(recent) > _RECENT:
            drop = len(recent) - _RECENT // 2
            del recent[:drop]
            self.after += drop
        self.broadcast.publish(items, last)

    def _with_held(self, events: Sequence[Event], before: int) -> list[Event | Delta]:
        """Returns events, the first after `before`, with the deltas that come after each; those after the last are the
        answer so far.
        """
        items: list[Event | Delta] = []
        held, last, place = self._held, self.last, 0
        self._partial = []
        while held and held[0][0] <= last:
            after, deltas = held.pop(0)
            items += events[place : after - before]
            items += deltas
            place = after - before
            if after == last:
                self._partial = deltas
        items += events[place:]
        return items

    def publish(self, deltas: Sequence[Delta], after: int) -> None:
        """Publishes deltas once the events up to `after` are; they are nowhere else."""
        if not deltas:
            return
        if self.last >= after:
            self._partial += deltas
            self.broadcast.publish(deltas, after, passing=True)
        elif (held := self._held) and held[-1][0] == after:
            held[-1][1].extend(deltas)
        else:
            held.append((after, [*deltas]))

    def heard(self, after: int) -> Sequence[Delta]:
        """Returns the deltas that came after event `after`, the last one written, as far as they stand."""
        if self._held and self._held[-1][0] == after:
            return self._held[-1][1]
        return self._partial if self.last >= after else ()

    def reset(self, reason: str, after: int, *, carried: bool = False) -> None:
        """Takes back the deltas that came after event `after`: their answer begins again.

        Where they went on with an answer of before, which is `carried` over events, that is taken back, too.
        """
        if self._held and self._held[-1][0] == after:
            self._held.pop()
        elif self._partial and self.last >= after:
            carried = True
        if carried and self.last < after:
            self._held.append((after, [Reset(reason)]))
        elif carried:
            self._partial.clear()
            self.broadcast.publish([Reset(reason)], self.last)

    def close(self, error: BaseException | None = None) -> None:
        """Ends every reader; with an error, readers raise it after what was published."""
        self._held.clear()
        if self._partial:
            self.reset("closed", self.last)
        self.closed = True
        self.error = error
        self.broadcast.close()


def coalesce(deltas: Sequence[Delta]) -> list[Delta]:
    """Returns fewer deltas that say the same: neighbours of one kind are joined."""
    return [_joined(list(run)) for _, run in groupby(deltas, _kind)]


def _kind(delta: Delta) -> tuple[type[Delta], int]:
    return type(delta), delta.index if isinstance(delta, CallDelta) else 0


def _joined(run: list[Delta]) -> Delta:
    match run[0]:
        case TextDelta():
            return TextDelta("".join([delta.text for delta in run if isinstance(delta, TextDelta)]))
        case ThinkingDelta():
            return ThinkingDelta("".join([delta.text for delta in run if isinstance(delta, ThinkingDelta)]))
        case CallDelta() as first:
            arguments = "".join([delta.arguments for delta in run if isinstance(delta, CallDelta)])
            return CallDelta(first.index, first.id, first.name, arguments)
        case last:
            return last  # one says it all
