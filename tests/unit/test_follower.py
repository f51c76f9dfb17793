"""Following a session that this process does not drive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.running import Wrapped, soon, until

from holdfast.engine.events import CODEC, Resumed
from holdfast.flow.clock import SystemClock
from holdfast.journal.owning import to_record
from holdfast.journal.port import Record
from holdfast.journal.reading import Follower
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.journal.tail import Tail
from holdfast.types import Delta, Event, EventId, StreamId, TenantId, TextDelta


class Overheard(Wrapped):
    """A journal whose hints a test gives."""

    def __init__(self) -> None:
        super().__init__(MemoryJournal(SystemClock()))
        self.hints: list[Callable[[], None]] = []

    def listen(self, _: StreamId, hint: Callable[[], None], **__: object) -> Callable[[], None]:
        self.hints.append(hint)
        return lambda: None


@pytest.mark.requirement("journal:reader-cancelled")
async def test_a_reader_that_is_cancelled_at_the_moment_of_a_hint_ends() -> None:
    journal = Overheard()
    follower = Follower(journal, StreamId("local/s"), CODEC, lambda _: None)  # type: ignore[arg-type]
    reading = asyncio.create_task(follower.next())
    await until(lambda: bool(journal.hints))
    for _ in range(20):
        await asyncio.sleep(0)  # now it waits
    journal.hints[0]()
    await asyncio.sleep(0)  # what waits for the hint hears of it, and the reader has not yet
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(reading)
    follower.close()


class Slow(Wrapped):
    """A journal whose first read never ends, and whose later ones find these events."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__(MemoryJournal(SystemClock()))
        self.records = [to_record(event, CODEC) for event in events]
        self.reads = 0

    async def read(self, _: StreamId, *, after: int = 0, limit: int = 1000) -> list[Record]:
        self.reads += 1
        if self.reads == 1:
            await asyncio.Event().wait()
        return [record for record in self.records if record.seq > after][:limit]


@pytest.mark.requirement("journal:reader-cancelled")
async def test_a_reader_that_is_cancelled_far_behind_the_tail_misses_nothing_afterwards() -> None:
    stream = StreamId("local/s")
    events = [
        Event(
            seq=n, id=EventId(f"e{n}"), type=Resumed.type, at=n, epoch=1, v=1, tenant=TenantId("local"), data=Resumed()
        )
        for n in range(1, 6)
    ]
    journal, tail = Slow(events[:3]), Tail(stream, 3)
    tail.commit(events[3:])
    follower = Follower(journal, stream, CODEC, lambda _: tail)  # type: ignore[arg-type]
    reading = asyncio.create_task(follower.next())
    await until(lambda: journal.reads == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(reading)
    seen = [*await soon(follower.next()), *await soon(follower.next())]
    assert [each.seq for each in seen if isinstance(each, Event)] == [1, 2, 3, 4, 5]
    follower.close()


@pytest.mark.requirement("journal:follow-live-or-later")
async def test_what_was_read_from_the_disk_before_its_writer_heard_of_it_is_not_told_twice() -> None:
    stream = StreamId("local/s")
    events = [
        Event(
            seq=n, id=EventId(f"e{n}"), type=Resumed.type, at=n, epoch=1, v=1, tenant=TenantId("local"), data=Resumed()
        )
        for n in range(1, 6)
    ]
    journal, tail, tails = Slow(events[:3]), Tail(stream, 0), list[Tail]()
    journal.reads = 1  # no read waits
    follower = Follower(journal, stream, CODEC, lambda _: tails[0] if tails else None)  # type: ignore[arg-type]
    seen: list[Event | Delta] = [*await soon(follower.next())]  # the writer has not heard that they are written
    tails.append(tail)
    tail.publish([TextDelta("of an answer that")], 0)
    coming = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    tail.publish([TextDelta(" is over")], 2)
    tail.commit(events[:2])
    tail.commit([events[2], events[3]])
    tail.publish([TextDelta("new")], 4)
    seen += await soon(coming)
    tail.commit(events[4:])
    while not seen or not isinstance(seen[-1], Event) or seen[-1].seq < 5:
        seen += await soon(follower.next())
    assert [each.seq if isinstance(each, Event) else each.text for each in seen] == [1, 2, 3, 4, "new", 5]  # type: ignore[union-attr]
    follower.close()
