"""The checks of how a grant ends: given back, settled, released, and at last forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock
from holdfast.ledger.amounts import LONGEST, Account, Amount, Cap
from holdfast.ledger.port import KEPT, Denied, Grant, Ledger, Settled
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import expect, refused

__all__ = ("ANN", "OTHER", "RUN", "SECOND", "SETTLING", "TENANT", "Check", "Make", "denied_of", "grant_of")

Make = Callable[[Clock], Awaitable[Ledger]]
"""Opens the ledger under test; every call within one check opens the same ledger again, as another process would."""
Check = Callable[[Make], Awaitable[None]]
"""One promise; it raises `AssertionError` when the adapter breaks it."""

TENANT: Account = ("local",)
ANN: Account = ("local", "ann")
RUN: Account = ("local", "ann", "s1", "r1")
OTHER: Account = ("local", "ben", "s2", "r2")
SECOND = 1_000_000


def grant_of(answer: Grant | Denied) -> Grant:
    """Returns the grant that an answer has to be."""
    if isinstance(answer, Denied):
        raise AssertionError(f"what every cap covers is granted; seen: {answer.reason}")
    return answer


def denied_of(answer: Grant | Denied) -> Denied:
    """Returns the denial that an answer has to be."""
    if isinstance(answer, Grant):
        raise AssertionError(f"what a cap does not cover is denied; seen: {answer!r}")
    return answer


async def a_settlement_charges_what_was_spent_and_frees_the_rest(make: Make) -> None:
    """What was spent is charged at every account on its path, the rest is free again."""
    clock = FakeClock()
    ledger = await make(clock)
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    grant_of(await ledger.grant(RUN, Amount(100, 50, 9), "k"))
    settled = await ledger.settle("k", Amount(60, 50))
    expect(settled == Settled(key="k", granted=Amount(100, 50, 9), spent=Amount(60, 50)), "both are told", settled)
    expect((settled.returned, settled.exceeded) == (Amount(40, 0, 9), False), "the rest is returned", settled)
    for depth in range(1, len(RUN) + 1):
        balance = await ledger.balance(RUN[:depth])
        expect((balance.open, balance.settled) == (Amount(), Amount(60, 50)), "it is charged at each", balance)
    standing = (await ledger.balance(ANN)).standings[0]
    expect((standing.used, standing.left) == (Amount(60, 50), (40, None, None)), "what is left is told", standing)
    denied_of(await ledger.grant(RUN, Amount(41), "more"))
    grant_of(await ledger.grant(RUN, Amount(40), "more"))
    await refused(UsageError, ledger.settle("unknown", Amount()), "a grant that nobody took")


async def the_first_settlement_counts(make: Make) -> None:
    """A later one changes nothing and gives the answer of the first, whatever it says itself."""
    ledger = await make(FakeClock())
    grant_of(await ledger.grant(RUN, Amount(100), "k"))
    first = await ledger.settle("k", Amount(60))
    for late in (Amount(60), Amount(100), Amount(0)):
        expect(await ledger.settle("k", late) == first, "the answer is the first one's", late)
    expect(await ledger.release("k") == first, "also for a release")
    balance = await ledger.balance(ANN)
    expect((balance.settled, balance.open) == (Amount(60), Amount()), "it is charged once", balance)


async def what_is_over_the_grant_is_charged_in_full(make: Make) -> None:
    """What is over the grant is charged in full, and the answer says so."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    grant_of(await ledger.grant(RUN, Amount(100, 7), "k"))
    settled = await ledger.settle("k", Amount(130, 3))
    expect(settled.exceeded and settled.returned == Amount(0, 4), "it says so, and returns the rest", settled)
    balance = await ledger.balance(ANN)
    expect(balance.settled == Amount(130, 3), "it is gone, so it is charged", balance)
    expect(balance.standings[0].left == (0, None, None), "nothing is left, not less than nothing", balance)
    denied = denied_of(await ledger.grant(RUN, Amount(1), "more"))
    expect(denied.left == 0, "and nothing more is granted", denied)
    await ledger.set_caps(ANN, [Cap(tokens=131)])
    grant_of(await ledger.grant(RUN, Amount(1), "more"))


