"""From records back to events: of a stream that is at rest, and of one that is alive.

`read_events` decodes what is durable. A `Follower` goes on from there: through the live tail when the session runs
in this process, and by asking the store again, prompted by what all who follow share (`watching.py`), when it runs
elsewhere or nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import final

import msgspec

from holdfast.errors import Corrupt, StorageDamaged
from holdfast.flow.broadcast import Reader
from holdfast.journal.port import Head, Journal, Record
from holdfast.journal.tail import Tail
from holdfast.journal.watching import Found, Place, watched
from holdfast.types import Codec, Delta, Event, Lagged, Reset, StreamId, tenant_of

__all__ = ("Follower", "Sink", "decode_record", "latest_first", "read_events")

Sink = Callable[[Sequence[Event | Delta]], bool]
"""Takes deltas on the spot, as they come while whoever follows waits, and says whether it did. What it does not take
is handed out as events are; one that fails is not asked again. It must not wait.
"""
_PAGE = 2000
_LATEST = 32
"""Records at the end of a log that are read first: most of what is looked for there is among them."""
_AT_ONCE = 200
"""Events that a follower far behind is given at once: others may be as far behind."""


async def decode_record(record: Record, stream: StreamId, codec: Codec, journal: Journal) -> Event:
    """Returns a record as an event, its content fetched from the blob if it lies there.

    Raises:
        Corrupt: the bytes are not an event, or the blob is gone or damaged.
    """
    try:
        if record.blob is None:
            return codec.decode(record.body)
        data = await journal.blobs.get(tenant_of(stream), record.blob)
        envelope = msgspec.json.decode(record.body, type=dict[str, msgspec.Raw])
        return codec.decode(msgspec.json.encode({**envelope, "data": msgspec.Raw(data)}))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, StorageDamaged) as error:
        raise Corrupt(
            f"record {record.seq} ({record.type!r}) of stream {stream!r} cannot be read: {error}; "
            "restore the store from a backup, or fork the session before that record"
        ) from error


async def read_events(
    journal: Journal, stream: StreamId, codec: Codec, *, after: int = 0, until: int | None = None
) -> AsyncIterator[Event]:
    """Yields the stream's durable events with a seq over `after`, up to `until`, in order."""
    while (limit := _PAGE if until is None else min(_PAGE, until - after)) > 0:
        records = await journal.read(stream, after=after, limit=limit)
        for record in records:
            yield await decode_record(record, stream, codec, journal)
        if len(records) < limit:
            return
        after = records[-1].seq


async def latest_first(journal: Journal, stream: StreamId) -> AsyncIterator[Record]:
    """Yields the stream's durable records from the last one back; what nobody asks for is not read, but for a page."""
    head, page = await journal.head(stream), _LATEST
    last = 0 if head is None else head.seq
    while last > 0:
        after = max(0, last - page)
        for record in reversed(await journal.read(stream, after=after, limit=last - after)):
            yield record
        last, page = after, min(2 * page, _PAGE)


@final
class Follower(msgspec.Struct, eq=False):
    """A session's events and what comes next, for ever, in lists; no durable event is missed or repeated.

    `tail` gives the session's live tail while it runs in this process.
    """

    _journal: Journal
    _stream: StreamId
    _codec: Codec
    _tail: Callable[[StreamId], Tail | None]
    after: int = 0
    """Sequence number of the last durable event that was handed out, or is not wanted."""
    sink: Sink | None = None
    """What it takes, `next` does not return."""
    wakes: bool = False
    """Whether `next` returns nothing, too, when something changed that is no event: mail, an owner, or that the session
    was deleted."""
    head: Head | None = None
    """As it was when `next` last returned nothing and somebody else drove the session, or nobody."""
    _live: Tail | None = None
    _reader: Reader[Event | Delta] | None = None
    _place: Place | None = None
    _ahead: int = 0
    """The event up to which the store was read, before the tail was joined, that had not heard yet that it is durable;
    0 where the tail was as far.
    """

    async def next(self) -> Sequence[Event | Delta]:
        """Returns what came since the last call, waiting until there is something; of much, the first.

        Raises:
            HoldfastError: this process drove the session and cannot go on, and nobody else has.
        """
        while True:
            reader = self._reader
            if reader is not None:
                batch = await reader.take()
                if batch and self._ahead and not (batch := self._unread(batch)):
                    continue
                batch = batch or self._leave(reader)
                if not batch and self.wakes:
                    return batch
            elif (live := self._tail(self._stream)) is None or live.closed:
                batch = await self._poll(live)
                if not batch and self.wakes:
                    return batch
            elif self.after < live.after:  # the tail does not reach that far back; it is joined when nothing is missing
                until = min(live.after, self.after + _AT_ONCE)
                events = read_events(self._journal, self._stream, self._codec, after=self.after, until=until)
                batch = [event async for event in events]
                self.after = batch[-1].seq if batch else live.after
            else:
                last, batch = live.last, self._join(live)
                self.after = max(self.after, last)
            if batch:
                return batch

    def close(self) -> None:
        """Lets go of the tail and of the store's hints."""
        if (reader := self._reader) is not None:
            reader.close()
            self._reader = None
        if self._place is not None:
            self._place.leave()
            self._place = None
        self._ahead = 0

    def _join(self, live: Tail) -> Sequence[Event | Delta]:
        """Returns what the tail remembers; nothing is awaited between joining it and that, so they miss nothing."""
        if self._place is not None:
            self.close()
        self._live = live
        self._reader, partial = live.join()
        if self.after > live.last:  # what is on the disk is read before its writer hears that it is there
            self._ahead = self.after
            return ()
        self._reader.sink = self.sink
        return [*live.recent[max(0, self.after - live.after) :], *partial]

    def _unread(self, batch: Sequence[Event | Delta]) -> Sequence[Event | Delta]:
        """Returns of what a tail tells what comes after the last event that was read in the store."""
        for at, item in enumerate(batch):
            if isinstance(item, Event) and item.seq == self._ahead:
                self._ahead = 0
                if self._reader is not None:
                    self._reader.sink = self.sink
                return batch[at + 1 :]
        return ()

    def _leave(self, reader: Reader[Event | Delta]) -> Sequence[Event | Delta]:
        self.close()
        self.after, self.head = max(self.after, reader.mark), None
        if reader.lost:
            return [Lagged(self.after), Reset("lagged")]
        if self._live is not None and self._live.error is not None:
            raise self._live.error
        return ()

    async def _poll(self, live: Tail | None) -> Sequence[Event | Delta]:
        if self._place is None:
            self._place = watched(self._journal, self._stream)
        watch = self._place.watched
        version = watch.version
        batch, self.head = await watch.read(self.after, self._fetch)
        if batch:
            self.after = batch[-1].seq
            return batch
        if live is not None and live.error is not None:
            raise live.error  # it was driven here and cannot go on, and nobody else wrote anything since
        await watch.changed(version)
        return ()

    def _fetch(self) -> asyncio.Task[Found]:
        return asyncio.create_task(_page(self._journal, self._stream, self._codec, self.after))


async def _page(journal: Journal, stream: StreamId, codec: Codec, after: int) -> Found:
    records = await journal.read(stream, after=after, limit=_AT_ONCE)
    if not records:
        return [], await journal.head(stream)
    return [await decode_record(record, stream, codec, journal) for record in records], None
