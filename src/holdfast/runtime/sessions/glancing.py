"""One session at a glance: what its head says, without a look into its log."""

from __future__ import annotations

import msgspec

from holdfast.journal.port import Journal
from holdfast.runtime.sessions.listing import Standing, standing_of
from holdfast.types import StreamId

__all__ = ("Glance", "glance_at")


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """A session, as far as its head tells of it."""

    state: Standing
    seq: int
    """Its last event."""
    created_at: int
    """µs UTC."""
    updated_at: int
    """µs UTC."""
    parent_seq: int = 0
    """How much it shares with the session that it was forked from."""

    @property
    def busy(self) -> bool:
        """Whether a run is open in it, or is about to be."""
        return self.state not in ("idle", "ended")


async def glance_at(journal: Journal, stream: StreamId) -> Glance | None:
    """Returns how a session stands; None where there is none."""
    head = await journal.head(stream)
    if head is None:
        return None
    return Glance(
        state=standing_of(head),
        seq=head.seq,
        created_at=head.created_at,
        updated_at=head.updated_at,
        parent_seq=head.parent_seq,
    )
