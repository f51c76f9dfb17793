"""The owner's pen against a store that answers when the test wants it to, or loses its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.running import Wrapped, soon

from holdfast.engine.events import CODEC, AbortRequested, InputReceived
from holdfast.errors import Fenced, StorageFull
from holdfast.journal.owning import BLOB_BYTES, FLUSH_SECONDS, Pen, to_record
from holdfast.journal.port import Claim, Head, Journal, Letter, Park, Unread
from holdfast.journal.reading import decode_record, read_events
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.testing.clock import FakeClock
from holdfast.types import Event, EventId, StreamId, TenantId, Text, UserMessage, WorkerId

STREAM = StreamId("local/s")
TTL = 10_000_000


class Store(Wrapped):
    """A memory store whose appends take effect at once and answer when they are let."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(MemoryJournal(clock))
        self.slow = False
        self.refuse: Exception | None = None
        """Raised instead of writing."""
        self.lose: Exception | None = None
        """Raised after writing, once."""
        self.waiting: list[tuple[asyncio.Future[Head | Unread], asyncio.Future[Head | Unread]]] = []
        self.batches: list[list[str]] = []

    def append(self, *args: Any, **options: Any) -> asyncio.Future[Head | Unread]:
        answer: asyncio.Future[Head | Unread] = asyncio.get_running_loop().create_future()
        if self.refuse is not None and not self.slow:
            answer.set_exception(self.refuse)
            return answer
        self.batches.append([record.type for record in args[4]])
        if self.refuse is not None:
            refused: asyncio.Future[Head | Unread] = asyncio.get_running_loop().create_future()
            refused.set_exception(self.refuse)
            self.waiting.append((answer, refused))
            return answer
        written = self.inner.append(*args, **options)
        if self.lose is not None:
            error, self.lose = self.lose, None
            answer.set_exception(error)
            return answer
        if not self.slow:
            return written
        self.waiting.append((answer, written))
        return answer

    def acknowledge(self) -> None:
        for answer, written in self.waiting:
            if (error := written.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(written.result())
        self.waiting.clear()


class Desk:
    """A pen, its store and what readers were told."""

    def __init__(self, store: Store, clock: FakeClock, claim: Claim) -> None:
        self.store, self.clock = store, clock
        self.published: list[int] = []
        self.pen = Pen(cast("Journal", store), claim, CODEC, clock, self._committed)

    def _committed(self, events: Sequence[Event]) -> None:
        self.published += [event.seq for event in events]

    def write(self, *reasons: str) -> None:
        for reason in reasons:
            self.pen.write(AbortRequested(reason))

    async def log(self) -> list[str]:
        events = [event async for event in read_events(self.store.inner, STREAM, CODEC)]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert len({event.id for event in events}) == len(events)
        return [event.data.reason for event in events if isinstance(event.data, AbortRequested)]


async def desk() -> Desk:
    clock = FakeClock()
    store = Store(clock)
    return Desk(store, clock, await store.inner.claim(STREAM, WorkerId("ann"), TTL))


@pytest.mark.requirement("journal:append-published-after-acknowledged")
async def test_readers_are_told_after_the_acknowledgement_and_not_before() -> None:
    d = await desk()
    d.store.slow = True
    d.write("a", "b")
    syncing = asyncio.create_task(d.pen.sync())
    await asyncio.sleep(0)
    assert (d.store.batches, d.published) == ([["abort.requested"] * 2], [])
    d.store.acknowledge()
    await soon(syncing)
    assert d.published == [1, 2]


async def test_a_barrier_that_finds_the_answer_there_but_not_yet_heard_of_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    d = await desk()
    d.store.slow = True
    d.write("a")
    d.pen.flush()
    await d.clock.advance(FLUSH_SECONDS)
    shield, calls = asyncio.shield, list[int]()

    def counting(answer: Any) -> Any:
        calls.append(1)
        assert len(calls) < 100, "the barrier turns on the spot"
        return shield(answer)

    monkeypatch.setattr(asyncio, "shield", counting)
    d.store.acknowledge()  # done, and its callbacks have not had their turn
    await soon(d.pen.sync())
    assert d.published == [1]


async def test_what_was_flushed_is_durable_a_moment_later_and_what_came_meanwhile_a_moment_after() -> None:
    d = await desk()
    d.store.slow = True
    d.write("a")
    d.pen.flush()
    assert d.store.batches == []
    await d.clock.advance(FLUSH_SECONDS)
    assert len(d.store.batches) == 1
    d.write("b")
    d.pen.flush()
    await d.clock.advance(FLUSH_SECONDS)
    assert len(d.store.batches) == 1, "one append at a time"
    d.store.acknowledge()
    await d.clock.advance(FLUSH_SECONDS)
    assert len(d.store.batches) == 2
    d.store.acknowledge()
    await d.clock.advance(FLUSH_SECONDS)
    assert (d.published, await d.log()) == ([1, 2], ["a", "b"])


async def test_events_written_while_an_append_is_on_its_way_are_covered_by_the_next_barrier() -> None:
    d = await desk()
    d.store.slow = True
    d.write("a")
    first = asyncio.create_task(d.pen.sync())
    await asyncio.sleep(0)
    d.write("b")
    second = asyncio.create_task(d.pen.sync())
    await asyncio.sleep(0)
    assert not second.done()
    while not (first.done() and second.done()):
        d.store.acknowledge()
        await asyncio.sleep(0)
        assert len(d.store.batches) <= 2
    assert (d.published, await d.log()) == ([1, 2], ["a", "b"])


@pytest.mark.requirement("engine:abort-appends-shielded")
async def test_cancelling_whoever_waits_at_the_barrier_does_not_cut_the_append_short() -> None:
    d = await desk()
    d.store.slow = True
    d.write("a")
    syncing = asyncio.create_task(d.pen.sync())
    await asyncio.sleep(0)
    syncing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    d.store.acknowledge()
    d.store.slow = False
    d.write("b")
    await soon(d.pen.sync())
    assert (d.published, await d.log()) == ([1, 2], ["a", "b"])


async def test_a_refused_batch_is_offered_again_with_what_came_since() -> None:
    d = await desk()
    d.write("a")
    d.store.refuse = StorageFull("no space")
    for _ in range(2):
        with pytest.raises(StorageFull):
            await soon(d.pen.sync())
    assert d.published == []
    d.store.refuse = None
    d.write("b")
    await soon(d.pen.sync())
    assert (d.published, await d.log()) == ([1, 2], ["a", "b"])


async def test_a_flush_that_is_refused_says_so_at_the_next_barrier_only() -> None:
    d = await desk()
    d.write("a")
    d.store.refuse = StorageFull("no space")
    d.pen.flush()
    await d.clock.advance(FLUSH_SECONDS)
    with pytest.raises(StorageFull):
        await soon(d.pen.sync())
    d.store.refuse = None
    await soon(d.pen.sync())
    assert await d.log() == ["a"]


async def test_a_batch_whose_answer_was_lost_is_not_written_twice_and_what_came_since_follows() -> None:
    d = await desk()
    d.write("a", "b")
    d.store.lose = StorageFull("the answer was lost")
    with pytest.raises(StorageFull):
        await soon(d.pen.sync())
    d.write("c")
    await soon(d.pen.sync())
    assert (d.published, await d.log()) == ([1, 2, 3], ["a", "b", "c"])


async def test_a_newer_owner_fences_the_pen() -> None:
    d = await desk()
    d.write("a")
    await d.store.inner.claim(STREAM, WorkerId("ben"), TTL, over=1)
    with pytest.raises(Fenced):
        await soon(d.pen.sync())
    with pytest.raises(Fenced):
        await soon(d.pen.park(Park("idle")))
    assert (d.published, await d.log()) == ([], [])


@pytest.mark.requirement("engine:park-goes-on-with-unread-mail")
async def test_parking_with_unread_mail_is_refused_and_its_last_words_stay_unwritten() -> None:
    d = await desk()
    d.write("a")
    await d.store.post(STREAM, Letter(key="k", kind="steer", body=b"{}"))
    assert not await soon(d.pen.park(Park("idle"), AbortRequested("last")))
    assert (d.published, await d.log()) == ([], [])
    (mail,) = await d.pen.mail()
    d.pen.taken = mail.n
    d.write("b")
    assert await soon(d.pen.park(Park("idle"), AbortRequested("last")))
    assert (d.published, await d.log()) == ([1, 2, 3], ["a", "b", "last"])
    head = await d.store.head(STREAM)
    assert (head.state, head.owner, head.inbox_taken) == ("idle", None, 1)


@pytest.mark.requirement("engine:park-goes-on-with-unread-mail")
@pytest.mark.parametrize("why", ["unread mail", "no space"])
async def test_a_park_that_is_cancelled_while_it_is_refused_leaves_no_last_words(why: str) -> None:
    d = await desk()
    d.write("a")
    await d.store.post(STREAM, Letter(key="k", kind="steer", body=b"{}"))
    d.store.slow = True
    d.store.refuse = StorageFull("no space") if why == "no space" else None
    parking = asyncio.create_task(d.pen.park(Park("idle"), AbortRequested("last")))
    await asyncio.sleep(0)
    assert d.store.batches == [["abort.requested"] * 2]
    parking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(parking)
    d.store.acknowledge()
    await asyncio.sleep(0)  # it is heard of
    d.store.slow, d.store.refuse = False, None
    await soon(d.pen.sync())  # as whoever stops driving does
    assert (d.published, await d.log()) == ([1], ["a"])
    head = await d.store.head(STREAM)
    assert (head.state, head.owner) == ("running", "ann")


async def test_a_park_that_fails_leaves_no_last_words_and_the_next_one_says_them_once() -> None:
    d = await desk()
    d.write("a")
    d.store.refuse = StorageFull("no space")
    with pytest.raises(StorageFull):
        await soon(d.pen.park(Park("idle"), AbortRequested("last")))
    d.store.refuse = None
    await soon(d.pen.sync())
    assert (d.published, await d.log()) == ([1], ["a"])
    assert await soon(d.pen.park(Park("idle"), AbortRequested("the end")))
    assert (d.published, await d.log()) == ([1, 2], ["a", "the end"])


async def test_parking_waits_for_what_is_on_its_way() -> None:
    d = await desk()
    d.store.slow = True
    d.write("a")
    d.pen.flush()
    await d.clock.advance(FLUSH_SECONDS)
    parking = asyncio.create_task(d.pen.park(Park("idle"), AbortRequested("last")))
    while not parking.done():
        await asyncio.sleep(0)
        d.store.acknowledge()
    assert parking.result()
    assert (d.published, await d.log()) == ([1, 2], ["a", "last"])


async def test_parking_takes_along_what_came_since_in_one_append() -> None:
    d = await desk()
    d.store.slow = True
    d.write("a")
    d.pen.flush()
    await d.clock.advance(FLUSH_SECONDS)
    d.write("b")
    d.pen.flush()
    parking = asyncio.create_task(d.pen.park(Park("idle"), AbortRequested("last")))
    await asyncio.sleep(0)
    d.store.acknowledge()
    await d.clock.advance(FLUSH_SECONDS)  # what was to be flushed is on its way with the park
    assert [len(batch) for batch in d.store.batches] == [1, 2]
    d.store.acknowledge()
    assert await soon(parking)
    assert [len(batch) for batch in d.store.batches] == [1, 2]
    assert (d.published, await d.log()) == ([1, 2, 3], ["a", "b", "last"])


async def test_parking_after_a_lost_answer_does_park_and_writes_its_last_words() -> None:
    d = await desk()
    d.write("a")
    d.pen.flush()
    d.store.lose = StorageFull("the answer was lost")
    await d.clock.advance(FLUSH_SECONDS)
    assert await soon(d.pen.park(Park("idle"), AbortRequested("last")))
    assert (d.published, await d.log()) == ([1, 2], ["a", "last"])
    head = await d.store.head(STREAM)
    assert (head.state, head.owner) == ("idle", None)


async def test_mail_is_known_of_once_somebody_looked_and_looking_does_not_take_it() -> None:
    clock = FakeClock()
    store = Store(clock)
    await store.post(STREAM, Letter(key="k1", kind="prompt", body=b"1"))
    d = Desk(store, clock, await store.inner.claim(STREAM, WorkerId("ann"), TTL))
    assert d.pen.has_mail
    (first,) = await d.pen.mail()
    d.pen.taken = first.n
    assert not d.pen.has_mail
    await store.post(STREAM, Letter(key="k2", kind="prompt", body=b"2"))
    assert not d.pen.has_mail, "nobody told it"
    assert [mail.key for mail in await d.pen.peek()] == ["k2"]
    assert d.pen.has_mail
    for _ in range(2):
        assert [mail.key for mail in await d.pen.mail()] == ["k2"], "until it is taken"
    d.pen.taken = 2
    assert not d.pen.has_mail
    await store.post(STREAM, Letter(key="k3", kind="prompt", body=b"3"))
    d.write("a")
    await d.pen.sync()
    assert d.pen.has_mail, "the store's acknowledgement says so as well"


@pytest.mark.requirement("journal:blob-over-32-kib")
@pytest.mark.parametrize("size", [10, BLOB_BYTES - 400, BLOB_BYTES, 3_000_000])
async def test_large_content_lies_in_a_blob_and_comes_back_equal(size: int) -> None:
    journal = MemoryJournal(FakeClock())
    said = UserMessage((Text("ü" * (size // 2)),))
    event = Event(
        seq=1,
        id=EventId("b-0"),
        type=InputReceived.type,
        at=7,
        epoch=1,
        tenant=TenantId("local"),
        actor="user",
        cause="k",
        data=InputReceived("prompt", said),
    )
    record = to_record(event, CODEC)
    assert len(record.body) <= BLOB_BYTES
    assert (record.blob is not None) == (len(CODEC.encode(event)) > BLOB_BYTES)
    if record.blob is not None and record.content is not None:
        assert await journal.blobs.put(TenantId("local"), record.content) == record.blob
    assert await decode_record(record, STREAM, CODEC, journal) == event
