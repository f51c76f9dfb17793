"""The checks of ownership: claims, leases, fencing."""

from __future__ import annotations

import asyncio

from holdfast.errors import Fenced, LeaseHeld
from holdfast.journal.port import Claim, Park
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
    named,
    notes,
    refused,
)
from holdfast.types import BatchId, WorkerId

__all__ = ("OWNING",)

_ONE = BatchId("one")


async def a_claim_creates_the_stream_and_makes_the_worker_its_owner(make: Make) -> None:
    """Makes `worker` the owner for `ttl` µs, raising the epoch; creates the stream when there is none."""
    clock = FakeClock()
    journal = await make(clock)
    expect(await journal.head(STREAM) is None, "a stream that nobody made has no head")
    claim = await journal.claim(STREAM, ANN, TTL)
    head = claim.head
    expect((head.epoch, head.owner, head.seq) == (1, ANN, 0), "the first claim is epoch 1 of an empty stream", head)
    expect(head.lease_until == clock.now() + TTL, "the lease lasts `ttl` µs by the store's clock", head)
    expect(head.created_at == clock.now() and head.state == "idle", "a new stream is idle and born now", head)
    expect(claim.mail == (), "a new stream has no mail", claim.mail)
    expect(await journal.head(STREAM) == head, "the head that is returned is the one that is stored")


async def a_claim_returns_the_unread_mail_oldest_first(make: Make) -> None:
    """Returns the head and the unread mail."""
    journal = await make(FakeClock())
    for key in ("a", "b", "c"):
        await journal.post(STREAM, letter(key))
    first = await journal.claim(STREAM, ANN, TTL)
    expect([mail.key for mail in first.mail] == ["a", "b", "c"], "all unread mail comes with the claim", first.mail)
    await journal.append(STREAM, 1, 0, _ONE, notes(1), taken=2)
    await journal.release(STREAM, 1)
    again = await journal.claim(STREAM, ANN, TTL)
    expect([mail.n for mail in again.mail] == [3], "mail that was taken does not come again", again.mail)


async def a_live_lease_is_not_given_away(make: Make) -> None:
    """LeaseHeld: somebody else's lease is live (or the same worker's, from another claim)."""
    clock = FakeClock()
    journal = await make(clock)
    head = (await journal.claim(STREAM, ANN, TTL)).head
    for worker in (BEN, ANN):
        error = await refused(LeaseHeld, journal.claim(STREAM, worker, TTL), "a live lease is refused to everybody")
        told = (error.owner, error.epoch, error.until)
        expect(told == (ANN, 1, clock.now() + TTL), "the refusal says who holds the lease, and until when", told)
    expect(await journal.head(STREAM) == head, "a refused claim changes nothing", await journal.head(STREAM))


async def a_lease_that_ran_out_is_free(make: Make) -> None:
    """A lease that has run out, or was given up, is free."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    await clock.advance((TTL - 1) / 1e6)
    await refused(LeaseHeld, journal.claim(STREAM, BEN, TTL), "a lease holds until its last µs")
    await clock.advance(1e-6)
    head = (await journal.claim(STREAM, BEN, TTL)).head
    expect((head.owner, head.epoch) == (BEN, 2), "the next owner has the next epoch", head)


async def a_worker_that_came_back_claims_under_its_old_name(make: Make) -> None:
    """A lease that has run out is free, for the same worker as well."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    await clock.advance(TTL / 1e6)
    head = (await journal.claim(STREAM, ANN, TTL)).head
    expect((head.owner, head.epoch) == (ANN, 2), "the same worker is a new owner all the same", head)
    await refused(Fenced, journal.append(STREAM, 1, 0, _ONE, notes(1)), "its earlier life is fenced")


