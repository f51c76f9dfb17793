"""From records back to events: of a stream that is at rest, and of one that is alive.

`read_events` decodes what is durable. A `Follower` goes on from there: through the live tail when the session runs
in this process, and by asking the store again, prompted by hints, when it runs elsewhere or nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import final

import msgspec

from holdfast.errors import Corrupt, StorageDamaged
from holdfast.flow.broadcast import Reader
from holdfast.journal.port import Journal, Record
from holdfast.journal.tail import Tail
from holdfast.types import Codec, Delta, Event, Lagged, Reset, StreamId, tenant_of

__all__ = ("Follower", "decode_record", "latest_first", "read_events")

_PAGE = 2000
_LATEST = 32
"""Records at the end of a log that are read first: most of what is looked for there is among them."""
_POLL_SECONDS = 0.5
"""How long a reader of another process's session trusts that no hint means no news."""


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
    _live: Tail | None = None
    _reader: Reader[Event | Delta] | None = None
    _changed: asyncio.Event | None = None
    _stop: Callable[[], None] | None = None

    async def next(self) -> Sequence[Event | Delta]:
        """Returns what came since the last call, waiting until there is something.

        Raises:
            HoldfastError: this process drove the session and cannot go on, and nobody else has.
        """
        while True:
            reader = self._reader
            if reader is not None:
                batch = await reader.take() or self._leave(reader)
            elif (live := self._tail(self._stream)) is None or live.closed:
                batch = await self._poll(live)
            elif self.after < live.after:  # the tail does not reach that far back; it is joined when nothing is missing
                events = read_events(self._journal, self._stream, self._codec, after=self.after, until=live.after)
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
        if self._stop is not None:
            self._stop()
            self._stop = self._changed = None

    def _join(self, live: Tail) -> Sequence[Event | Delta]:
        """Returns what the tail remembers; nothing is awaited between joining it and that, so they miss nothing."""
        if self._stop is not None:
            self.close()
        self._live = live
        self._reader, partial = live.join()
        return [*live.recent[max(0, self.after - live.after) :], *partial]

    def _leave(self, reader: Reader[Event | Delta]) -> Sequence[Event | Delta]:
        self.close()
        self.after = max(self.after, reader.mark)
        if reader.lost:
            return [Lagged(self.after), Reset("lagged")]
        if self._live is not None and self._live.error is not None:
            raise self._live.error
        return ()

    async def _poll(self, live: Tail | None) -> Sequence[Event | Delta]:
        if self._changed is None:
            self._changed = asyncio.Event()
            self._stop = self._journal.listen(self._stream, self._changed.set)
        self._changed.clear()
        events = read_events(self._journal, self._stream, self._codec, after=self.after)
        if batch := [event async for event in events]:
            self.after = batch[-1].seq
            return batch
        if live is not None and live.error is not None:
            raise live.error  # it was driven here and cannot go on, and nobody else wrote anything since
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):  # wait_for would keep a cancel to itself that comes with a hint
                await self._changed.wait()
        return ()
