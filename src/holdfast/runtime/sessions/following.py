"""What happens in a session, for whoever follows all of it: not one run, but every one, from any event on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Literal

from holdfast.engine.events import CODEC, InputDropped, RunClosed, RunFinished, SessionEnded
from holdfast.errors import UnknownSession
from holdfast.journal.port import Head, Journal
from holdfast.journal.reading import Follower, Sink
from holdfast.journal.tail import Tail
from holdfast.types import Delta, Event, StreamId, session_of

__all__ = ("Until", "following", "is_at_rest")

Until = Literal["idle", "forever"]
"""How long a session is followed: until no run of it is open and nothing waits to be read, or for ever."""
_RESTING = frozenset((RunFinished.type, RunClosed.type, InputDropped.type, SessionEnded.type))
"""After which a session may be at rest."""


def is_at_rest(head: Head) -> bool:
    """Whether no run is open in a session, and nothing lies in its inbox that would open one."""
    return head.state in ("idle", "ended") and not head.unread


async def following(
    journal: Journal,
    stream: StreamId,
    tail: Callable[[StreamId], Tail | None],
    *,
    after: int,
    until: Until,
    sink: Sink | None = None,
) -> AsyncGenerator[Sequence[Event | Delta]]:
    """Yields what happens in a session after an event, as lists of what came together; ends when the session is
    deleted, too. Deltas that the sink takes are not yielded.

    Raises:
        UnknownSession: there is no such session.
        HoldfastError: this process drove the session and cannot go on with it, and nobody else has.
    """
    head = await journal.head(stream)
    if head is None:
        raise UnknownSession(f"there is no session {session_of(stream)!r} in this store: look at which there are")
    born = head.created_at
    follower = Follower(journal, stream, CODEC, tail, after=min(after, head.seq), wakes=True, sink=sink)
    try:
        if until == "idle" and follower.after >= head.seq and is_at_rest(head):
            return
        while True:
            batch = await follower.next()
            if batch:
                yield batch
                if until == "forever" or not any(item.type in _RESTING for item in batch):
                    continue
            head = (None if batch else follower.head) or await journal.head(stream)
            if head is None or head.created_at != born:
                return
            if until == "idle" and follower.after >= head.seq and is_at_rest(head):
                return
    finally:
        follower.close()
