"""The checks of appends, and of giving a stream up with one."""

from __future__ import annotations

from holdfast.errors import Corrupt, Fenced
from holdfast.journal.port import Park, Record, Unread
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import (
    ANN,
    BEN,
    STREAM,
    TTL,
    Check,
    Make,
    expect,
    fill,
    is_head,
    letter,
    notes,
    refused,
)
from holdfast.types import BatchId, Digest

__all__ = ("APPENDING",)

_ONE = BatchId("one")
_TWO = BatchId("two")


async def an_append_adds_records_and_returns_the_new_head(make: Make) -> None:
    """Writes records after `expected_seq` and returns the new head. Without `park` the state becomes `running`."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    await clock.advance(1)
    head = is_head(await journal.append(STREAM, 1, 0, _ONE, notes(1, 3)))
    told = (head.seq, head.epoch, head.owner, head.last_batch, head.state, head.updated_at)
    expect(told == (3, 1, ANN, _ONE, "running", clock.now()), "the head names the last record and batch", head)
    expect(await journal.head(STREAM) == head, "the head that is returned is the one that is stored")
    head = is_head(await journal.append(STREAM, 1, 3, _TWO, notes(4)))
    expect(head.seq == 4, "the next append goes on where the last one ended", head)
    expect(await journal.read(STREAM) == notes(1, 4), "what was appended is read")


async def records_come_back_byte_for_byte(make: Make) -> None:
    """Records are bytes here."""
    journal = await make(FakeClock())
    await journal.claim(STREAM, ANN, TTL)
    digest = Digest("sha256:" + "0" * 64)
    bodies = [b"", b"\0", bytes(range(256)), b"\xff\xfe", "Grüße ✓ \"'\\".encode(), b"x" * 40_000]
    records = [Record(n, f"kind.{n}", body, digest if n % 2 else None) for n, body in enumerate(bodies, 1)]
    await journal.append(STREAM, 1, 0, _ONE, records)
    expect(await journal.read(STREAM) == records, "bodies, types and blobs come back as they were given")
    items = await journal.feed()
    expect([item.record for item in items] == records, "and so they do in the feed")


async def an_append_may_be_empty(make: Make) -> None:
    """Records may be empty."""
    journal = await make(FakeClock())
    await journal.post(STREAM, letter("a"))
    await journal.claim(STREAM, ANN, TTL)
    head = is_head(await journal.append(STREAM, 1, 0, _ONE, [], taken=1))
    expect((head.seq, head.inbox_taken, head.state) == (0, 1, "running"), "only the head changes", head)
    expect(await journal.read(STREAM) == [], "nothing was written")


async def the_same_batch_again_writes_nothing(make: Make) -> None:
    """The same batch again writes nothing and returns the head as it is."""
    journal = await make(FakeClock())
    await journal.claim(STREAM, ANN, TTL)
    first = await journal.append(STREAM, 1, 0, _ONE, notes(1, 2))
    again = await journal.append(STREAM, 1, 0, _ONE, notes(1, 2))
    expect(again == first, "a lost answer is given again", first, again)
    expect(await journal.read(STREAM) == notes(1, 2), "nothing is written twice")
    await journal.post(STREAM, letter("a"))
    later = is_head(await journal.append(STREAM, 1, 0, _ONE, notes(1, 2)))
    expect(later.inbox_seq == 1, "the head comes as it is now, not as it was", later)


async def a_parking_batch_again_writes_nothing(make: Make) -> None:
    """The same batch again returns the head, also when it gave the stream up, but not to a fenced owner."""
    journal = await make(FakeClock())
    await journal.claim(STREAM, ANN, TTL)
    first = await journal.append(STREAM, 1, 0, _ONE, notes(1), park=Park("idle"))
    again = await journal.append(STREAM, 1, 0, _ONE, notes(1), park=Park("idle"))
    expect(again == first, "the lost answer of a park is given again", first, again)
    await journal.claim(STREAM, BEN, TTL)
    late = journal.append(STREAM, 1, 0, _ONE, notes(1), park=Park("idle"))
    await refused(Fenced, late, "whoever is fenced learns it, and not the head of the next owner")
    expect(await journal.read(STREAM) == notes(1), "nothing is written twice")


async def a_wrong_number_is_corrupt_and_changes_nothing(make: Make) -> None:
    """Corrupt: the epoch is right but `expected_seq` is not the last record."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 3)
    for expected in (2, 4):
        call = journal.append(STREAM, 1, expected, _ONE, notes(expected + 1))
        await refused(Corrupt, call, "a wrong number under the right epoch is a bug and said so")
    expect(await journal.head(STREAM) == head, "the head stays as it was", await journal.head(STREAM))
    expect(await journal.read(STREAM) == notes(1, 3), "no record is written")


