"""The checks of the inbox, of the sweep that finds work, and of hints."""

from __future__ import annotations

import asyncio

from holdfast.errors import StorageError, UsageError
from holdfast.journal.port import INBOX_LIMIT, KEY_LIMIT, Lease, Park
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
)
from holdfast.types import BatchId

__all__ = ("POSTING",)

_ONE = BatchId("one")
_PATIENCE = 5.0
"""Seconds a hint may take, from another process."""


async def a_post_creates_the_stream_and_waits_in_order(make: Make) -> None:
    """Puts a letter into the inbox, whoever owns the stream; creates the stream when there is none."""
    clock = FakeClock()
    journal = await make(clock)
    for n, key in enumerate(("a", "b", "c"), 1):
        posted = await journal.post(STREAM, letter(key, key.encode()))
        expect((posted.status, posted.n) == ("accepted", n), "messages are numbered from 1, without gaps", posted)
    head = await journal.head(STREAM)
    expect(head is not None and (head.inbox_seq, head.epoch, head.owner) == (3, 0, None), "nobody owns it yet", head)
    mail = await journal.mail(STREAM, 0)
    told = [(m.n, m.key, m.kind, m.body, m.actor, m.at) for m in mail]
    expected = [(n, k, "prompt", k.encode(), "user", clock.now()) for n, k in enumerate("abc", 1)]
    expect(told == expected, "mail lies as it was posted, oldest first", told)
    expect([m.n for m in await journal.mail(STREAM, 2)] == [3], "mail is read from a number on")
    expect(await journal.mail(named("nowhere"), 0) == [], "a stream that is not there has no mail")


async def a_post_does_not_disturb_the_owner(make: Make) -> None:
    """Never conflicts with the owner."""
    clock = FakeClock()
    journal, other = await make(clock), await make(clock)
    seq = (await fill(journal, STREAM, 1)).seq
    for n in range(30):
        appended, posted = await asyncio.gather(
            journal.append(STREAM, 1, seq, BatchId(f"b{n}"), notes(seq + 1)),
            other.post(STREAM, letter(f"k{n}")),
        )
        seq = is_head(appended).seq
        expect(posted.n == n + 1, "a post beside an append is accepted", posted)
    head = await journal.head(STREAM)
    expect(head is not None and (head.seq, head.inbox_seq, head.epoch) == (31, 30, 1), "both went through", head)


async def posts_at_once_are_each_one_message(make: Make) -> None:
    """Two letters of one key are one message; many that come at once are numbered without gaps."""
    clock = FakeClock()
    stores = (await make(clock), await make(clock))
    keys = [f"k{n}" for n in range(INBOX_LIMIT)]
    answers = await asyncio.gather(*(stores[n % 2].post(STREAM, letter(key)) for key in keys for n in range(3)))
    accepted = [answer.n for answer in answers if answer.status == "accepted"]
    expect(sorted(accepted) == list(range(1, INBOX_LIMIT + 1)), "each key is accepted once", sorted(accepted))
    expect(all(a.status in ("accepted", "duplicate") for a in answers), "the others are duplicates", answers)
    seen = [await store.mail(STREAM, 0) for store in stores]
    expect(seen[0] == seen[1], "everybody sees one order")
    expect(sorted(m.key for m in seen[0]) == sorted(keys), "every message is there once")


async def a_key_is_never_accepted_twice(make: Make) -> None:
    """A key that was posted before gives `duplicate` with the first one's number, even when it was taken long ago."""
    journal = await make(FakeClock())
    for key in ("a", "b"):
        await journal.post(STREAM, letter(key))
    again = await journal.post(STREAM, letter("b", b"other words"))
    expect((again.status, again.n) == ("duplicate", 2), "the same key is the same message", again)
    await journal.claim(STREAM, ANN, TTL)
    await journal.append(STREAM, 1, 0, _ONE, notes(1), taken=2, park=Park("idle"))
    again = await journal.post(STREAM, letter("a"))
    expect((again.status, again.n) == ("duplicate", 1), "also when it was taken", again)
    again = await journal.post(STREAM, letter("a"), if_idle=True)
    expect(again.status == "duplicate", "also when the stream should be idle", again)
    other = await journal.post(named("s2"), letter("a"))
    expect(other.status == "accepted", "another stream has keys of its own", other)
    expect(len(await journal.mail(STREAM, 0)) == 2, "a duplicate adds no message")


