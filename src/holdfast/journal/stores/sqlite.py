"""Streams in one SQLite file, for one machine: many processes may use it at once.

What changes anything is a function that runs inside a transaction: it reads the head, asks the rules, and stores
what they say. Most touch a few rows that were touched before, and are staged in the event loop; those that carry
blobs or many leases are left to the writer's thread. What only reads runs on a reader's thread and never waits for
a writer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from functools import partial
from operator import attrgetter
from os import PathLike, fspath
from typing import final

from holdfast.errors import Fenced, StorageError, UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.journal.port import Claim, FeedItem, Head, Journal, Lease, Letter, Mail, Park, Posted, Record, Unread
from holdfast.journal.stores import heads as rules
from holdfast.journal.stores import sqlite_erasing as erasing
from holdfast.journal.stores import sqlite_tables as tables
from holdfast.journal.stores.sqlite_buffer import HeadBuffer
from holdfast.journal.stores.sqlite_watching import Watch
from holdfast.storage.blobs import BlobStore
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Connection, Database, Synchronous
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore, insert_blob
from holdfast.types import BatchId, Digest, StreamId, TenantId, WorkerId, session_of, tenant_of

__all__ = ("SqliteJournal",)

_FEW = 64
"""Leases renewed in the event loop at once; more are the thread's."""
_LIGHT = 256 * 1024
"""Bytes written in the event loop at once; more are the thread's."""
_BODY, _CONTENT = attrgetter("body"), attrgetter("content")


