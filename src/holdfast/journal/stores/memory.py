"""Streams that live as long as the process: for tests, for throwaway runs, and as the plainest reading of the port.

Nothing here waits, so every coroutine ends in its first step. One event loop at a time.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from itertools import count, islice, repeat
from operator import attrgetter
from typing import final

import msgspec
from msgspec.structs import replace

from holdfast.errors import Fenced, JournalError, StorageError, UsageError
from holdfast.flow.clock import Clock
from holdfast.journal.port import (
    Claim,
    FeedItem,
    Head,
    Journal,
    Lease,
    Letter,
    Mail,
    Park,
    Posted,
    Record,
    Unread,
    is_buried,
)
from holdfast.journal.stores import heads as rules
from holdfast.journal.stores.hints import Hints
from holdfast.storage.blobs import BlobStore
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.types import BatchId, Digest, StreamId, TenantId, WorkerId, session_of, tenant_of

__all__ = ("MemoryJournal",)

_BLOB = attrgetter("blob")


class _Stream(msgspec.Struct, eq=False, gc=False):
    head: Head
    mail: list[Mail] = []
    keys: dict[str, int] = {}
    """The message of each key."""
    records: list[Record] = []
    """Its own; a fork's shared ones stay with its parent."""
    due_at: int | None = None


