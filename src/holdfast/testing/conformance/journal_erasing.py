"""The checks of taking things out again: streams, records, mail that was taken, blobs."""

from __future__ import annotations

from holdfast.errors import Fenced, LeaseHeld, UsageError
from holdfast.journal.port import Journal, Park, Record
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import (
    ANN,
    BEN,
    LOCAL,
    STREAM,
    TTL,
    Check,
    Make,
    expect,
    fill,
    is_head,
    letter,
    named,
    notes,
    refused,
)
from holdfast.types import BatchId, StreamId, TenantId, digest_of

__all__ = ("ERASING",)

_CHILD = named("child")
_OTHER = named("other")


async def _own(journal: Journal, stream: StreamId) -> int:
    return (await journal.claim(stream, ANN, TTL)).head.epoch


async def a_deleted_stream_is_gone_with_all_it_had(make: Make) -> None:
    """Removes a stream with its head, its mail and its records, and returns how many records stay for forks."""
    journal, other = await make(FakeClock()), await make(FakeClock())
    await journal.post(STREAM, letter("a"))
    head = await fill(journal, STREAM, 5)
    await fill(journal, _OTHER, 2)
    expect(await other.delete(STREAM, head.epoch) == 0, "nothing stays where nothing is shared")
    seen = (await journal.head(STREAM), await journal.read(STREAM), await journal.mail(STREAM, 0))
    expect(seen == (None, [], []), "head, records and mail are gone", seen)
    expect([each.stream for each in await journal.heads("local")] == [_OTHER], "and it is in no list")
    expect([item.stream for item in await journal.feed()] == [_OTHER] * 2, "nor in the feed")
    expect(await journal.due() == [], "and nothing of it is due")
    expect(await journal.renew([(STREAM, head.epoch)], TTL) == {STREAM}, "its lease is lost")
    expect(await journal.read(_OTHER) == notes(1, 2), "other streams are as they were")


