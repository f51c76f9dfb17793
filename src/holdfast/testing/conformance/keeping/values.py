"""The kit of `holdfast.tools.keeping.port`: what every store of values must do.

async def make(clock: Clock) -> KeyValues: ...    # each call opens the same store again

for check in CHECKS:
    await check(make)                             # on a store that is empty before each check
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.flow.clock import Clock
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import expect
from holdfast.tools.keeping.port import REMEMBERED, Caps, Change, Entry, KeyValues, Place
from holdfast.types import Digest, TenantId, digest_of

__all__ = ("CHECKS", "Check", "Make")

Make = Callable[[Clock], Awaitable[KeyValues]]
"""Opens the store once more."""
Check = Callable[[Make], Awaitable[None]]

_HERE, _THERE = Place(TenantId("a"), "one"), Place(TenantId("a"), "two")
_OTHER = Place(TenantId("b"), "one")
_WIDE = Caps(count=100, total=1_000_000)


async def what_is_kept_is_there_for_whoever_comes_next(make: Make) -> None:
    """Values are found by place and key, and nowhere else."""
    clock = FakeClock()
    store = await make(clock)
    expect(await store.get(_HERE, "k") is None, "nothing is there")
    expect(await store.list(_HERE) == [], "and nothing is listed")
    written = await store.set(_HERE, "k", "größer", operation="1", caps=_WIDE)
    expect(written == Change("written", 1), "it is written", written)
    again = await make(clock)
    expect(await again.get(_HERE, "k") == Entry("k", "größer", 8, 1, clock.now()), "it is there, with its size")
    expect(await again.get(_THERE, "k") is None, "it is not in another place")
    expect(await again.get(_OTHER, "k") is None, "nor of another tenant")
    await again.set(_HERE, "k", "", operation="2", caps=_WIDE)
    found = await store.get(_HERE, "k")
    expect(found is not None and (found.value, found.version) == ("", 2), "the last one counts", found)


async def an_operation_that_comes_again_changes_nothing(make: Make) -> None:
    """Whoever repeats a change gets the same answer, also when others have changed the key since."""
    store = await make(FakeClock())
    first = await store.set(_HERE, "k", "mine", operation="1", caps=_WIDE)
    await store.set(_HERE, "k", "theirs", operation="2", caps=_WIDE)
    expect(await store.set(_HERE, "k", "mine", operation="1", caps=_WIDE) == first, "the same answer")
    found = await store.get(_HERE, "k")
    expect(found is not None and found.value == "theirs", "and theirs stays", found)
    gone = await store.delete(_HERE, "k", operation="3")
    await store.set(_HERE, "k", "back", operation="4", caps=_WIDE)
    expect((gone, await store.delete(_HERE, "k", operation="3")) == (Change("removed"),) * 2, "removed once")
    expect(await store.get(_HERE, "k") is not None, "what came after it stays")
    expect(await store.set(_OTHER, "k", "x", operation="1", caps=_WIDE) == Change("written", 1), "tenants are apart")


async def what_was_done_long_ago_is_forgotten_a_few_at_a_time(make: Make) -> None:
    """Operations are known for `REMEMBERED`, and do not pile up for ever."""
    clock = FakeClock()
    store = await make(clock)
    await store.set(_HERE, "k", "1", operation="1", caps=_WIDE)
    await clock.advance(REMEMBERED / 1e6 + 1)
    await store.set(_HERE, "other", "2", operation="2", caps=_WIDE)
    expect(await store.set(_HERE, "k", "3", operation="1", caps=_WIDE) == Change("written", 3), "it is another one")


async def a_version_that_is_not_there_any_more_is_not_replaced(make: Make) -> None:
    """A change may ask for a version, also for none; a key that comes back has another one."""
    store = await make(FakeClock())
    expect((await store.set(_HERE, "k", "1", operation="1", caps=_WIDE, version=0)).done == "written", "none was there")
    late = await store.set(_HERE, "k", "2", operation="2", caps=_WIDE, version=0)
    expect(late == Change("other version", 1), "now there is one", late)
    await store.delete(_HERE, "k", operation="3")
    await store.set(_HERE, "k", "3", operation="4", caps=_WIDE)
    old = await store.set(_HERE, "k", "4", operation="5", caps=_WIDE, version=1)
    expect(old.done == "other version", "the one that came back is another", old)
    retried = await store.set(_HERE, "k", "4", operation="5", caps=_WIDE, version=old.version)
    expect(retried.done == "written", "what was not written may be tried again", retried)


async def a_place_holds_no_more_than_it_may(make: Make) -> None:
    """Count and total are kept, keys counted in; what replaces something counts for the difference."""
    store = await make(FakeClock())
    caps = Caps(count=2, total=20)
    await store.set(_HERE, "a", "1234", operation="1", caps=caps)
    await store.set(_HERE, "b", "1234", operation="2", caps=caps)
    expect((await store.set(_HERE, "c", "", operation="3", caps=caps)).done == "too many", "no third one")
    expect((await store.set(_HERE, "a", "x" * 14, operation="4", caps=caps)).done == "written", "just as much")
    over = await store.set(_HERE, "a", "x" * 15, operation="5", caps=caps)
    expect(over.done == "too large", "one byte more", over)
    expect((await store.set(_HERE, "a", "", size=15, operation="6", caps=caps)).done == "too large", "as it is said")
    await store.delete(_HERE, "b", operation="7")
    expect((await store.set(_HERE, "c", "12345", operation="8", caps=caps)).done == "too large", "still")
    expect((await store.set(_HERE, "c", "1234", operation="9", caps=caps)).done == "written", "what went made room")
    expect((await store.set(_THERE, "a", "x" * 19, operation="10", caps=caps)).done == "written", "places are apart")


async def many_at_once_put_in_exactly_what_may_be_there(make: Make) -> None:
    """Writers at once, of several openers, never exceed a cap, lose a key or write a version twice."""
    clock = FakeClock()
    stores = [await make(clock) for _ in range(4)]
    caps = Caps(count=25, total=100_000)
    tried = [stores[n % 4].set(_HERE, f"k{n:02}", "v", operation=f"{n}", caps=caps) for n in range(60)]
    done = await asyncio.gather(*tried)
    written = [each for each in done if each.done == "written"]
    expect(len(written) == 25, "25 of them", len(written))
    expect({each.version for each in written} == set(range(1, 26)), "with a version each")
    expect(len(await stores[0].list(_HERE, limit=100)) == 25, "and all of them are there")
    race = [stores[n % 4].set(_THERE, "k", str(n), operation=f"r{n}", caps=caps, version=0) for n in range(20)]
    won = [each for each in await asyncio.gather(*race) if each.done == "written"]
    expect(len(won) == 1, "one of them was first", won)
    same = [stores[n % 4].set(_OTHER, "k", "v", operation="same", caps=caps) for n in range(20)]
    answers = set(await asyncio.gather(*same))
    expect(answers == {Change("written", 1)}, "the same operation at once is done once", answers)


async def a_list_is_in_order_and_comes_in_pages(make: Make) -> None:
    """Lists go by prefix, in order of keys; no sign in a prefix stands for others."""
    store = await make(FakeClock())
    keys = ["a%", "a_1", "a_2", "ab", "b", "ä", "A"]
    for number, key in enumerate(keys):
        await store.set(_HERE, key, "v", operation=f"{number}", caps=_WIDE)
    listed = [entry.key for entry in await store.list(_HERE)]
    expect(listed == sorted(keys), "in order", listed)
    expect([entry.key for entry in await store.list(_HERE, "a_")] == ["a_1", "a_2"], "by prefix")
    expect([entry.key for entry in await store.list(_HERE, "a%")] == ["a%"], "nothing stands for others")
    first = await store.list(_HERE, "a", limit=2)
    rest = await store.list(_HERE, "a", after=first[-1].key)
    expect([entry.key for entry in (*first, *rest)] == ["a%", "a_1", "a_2", "ab"], "page by page")
    expect(all(entry.value == "" and entry.size == 1 for entry in first), "without values")
    expect(await store.list(_HERE, limit=0) == [], "nothing of none")


async def what_entries_refer_to_is_told_as_long_as_they_are_there(make: Make) -> None:
    """Blobs are named for whoever collects, per tenant."""
    store = await make(FakeClock())
    one, two = digest_of(b"1"), digest_of(b"2")
    expect(await store.digests(_HERE.tenant) == [], "none")
    await store.set(_HERE, "f", "{}", operation="1", caps=_WIDE, refers=(one, two))
    await store.set(_THERE, "f", "{}", operation="2", caps=_WIDE, refers=(two,))
    expect(sorted(await store.digests(_HERE.tenant)) == sorted([one, two, two]), "of all places")
    expect(await store.digests(_OTHER.tenant) == [], "not of another tenant")
    await store.set(_HERE, "f", "{}", operation="3", caps=_WIDE, refers=(Digest(one),))
    await store.delete(_THERE, "f", operation="4")
    expect(await store.digests(_HERE.tenant) == [one], "only what is still there")


async def a_place_that_is_cleared_is_as_if_nothing_had_ever_been_there(make: Make) -> None:
    """Everything of one place goes, its caps are free again, and no other place loses anything."""
    clock = FakeClock()
    store = await make(clock)
    expect(await store.clear(_HERE) == set(), "nothing is there to clear")
    one, two = digest_of(b"1"), digest_of(b"2")
    caps = Caps(count=2, total=20)
    await store.set(_HERE, "a", "12345678", operation="1", caps=caps, refers=(one, two))
    await store.set(_HERE, "b", "1234567", operation="2", caps=caps, refers=(two,))
    for number, place in enumerate((_THERE, _OTHER)):
        await store.set(place, "a", "x", operation=f"o{number}", caps=caps, refers=(one,))
    other = await make(clock)
    expect(await other.clear(_HERE) == {one, two}, "it says what its entries referred to")
    expect(await store.get(_HERE, "a") is None, "nothing is there any more")
    expect(await store.list(_HERE) == [], "and nothing is listed")
    expect(await store.digests(_HERE.tenant) == [one], "only what other places refer to is named")
    expect(await store.clear(_HERE) == set(), "again it clears nothing")
    expect(await store.get(_THERE, "a") is not None, "another place stays")
    expect(await store.get(_OTHER, "a") is not None, "and that of another tenant")
    again = await store.set(_HERE, "a", "x" * 19, operation="3", caps=caps)
    expect(again == Change("written", 1), "all of its room is free, and versions begin anew", again)


CHECKS: tuple[Check, ...] = (
    what_is_kept_is_there_for_whoever_comes_next,
    an_operation_that_comes_again_changes_nothing,
    what_was_done_long_ago_is_forgotten_a_few_at_a_time,
    a_version_that_is_not_there_any_more_is_not_replaced,
    a_place_holds_no_more_than_it_may,
    many_at_once_put_in_exactly_what_may_be_there,
    a_list_is_in_order_and_comes_in_pages,
    what_entries_refer_to_is_told_as_long_as_they_are_there,
    a_place_that_is_cleared_is_as_if_nothing_had_ever_been_there,
)