async def a_stream_that_is_new_is_nobody_elses(make: Make) -> None:
    """With `new` a letter goes into no stream that is there already, and nothing else is lost with it."""
    clock = FakeClock()
    journal, other = await make(clock), await make(clock)
    lease = Lease(ANN, TTL)
    posted = await journal.post(STREAM, letter("a"), lease=lease, new=True)
    expect((posted.status, posted.n, posted.claim is not None) == ("accepted", 1, True), "it is made", posted)
    for store, key in ((journal, "b"), (other, "c"), (await make(clock), "d")):
        neighbour = named(f"beside-{key}")
        told = await asyncio.gather(
            store.post(neighbour, letter(key), new=True),
            store.post(STREAM, letter(key), lease=lease, new=True),
            store.post(STREAM, letter(f"{key}{key}")),
            return_exceptions=True,
        )
        expect(isinstance(told[1], StorageError), "a name that is taken is refused", told)
        expect([getattr(each, "status", each) for each in (told[0], told[2])] == ["accepted"] * 2, "others go on", told)
        expect([mail.key for mail in await store.mail(neighbour, 0)] == [key], "each letter lies where it belongs")
    keys = [mail.key for mail in await journal.mail(STREAM, 0)]
    expect(keys == ["a", "bb", "cc", "dd"], "of a letter that was refused nothing is there", keys)
    head = await journal.head(STREAM)
    expect(head is not None and (head.epoch, head.inbox_seq) == (1, 4), "and the owner stays", head)


async def a_key_has_a_bound(make: Make) -> None:
    """A letter whose key has more than `KEY_LIMIT` characters is none; one with so many keeps each of them."""
    journal = await make(FakeClock())
    longest = "\U0001f511" * (KEY_LIMIT - 1)
    for n, key in enumerate((longest + "a", longest + "b"), 1):
        posted = await journal.post(STREAM, letter(key))
        expect((posted.status, posted.n) == ("accepted", n), "the longest keys differ in their last character", posted)
    expect((await journal.post(STREAM, letter(longest + "a"))).n == 1, "and are found again")
    try:
        made = letter(longest + "ab")
    except UsageError as error:
        expect(str(KEY_LIMIT) in str(error), "the refusal names the limit", error)
    else:
        raise AssertionError(f"a letter with a longer key is refused; seen: {made!r}")


async def the_inbox_is_bounded(make: Make) -> None:
    """Over `INBOX_LIMIT` unread messages give `full`."""
    journal = await make(FakeClock())
    for n in range(INBOX_LIMIT):
        posted = await journal.post(STREAM, letter(f"k{n}"))
        expect(posted.status == "accepted", f"{INBOX_LIMIT} messages fit", n, posted)
    posted = await journal.post(STREAM, letter("one more"))
    expect((posted.status, posted.n) == ("full", 0), "the next one does not", posted)
    again = await journal.post(STREAM, letter("k0"))
    expect(again.status == "duplicate", "a message that is in is a duplicate, not a refusal", again)
    expect(len(await journal.mail(STREAM, 0)) == INBOX_LIMIT, "a refused letter is not kept")
    await journal.claim(STREAM, ANN, TTL)
    await journal.append(STREAM, 1, 0, _ONE, notes(1), taken=1)
    posted = await journal.post(STREAM, letter("one more"))
    expect((posted.status, posted.n) == ("accepted", INBOX_LIMIT + 1), "taking makes room, numbers go on", posted)