async def only_the_owner_deletes_and_scrubs(make: Make) -> None:
    """Fenced: the epoch is not the current one, or the stream was given up or deleted; nothing was removed."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 3)
    for epoch in (head.epoch - 1, head.epoch + 1):
        await refused(Fenced, journal.delete(STREAM, epoch), "a deletion under another epoch")
        await refused(Fenced, journal.scrub(STREAM, epoch, notes(1, body=b"x")), "a scrub under another epoch")
    await journal.release(STREAM, head.epoch)
    await refused(Fenced, journal.delete(STREAM, head.epoch), "a deletion of what was given up")
    await refused(Fenced, journal.scrub(STREAM, head.epoch, notes(1, body=b"x")), "a scrub of what was given up")
    expect(await journal.read(STREAM) == notes(1, 3), "nothing was changed")
    epoch = await _own(journal, STREAM)
    await journal.delete(STREAM, epoch)
    await refused(Fenced, journal.delete(STREAM, epoch), "a deletion of what is gone")
    call = journal.append(STREAM, epoch, 3, BatchId("late"), notes(4))
    await refused(Fenced, call, "an append to what is gone")


async def a_name_is_free_after_a_deletion(make: Make) -> None:
    """One that is made under its name later shares nothing with it."""
    journal = await make(FakeClock())
    await journal.post(STREAM, letter("a"))
    head = await fill(journal, STREAM, 4)
    await journal.fork(STREAM, 3, _CHILD, BatchId("f"), notes(4, body=b"own"))
    await journal.delete(STREAM, head.epoch)
    expect((await journal.post(STREAM, letter("a"))).status == "accepted", "its keys went with it")
    fresh = await journal.claim(STREAM, ANN, TTL)
    expect((fresh.head.seq, fresh.head.inbox_seq) == (0, 1), "the new stream begins anew", fresh.head)
    again = is_head(await journal.append(STREAM, fresh.head.epoch, 0, BatchId("n"), notes(1, 2, body=b"new")))
    expect(await journal.read(STREAM) == notes(1, 2, body=b"new"), "and holds its own alone")
    mine = [*notes(1, 3), *notes(4, body=b"own")]
    expect(await journal.read(_CHILD) == mine, "a fork of the old one does not see the new one")
    await journal.fork(STREAM, 1, named("second"), BatchId("g"), [])
    await journal.delete(STREAM, again.epoch)
    expect(await journal.read(named("second")) == notes(1, body=b"new"), "nor do two old ones mix")
    expect(await journal.read(_CHILD) == mine, "whichever was forked")


async def an_epoch_of_a_deleted_stream_is_never_given_out_again(make: Make) -> None:
    """Nor is an epoch that the stream had: whatever is made later, by a claim, a post or a fork, begins above it."""
    clock = FakeClock()
    journal, other = await make(clock), await make(clock)
    stopped = (await journal.claim(STREAM, ANN, TTL)).head.epoch
    heir = (await other.claim(STREAM, BEN, TTL, over=stopped)).head.epoch
    await fill(journal, _OTHER, 2)  # a stream that is there, and keeps counting its own claims
    await other.delete(STREAM, heir)
    last = heir
    for made in ("claim", "post", "fork"):
        if made == "post":
            await other.post(STREAM, letter("a"))
        elif made == "fork":
            await other.fork(_OTHER, 2, STREAM, BatchId("f"), notes(3))
        for turn in range(2):
            head = (await journal.claim(STREAM, ANN, TTL)).head
            expect(head.epoch > last, "a stream that is made anew begins above every epoch of the last", head, last)
            last = head.epoch
            for epoch in (stopped, heir):
                expect(await journal.renew([(STREAM, epoch)], TTL) == {STREAM}, "who owned the last owns it no more")
                late = journal.append(STREAM, epoch, head.seq, BatchId("late"), notes(head.seq + 1))
                await refused(Fenced, late, "who owned the last is fenced")
                await refused(Fenced, journal.delete(STREAM, epoch), "and deletes nothing")
                await journal.release(STREAM, epoch)
            await refused(LeaseHeld, other.claim(STREAM, BEN, TTL, over=heir), "nor is its epoch the one to claim over")
            expect(await other.head(STREAM) == head, "nothing of that changed the stream", await other.head(STREAM))
            if not turn:
                await journal.release(STREAM, head.epoch)
        await journal.delete(STREAM, last)
    fresh = (await (await make(clock)).claim(named("fresh"), ANN, TTL)).head
    expect(fresh.epoch > last, "under any name, in any process", fresh, last)
    expect((await journal.claim(_OTHER, BEN, TTL, over=1)).head.epoch == 2, "streams that are there count on")


async def what_forks_share_stays_until_the_last_is_deleted(make: Make) -> None:
    """What forks share can be read through them, and through nothing else, until the last of them is deleted."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 10)
    twin, deep = named("twin"), named("deep")
    await journal.fork(STREAM, 6, _CHILD, BatchId("f"), notes(7, 2, body=b"child"))
    await journal.fork(STREAM, 3, twin, BatchId("g"), [])
    await journal.fork(_CHILD, 4, deep, BatchId("h"), notes(5, body=b"deep"))
    expect(await journal.delete(STREAM, head.epoch) == 6, "as many stay as the longest share")
    expect(await journal.head(STREAM) is None and await journal.read(STREAM) == [], "the stream itself is gone")
    expect([each.stream for each in await journal.heads("local")] == [_CHILD, deep, twin], "and in no list")
    child = [*notes(1, 6), *notes(7, 2, body=b"child")]
    expect(await journal.read(_CHILD) == child, "a fork reads as before")
    expect(await journal.read(_CHILD, after=4, limit=3) == child[4:7], "also a page across both")
    expect(
        [item.record.seq for item in await journal.feed()][:6] == [1, 2, 3, 4, 5, 6], "what is shared is in the feed"
    )
    expect(len(await journal.feed(tenant="local")) == 9, "what nobody shares is not")
    expect(await journal.delete(_CHILD, await _own(journal, _CHILD)) == 0, "of a fork nothing stays that none shares")
    expect(await journal.read(deep) == [*notes(1, 4), *notes(5, body=b"deep")], "a fork of a fork reads through both")
    expect(await journal.read(twin) == notes(1, 3), "and so does the other one")
    await journal.delete(deep, await _own(journal, deep))
    expect(await journal.read(twin) == notes(1, 3), "the last one keeps what it shares")
    expect(len(await journal.feed()) == 3, "and nothing beyond it")
    await journal.delete(twin, await _own(journal, twin))
    expect(await journal.feed() == [] and await journal.heads("local") == [], "then all is gone")


