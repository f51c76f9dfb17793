"""The audit: every event of every session, told to a function that somebody brings.

It is driven from the log, so it is complete after a crash, too: each event is told at least once, in commit order, and
carries an id by which a repetition can be told. A function that raises is asked again a few times, later each time;
then the event is written down as missed, and the next one is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import msgspec

from holdfast.engine.events import CODEC
from holdfast.errors import Corrupt
from holdfast.flow.clock import Clock
from holdfast.journal.owning import Pen
from holdfast.journal.port import Claim, FeedItem, Journal, Park, is_buried
from holdfast.journal.reading import decode_record
from holdfast.runtime.delivering.attempting import called, words_of
from holdfast.runtime.delivering.events import AuditMissed, Seen, Summed, book_named
from holdfast.runtime.delivering.outbox import delay_after
from holdfast.runtime.delivering.projecting import Projection
from holdfast.types import Event, SessionId, StreamId, TenantId, session_of

__all__ = ("TRIES", "Audit", "Audited", "Auditor")

TRIES = 5
"""How often an event is told before it counts as missed."""
_PAGE = 50
"""Events after which it is written down how far the audit is."""


class Audited(msgspec.Struct, frozen=True):
    """One thing that happened."""

    session: SessionId
    event: Event
    """Its `id` is the same however often it is told."""


Audit = Callable[[Audited], Awaitable[object]]
"""Is told what happened; raises when it could not take it."""


@final
class Auditor(Projection):
    """Tells one tenant's events to an audit."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        tenant: TenantId,
        claim: Callable[[StreamId], Awaitable[Claim]],
        audit: Audit,
    ) -> None:
        super().__init__(journal, clock, book_named(tenant, "audit"), claim)
        self._tenant = tenant
        self._audit = audit
        self._seq = self._summed = self._position = 0
        self._tries = self._retry_at = 0
        self._unread: list[FeedItem] = []

    def forget(self) -> None:
        """Forgets what the book says: it is read again."""
        self._seq = self._summed = self._position = 0
        self._unread = []

    def next_in(self) -> float | None:
        """Returns the seconds until an event is told again that was not taken."""
        return (self._retry_at - self.clock.now()) / 1e6 if self._retry_at else None

    def parked(self) -> Park:
        """Returns that nobody else needs to look: without a function there is nobody to tell."""
        return Park("idle")

    async def has_work(self) -> bool:
        """Returns whether something happened that was not told."""
        if self._retry_at > self.clock.now():
            return False
        await self._refresh()
        self._unread = await self._more(self._position)
        return bool(self._unread)

    async def work(self, pen: Pen) -> None:
        """Tells all there is."""
        await self._refresh()
        if self.outgrown(self._seq, self._summed):
            self._summed = self._write(pen, Summed(self._position))
        items = [each for each in self._unread if each.position > self._position]
        while items := items or await self._more(self._position):
            for item in items:
                if not await self._told(pen, item):
                    return
                self._position = item.position
            items = []
            self._write(pen, Seen(self._position))
            await pen.sync()

    async def _told(self, pen: Pen, item: FeedItem) -> bool:
        try:
            event = await decode_record(item.record, item.stream, CODEC, self.journal)
        except Corrupt:
            return True  # its content was deleted meanwhile
        await pen.hold()
        error = await called(lambda: self._audit(Audited(session_of(item.stream), event)))
        self._retry_at = 0
        self._tries += error is not None
        if error is not None and self._tries < TRIES:
            self._retry_at = self.clock.now() + int(delay_after(self._tries) * 1e6)
            self._write(pen, Seen(self._position))
            return False
        if error is not None:
            self._write(pen, AuditMissed(item.stream, event.seq, words_of(error)))
        self._tries = 0
        return True

    async def _refresh(self) -> None:
        for event in await self.book_after(self._seq):
            self._seq = event.seq
            match event.data:
                case Summed(position=position):
                    self._summed, self._position = event.seq, position
                case Seen(position=position):
                    self._position = max(self._position, position)
                case _:
                    pass

    async def _more(self, after: int) -> list[FeedItem]:
        """Returns the next events that are to be told."""
        while items := await self.journal.feed(after=after, tenant=self._tenant, limit=_PAGE):
            after = items[-1].position
            if wanted := [each for each in items if not is_buried(each.stream)]:
                return wanted
        self._position = max(self._position, after)
        return []

    def _write(self, pen: Pen, payload: Seen | Summed | AuditMissed) -> int:
        self._seq = pen.write(payload).seq
        return self._seq