async def a_post_may_ask_for_an_idle_stream(make: Make) -> None:
    """With `if_idle`, a stream that is not idle or has unread mail gives `busy`."""
    journal = await make(FakeClock())
    posted = await journal.post(STREAM, letter("a"), if_idle=True)
    expect(posted.status == "accepted", "a new stream is idle", posted)
    posted = await journal.post(STREAM, letter("b"), if_idle=True)
    expect((posted.status, posted.n) == ("busy", 0), "unread mail makes it busy", posted)
    await journal.claim(STREAM, ANN, TTL)
    await journal.append(STREAM, 1, 0, _ONE, notes(1), taken=1)
    posted = await journal.post(STREAM, letter("b"), if_idle=True)
    expect(posted.status == "busy", "an open run makes it busy", posted)
    await journal.append(STREAM, 1, 1, BatchId("two"), notes(2), park=Park("waiting"))
    posted = await journal.post(STREAM, letter("b"), if_idle=True)
    expect(posted.status == "busy", "a run that waits makes it busy", posted)
    expect(len(await journal.mail(STREAM, 0)) == 1, "a refused letter is not kept")
    await journal.claim(STREAM, ANN, TTL)
    await journal.append(STREAM, 2, 2, BatchId("three"), notes(3), park=Park("idle"))
    posted = await journal.post(STREAM, letter("b"), if_idle=True)
    expect((posted.status, posted.n) == ("accepted", 2), "idle again, it accepts", posted)


async def of_posts_that_want_an_idle_stream_one_is_accepted(make: Make) -> None:
    """With `if_idle`, unread mail gives `busy`: of many at once exactly one gets in."""
    clock = FakeClock()
    stores = (await make(clock), await make(clock))
    answers = await asyncio.gather(*(stores[n % 2].post(STREAM, letter(f"k{n}"), if_idle=True) for n in range(20)))
    told = sorted(answer.status for answer in answers)
    expect(told == ["accepted", *["busy"] * 19], "one of twenty is accepted", told)


async def the_sweep_finds_exactly_what_wants_an_owner(make: Make) -> None:
    """Returns streams without a live lease that have unread mail, an open run, or a `wake_at` that has passed."""
    clock = FakeClock()
    journal = await make(clock)
    expect(await journal.due() == [], "an empty store has nothing due")
    await fill(journal, named("held"), 1)
    await fill(journal, named("left"), 1)
    await journal.release(named("left"), 1)
    await clock.advance(1)
    await journal.post(named("kept"), letter("a"))
    await clock.advance(1)
    for name, park in (("done", Park("idle")), ("asleep", Park("waiting", clock.now() + 60_000_000))):
        await journal.claim(named(name), ANN, TTL)
        await journal.append(named(name), 1, 0, BatchId(name), notes(1), park=park)
    await journal.claim(named("looked-at"), ANN, 1)
    await clock.advance(1)
    await journal.post(named("left"), letter("again"))
    due = await journal.due()
    expect(due == [named("left"), named("kept")], "an open run and unread mail are due, who waits longest first", due)
    expect(await journal.due(1) == [named("left")], "the oldest come first within the limit")
    await clock.advance(TTL / 1e6)
    due = await journal.due()
    expect(due == [named("left"), named("kept"), named("held")], "so is a run whose lease ran out", due)