async def positions_are_never_given_out_again(make: Make) -> None:
    """A position of the feed is never given out again."""
    clock = FakeClock()
    journal = await make(clock)
    last = 0
    for turn in range(4):
        stream = named(f"s{turn % 2}")
        head = await fill(journal, stream, 3)
        feed = await journal.feed()
        expect(feed[0].position > last, "what is written later has a higher position", feed, last)
        last = feed[-1].position
        await journal.delete(stream, head.epoch)
        expect(await journal.feed() == [], "of what was deleted nothing is left")
    again = await make(clock)
    await fill(again, STREAM, 1)
    expect([item.position > last for item in await again.feed(after=last)] == [True], "a projection misses nothing")


async def a_scrubbed_record_keeps_its_place(make: Make) -> None:
    """They keep number, type and position, so that who reads from any of them goes on."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 6)
    before = await journal.feed()
    stub = [*notes(2, body=b"stub"), *notes(5, body=b"a stub that is a good deal longer than what stood there before")]
    await journal.scrub(STREAM, head.epoch, stub)
    expected = [*notes(1), stub[0], *notes(3, 2), stub[1], *notes(6)]
    expect(await journal.read(STREAM) == expected, "the others are as they were")
    expect(await journal.read(STREAM, after=4) == expected[4:], "from any number on")
    feed = await journal.feed()
    expect([i.position for i in feed] == [i.position for i in before], "positions stay")
    expect([i.record for i in feed] == expected, "and the feed says the same")
    expect(await journal.head(STREAM) == head, "the head stays as it is")
    is_head(await journal.append(STREAM, head.epoch, 6, BatchId("on"), notes(7)))


async def a_scrub_is_whole_or_refused(make: Make) -> None:
    """UsageError: the stream has no record of such a number and type; nothing was changed."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 3)
    for wrong in (notes(4, body=b"x"), notes(0, body=b"x"), notes(2, kind="other.kind", body=b"x")):
        call = journal.scrub(STREAM, head.epoch, [*notes(1, body=b"x"), *wrong])
        await refused(UsageError, call, "a scrub of what is not there")
        expect(await journal.read(STREAM) == notes(1, 3), "nothing was changed")


async def a_scrub_reaches_every_fork(make: Make) -> None:
    """Records that a fork shares are replaced for every stream that shares them."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 4)
    await journal.fork(STREAM, 3, _CHILD, BatchId("f"), notes(4, body=b"own"))
    epoch = await _own(journal, _CHILD)
    await journal.scrub(_CHILD, epoch, notes(2, body=b"stub"))
    expected = [*notes(1), *notes(2, body=b"stub"), *notes(3)]
    expect((await journal.read(STREAM))[:3] == expected, "the parent reads the replacement")
    expect((await journal.read(_CHILD))[:3] == expected, "and the fork does")
    await journal.delete(STREAM, head.epoch)
    await journal.scrub(_CHILD, epoch, notes(3, body=b"stub"))
    own = [*notes(1), *notes(2, 2, body=b"stub"), *notes(4, body=b"own")]
    expect(await journal.read(_CHILD) == own, "also when the parent is gone")


async def a_scrub_brings_content_along(make: Make) -> None:
    """A record's `content` is kept as a blob, and one without needs none."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 2)
    content = b"shorter content"
    digest = digest_of(content)
    await journal.scrub(STREAM, head.epoch, [Record(1, "note.made", b"light", digest, content)])
    expect((await journal.read(STREAM))[0] == Record(1, "note.made", b"light", digest), "the record names it")
    expect(await journal.blobs.get(LOCAL, digest) == content, "and it is there")
    await journal.scrub(STREAM, head.epoch, notes(1, body=b"stub"))
    expect((await journal.read(STREAM))[0].blob is None, "and named no more")