async def a_dead_owner_is_replaced_by_naming_its_epoch(make: Make) -> None:
    """A live lease is taken over only when `over` equals the current epoch."""
    journal = await make(FakeClock())
    await journal.claim(STREAM, ANN, TTL)
    for wrong in (0, 2):
        call = journal.claim(STREAM, BEN, TTL, over=wrong)
        await refused(LeaseHeld, call, "a claim over another epoch than the current one is refused")
    head = (await journal.claim(STREAM, BEN, TTL, over=1)).head
    expect((head.owner, head.epoch) == (BEN, 2), "a claim over the current epoch wins", head)
    await refused(LeaseHeld, journal.claim(STREAM, ANN, TTL, over=1), "that epoch has been replaced already")
    await refused(Fenced, journal.append(STREAM, 1, 0, _ONE, notes(1)), "who was replaced is fenced")


async def an_older_owner_is_fenced_and_changes_nothing(make: Make) -> None:
    """Fenced: the epoch is not the current one, or the stream was given up; nothing was written."""
    clock = FakeClock()
    journal = await make(clock)
    await fill(journal, STREAM, 2)
    await clock.advance(TTL / 1e6)
    head = (await journal.claim(STREAM, BEN, TTL)).head
    for epoch in (1, 3):
        call = journal.append(STREAM, epoch, 2, _ONE, notes(3))
        await refused(Fenced, call, "only the current epoch may append")
    call = journal.append(STREAM, 1, 2, _ONE, [], park=Park("idle"))
    await refused(Fenced, call, "an older owner cannot park the stream either")
    expect(await journal.head(STREAM) == head, "a fenced append changes no head", await journal.head(STREAM))
    expect(len(await journal.read(STREAM)) == 2, "a fenced append writes no record")
    is_head(await journal.append(STREAM, 2, 2, _ONE, notes(3)))


async def a_stream_without_an_owner_takes_no_append(make: Make) -> None:
    """Fenced: the stream was given up, or never claimed."""
    journal = await make(FakeClock())
    await refused(Fenced, journal.append(STREAM, 0, 0, _ONE, notes(1)), "a stream that is not there takes no append")
    await journal.post(STREAM, letter("a"))
    await refused(Fenced, journal.append(STREAM, 0, 0, _ONE, notes(1)), "a stream nobody claimed takes no append")
    await fill(journal, STREAM, 1)
    await journal.release(STREAM, 1)
    await refused(Fenced, journal.append(STREAM, 1, 1, _ONE, notes(2)), "a stream that was released takes no append")
    await journal.claim(STREAM, ANN, TTL)
    await journal.append(STREAM, 2, 1, _ONE, [], taken=1, park=Park("idle"))
    call = journal.append(STREAM, 2, 1, BatchId("two"), notes(2))
    await refused(Fenced, call, "a stream that was parked takes no append")


async def an_owner_whose_lease_ran_out_goes_on_until_somebody_claims(make: Make) -> None:
    """Fenced means that the epoch is not the current one: a late owner that nobody replaced is the owner."""
    clock = FakeClock()
    journal = await make(clock)
    await fill(journal, STREAM, 1)
    await clock.advance(2 * TTL / 1e6)
    head = is_head(await journal.append(STREAM, 1, 1, _ONE, notes(2)))
    expect(head.seq == 2, "an append after the lease and before any claim is written", head)
    await journal.claim(STREAM, BEN, TTL)
    await refused(Fenced, journal.append(STREAM, 1, 2, BatchId("two"), notes(3)), "after the claim it is fenced")


async def of_many_claims_at_once_one_wins(make: Make) -> None:
    """Exactly one worker, the owner, may append."""
    clock = FakeClock()
    stores = (await make(clock), await make(clock))
    for number in range(20):
        stream = named(f"race-{number}")
        claims = (stores[n % 2].claim(stream, WorkerId(f"w{n}"), TTL) for n in range(10))
        answers = await asyncio.gather(*claims, return_exceptions=True)
        winners = [answer for answer in answers if isinstance(answer, Claim)]
        expect(len(winners) == 1, "of ten claims of one stream exactly one wins", answers)
        losers = [answer for answer in answers if isinstance(answer, LeaseHeld)]
        expect(len(losers) == 9, "the others are told that the lease is held", answers)
        expect(winners[0].head.epoch == 1, "claims that lost raise no epoch", winners)


