"""What this process still knows of sessions it drove, and of those that nobody drives any more.

A session that waits is read again from its log when it goes on. One that is answered a thousand times in a turn would
be read a thousand times: so the states of the few that were parked last are kept, and used if the log is as it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import final

from holdfast.engine.state import State
from holdfast.flow.ids import is_alive
from holdfast.journal.port import Head, Journal
from holdfast.types import StreamId

__all__ = ("KEPT", "Kept", "left_alone")

KEPT = 32
"""Sessions whose states are kept: more would be memory that waiting is not to cost."""


@final
class Kept:
    """States of the sessions that were parked last."""

    def __init__(self) -> None:
        self._states: dict[StreamId, tuple[Head, State]] = {}

    def keep(self, head: Head, state: State) -> None:
        """Keeps the state of a session that was parked like that."""
        self._states.pop(head.stream, None)
        self._states[head.stream] = head, state
        if len(self._states) > KEPT:
            del self._states[next(iter(self._states))]

    def take(self, head: Head) -> State | None:
        """Returns the state of a session that was just claimed; None where it has to be read: nobody kept it, or
        somebody else has had the session since.
        """
        left, state = self._states.pop(head.stream, (head, State()))
        unchanged = (left.epoch + 1, left.last_batch, state.seq) == (head.epoch, head.last_batch, head.seq)
        return state if unchanged else None

    def clear(self) -> None:
        """Lets go of all."""
        self._states.clear()


async def left_alone(journal: Journal, streams: Iterable[StreamId]) -> AsyncIterator[StreamId]:
    """Yields those of some sessions that have something to do, or wait for it, and whose owner is gone."""
    for stream in streams:
        head = await journal.head(stream)
        if head is None or not (head.unread or head.state in ("running", "waiting")):
            continue
        if head.owner is None or not is_alive(head.owner):
            yield stream