async def what_was_spent_before_anything_was_granted_is_charged_whatever_the_caps_say(make: Make) -> None:
    """With a `path`, a key of which there is no grant is that of an empty one, which ends at once."""
    ledger = await make(FakeClock())
    grant_of(await ledger.grant(RUN, Amount(10), "open"))
    await ledger.set_caps(ANN, [Cap(tokens=30), Cap(tokens=30, window=60 * SECOND)])
    denied_of(await ledger.grant(RUN, Amount(50), "k"))
    first = await ledger.settle("k", Amount(50, 3), path=RUN)
    expect(first == Settled(key="k", granted=Amount(), spent=Amount(50, 3)), "nothing was granted", first)
    expect(await ledger.settle("k", Amount(9), path=RUN) == first, "the first settlement counts")
    expect(await ledger.settle("k", Amount(9)) == first, "and is known from then on")
    for depth in range(1, len(RUN) + 1):
        balance = await ledger.balance(RUN[:depth])
        expect((balance.open, balance.settled) == (Amount(10), Amount(50, 3)), "it is charged at each, once", balance)
    for standing in (await ledger.balance(ANN)).standings:
        expect(standing.used == Amount(60, 3), "it counts against every cap", standing)
    denied_of(await ledger.grow("open", Amount(11)))
    expect((await ledger.settle("open", Amount(4), path=RUN)).granted == Amount(10), "a grant there is is ended")
    await refused(UsageError, ledger.settle("k", Amount(), path=OTHER), "another path")
    await refused(UsageError, ledger.settle("new", Amount(), path=()), "a path without names")
    await refused(UsageError, ledger.settle("", Amount(), path=RUN), "a key that cannot be kept")


async def a_release_charges_nothing(make: Make) -> None:
    """Settles a grant of which nothing was spent."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    grant_of(await ledger.grant(RUN, Amount(100), "k"))
    settled = await ledger.release("k")
    expect((settled.spent, settled.returned) == (Amount(), Amount(100)), "all of it comes back", settled)
    grant_of(await ledger.grant(RUN, Amount(100), "next"))
    await refused(UsageError, ledger.release("unknown"), "a grant that nobody took")


async def an_open_grant_shrinks_and_the_rest_is_free(make: Make) -> None:
    """The rest is free again at every account on its path; the same call again changes nothing."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    grant_of(await ledger.grant(RUN, Amount(100, 5, 3), "k"))
    shrunk = await ledger.shrink("k", Amount(30, 9))
    expect(shrunk.amount == Amount(30, 5), "no dimension grows", shrunk)
    expect(await ledger.shrink("k", Amount(30, 9)) == shrunk, "the same call again changes nothing")
    expect(await ledger.grant(RUN, Amount(100), "k") == shrunk, "whoever asks for it gets it as it is now")
    for depth in range(1, len(RUN) + 1):
        balance = await ledger.balance(RUN[:depth])
        expect((balance.open, balance.settled) == (Amount(30, 5), Amount()), "so much is open at each", balance)
    grant_of(await ledger.grant(RUN, Amount(70), "another"))
    denied = denied_of(await ledger.grow("k", Amount(31)))
    expect((denied.left, denied.wanted) == (0, 1), "what was given back may be gone", denied)
    await ledger.release("another")
    expect(grant_of(await ledger.grow("k", Amount(100))).amount == Amount(100, 5), "it grows by the rule of others")
    await ledger.shrink("k", Amount())
    settled = await ledger.settle("k", Amount())
    expect((settled.granted, settled.exceeded) == (Amount(), False), "it is settled as it is then", settled)
    await refused(UsageError, ledger.shrink("k", Amount()), "one that was settled")
    await refused(UsageError, ledger.shrink("unknown", Amount()), "one that nobody took")


async def what_was_settled_long_ago_is_forgotten_one_by_one_and_remembered_in_sum(make: Make) -> None:
    """A settled grant is known for `KEPT`; then it is forgotten, and its sum stays. An open one is never forgotten."""
    clock = FakeClock()
    ledger = await make(clock)
    old = [f"old {n}" for n in range(50)]
    grant_of(await ledger.grant(RUN, Amount(7), "open"))
    for key in old:
        grant_of(await ledger.grant(RUN, Amount(2), key))
        first = await ledger.settle(key, Amount(1))
        expect(await ledger.settle(key, Amount(2)) == first, "a late settlement hears of the first")
    await clock.advance(KEPT / SECOND - 1)
    again = grant_of(await ledger.grant(RUN, Amount(1), old[0]))
    expect(again.spent == Amount(1), "until then it is known", again)
    await clock.advance(2)
    for n in range(50):
        grant_of(await ledger.grant(RUN, Amount(1), f"new {n}"))
        await ledger.settle(f"new {n}", Amount(1))
    for key in old:
        await refused(UsageError, ledger.settle(key, Amount(1)), "one that was forgotten")
    for account in (TENANT, RUN):
        balance = await ledger.balance(account)
        expect((balance.settled, balance.open) == (Amount(100), Amount(7)), "their sum is remembered", balance)
    expect([each.key for each in await ledger.open_grants()] == ["open"], "what is open is known however old it is")
    await ledger.settle("open", Amount(7))


