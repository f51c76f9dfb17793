"""The kit of `holdfast.storage.blobs`: what every place for blobs must do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock
from holdfast.storage.blobs import REFRESH, BlobStore, Marks, Stored, Swept
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import LOCAL, expect, refused
from holdfast.types import Digest, TenantId

__all__ = ("CHECKS", "Check", "Make")

Make = Callable[[Clock], Awaitable[BlobStore]]
"""Opens the store under test; every call within one check opens the same store again."""
Check = Callable[[Make], Awaitable[None]]
"""One promise; it raises `AssertionError` when the adapter breaks it."""

_OTHER = TenantId("other")
_HOUR = REFRESH
_DAY = 24 * _HOUR


async def a_blob_is_found_by_its_digest(make: Make) -> None:
    """Returns the digest under which the bytes can be read from now on."""
    store = await make(FakeClock())
    for data in (b"", b"\0\xff", bytes(range(256)) * 4096):
        digest = await store.put(LOCAL, data)
        expect(digest == f"sha256:{hashlib.sha256(data).hexdigest()}", "the name is the SHA-256 of the bytes", digest)
        expect(await store.get(LOCAL, digest) == data, "the bytes come back", len(data))
        expect(await store.has(LOCAL, digest), "what was put is there")
        again = await make(FakeClock())
        expect(await again.get(LOCAL, digest) == data, "whoever opens the store finds it")


async def the_same_bytes_again_change_nothing(make: Make) -> None:
    """Putting the same bytes again changes nothing and gives the same digest."""
    store = await make(FakeClock())
    digests = await asyncio.gather(*(store.put(LOCAL, b"same") for _ in range(20)))
    expect(len(set(digests)) == 1, "twenty puts of the same bytes give one name", digests)
    expect(await store.get(LOCAL, digests[0]) == b"same", "and the bytes are there")


async def a_blob_that_is_not_there_is_a_key_error(make: Make) -> None:
    """KeyError: this tenant has no blob of that digest."""
    store = await make(FakeClock())
    nowhere = Digest("sha256:" + "0" * 64)
    await refused(KeyError, store.get(LOCAL, nowhere), "a digest that nobody put")
    expect(not await store.has(LOCAL, nowhere), "and it is not there")


async def tenants_have_blobs_of_their_own(make: Make) -> None:
    """The same bytes of two tenants are two blobs: a name that leaks from one opens nothing of the other."""
    store = await make(FakeClock())
    digest = await store.put(LOCAL, b"secret")
    expect(not await store.has(_OTHER, digest), "another tenant does not have it")
    await refused(KeyError, store.get(_OTHER, digest), "another tenant cannot read it")
    expect(await store.put(_OTHER, b"secret") == digest, "its own copy has the same name")
    expect(await store.get(_OTHER, digest) == b"secret", "and then it is there")


async def many_blobs_are_put_and_read_together(make: Make) -> None:
    """It comes to the same as putting each; the bytes of each digest, in order."""
    store = await make(FakeClock())
    blobs = [b"one", b"", b"one", bytes(range(256)) * 64]
    digests = await store.put_many(LOCAL, blobs)
    expect(digests == [await store.put(LOCAL, data) for data in blobs], "the names are those that `put` gives", digests)
    expect(await store.get_many(LOCAL, digests[::-1]) == blobs[::-1], "the bytes come back in the order asked for")
    expect(await store.put_many(LOCAL, []) == [], "nothing put is nothing named")
    expect(await store.get_many(LOCAL, []) == [], "nothing asked for is nothing read")
    nowhere = Digest("sha256:" + "0" * 64)
    await refused(KeyError, store.get_many(LOCAL, [digests[0], nowhere]), "one of them nobody put")
    await refused(KeyError, store.get_many(_OTHER, digests), "another tenant cannot read them")


async def unmarked_blobs_go_and_marked_ones_stay(make: Make) -> None:
    """Removes a tenant's blobs that are not marked and were last put or touched before that time."""
    clock = FakeClock()
    store = await make(clock)
    kept, gone = await store.put(LOCAL, b"kept"), await store.put(LOCAL, b"gone")
    others = await store.put(_OTHER, b"gone")
    await clock.advance(25 * 3600)
    young = await store.put(LOCAL, b"young")
    expect(await store.now() == clock.now(), "the store's clock is the one it was given")
    rehearsed = await store.collect(LOCAL, Marks([kept]), before=await store.now() - _DAY, dry_run=True)
    expect(rehearsed == Swept(2, 1, 4), "a rehearsal counts what would go", rehearsed)
    expect(await store.has(LOCAL, gone), "and removes nothing")
    swept = await store.collect(LOCAL, Marks([kept]), before=await store.now() - _DAY)
    expect(swept == rehearsed, "the real one does what was foretold", swept)
    expect(not await store.has(LOCAL, gone), "what nobody needs is gone")
    await refused(KeyError, store.get(LOCAL, gone), "and cannot be read")
    expect(await store.get(LOCAL, kept) == b"kept", "what is marked stays, however old")
    expect(await store.has(LOCAL, young), "what was put within the time of grace stays, marked or not")
    expect(await store.has(_OTHER, others), "another tenant's blobs are not touched")
    swept = await store.collect(LOCAL, Marks([kept]), before=await store.now() - _DAY)
    expect(swept == Swept(2, 0, 0), "a second collection finds nothing to do", swept)
    expect(await store.put(LOCAL, b"gone") == gone, "what was removed can be put again")
    expect(await store.get(LOCAL, gone) == b"gone", "and is there")


