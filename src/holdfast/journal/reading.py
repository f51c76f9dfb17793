"""From records back to events: of a stream that is at rest, and of one that is alive.

`read_events` decodes what is durable. `follow` goes on from there: through the live tail when the session runs
in this process, and by asking the store again, prompted by hints, when it runs elsewhere or nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec

from holdfast.errors import Corrupt
from holdfast.journal.port import Journal, Record
from holdfast.journal.tail import Tail
from holdfast.types import Codec, Delta, Event, Lagged, Reset, StreamId, tenant_of

__all__ = ("decode_record", "follow", "read_events")

_PAGE = 2000
_POLL_SECONDS = 0.5
"""How long a reader of another process's session trusts that no hint means no news."""


async def decode_record(record: Record, stream: StreamId, codec: Codec, journal: Journal) -> Event:
    """Returns a record as an event, its content fetched from the blob if it lies there.

    Raises:
        Corrupt: the bytes are not an event, or the blob is gone.
    """
    try:
        if record.blob is None:
            return codec.decode(record.body)
        data = await journal.blobs.get(tenant_of(stream), record.blob)
        envelope = msgspec.json.decode(record.body, type=dict[str, msgspec.Raw])
        return codec.decode(msgspec.json.encode({**envelope, "data": msgspec.Raw(data)}))
    except (msgspec.MsgspecError, KeyError) as error:
        raise Corrupt(
            f"record {record.seq} ({record.type!r}) of stream {stream!r} cannot be read: {error}; "
            "restore the store from a backup, or fork the session before that record"
        ) from error


async def read_events(
    journal: Journal, stream: StreamId, codec: Codec, *, after: int = 0, until: int | None = None
) -> AsyncIterator[Event]:
    """Yields the stream's durable events with a seq over `after`, up to `until`, in order."""
    while True:
        records = await journal.read(stream, after=after, limit=_PAGE)
        for record in records:
            if until is not None and record.seq > until:
                return
            yield await decode_record(record, stream, codec, journal)
        if len(records) < _PAGE:
            return
        after = records[-1].seq


async def follow(
    journal: Journal, stream: StreamId, codec: Codec, tail: Callable[[], Tail | None], *, after: int = 0
) -> AsyncGenerator[Sequence[Event | Delta], None]:
    """Yields, in lists, durable events over `after` and whatever follows, for ever; close it to stop.

    `tail` gives the session's live tail while it runs in this process. No durable event is missed or repeated.
    """
    while True:
        live = tail()
        if live is None or live.closed:
            polled = _poll(journal, stream, codec, tail, after)
            async with contextlib.aclosing(polled):
                async for events in polled:
                    after = events[-1].seq
                    yield events
            continue
        reader, partial = live.join()
        try:
            # Nothing is awaited between joining and this slice, so together they miss nothing.
            known, last = live.recent[max(0, after - live.after) :], live.last
            first = known[0].seq if known else last + 1
            if after + 1 < first:
                yield [event async for event in read_events(journal, stream, codec, after=after, until=first - 1)]
            if known or partial:
                yield [*known, *partial]
            after = max(after, last)
            while items := await reader.take():
                yield items
            after = max(after, reader.mark)
            if reader.lost:
                yield [Lagged(after), Reset("lagged")]
            elif live.error is not None:
                raise live.error
        finally:
            reader.close()


async def _poll(
    journal: Journal, stream: StreamId, codec: Codec, tail: Callable[[], Tail | None], after: int
) -> AsyncGenerator[Sequence[Event], None]:
    changed = asyncio.Event()
    stop = journal.listen(stream, changed.set)
    try:
        while (live := tail()) is None or live.closed:
            changed.clear()
            batch = [event async for event in read_events(journal, stream, codec, after=after)]
            if batch:
                after = batch[-1].seq
                yield batch
                continue
            if live is not None and live.error is not None:
                raise live.error  # it was driven here and cannot go on, and nobody else wrote anything since
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _POLL_SECONDS)
    finally:
        stop()