async def a_lease_is_renewed_from_now(make: Make) -> None:
    """Prolongs leases to `ttl` µs from now."""
    clock = FakeClock()
    journal = await make(clock)
    streams = [named(f"s{n}") for n in range(3)]
    for stream in streams:
        await journal.claim(stream, ANN, TTL)
    await clock.advance(9)
    lost = await journal.renew([(stream, 1) for stream in streams], TTL)
    expect(lost == set(), "leases that are ours are renewed", lost)
    await clock.advance(9)
    for stream in streams:
        await refused(LeaseHeld, journal.claim(stream, BEN, TTL), "a renewed lease counts from the renewal")
    await clock.advance(1)
    await journal.claim(streams[0], BEN, TTL)


async def a_renewal_tells_which_streams_are_lost(make: Make) -> None:
    """Returns the streams whose epoch is no longer ours; what ran out unclaimed is ours again."""
    clock = FakeClock()
    journal = await make(clock)
    ours, taken, given_up, unclaimed = streams = [named(n) for n in ("ours", "taken", "given-up", "unclaimed")]
    for stream in streams[:3]:
        await journal.claim(stream, ANN, TTL)
    await journal.release(given_up, 1)
    await clock.advance(TTL / 1e6)
    await journal.claim(taken, BEN, TTL)
    lost = await journal.renew([(stream, 1) for stream in streams], TTL)
    expect(lost == {taken, given_up, unclaimed}, "what is not ours any more is named, and nothing else", lost)
    head = await journal.head(ours)
    expect(head is not None and head.lease_until == clock.now() + TTL, "a lease that ran out unclaimed lives on", head)
    head = await journal.head(given_up)
    expect(head is not None and head.owner is None, "a renewal does not bring back what was given up", head)


async def a_release_frees_the_stream_and_writes_nothing(make: Make) -> None:
    """Gives up a lease without writing anything: the state stays, so that another worker goes on."""
    journal = await make(FakeClock())
    await fill(journal, STREAM, 2)
    await journal.release(STREAM, 1)
    head = await journal.head(STREAM)
    expect(head is not None and (head.owner, head.seq, head.state) == (None, 2, "running"), "the state stays", head)
    expect(len(await journal.read(STREAM)) == 2, "a release writes no record")
    expect(await journal.due() == [STREAM], "an open run without an owner is due", await journal.due())
    again = (await journal.claim(STREAM, BEN, TTL)).head
    expect((again.owner, again.epoch) == (BEN, 2), "a released stream is free at once", again)


async def a_late_release_takes_nothing_from_the_next_owner(make: Make) -> None:
    """Release does nothing when the epoch is not ours any more."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    await clock.advance(TTL / 1e6)
    head = (await journal.claim(STREAM, BEN, TTL)).head
    await journal.release(STREAM, 1)
    await journal.release(named("nowhere"), 1)
    expect(await journal.head(STREAM) == head, "the next owner keeps its lease", await journal.head(STREAM))
    expect(await journal.head(named("nowhere")) is None, "a release makes no stream")


OWNING: tuple[Check, ...] = (
    a_claim_creates_the_stream_and_makes_the_worker_its_owner,
    a_claim_returns_the_unread_mail_oldest_first,
    a_live_lease_is_not_given_away,
    a_lease_that_ran_out_is_free,
    a_worker_that_came_back_claims_under_its_old_name,
    a_dead_owner_is_replaced_by_naming_its_epoch,
    an_older_owner_is_fenced_and_changes_nothing,
    a_stream_without_an_owner_takes_no_append,
    an_owner_whose_lease_ran_out_goes_on_until_somebody_claims,
    of_many_claims_at_once_one_wins,
    a_lease_is_renewed_from_now,
    a_renewal_tells_which_streams_are_lost,
    a_release_frees_the_stream_and_writes_nothing,
    a_late_release_takes_nothing_from_the_next_owner,
)
"""Every check of this module."""
