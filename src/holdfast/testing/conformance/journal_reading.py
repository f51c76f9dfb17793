"""The checks of reading: one stream, a tenant's streams, forks, the feed."""

from __future__ import annotations

import asyncio

from holdfast.errors import UnknownSession, UsageError
from holdfast.journal.port import Head, Journal
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import (
    ANN,
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
from holdfast.types import BatchId, StreamId, stream_id, tenant_of

__all__ = ("READING",)

_ONE = BatchId("one")
_CHILD = named("child")


async def a_stream_is_read_from_a_number_on(make: Make) -> None:
    """Returns records with a seq over `after`, in order."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 25)
    expect(await journal.read(STREAM) == notes(1, 25), "all records, in order")
    expect(await journal.read(STREAM, after=20) == notes(21, 5), "those over a number")
    expect(await journal.read(STREAM, after=5, limit=10) == notes(6, 10), "no more than the limit")
    expect(await journal.read(STREAM, after=25) == [], "nothing over the last")
    expect(await journal.read(named("nowhere")) == [], "a stream that is not there holds nothing")
    seen = [await journal.read(STREAM, after=after, limit=7) for after in (0, 7, 14, 21)]
    expect([record for page in seen for record in page] == notes(1, 25), "page by page it is the same")


async def ten_thousand_records_are_read(make: Make) -> None:
    """The limit bounds a page, not a stream."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 10_000)
    expect(await journal.read(STREAM, limit=20_000) == notes(1, 10_000), "ten thousand in one page")
    expect(len(await journal.read(STREAM)) == 1000, "a thousand unless told otherwise")


async def heads_are_listed_by_tenant_and_page(make: Make) -> None:
    """Returns the heads of a tenant's streams whose id sorts after `after`, by id."""
    journal = await make(FakeClock())
    mine = sorted(named(f"s{n}") for n in range(12))
    others = [stream_id(tenant, "s1") for tenant in ("loca", "local.x", "local-1", "locale", "Local", "other")]
    for stream in (*reversed(mine), *others):
        await journal.post(stream, letter("a"))
    found = [head.stream for head in await journal.heads("local")]
    expect(found == mine, "all of one tenant's streams, by id, and nobody else's", found)
    pages: list[StreamId] = []
    while page := await journal.heads("local", after=pages[-1] if pages else "", limit=5):
        expect(len(page) <= 5, "no more than the limit", page)
        pages += [head.stream for head in page]
    expect(pages == mine, "page by page each comes once", pages)
    expect(await journal.heads("local", limit=1) == [await journal.head(mine[0])], "the heads are whole")
    expect(await journal.heads("nobody") == [], "a tenant without streams has none")


async def tenants_do_not_meet(make: Make) -> None:
    """The tenant is in every key: the same session name of two tenants is two streams."""
    journal = await make(FakeClock())
    ours, theirs = stream_id("a", "s"), stream_id("b", "s")
    await fill(journal, ours, 2)
    posted = await journal.post(theirs, letter("k"))
    expect(posted.n == 1, "the other's inbox is its own", posted)
    expect(await journal.read(theirs) == [] and await journal.mail(ours, 0) == [], "neither sees the other's")
    expect([item.stream for item in await journal.feed(tenant="b")] == [], "the feed of one holds nothing of the other")
    digest = await journal.blobs.put(tenant_of(ours), b"secret")
    expect(not await journal.blobs.has(tenant_of(theirs), digest), "a blob's name opens nothing of another tenant")
    call = journal.fork(ours, 1, stream_id("b", "twin"), _ONE, [])
    await refused(UsageError, call, "a fork stays within its tenant")


async def a_fork_shares_its_parents_records(make: Make) -> None:
    """Creates `child` with the parent's records up to `at` and `records` after them."""
    clock = FakeClock()
    journal = await make(clock)
    parent = await fill(journal, STREAM, 10)
    await clock.advance(1)
    head = await journal.fork(STREAM, 6, _CHILD, _ONE, notes(7, 2, body=b"own"))
    expected = Head(
        stream=_CHILD,
        seq=8,
        last_batch=_ONE,
        parent=STREAM,
        parent_seq=6,
        created_at=clock.now(),
        updated_at=clock.now(),
    )
    expect(head == expected and await journal.head(_CHILD) == head, "a fork is an idle stream of its own", head)
    expect(await journal.head(STREAM) == parent, "the parent is neither claimed nor changed")
    shared = [*notes(1, 6), *notes(7, 2, body=b"own")]
    expect(await journal.read(_CHILD) == shared, "it reads as the prefix, then its own")
    await journal.append(STREAM, 1, 10, BatchId("two"), notes(11))
    claim = await journal.claim(_CHILD, ANN, TTL)
    is_head(await journal.append(_CHILD, claim.head.epoch, 8, BatchId("three"), notes(9)))
    expect(await journal.read(_CHILD) == [*shared, *notes(9)], "it does not see what the parent wrote later")
    expect(await journal.read(STREAM) == notes(1, 11), "nor does the parent see what it writes")
    for after in range(10):
        page = await journal.read(_CHILD, after=after, limit=4)
        expect(page == [*shared, *notes(9)][after : after + 4], "pages cross from the prefix to its own", after, page)


async def a_fork_copies_nothing(make: Make) -> None:
    """Without copying any: records a fork shares appear once in the feed, with the stream that wrote them."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 1000)
    for n in range(10):
        await journal.fork(STREAM, 1000, named(f"child-{n}"), BatchId(f"f{n}"), notes(1001, body=b"own"))
    feed = await journal.feed(limit=10_000)
    expect(len(feed) == 1010, "ten forks of a thousand records wrote ten records", len(feed))
    expect({item.stream for item in feed[:1000]} == {STREAM}, "shared records are their writer's")
    expect(len({item.position for item in feed}) == 1010, "and each has one position")


async def forks_of_forks_read_through(make: Make) -> None:
    """Of a fork, its parents' shared records as well, wherever in the line they were written."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 10)
    await journal.fork(STREAM, 8, _CHILD, BatchId("b"), notes(9, 4, body=b"child"))
    inside = named("inside")
    await journal.fork(_CHILD, 5, inside, BatchId("c"), notes(6, 2, body=b"inside"))
    expect(await journal.read(inside) == [*notes(1, 5), *notes(6, 2, body=b"inside")], "a fork in the grandparent")
    beyond = named("beyond")
    await journal.fork(_CHILD, 10, beyond, BatchId("d"), notes(11, 1, body=b"beyond"))
    expected = [*notes(1, 8), *notes(9, 2, body=b"child"), *notes(11, 1, body=b"beyond")]
    expect(await journal.read(beyond) == expected, "a fork after the grandparent's part")
    expect(await journal.read(beyond, after=7, limit=3) == expected[7:10], "a page across three streams")
    edge = named("edge")
    await journal.fork(_CHILD, 8, edge, BatchId("e"), [])
    expect(await journal.read(edge) == notes(1, 8), "a fork exactly where the parent was forked")


async def a_hundred_forks_deep_is_read_in_order(make: Make) -> None:
    """Of a fork, its parents' shared records as well, at any depth."""
    journal = await make(FakeClock())
    await fill(journal, named("d0"), 2)
    for depth in range(1, 101):
        seq = depth + 1
        await journal.fork(
            named(f"d{depth - 1}"), seq, named(f"d{depth}"), BatchId(f"b{depth}"), notes(seq + 1, body=b"%d" % depth)
        )
    found = await journal.read(named("d100"))
    expected = [*notes(1, 2), *(notes(depth + 2, body=b"%d" % depth)[0] for depth in range(1, 101))]
    expect(found == expected, "a chain of a hundred forks reads whole and in order", len(found))
    expect(await journal.read(named("d100"), after=50, limit=5) == expected[50:55], "and from its middle")


async def a_fork_that_cannot_be_is_refused(make: Make) -> None:
    """UnknownSession: there is no such parent. UsageError: `child` exists, or the parent has no record `at`."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 3)
    await journal.post(named("taken"), letter("a"))
    call = journal.fork(named("nowhere"), 1, _CHILD, _ONE, [])
    await refused(UnknownSession, call, "a fork of a stream that is not there")
    for at in (-1, 0, 4):
        error = await refused(UsageError, journal.fork(STREAM, at, _CHILD, _ONE, []), f"a fork at {at} of 3 records")
        expect(repr(STREAM) in str(error), "the refusal names the stream", str(error))
    await refused(UsageError, journal.fork(STREAM, 1, named("taken"), _ONE, []), "a fork to a name that is taken")
    await refused(UsageError, journal.fork(STREAM, 1, STREAM, _ONE, []), "a fork to itself")
    expect(await journal.head(_CHILD) is None, "a refused fork makes no stream")


async def the_feed_follows_commit_order(make: Make) -> None:
    """Returns records of all streams in commit order, from a position on."""
    journal = await make(FakeClock())
    streams = [named(f"s{n}") for n in range(3)]
    for stream in streams:
        await journal.claim(stream, ANN, TTL)
    written: list[tuple[StreamId, int]] = []
    for seq in range(0, 20, 2):
        for stream in streams:
            await journal.append(stream, 1, seq, BatchId(f"{stream} {seq}"), notes(seq + 1, 2))
            written += [(stream, seq + 1), (stream, seq + 2)]
    feed = await journal.feed()
    expect([(item.stream, item.record.seq) for item in feed] == written, "the feed is what was written, in order")
    positions = [item.position for item in feed]
    expect(positions == sorted(set(positions)) and positions[0] > 0, "positions only rise, from over 0", positions[:5])
    seen = 0
    after = 0
    while page := await journal.feed(after=after, limit=7):
        expect(page == feed[seen : seen + 7], "page by page it is the same")
        seen, after = seen + len(page), page[-1].position
    expect(seen == len(feed), "and complete", seen)


async def the_feed_is_narrowed_to_types_and_tenant(make: Make) -> None:
    """Empty `types` means all."""
    journal = await make(FakeClock())
    for tenant in ("a", "b"):
        stream = stream_id(tenant, "s")
        await journal.claim(stream, ANN, TTL)
        for seq in range(0, 30, 3):
            records = [notes(seq + 1 + n, kind=kind)[0] for n, kind in enumerate(("run.x", "run.y", "tool,z"))]
            await journal.append(stream, 1, seq, BatchId(f"{tenant} {seq}"), records)
    everything = await journal.feed()
    for types in (("run.x",), ("run.y", "tool,z"), ("run.x", "run.x", "nothing"), ("nothing",), ()):
        for tenant in (None, "a", "b", "c"):
            expected = [
                item
                for item in everything
                if (not types or item.record.type in types) and (tenant is None or item.stream.startswith(f"{tenant}/"))
            ]
            found = await journal.feed(types=types, tenant=tenant)
            expect(found == expected, "the feed holds exactly what was asked for", types, tenant, len(found))
            after = everything[29].position
            found = await journal.feed(after=after, types=types, tenant=tenant, limit=5)
            expected = [item for item in expected if item.position > after][:5]
            expect(found == expected, "also from a position on and up to a limit", types, tenant, len(found))


async def a_projection_misses_nothing_while_others_write(make: Make) -> None:
    """A record never appears behind a position that was already given out."""
    clock = FakeClock()
    stores = (await make(clock), await make(clock))
    writers = [asyncio.create_task(_write_many(stores[n % 2], named(f"w{n}"), 60)) for n in range(6)]
    followed: list[tuple[StreamId, int]] = []
    after, done = 0, False
    while True:
        page = await stores[0].feed(after=after, limit=50)
        followed += [(item.stream, item.record.seq) for item in page]
        if page:
            after = page[-1].position
        elif done:
            break
        else:
            done = all(writer.done() for writer in writers)
        await asyncio.sleep(0)
    await asyncio.gather(*writers)
    rebuilt = [(item.stream, item.record.seq) for item in await stores[1].feed(limit=10_000)]
    expect(followed == rebuilt, "built along the way equals built anew", len(followed), len(rebuilt))
    expect(len(rebuilt) == 6 * 60 * 2, "and every record is in it", len(rebuilt))
    for n in range(6):
        own = [seq for stream, seq in rebuilt if stream == named(f"w{n}")]
        expect(own == list(range(1, 121)), "each stream in its own order", own[:5])


async def _write_many(journal: Journal, stream: StreamId, count: int) -> None:
    seq = 0
    await journal.claim(stream, ANN, TTL)
    for n in range(count):
        seq = is_head(await journal.append(stream, 1, seq, BatchId(f"b{n}"), notes(seq + 1, 2))).seq


READING: tuple[Check, ...] = (
    a_stream_is_read_from_a_number_on,
    ten_thousand_records_are_read,
    heads_are_listed_by_tenant_and_page,
    tenants_do_not_meet,
    a_fork_shares_its_parents_records,
    a_fork_copies_nothing,
    forks_of_forks_read_through,
    a_hundred_forks_deep_is_read_in_order,
    a_fork_that_cannot_be_is_refused,
    the_feed_follows_commit_order,
    the_feed_is_narrowed_to_types_and_tenant,
    a_projection_misses_nothing_while_others_write,
)
"""Every check of this module."""