async def a_batch_is_written_whole_or_not_at_all(make: Make) -> None:
    """All or none: a batch whose records are not numbered one by one is refused as a whole."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 1)
    gap = [*notes(2, 3), *notes(6)]
    await refused(Corrupt, journal.append(STREAM, 1, 1, _ONE, gap), "a gap in a batch is refused")
    double = [*notes(2), *notes(2)]
    await refused(Corrupt, journal.append(STREAM, 1, 1, _ONE, double), "a number twice in a batch is refused")
    expect(await journal.read(STREAM) == notes(1), "nothing of a refused batch is written")
    expect(await journal.head(STREAM) == head, "a refused batch leaves the head alone")


async def mail_is_taken_together_with_its_effect(make: Make) -> None:
    """`taken` says that these records hold the effect of the inbox up to that message."""
    journal = await make(FakeClock())
    for key in ("a", "b"):
        await journal.post(STREAM, letter(key))
    await journal.claim(STREAM, ANN, TTL)
    head = is_head(await journal.append(STREAM, 1, 0, _ONE, notes(1), taken=1))
    expect((head.inbox_taken, head.inbox_seq, head.unread) == (1, 2, True), "one of two messages is taken", head)
    head = is_head(await journal.append(STREAM, 1, 1, _TWO, notes(2)))
    expect(head.inbox_taken == 1, "an append without `taken` leaves the mark alone", head)
    for wrong in (0, 3):
        call = journal.append(STREAM, 1, 2, BatchId("three"), notes(3), taken=wrong)
        await refused(Corrupt, call, "mail is taken forwards, and not before it is there")
    expect(await journal.head(STREAM) == head, "a refused mark changes nothing")


async def a_park_gives_the_stream_up_with_its_records(make: Make) -> None:
    """With `park` the stream is given up in the same transaction."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    wake = clock.now() + 5_000_000
    head = is_head(await journal.append(STREAM, 1, 0, _ONE, notes(1), park=Park("waiting", wake)))
    told = (head.state, head.wake_at, head.owner, head.lease_until, head.seq)
    expect(told == ("waiting", wake, None, 0, 1), "the stream waits and nobody owns it", head)
    claim = await journal.claim(STREAM, BEN, TTL)
    expect((claim.head.state, claim.head.wake_at) == ("waiting", wake), "a claim alone ends no waiting", claim.head)
    head = is_head(await journal.append(STREAM, 2, 1, _TWO, notes(2)))
    expect((head.state, head.wake_at) == ("running", None), "an append without park does", head)


async def a_park_with_unread_mail_writes_nothing(make: Make) -> None:
    """If mail beyond `taken` lies unread, `Unread` is returned and nothing is written."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 1)
    for key in ("a", "b"):
        await journal.post(STREAM, letter(key))
    before = await journal.head(STREAM)
    for taken in (None, 1):
        answer = await journal.append(STREAM, 1, 1, _ONE, notes(2), taken=taken, park=Park("idle"))
        expect(isinstance(answer, Unread) and answer.head == before, "the park is answered Unread", answer)
    expect(await journal.head(STREAM) == before, "the owner keeps the stream", await journal.head(STREAM))
    expect(await journal.read(STREAM) == notes(1), "nothing was written")
    head = is_head(await journal.append(STREAM, 1, 1, _ONE, notes(2), taken=2, park=Park("idle")))
    expect((head.state, head.inbox_taken, head.owner) == ("idle", 2, None), "with all mail taken it parks", head)


APPENDING: tuple[Check, ...] = (
    an_append_adds_records_and_returns_the_new_head,
    records_come_back_byte_for_byte,
    an_append_may_be_empty,
    the_same_batch_again_writes_nothing,
    a_parking_batch_again_writes_nothing,
    a_wrong_number_is_corrupt_and_changes_nothing,
    a_batch_is_written_whole_or_not_at_all,
    mail_is_taken_together_with_its_effect,
    a_park_gives_the_stream_up_with_its_records,
    a_park_with_unread_mail_writes_nothing,
)
"""Every check of this module."""
