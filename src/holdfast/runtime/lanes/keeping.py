"""What this process still knows of sessions it drove, and of those that nobody drives any more.

A session that waits is read again from its log when it goes on. One that is answered a thousand times in a turn would
be read a thousand times: so the states of the few that were parked last are kept, and used if the log is as it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import final

from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.engine.state import State
from holdfast.errors import NotOwnable
from holdfast.flow.ids import is_alive
from holdfast.journal.port import Claim, Head, Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.lanes.claiming import LEASE_SECONDS
from holdfast.types import StreamId

__all__ = ("KEPT", "Kept", "left_alone", "left_behind")

KEPT = 32
"""Sessions whose states are kept: more would be memory that waiting is not to cost."""


@final
class Kept:
    """States of the sessions that were parked last."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._states: dict[StreamId, tuple[Head, State]] = {}

    def keep(self, head: Head, state: State) -> None:
        """Keeps the state of a session that was parked like that."""
        self._states.pop(head.stream, None)
        self._states[head.stream] = head, state
        if len(self._states) > KEPT:
            del self._states[next(iter(self._states))]

    async def load(self, claim: Claim) -> State:
        """Returns the state of a claimed session.

        Raises:
            NotOwnable: the log holds what this version must not continue.
            Corrupt: a record cannot be read.
        """
        head = claim.head
        if (state := self._take(head)) is not None:
            return state
        events = [event async for event in read_events(self._journal, head.stream, CODEC)]
        for event in events:
            if event.must_understand and not CODEC.knows(event.type):
                raise NotOwnable(
                    f"event {event.seq} of session {head.stream!r} is a {event.type!r} (version {event.v}), which this "
                    "version of Holdfast must understand and does not: upgrade Holdfast, or look at it with `runs show`"
                )
        return replay(events)

    def _take(self, head: Head) -> State | None:
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


async def left_behind(journal: Journal) -> list[StreamId]:
    """Returns streams whose owner was a process of this machine that is gone, and whose lease has not run out."""
    limit = 100
    while len(due := await journal.due(limit, within=LEASE_SECONDS * 1_000_000)) == limit:
        limit *= 2  # there may be more
    heads = [await journal.head(stream) for stream in due]
    return [head.stream for head in heads if head is not None and head.owner is not None and not is_alive(head.owner)]