@final
class MemoryJournal(Journal):
    """All streams of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._blobs = MemoryBlobStore(clock)
        self._hints = Hints()
        self._streams: dict[StreamId, _Stream] = {}
        self._feed: list[FeedItem] = []
        self._positions = count(1)
        """Those of the feed that were not given out."""
        self._epoch = 0
        """The highest that a deleted stream had."""
        self._restless: dict[StreamId, _Stream] = {}
        """Those that are, or will be, due."""

    @property
    def blobs(self) -> BlobStore:
        """Where content over the size of a record goes."""
        return self._blobs

    async def claim(self, stream: StreamId, worker: WorkerId, ttl: int, *, over: int | None = None) -> Claim:
        """Makes `worker` the owner for `ttl` µs.

        Raises:
            LeaseHeld: somebody else's lease is live.
        """
        now = self._clock.now()
        found = self._streams.get(stream) or _Stream(rules.created(stream, now, self._epoch))
        head = rules.claimed(found.head, worker, ttl, over, now)
        self._streams[stream] = found
        self._set(found, head, now)
        return Claim(head, tuple(found.mail[head.inbox_taken :]))

    async def renew(self, leases: Sequence[tuple[StreamId, int]], ttl: int) -> set[StreamId]:
        """Prolongs leases and returns the streams that are not ours any more."""
        now = self._clock.now()
        lost: set[StreamId] = set()
        for stream, epoch in leases:
            found = self._streams.get(stream)
            head = rules.renewed(found.head, epoch, ttl, now) if found else None
            if found is None or head is None:
                lost.add(stream)
            else:
                self._set(found, head, now)
        return lost

    async def release(self, stream: StreamId, epoch: int) -> None:
        """Gives up a lease; the state stays."""
        now = self._clock.now()
        found = self._streams.get(stream)
        head = rules.released(found.head, epoch, now) if found else None
        if found is not None and head is not None:
            self._set(found, head, now)

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
        """Writes records, all or none, and returns the new head: a future that is done already.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up.
            Corrupt: the epoch is right but `expected_seq` is not the last record.
        """
        answer: asyncio.Future[Head | Unread] = asyncio.get_running_loop().create_future()
        try:
            found = self._streams.get(stream)
            if found is None:
                raise Fenced(f"there is no stream {stream!r} to append to; claim it first")
            now = self._clock.now()
            head = rules.appended(found.head, epoch, expected_seq, batch, records, taken=taken, park=park, now=now)
            if isinstance(head, Head) and head is not found.head:
                self._write(found, records)
                self._set(found, head, now)
        except JournalError as error:
            answer.set_exception(error)
        else:
            answer.set_result(head)
        return answer

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
        now = self._clock.now()
        found = self._streams.get(stream)
        if found is None:
            return self._open(stream, letter, lease, now)
        if new:
            raise StorageError(f"there is a stream {stream!r} already; draw another name")
        key, head = letter.key, found.head
        first = found.keys.get(key)
        if first is None:
            after = rules.posted(head, if_idle=if_idle, urgent=letter.urgent, now=now)
            if isinstance(after, Posted):
                return after
            head, n = after, after.inbox_seq
            found.mail.append(Mail(n=n, key=key, kind=letter.kind, body=letter.body, actor=letter.actor, at=now))
            found.keys[key] = n
        claim: Claim | None = None
        if lease is not None and rules.is_free(head, now):
            head = rules.claimed(head, lease.worker, lease.ttl, None, now)
            claim = Claim(head, tuple(found.mail[head.inbox_taken :]))
        if head is not found.head:
            self._set(found, head, now, mail=first is None)
        return Posted("accepted", head.inbox_seq, claim) if first is None else Posted("duplicate", first, claim)

    def _open(self, stream: StreamId, letter: Letter, lease: Lease | None, now: int) -> Posted:
        """Makes a stream of which this letter is the first message."""
        head, key = rules.opened(stream, now, self._epoch, lease), letter.key
        mail = Mail(n=1, key=key, kind=letter.kind, body=letter.body, actor=letter.actor, at=now)
        made = _Stream(head, [mail], {key: 1}, due_at=rules.due_at(head, None, now))
        self._streams[stream] = self._restless[stream] = made
        self._hints.tell(stream, mail=True)
        return Posted("accepted", 1, None if lease is None else Claim(head, (mail,)))

    async def mail(self, stream: StreamId, after: int) -> list[Mail]:
        """Returns the messages numbered over `after`, oldest first."""
        found = self._streams.get(stream)
        return found.mail[max(after, 0) :] if found else []

    async def drop_taken(self, streams: Collection[StreamId]) -> int:
        """Empties the bodies of mail that was taken; returns of how many messages."""
        emptied = 0
        for found in filter(None, map(self._streams.get, streams)):
            for place, mail in enumerate(found.mail[: found.head.inbox_taken]):
                if mail.body:
                    found.mail[place] = replace(mail, body=b"")
                    emptied += 1
        return emptied

    async def head(self, stream: StreamId) -> Head | None:
        """Returns the head row, or None when there is no such stream."""
        found = self._streams.get(stream)
        return found.head if found else None

    async def heads(self, tenant: str, *, after: str = "", limit: int = 100) -> list[Head]:
        """Returns the heads of a tenant's streams whose id sorts after `after`, by id."""
        mine = (
            stream
            for stream in self._streams
            if stream > after and tenant_of(stream) == tenant and not is_buried(stream)
        )
        return [self._streams[stream].head for stream in heapq.nsmallest(limit, mine)]

    async def read(self, stream: StreamId, *, after: int = 0, limit: int = 1000) -> list[Record]:
        """Returns records with a seq over `after`, in order; of a fork, its parents' shared records as well."""
        found = self._streams.get(stream)
        if found is None:
            return []
        line = [found.head]
        while line[-1].parent is not None and line[-1].parent_seq > after:
            line.append(self._streams[line[-1].parent].head)
        records: list[Record] = []
        for name, over, up_to in rules.segments(line, max(after, 0)):
            own = self._streams[name]
            first = own.head.parent_seq
            records += own.records[over - first : min(up_to, over + limit - len(records)) - first]
            if len(records) >= limit:
                break
        return records

    async def feed(
        self, *, after: int = 0, types: Sequence[str] = (), tenant: str | None = None, limit: int = 1000
    ) -> list[FeedItem]:
        """Returns records of all streams in the order in which they were written."""
        wanted = frozenset(types)
        first = bisect_right(self._feed, after, key=lambda item: item.position)
        items = (
            item
            for item in map(self._feed.__getitem__, range(first, len(self._feed)))  # `islice` steps over all before it
            if (not wanted or item.record.type in wanted) and (tenant is None or tenant_of(item.stream) == tenant)
        )
        return list(islice(items, limit))

    async def due(self, limit: int = 100, *, within: int = 0) -> list[StreamId]:
        """Returns streams without a live lease that want an owner, now or `within` so many µs, oldest first."""
        now = self._clock.now() + within
        ready = [(s.due_at, name) for name, s in self._restless.items() if s.due_at is not None and s.due_at <= now]
        return [name for _, name in heapq.nsmallest(limit, ready)]

    async def fork(self, parent: StreamId, at: int, child: StreamId, batch: BatchId, records: Sequence[Record]) -> Head:
        """Creates `child` with the parent's records up to `at` and `records` after them.

        Raises:
            UnknownSession: there is no such parent.
            UsageError: `child` exists, or the parent has no record `at`.
        """
        now = self._clock.now()
        found = self._streams.get(parent)
        new = rules.created(child, now, self._epoch)
        head = rules.forked(found.head if found else None, parent, at, new, batch, records)
        if child in self._streams:
            raise UsageError(f"session {session_of(child)!r} exists already: fork to another name")
        made = self._streams[child] = _Stream(head)
        self._set(made, head, now)
        self._write(made, records)
        return head

    async def delete(self, stream: StreamId, epoch: int) -> int:
        """Removes a stream, and returns how many of its records stay for forks.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up or deleted.
        """
        found = self._streams.get(stream)
        head = rules.owned(found.head if found else None, stream, epoch)
        children = self._children(stream)
        self._restless.pop(stream, None)
        gone = self._streams.pop(stream)
        self._epoch = max(self._epoch, epoch)
        kept = 0
        if children:
            name = rules.grave(stream, self._streams.__contains__)
            gone.mail, gone.keys, gone.due_at = [], {}, None
            gone.head = rules.buried(head, name, rules.shared(children))
            self._streams[name] = gone
            for child in children:
                child_of = self._streams[child.stream]
                child_of.head = replace(child_of.head, parent=name)
            self._cut(gone, name, was=stream)
            kept = len(gone.records)
        else:
            self._feed = [item for item in self._feed if item.stream != stream]
            self._tidy(head.parent)
        self._hints.tell(stream, mail=True)
        return kept

    def _children(self, stream: StreamId) -> list[Head]:
        return [each.head for each in self._streams.values() if each.head.parent == stream]

    def _cut(self, stream: _Stream, name: StreamId, *, was: StreamId) -> None:
        """Removes the records of a buried stream that no fork shares any more."""
        del stream.records[max(0, stream.head.seq - stream.head.parent_seq) :]
        self._feed = [
            FeedItem(item.position, name, item.record) if item.stream == was else item
            for item in self._feed
            if item.stream != was or item.record.seq <= stream.head.seq
        ]

    def _tidy(self, stream: StreamId | None) -> None:
        """Removes what nobody shares any more of a buried stream, and of those above it."""
        while stream is not None and is_buried(stream) and (found := self._streams.get(stream)):
            children = self._children(stream)
            if children:
                found.head = replace(found.head, seq=rules.shared(children))
                return self._cut(found, stream, was=stream)
            del self._streams[stream]
            self._feed = [item for item in self._feed if item.stream != stream]
            stream = found.head.parent
        return None

    async def scrub(self, stream: StreamId, epoch: int, records: Sequence[Record]) -> None:
        """Puts records in the place of those with their numbers, all or none.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up or deleted.
            UsageError: the stream has no record of such a number and type.
        """
        found = self._streams.get(stream)
        rules.owned(found.head if found else None, stream, epoch)
        stored = {each.seq: each for each in await self.read(stream, limit=1 << 62)}
        rules.check_replaced(stream, {seq: each.type for seq, each in stored.items()}, records)
        instead = {id(stored[each.seq]): self._lightened(tenant_of(stream), each) for each in records}
        for every in self._streams.values():
            every.records = [instead.get(id(each), each) for each in every.records]
        self._feed = [
            FeedItem(item.position, item.stream, instead.get(id(item.record), item.record)) for item in self._feed
        ]

    async def discard(
        self, tenant: TenantId, digests: Collection[Digest], after: int, *, busy: bool = False
    ) -> set[Digest]:
        """Removes blobs at once that nothing over a position names, and returns them; none while somebody works."""
        now = self._clock.now()
        heads = [each.head for name, each in self._streams.items() if tenant_of(name) == tenant]
        if not busy and any(not rules.is_free(head, now) for head in heads):
            return set()
        named = [item.record for item in await self.feed(after=after, tenant=tenant, limit=1 << 62)]
        there = self._blobs.those(tenant, digests)
        gone = {each for each in there if not any(rules.names(record, each) for record in named)}
        self._blobs.drop(tenant, gone)
        return gone

    async def erase(self) -> None:
        """Does nothing: there is no file."""

    def listen(self, stream: StreamId, hint: Callable[[], None], *, mail: bool = False) -> Callable[[], None]:
        """Calls `hint` when the stream, or only its inbox, changed; returns how to stop it."""
        return self._hints.listen(stream, hint, mail=mail)

    async def close(self) -> None:
        """Does nothing: what is in memory goes with the process."""

    def _write(self, stream: _Stream, records: Sequence[Record]) -> None:
        name = stream.head.stream
        if any(map(_BLOB, records)):
            records = [self._lightened(tenant_of(name), each) for each in records]
        stream.records += records
        self._feed.extend(map(FeedItem, islice(self._positions, len(records)), repeat(name), records))

    def _lightened(self, tenant: TenantId, record: Record) -> Record:
        if record.blob is None or record.content is None:
            return record
        self._blobs.keep(tenant, record.blob, record.content)
        return Record(record.seq, record.type, record.body, record.blob)

    def _set(self, stream: _Stream, head: Head, now: int, *, mail: bool = False) -> None:
        name, stream.head = head.stream, head
        stream.due_at = due = rules.due_at(head, stream.due_at, now)
        if due is None:
            self._restless.pop(name, None)
        else:
            self._restless[name] = stream
        self._hints.tell(name, mail=mail)