async def mail_that_was_taken_keeps_its_key_alone(make: Make) -> None:
    """Empties the bodies of mail that was taken. Their keys stay: what is posted again is still a duplicate."""
    journal = await make(FakeClock())
    for key in "abc":
        await journal.post(STREAM, letter(key))
        await journal.post(_OTHER, letter(key))
    head = (await journal.claim(STREAM, ANN, TTL)).head
    await journal.append(STREAM, head.epoch, 0, BatchId("t"), notes(1), taken=2)
    expect(await journal.drop_taken([STREAM, _OTHER, named("nowhere")]) == 2, "as many as were taken")
    expect([m.body for m in await journal.mail(STREAM, 0)] == [b"", b"", b"hello"], "what lies unread stays")
    expect([m.body for m in await journal.mail(_OTHER, 0)] == [b"hello"] * 3, "of every stream")
    expect((await journal.post(STREAM, letter("a"))).status == "duplicate", "a key that was taken is still known")
    expect(await journal.drop_taken([STREAM, _OTHER]) == 0, "nothing is emptied twice")
    unread = (await journal.claim(_OTHER, ANN, TTL)).mail
    expect([m.body for m in unread] == [b"hello"] * 3, "an owner gets what it did not take")


async def what_nothing_names_is_discarded(make: Make) -> None:
    """Removes those blobs at once that no record over a position names, however lately they were put."""
    journal = await make(FakeClock())
    head = await fill(journal, STREAM, 1)
    after = (await journal.feed())[-1].position
    named_one, free, theirs = [await journal.blobs.put(LOCAL, data) for data in (b"one", b"two", b"three")]
    body = f'"{named_one}"'.encode()
    head = is_head(await journal.append(STREAM, head.epoch, 1, BatchId("n"), notes(2, body=body)))
    await journal.blobs.put(TenantId("b"), b"two")
    wanted = [named_one, free, digest_of(b"not there")]
    expect(await journal.discard(LOCAL, wanted, after) == set(), "none while somebody works")
    expect(await journal.discard(LOCAL, [theirs], after, busy=True) == {theirs}, "unless it is told to")
    is_head(await journal.append(STREAM, head.epoch, 2, BatchId("p"), [], park=Park("idle")))
    expect(await journal.discard(LOCAL, wanted, after) == {free}, "what nothing names")
    left = [await journal.blobs.has(LOCAL, each) for each in (named_one, free)]
    expect(left == [True, False], "and no other", left)
    expect((await journal.blobs.usage(LOCAL)).blobs == 1, "it is not counted any more")
    await journal.erase()
    expect(await journal.read(STREAM) == [*notes(1), *notes(2, body=body)], "what was not removed is as it was")


ERASING: tuple[Check, ...] = (
    a_deleted_stream_is_gone_with_all_it_had,
    only_the_owner_deletes_and_scrubs,
    a_name_is_free_after_a_deletion,
    an_epoch_of_a_deleted_stream_is_never_given_out_again,
    what_forks_share_stays_until_the_last_is_deleted,
    positions_are_never_given_out_again,
    a_scrubbed_record_keeps_its_place,
    a_scrub_is_whole_or_refused,
    a_scrub_reaches_every_fork,
    a_scrub_brings_content_along,
    mail_that_was_taken_keeps_its_key_alone,
    what_nothing_names_is_discarded,
)
"""Every check of this module."""