async def a_put_or_a_touch_makes_a_blob_young_again(make: Make) -> None:
    """A put that finds its bytes there already counts as well, however old they are."""
    clock = FakeClock()
    store = await make(clock)
    put, touched, together, left = await store.put_many(LOCAL, [b"put", b"touched", b"together", b"left"])
    nowhere = Digest("sha256:" + "0" * 64)
    await clock.advance(25 * 3600)
    before = await store.now() - _DAY
    await store.put(LOCAL, b"put")
    await store.put_many(LOCAL, [b"together"])
    expect(await store.touch(LOCAL, [touched, nowhere]) == {nowhere}, "a touch tells what is not there")
    expect(await store.touch(_OTHER, [touched]) == {touched}, "another tenant has nothing to touch")
    expect(await store.touch(LOCAL, []) == set(), "nothing touched is nothing missing")
    swept = await store.collect(LOCAL, Marks(), before=before)
    expect(swept == Swept(3, 1, 4), "what was used since is young, whenever it was put first", swept)
    found = [await store.has(LOCAL, digest) for digest in (put, touched, together, left)]
    expect(found == [True, True, True, False], "only what nobody used is gone", found)


async def a_use_counts_for_nearly_the_whole_grace(make: Make) -> None:
    """A use within `REFRESH` of the last need not be written down: a blob is safe for the grace less that."""
    clock = FakeClock()
    store = await make(clock)
    digest = await store.put(LOCAL, b"used")
    await clock.advance(3599)
    await store.put(LOCAL, b"used")
    await clock.advance(23 * 3600)
    swept = await store.collect(LOCAL, Marks(), before=await store.now() - _DAY)
    expect(swept.removed == 0, "it was used 23 hours ago", swept)
    expect(await store.has(LOCAL, digest), "and is there")


async def too_short_a_grace_is_refused(make: Make) -> None:
    """UsageError: `before` is too late."""
    store = await make(FakeClock())
    for before in (await store.now(), await store.now() - 2 * _HOUR + 1):
        await refused(UsageError, store.collect(LOCAL, Marks(), before=before), "a blob of this moment is not safe")


async def a_store_tells_whose_and_how_much_it_holds(make: Make) -> None:
    """Returns whoever has blobs here, in order, and how many, and of what size."""
    store = await make(FakeClock())
    expect(await store.tenants() == [], "nobody has blobs in an empty store")
    expect(await store.usage(LOCAL) == Stored(0, 0), "and nothing is used")
    await store.put_many(_OTHER, [b"1", b"22", b"1"])
    await store.put(LOCAL, b"333")
    expect(await store.tenants() == [LOCAL, _OTHER], "both are named, in order", await store.tenants())
    expect(await store.usage(_OTHER) == Stored(2, 3), "each blob counts once", await store.usage(_OTHER))


async def many_are_collected_in_portions_that_are_told(make: Make) -> None:
    """Whoever waits hears how far it is, and the last word is what was done."""
    clock = FakeClock()
    store = await make(clock)
    digests = await store.put_many(LOCAL, [b"%d" % number for number in range(2500)])
    await clock.advance(25 * 3600)
    told: list[Swept] = []
    before = await store.now() - _DAY
    swept = await store.collect(LOCAL, Marks(digests[::5]), before=before, progress=told.append)
    expect((swept.kept, swept.removed) == (500, 2000), "each blob is counted once", swept)
    expect(len(told) >= 2, "it is told more than once on the way", told)
    expect([each.removed for each in told] == sorted(each.removed for each in told), "and always further", told)
    left = await store.touch(LOCAL, digests)
    expect(left == {digest for n, digest in enumerate(digests) if n % 5}, "exactly the unmarked ones are gone")


async def two_collectors_at_once_remove_each_blob_once(make: Make) -> None:
    """Others may put, touch and collect meanwhile."""
    clock = FakeClock()
    first = await make(clock)
    second = await make(clock)
    digests = await first.put_many(LOCAL, [b"%d" % number for number in range(600)])
    await clock.advance(25 * 3600)
    before, marks = await first.now() - _DAY, Marks(digests[:100])
    one, two, again = await asyncio.gather(
        first.collect(LOCAL, marks, before=before),
        second.collect(LOCAL, marks, before=before),
        second.put_many(LOCAL, [b"%d" % number for number in range(100, 200)]),
    )
    expect(await first.touch(LOCAL, [*digests[:100], *again]) == set(), "what is marked or was put again is there")
    left = await first.touch(LOCAL, digests)
    expect(left == set(digests[200:]), "the others are gone", len(left))
    most = 500  # a blob may be removed, put again and be young
    expect(400 <= one.removed + two.removed <= most, "no blob is counted by both", one, two)


CHECKS: tuple[Check, ...] = (
    a_blob_is_found_by_its_digest,
    the_same_bytes_again_change_nothing,
    a_blob_that_is_not_there_is_a_key_error,
    tenants_have_blobs_of_their_own,
    many_blobs_are_put_and_read_together,
    unmarked_blobs_go_and_marked_ones_stay,
    a_put_or_a_touch_makes_a_blob_young_again,
    a_use_counts_for_nearly_the_whole_grace,
    too_short_a_grace_is_refused,
    a_store_tells_whose_and_how_much_it_holds,
    many_are_collected_in_portions_that_are_told,
    two_collectors_at_once_remove_each_blob_once,
)
"""Every check."""