async def a_window_reaches_as_far_back_as_settled_grants_are_known(make: Make) -> None:
    """What was spent before counts, also for a window that is new; UsageError: one longer than `LONGEST`."""
    clock = FakeClock()
    ledger = await make(clock)
    for key in ("one", "two"):
        grant_of(await ledger.grant(RUN, Amount(5), key))
        await ledger.settle(key, Amount(5))
        await clock.advance(LONGEST / SECOND - 1)
    grant_of(await ledger.grant(RUN, Amount(5), "three"))
    await ledger.settle("three", Amount(5))
    await ledger.set_caps(ANN, [Cap(tokens=20, window=LONGEST)])
    used = (await ledger.balance(ANN)).standings[0].used
    expect(used == Amount(10), "the longest window counts what was settled in it", used)
    longer = Cap(tokens=1, window=LONGEST + 1)
    await refused(UsageError, ledger.set_caps(ANN, [longer]), "a window that reaches further back than anybody knows")
    expect(await ledger.caps(ANN) == (Cap(tokens=20, window=LONGEST),), "nothing was changed")


async def an_account_begins_anew_and_those_above_and_below_stay(make: Make) -> None:
    """It has no caps, and what was settled before counts there no more. At the others everything stays."""
    clock = FakeClock()
    ledger, other = await make(clock), await make(clock)
    session, week = RUN[:3], Cap(tokens=100, window=7 * 86_400 * SECOND)
    for account in (ANN, session):
        await ledger.set_caps(account, [Cap(tokens=100), week])
    grant_of(await ledger.grant(RUN, Amount(60), "old"))
    await refused(UsageError, other.reset(session), "while what is open below it is charged there")
    expect((await ledger.balance(session)).open == Amount(60), "a refusal changes nothing")
    await ledger.settle("old", Amount(60))
    await clock.advance(1e-6)
    await other.reset(session)
    fresh = await ledger.balance(session)
    expect((fresh.settled, fresh.standings) == (Amount(), ()), "it is as one that nobody used", fresh)
    for account in (TENANT, ANN, RUN):
        balance = await ledger.balance(account)
        expect(balance.settled == Amount(60), "at the others everything stays", balance)
    denied = denied_of(await ledger.grant((*session, "r2"), Amount(41), "more"))
    expect(denied.account == ANN, "and binds", denied)
    await ledger.set_caps(ANN, [])
    await ledger.set_caps(session, [Cap(tokens=50), week, Cap(tokens=70, window=3_600 * SECOND)])
    used = [standing.used for standing in (await ledger.balance(session)).standings]
    expect(used == [Amount()] * 3, "nor does it count for caps and windows that are given later", used)
    grant_of(await ledger.grant((*session, "r2"), Amount(50), "new"))
    await ledger.settle("new", Amount(50))
    await ledger.set_caps(session, [Cap(tokens=200, window=60 * SECOND)])
    used = [standing.used for standing in (await other.balance(session)).standings]
    expect(used == [Amount(50)], "what comes then counts", used)
    await other.reset(("local", "nobody"))
    expect(await other.capped(8) == [session], "an account that nobody has used stays so", await other.capped(8))
    late = await ledger.settle("old", Amount(99))
    expect(late.spent == Amount(60), "and what was settled stays settled", late)


SETTLING: tuple[Check, ...] = (
    a_settlement_charges_what_was_spent_and_frees_the_rest,
    the_first_settlement_counts,
    what_is_over_the_grant_is_charged_in_full,
    what_was_spent_before_anything_was_granted_is_charged_whatever_the_caps_say,
    a_release_charges_nothing,
    an_open_grant_shrinks_and_the_rest_is_free,
    what_was_settled_long_ago_is_forgotten_one_by_one_and_remembered_in_sum,
    a_window_reaches_as_far_back_as_settled_grants_are_known,
    an_account_begins_anew_and_those_above_and_below_stay,
)
"""Every check of this module."""
