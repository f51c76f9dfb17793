"""Whose a session is: taken by its lease, inherited from the dead, and given back.

A lease of this very host says who holds it, so that one whose process is gone need not be waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import final

from holdfast.errors import HoldfastError, LeaseHeld, StorageError
from holdfast.flow.ids import is_alive
from holdfast.journal.port import Claim, Journal, Lease
from holdfast.types import StreamId, WorkerId

__all__ = ("LEASE_SECONDS", "Claims")

LEASE_SECONDS = 30
"""How long a session stays ours without a sign of life."""
_TTL = LEASE_SECONDS * 1_000_000


@final
class Claims:
    """The right of one worker to sessions; `holds` says whether it has one in its hands."""

    def __init__(self, journal: Journal, worker: WorkerId, holds: Callable[[StreamId], bool]) -> None:
        self.lease = Lease(worker, _TTL)
        self._journal = journal
        self._worker = worker
        self._holds = holds

    async def claim(self, stream: StreamId, *, orphan: bool = False) -> Claim:
        """Claims a session, also from an owner that is known to be dead; an `orphan` also from this worker, as long as
        it has not got it in its hands.

        A caller that is cancelled owns nothing.

        Raises:
            LeaseHeld: its owner is, or may be, alive.
        """
        claiming = asyncio.ensure_future(self._claim(stream, orphan=orphan))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.shield(self._unclaim(claiming))
            raise

    async def _claim(self, stream: StreamId, *, orphan: bool) -> Claim:
        try:
            return await self._journal.claim(stream, self._worker, _TTL)
        except LeaseHeld as held:
            ours = held.owner == self._worker
            if is_alive(held.owner) and not (ours and orphan and not self._holds(stream)):
                raise
            return await self._journal.claim(stream, self._worker, _TTL, over=held.epoch)

    async def _unclaim(self, claiming: asyncio.Future[Claim]) -> None:
        with contextlib.suppress(HoldfastError):  # then there is nothing to give back
            claim = await claiming
            await self.give_up(claim.head.stream, claim.head.epoch)

    async def inherit(self, stream: StreamId) -> Claim | None:
        """Claims a session whose owner is known to be dead; None when it is, or may be, in good hands."""
        head = None if self._holds(stream) else await self._journal.head(stream)
        if head is None or head.owner is None or is_alive(head.owner):
            return None
        try:
            return await self._journal.claim(stream, self._worker, _TTL, over=head.epoch)
        except LeaseHeld:
            return None  # another heir was quicker

    async def give_up(self, stream: StreamId, epoch: int) -> None:
        """Gives a session back; where the store refuses, its lease runs out by itself."""
        with contextlib.suppress(StorageError):
            await asyncio.shield(self._journal.release(stream, epoch))