async def a_parked_stream_wakes_in_time(make: Make) -> None:
    """A `wake_at` that has passed is due, and not before."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    await journal.append(STREAM, 1, 0, _ONE, notes(1), park=Park("waiting", clock.now() + 5_000_000))
    await clock.advance(4.999999)
    expect(await journal.due() == [], "it sleeps until then")
    expect(await journal.due(within=1) == [STREAM], "and is seen by who looks ahead")
    await clock.advance(0.000001)
    expect(await journal.due() == [STREAM], "then it is due")
    await journal.claim(STREAM, ANN, TTL)
    expect(await journal.due() == [], "whoever claims it has it")
    expect(await journal.due(within=TTL - 1) == [], "nor is it due before the lease runs out")
    expect(await journal.due(within=TTL) == [STREAM], "who looks ahead as far as that sees it")
    await clock.advance(TTL / 1e6)
    expect(await journal.due() == [STREAM], "when that owner dies before it wrote anything, it is due again")


async def the_sweep_needs_no_hint(make: Make) -> None:
    """The truth behind every hint: mail that nobody was told of is found, however the stream was left."""
    clock = FakeClock()
    journal, other = await make(clock), await make(clock)
    for state in ("idle", "waiting"):
        stream = named(state)
        await journal.claim(stream, ANN, TTL)
        await journal.append(stream, 1, 0, BatchId(state), notes(1), park=Park(state))
        await other.post(stream, letter("a"))
    due = await journal.due()
    expect(set(due) == {named("idle"), named("waiting")}, "mail in a parked stream is due", due)


async def a_listener_is_hinted_by_this_process(make: Make) -> None:
    """Calls `hint`, in the event loop, when the stream may have changed; returns how to stop it."""
    journal = await make(FakeClock())
    hinted = asyncio.Event()
    stop = journal.listen(STREAM, hinted.set)
    await journal.post(STREAM, letter("a"))
    await _hint_at_once(hinted, "a post hints at once")
    claim = await journal.claim(STREAM, ANN, TTL)
    await _hint_at_once(hinted, "a claim hints at once")
    await journal.append(STREAM, claim.head.epoch, 0, _ONE, notes(1), taken=1)
    await _hint_at_once(hinted, "an append hints at once")
    stop()
    stop()
    await asyncio.sleep(0)
    hinted.clear()
    await journal.append(STREAM, 1, 1, BatchId("two"), notes(2))
    await asyncio.sleep(0)
    expect(not hinted.is_set(), "who stopped listening hears nothing more")


async def a_listener_is_hinted_by_others_soon(make: Make) -> None:
    """By another process soon."""
    clock = FakeClock()
    journal, other = await make(clock), await make(clock)
    hinted = asyncio.Event()
    stop = journal.listen(STREAM, hinted.set)
    try:
        await other.post(STREAM, letter("a"))
        await _hint(hinted, "a post elsewhere hints")
        claim = await other.claim(STREAM, ANN, TTL)
        await _hint(hinted, "a claim elsewhere hints")
        await other.append(STREAM, claim.head.epoch, 0, _ONE, notes(1), taken=1)
        await _hint(hinted, "an append elsewhere hints")
    finally:
        stop()


async def _hint_at_once(hinted: asyncio.Event, promise: str) -> None:
    await asyncio.sleep(0)
    expect(hinted.is_set(), promise)
    hinted.clear()


async def _hint(hinted: asyncio.Event, promise: str) -> None:
    try:
        await asyncio.wait_for(hinted.wait(), _PATIENCE)
    except TimeoutError:
        raise AssertionError(f"{promise} within {_PATIENCE:.0f} s") from None
    hinted.clear()


POSTING: tuple[Check, ...] = (
    a_post_creates_the_stream_and_waits_in_order,
    a_post_does_not_disturb_the_owner,
    posts_at_once_are_each_one_message,
    a_key_is_never_accepted_twice,
    a_stream_that_is_new_is_nobody_elses,
    a_key_has_a_bound,
    the_inbox_is_bounded,
    a_post_may_ask_for_an_idle_stream,
    of_posts_that_want_an_idle_stream_one_is_accepted,
    the_sweep_finds_exactly_what_wants_an_owner,
    a_parked_stream_wakes_in_time,
    the_sweep_needs_no_hint,
    a_listener_is_hinted_by_this_process,
    a_listener_is_hinted_by_others_soon,
)
"""Every check of this module."""