@final
class SqliteJournal(Journal):
    """All streams of one file; make one with `open`."""

    def __init__(self, database: Database, buffer: HeadBuffer, clock: Clock) -> None:
        self._database = database
        self.database = database
        """The file, for what is kept in it beside the journal."""
        self._buffer = buffer
        self._clock = clock
        self._blobs = SqliteBlobStore(database, clock)
        self._watch = Watch(database, buffer)

    @classmethod
    async def open(
        cls,
        path: str | PathLike[str],
        *,
        clock: Clock | None = None,
        synchronous: Synchronous = "full",
        patience: float = 5.0,
        beside: Sequence[Schema] = (),
    ) -> SqliteJournal:
        """Returns the journal in that file, which is made if it is missing; its folder is not.

        `synchronous="normal"` may lose the last moments to a power cut, though never to a crash of the process.
        `patience` is how many seconds to wait while other programs hold the file. `beside` are tables of others that
        use the same `database`.

        Raises:
            StorageError: the file cannot be used; the subclass says why.
        """
        buffer = HeadBuffer()
        database = await Database.open(
            fspath(path), (BLOBS, tables.JOURNAL, *beside), buffer=buffer, synchronous=synchronous, patience=patience
        )
        return cls(database, buffer, clock or SystemClock())

    @property
    def blobs(self) -> BlobStore:
        """Where content over the size of a record goes: the same file."""
        return self._blobs

    async def claim(self, stream: StreamId, worker: WorkerId, ttl: int, *, over: int | None = None) -> Claim:
        """Makes `worker` the owner for `ttl` µs.

        Raises:
            LeaseHeld: somebody else's lease is live.
        """
        claim = await self._database.write(self._claim, stream, worker, ttl, over)
        self._watch.tell(stream, claim.head)
        return claim

    async def renew(self, leases: Sequence[tuple[StreamId, int]], ttl: int) -> set[StreamId]:
        """Prolongs leases and returns the streams that are not ours any more."""
        write = self._database.stage if len(leases) <= _FEW else self._database.write
        return await write(self._renew, leases, ttl)

    async def release(self, stream: StreamId, epoch: int) -> None:
        """Gives up a lease; the state stays."""
        await self._database.stage(self._release, stream, epoch)
        self._watch.tell(stream)

    def append(
        self,
        stream: StreamId,
        epoch: int,
        expected_seq: int,
        batch: BatchId,
        records: Sequence[Record],
        *,
        taken: int | None = None,
        park: Park | None = None,
    ) -> asyncio.Future[Head | Unread]:
        """Writes records, all or none, and returns the new head once the disk has them.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up.
            Corrupt: the epoch is right but `expected_seq` is not the last record.
            StorageError: nothing of this batch was written.
        """
        # What comes with content of its own is heavy, whatever it weighs.
        plain = list(map(_CONTENT, records)).count(None) == len(records)
        light = plain and sum(map(len, map(_BODY, records))) <= _LIGHT
        write = self._database.stage if light else self._database.write
        answer = write(self._append, stream, epoch, expected_seq, batch, records, taken, park, not light)
        if self._watch.wanted(stream):
            answer.add_done_callback(lambda done: self._appended(stream, done))
        return answer

    def _appended(self, stream: StreamId, done: asyncio.Future[Head | Unread]) -> None:
        if not done.cancelled() and done.exception() is None:
            head = done.result()
            self._watch.tell(stream, head if isinstance(head, Head) else None)

    async def post(
        self,
        stream: StreamId,
        letter: Letter,
        *,
        if_idle: bool = False,
        lease: Lease | None = None,
        new: bool = False,
    ) -> Posted:
        """Puts a letter into the inbox, once for each key, and claims the stream if it is wanted and free."""
        write = self._database.stage if len(letter.body) <= _LIGHT else self._database.write
        try:
            posted = await write(self._post, stream, letter, if_idle, lease, new)
        except asyncio.CancelledError:
            # It is posted all the same, and somebody waits to hear of it: what is handed in later ends later.
            with contextlib.suppress(StorageError):
                self._database.stage(_nothing).add_done_callback(partial(self._posted, stream))
            raise
        if posted.n:
            self._watch.tell(stream, mail=True)  # of a letter that came twice, too: its first sender may be gone
        return posted

    def _posted(self, stream: StreamId, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._watch.tell(stream, mail=True)

    async def mail(self, stream: StreamId, after: int) -> list[Mail]:
        """Returns the messages numbered over `after`, oldest first."""
        return await self._database.read(tables.fetch_mail, stream, after)

    async def drop_taken(self, streams: Collection[StreamId]) -> int:
        """Empties the bodies of mail that was taken; returns of how many messages."""
        return await self._database.write(self._drop_taken, streams)

    async def head(self, stream: StreamId) -> Head | None:
        """Returns the head row, or None when there is no such stream."""
        found = await self._database.read(tables.fetch_head, stream)
        return found.head if found else None

    async def heads(self, tenant: str, *, after: str = "", limit: int = 100) -> list[Head]:
        """Returns the heads of a tenant's streams whose id sorts after `after`, by id."""
        over, below = _bounds(tenant)
        return await self._database.read(tables.fetch_heads, max(over, after), below, limit)

    async def read(self, stream: StreamId, *, after: int = 0, limit: int = 1000) -> list[Record]:
        """Returns records with a seq over `after`, in order; of a fork, its parents' shared records as well."""
        return await self._database.read(_read, stream, max(after, 0), limit)

    async def feed(
        self, *, after: int = 0, types: Sequence[str] = (), tenant: str | None = None, limit: int = 1000
    ) -> list[FeedItem]:
        """Returns records of all streams in commit order, from a position on."""
        bounds = None if tenant is None else _bounds(tenant)
        return await self._database.read(tables.fetch_feed, after, types, bounds, limit)

    async def due(self, limit: int = 100, *, within: int = 0) -> list[StreamId]:
        """Returns streams without a live lease that want an owner, now or `within` so many µs, oldest first."""
        return await self._database.read(tables.fetch_due, self._clock.now() + within, limit)

    async def fork(self, parent: StreamId, at: int, child: StreamId, batch: BatchId, records: Sequence[Record]) -> Head:
        """Creates `child` with the parent's records up to `at` and `records` after them.

        Raises:
            UnknownSession: there is no such parent.
            UsageError: `child` exists, or the parent has no record `at`.
        """
        head = await self._database.write(self._fork, parent, at, child, batch, records)
        self._watch.tell(child, head)
        return head

    async def delete(self, stream: StreamId, epoch: int) -> int:
        """Removes a stream, and returns how many of its records stay for forks.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up or deleted.
        """
        kept = await self._database.write(self._delete, stream, epoch)
        self._watch.tell(stream, mail=True)
        return kept

    async def scrub(self, stream: StreamId, epoch: int, records: Sequence[Record]) -> None:
        """Puts records in the place of those with their numbers, all or none.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up or deleted.
            UsageError: the stream has no record of such a number and type.
        """
        await self._database.write(self._scrub, stream, epoch, records)

    async def discard(
        self, tenant: TenantId, digests: Collection[Digest], after: int, *, busy: bool = False
    ) -> set[Digest]:
        """Removes blobs at once that nothing over a position names, and returns them; none while somebody works."""
        return await self._database.write(self._discard, tenant, digests, after, busy)

    async def erase(self) -> None:
        """Returns when the files hold nothing any more of what was removed.

        Raises:
            StorageLocked: others kept it from that.
        """
        await erasing.erase(self._database)

    def listen(self, stream: StreamId, hint: Callable[[], None], *, mail: bool = False) -> Callable[[], None]:
        """Calls `hint` when the stream, or only its inbox, changed, here or in another process; returns how to stop
        it.
        """
        return self._watch.listen(stream, hint, mail=mail)

    async def close(self) -> None:
        """Finishes what was asked for and lets go of the file."""
        self._watch.close()
        await self._database.close()

    # What follows runs inside a transaction, in the event loop or the writer's thread.

    def _claim(self, connection: Connection, stream: StreamId, worker: WorkerId, ttl: int, over: int | None) -> Claim:
        now = self._clock.now()
        head = self._buffer.head(connection, stream) or rules.created(stream, now, self._buffer.epoch)
        claimed = rules.claimed(head, worker, ttl, over, now)
        self._buffer.put(claimed, now)
        return Claim(claimed, self._unread(connection, claimed))

    def _unread(self, connection: Connection, head: Head) -> tuple[Mail, ...]:
        return tuple(self._buffer.mail(connection, head.stream, head.inbox_taken)) if head.unread else ()

    def _renew(self, connection: Connection, leases: Sequence[tuple[StreamId, int]], ttl: int) -> set[StreamId]:
        now = self._clock.now()
        lost: set[StreamId] = set()
        for stream, epoch in leases:
            found = self._buffer.head(connection, stream)
            head = rules.renewed(found, epoch, ttl, now) if found else None
            if head is None:
                lost.add(stream)
            else:
                self._buffer.put(head, now)
        return lost

    def _release(self, connection: Connection, stream: StreamId, epoch: int) -> None:
        now = self._clock.now()
        found = self._buffer.head(connection, stream)
        head = rules.released(found, epoch, now) if found else None
        if head is not None:
            self._buffer.put(head, now)

    def _append(  # noqa: PLR0913 - what `append` takes, for a transaction
        self,
        connection: Connection,
        stream: StreamId,
        epoch: int,
        expected_seq: int,
        batch: BatchId,
        records: Sequence[Record],
        taken: int | None,
        park: Park | None,
        heavy: bool,
    ) -> Head | Unread:
        found = self._buffer.head(connection, stream)
        if found is None:
            raise Fenced(f"there is no stream {stream!r} to append to; claim it first")
        now = self._clock.now()
        head = rules.appended(found, epoch, expected_seq, batch, records, taken=taken, park=park, now=now)
        if isinstance(head, Head) and head is not found:
            sid = self._buffer.put(head, now)
            if heavy:
                self._insert_blobs(connection, stream, records, now)
            self._buffer.add_records(sid, records)
        return head

    def _post(
        self, connection: Connection, stream: StreamId, letter: Letter, if_idle: bool, lease: Lease | None, new: bool
    ) -> Posted:
        now = self._clock.now()
        # A name that is there all the same is found by the table, which has no name twice.
        found = self._buffer.remembered(stream) if new else self._buffer.head(connection, stream)
        if new and found is not None:
            raise StorageError(f"there is a stream {stream!r} already; draw another name")
        if found is None:
            return self._open(stream, letter, lease, now)
        key = letter.key
        if (first := self._buffer.key(connection, stream, key)) is not None:
            return self._post_again(connection, found, first, lease, now)
        head = rules.posted(found, if_idle=if_idle, urgent=letter.urgent, now=now)
        if isinstance(head, Posted):
            return head
        n = head.inbox_seq
        mail = Mail(n=n, key=key, kind=letter.kind, body=letter.body, actor=letter.actor, at=now)
        claimed = lease is not None and rules.is_free(head, now)
        if lease is not None and claimed:
            head = rules.claimed(head, lease.worker, lease.ttl, None, now)
        self._buffer.add_mail(self._buffer.put(head, now), mail)
        if not claimed:
            return Posted("accepted", n)
        # What lies unread is known without looking where nothing did before.
        unread = (mail,) if head.inbox_taken == n - 1 else self._unread(connection, head)
        return Posted("accepted", n, Claim(head, unread))

    def _open(self, stream: StreamId, letter: Letter, lease: Lease | None, now: int) -> Posted:
        """Makes a stream of which this letter is the first message."""
        head = rules.opened(stream, now, self._buffer.epoch, lease)
        mail = Mail(n=1, key=letter.key, kind=letter.kind, body=letter.body, actor=letter.actor, at=now)
        self._buffer.add_mail(self._buffer.put(head, now), mail)
        return Posted("accepted", 1, None if lease is None else Claim(head, (mail,)))

    def _post_again(self, connection: Connection, head: Head, first: int, lease: Lease | None, now: int) -> Posted:
        if lease is None or not rules.is_free(head, now):
            return Posted("duplicate", first)
        claimed = rules.claimed(head, lease.worker, lease.ttl, None, now)
        self._buffer.put(claimed, now)
        return Posted("duplicate", first, Claim(claimed, self._unread(connection, claimed)))

    def _fork(
        self,
        connection: Connection,
        parent: StreamId,
        at: int,
        child: StreamId,
        batch: BatchId,
        records: Sequence[Record],
    ) -> Head:
        now = self._clock.now()
        new = rules.created(child, now, self._buffer.epoch)
        head = rules.forked(self._buffer.head(connection, parent), parent, at, new, batch, records)
        if self._buffer.head(connection, child) is not None:
            raise UsageError(f"session {session_of(child)!r} exists already: fork to another name")
        sid = self._buffer.put(head, now)
        self._insert_blobs(connection, child, records, now)
        self._buffer.add_records(sid, records)
        return head

    def _drop_taken(self, connection: Connection, streams: Collection[StreamId]) -> int:
        self._buffer.settle(connection)
        return erasing.drop_taken(connection, streams)

    def _delete(self, connection: Connection, stream: StreamId, epoch: int) -> int:
        rules.owned(self._buffer.head(connection, stream), stream, epoch)
        self._buffer.settle(connection)
        self._buffer.epoch = max(self._buffer.epoch, epoch)
        return erasing.delete(connection, stream, self._buffer.epoch)

    def _scrub(self, connection: Connection, stream: StreamId, epoch: int, records: Sequence[Record]) -> None:
        rules.owned(self._buffer.head(connection, stream), stream, epoch)
        self._buffer.settle(connection)
        places = erasing.places_of(connection, stream, records)
        self._insert_blobs(connection, stream, records, self._clock.now())
        erasing.replace(connection, places, records)

    def _discard(
        self, connection: Connection, tenant: TenantId, digests: Collection[Digest], after: int, busy: bool
    ) -> set[Digest]:
        self._buffer.settle(connection)
        bounds = _bounds(tenant)
        if not busy and erasing.is_busy(connection, bounds, self._clock.now()):
            return set()
        return erasing.discard(connection, tenant, bounds, digests, after)

    def _insert_blobs(self, connection: Connection, stream: StreamId, records: Sequence[Record], now: int) -> None:
        for record in records:
            if record.blob is not None and record.content is not None:
                insert_blob(connection, tenant_of(stream), record.blob, record.content, now)


def _nothing(_: Connection) -> None:
    """Takes its turn."""


def _read(connection: Connection, stream: StreamId, after: int, limit: int) -> list[Record]:
    line = tables.fetch_line(connection, stream, after)
    numbers = {row.head.stream: row.sid for row in line}
    records: list[Record] = []
    for name, over, up_to in rules.segments([row.head for row in line], after) if line else ():
        records += tables.fetch_records(connection, numbers[name], over, up_to, limit - len(records))
        if len(records) >= limit:
            break
    return records


def _bounds(tenant: str) -> tuple[str, str]:
    # Between "tenant/" and "tenant0", the next character, lies every stream of the tenant and nothing else.
    return f"{tenant}/", f"{tenant}0"
