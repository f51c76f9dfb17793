"""The kit of `holdfast.ledger.port`: what every ledger must do.

async def make(clock: Clock) -> Ledger: ...    # each call opens the same ledger again

for check in CHECKS:
    await check(make)                          # on a ledger that is empty before each check
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.errors import UsageError
from holdfast.ledger.amounts import GRAINS, MOST, Account, Amount, Cap
from holdfast.ledger.port import KEY_LIMIT, Denied, Grant
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import expect, refused
from holdfast.testing.conformance.ledger_settling import (
    ANN,
    OTHER,
    RUN,
    SECOND,
    SETTLING,
    TENANT,
    Check,
    Make,
    denied_of,
    grant_of,
)

__all__ = ("CHECKS", "Check", "Make")

_WEEK = 7 * 24 * 3600 * SECOND


async def a_grant_counts_at_every_account_of_its_path(make: Make) -> None:
    """Takes an amount out of every account on the path."""
    clock = FakeClock()
    ledger = await make(clock)
    grant = grant_of(await ledger.grant(RUN, Amount(10, 20, 30), "k"))
    expect(grant == Grant(key="k", path=RUN, amount=Amount(10, 20, 30), opened_at=clock.now()), "as asked", grant)
    expect(grant.open, "it is open")
    again = await make(clock)
    for depth in range(1, len(RUN) + 1):
        balance = await again.balance(RUN[:depth])
        expect((balance.open, balance.settled) == (Amount(10, 20, 30), Amount()), "it is open at each", balance)
    beside = await ledger.balance(OTHER)
    expect((beside.account, beside.open, beside.standings) == (OTHER, Amount(), ()), "and nowhere else", beside)


async def a_cap_anywhere_on_the_path_bounds_all_below_it(make: Make) -> None:
    """It is granted if at each account every cap covers what was settled, the open grants and this."""
    ledger = await make(FakeClock())
    for account in (TENANT, ANN, RUN):
        first, second = f"first {account}", f"second {account}"
        before = (await ledger.balance(TENANT)).settled.tokens
        await ledger.set_caps(account, [Cap(tokens=before + 100)])
        grant_of(await ledger.grant(RUN, Amount(60), first))
        denied = denied_of(await ledger.grant(RUN, Amount(41), second))
        told = (denied.account, denied.dimension, denied.left, denied.wanted, denied.again_at)
        expect(told == (account, "tokens", 40, 41, None), "it says which cap is in the way", denied)
        expect("40 is left and 41 is wanted" in denied.reason, "and says so in words", denied.reason)
        expect((await ledger.balance(TENANT)).open == Amount(60), "what is denied is taken from no account")
        await ledger.settle(first, Amount(59))
        denied_of(await ledger.grant(RUN, Amount(42), second))
        grant_of(await ledger.grant(RUN, Amount(41), second))
        await ledger.release(second)
        await ledger.set_caps(account, [])


async def caps_beside_the_path_are_not_looked_at(make: Make) -> None:
    """A cap bounds what the account and all below it spend together."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    grant_of(await ledger.grant(OTHER, Amount(1000), "ben"))
    grant_of(await ledger.grant(("local", "ann2", "s", "r"), Amount(1000), "a name that begins alike"))
    grant_of(await ledger.grant(("other", "ann", "s1", "r1"), Amount(1000), "another tenant"))
    grant_of(await ledger.grant(RUN, Amount(50), "one"))
    grant_of(await ledger.grant(("local", "ann", "s9", "r9"), Amount(50), "of two sessions"))
    denied_of(await ledger.grant(RUN, Amount(1), "more"))


async def every_dimension_is_bounded_by_itself(make: Make) -> None:
    """In each dimension it has some of, every cap covers it."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=10), Cap(cost=20, time=30)])
    for wanted, dimension in ((Amount(11, 1, 1), "tokens"), (Amount(1, 21, 1), "cost"), (Amount(1, 1, 31), "time")):
        denied = denied_of(await ledger.grant(RUN, wanted, dimension))
        expect(denied.dimension == dimension, "the dimension that lacks is named", denied)
    grant_of(await ledger.grant(RUN, Amount(10, 20, 30), "all"))
    denied_of(await ledger.grant(RUN, Amount(0, 0, 1), "more"))
    await ledger.settle("all", Amount(11))
    expect(
        grant_of(await ledger.grant(RUN, Amount(0, 20, 30), "no tokens")).open, "what is not wanted is not in the way"
    )
    await ledger.set_caps(ANN, [Cap(tokens=0)])
    denied_of(await ledger.grant(RUN, Amount(1), "none at all"))


async def as_much_as_fits_is_granted_where_less_will_do(make: Make) -> None:
    """As much of each dimension as all caps cover is granted, if that is at least `least`."""
    ledger = await make(FakeClock())
    await ledger.set_caps(TENANT, [Cap(tokens=100, cost=50)])
    await ledger.set_caps(RUN, [Cap(tokens=70)])
    denied = denied_of(await ledger.grant(RUN, Amount(90, 60, 5), "a", least=Amount(70, 51)))
    expect((denied.dimension, denied.left, denied.wanted) == ("cost", 50, 51), "what was needed is named", denied)
    grant = grant_of(await ledger.grant(RUN, Amount(90, 60, 5), "a", least=Amount(70, 50)))
    expect(grant.amount == Amount(70, 50, 5), "each dimension as far as its tightest cap goes", grant)
    expect((await ledger.balance(TENANT)).open == grant.amount, "that much is open, not what was asked for")
    denied_of(await ledger.grant(OTHER, Amount(31), "b"))
    grant = grant_of(await ledger.grant(OTHER, Amount(20, 1), "b", least=Amount(20)))
    expect(grant.amount == Amount(20, 0), "of what is not needed there may be nothing", grant)
    await refused(UsageError, ledger.grant(OTHER, Amount(1), "c", least=Amount(2)), "at least more than wanted")


async def a_key_gives_the_same_grant_again(make: Make) -> None:
    """A key that was granted before gives that grant as it is now; one that was denied was not used up."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    denied_of(await ledger.grant(RUN, Amount(101), "k"))
    first = grant_of(await ledger.grant(RUN, Amount(100), "k"))
    expect(await ledger.grant(RUN, Amount(100), "k") == first, "the same request, the same grant")
    expect(await ledger.grant(RUN, Amount(7), "k", least=Amount()) == first, "whatever the amounts are this time")
    expect((await ledger.balance(ANN)).open == Amount(100), "it counts once")
    await refused(UsageError, ledger.grant(OTHER, Amount(100), "k"), "a key belongs to one path")
    await ledger.settle("k", Amount(30))
    again = grant_of(await ledger.grant(RUN, Amount(100), "k"))
    expect((again.open, again.spent, again.amount) == (False, Amount(30), Amount(100)), "a settled one says so", again)
    expect((await ledger.balance(ANN)).open == Amount(), "and takes nothing")


async def an_open_grant_grows_by_the_same_rule(make: Make) -> None:
    """Makes an open grant as large as `amount`; the same call again changes nothing."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100)])
    first = grant_of(await ledger.grant(RUN, Amount(30, 5), "k"))
    expect(await ledger.grow("k", Amount(20, 5)) == first, "what it has already it keeps")
    grown = grant_of(await ledger.grow("k", Amount(80, 1)))
    expect(grown.amount == Amount(80, 5), "it is as large as asked, and no dimension shrinks", grown)
    expect(await ledger.grow("k", Amount(80, 1)) == grown, "the same call again changes nothing")
    expect(await ledger.grant(RUN, Amount(30, 5), "k") == grown, "whoever asks for it gets it as it is now")
    expect((await ledger.balance(ANN)).open == Amount(80, 5), "all of it is open")
    denied = denied_of(await ledger.grow("k", Amount(101)))
    expect((denied.left, denied.wanted) == (20, 21), "what is missing is told", denied)
    expect(await ledger.grant(RUN, Amount(30, 5), "k") == grown, "and the grant stays as it is")
    grown = grant_of(await ledger.grow("k", Amount(150), least=Amount(100)))
    expect(grown.amount == Amount(100, 5), "as far as it can, if that will do", grown)
    settled = await ledger.settle("k", Amount(10))
    expect(settled.returned == Amount(90, 5), "it is settled as one", settled)
    await refused(UsageError, ledger.grow("k", Amount(200)), "one that was settled")
    await refused(UsageError, ledger.grow("unknown", Amount(200)), "one that nobody took")


async def what_leaves_the_window_is_free_again(make: Make) -> None:
    """A rolling window, within any of which the cap holds."""
    clock = FakeClock(1_800_000_000_000_000)
    ledger = await make(clock)
    await ledger.set_caps(ANN, [Cap(tokens=100, window=_WEEK)])
    day = 24 * 3600
    for key, spent in (("monday", 60), ("tuesday", 40)):
        grant_of(await ledger.grant(RUN, Amount(spent), key))
        await ledger.settle(key, Amount(spent))
        await clock.advance(day)
    denied = denied_of(await ledger.grant(RUN, Amount(50), "k"))
    expect((denied.left, denied.cap.window) == (0, _WEEK), "two days later all of it is used", denied)
    expect(denied.again_at is not None, "it says when some of it is free again", denied)
    wait = (denied.again_at or 0) - clock.now()
    late = wait - (_WEEK - 2 * day * SECOND)
    expect(0 <= late <= _WEEK // GRAINS, "not before the window has passed, and at most a grain later", wait, late)
    await clock.advance((wait - 1) / SECOND)
    expect(isinstance(await ledger.grant(RUN, Amount(50), "k"), Denied), "a microsecond before it is not free")
    await clock.advance(1 / SECOND)
    grant_of(await ledger.grant(RUN, Amount(50), "k"))
    standing = (await ledger.balance(ANN)).standings[0]
    expect(standing.used == Amount(90), "Tuesday still counts, and the grant", standing)
    expect((await ledger.balance(ANN)).settled == Amount(100), "what was ever settled is remembered")
    await ledger.release("k")
    await clock.advance(8 * day)
    grant_of(await ledger.grant(RUN, Amount(100), "a week later"))


async def what_waiting_does_not_help_has_no_time(make: Make) -> None:
    """None when waiting alone does not help: the cap is for ever or too small, or open grants are in the way."""
    ledger = await make(FakeClock())
    await ledger.set_caps(ANN, [Cap(tokens=100, window=_WEEK)])
    expect(denied_of(await ledger.grant(RUN, Amount(101), "k")).again_at is None, "more than the cap never fits")
    grant_of(await ledger.grant(RUN, Amount(60), "a"))
    expect(denied_of(await ledger.grant(RUN, Amount(60), "k")).again_at is None, "an open grant is in the way")
    await ledger.settle("a", Amount(60))
    expect(denied_of(await ledger.grant(RUN, Amount(60), "k")).again_at is not None, "a settled one leaves the window")
    await ledger.set_caps(TENANT, [Cap(tokens=100)])
    denied = denied_of(await ledger.grant(RUN, Amount(60), "k"))
    expect((denied.account, denied.again_at) == (TENANT, None), "the cap that is in the way longest is named", denied)


async def an_open_grant_counts_however_old_it_is(make: Make) -> None:
    """It never runs out; what was spent under it counts in a window from its settlement."""
    clock = FakeClock()
    ledger = await make(clock)
    await ledger.set_caps(ANN, [Cap(tokens=100, window=_WEEK)])
    grant_of(await ledger.grant(RUN, Amount(100), "k"))
    await clock.advance(30 * 24 * 3600)
    denied_of(await ledger.grant(RUN, Amount(1), "more"))
    await ledger.settle("k", Amount(100))
    await clock.advance(6 * 24 * 3600)
    denied_of(await ledger.grant(RUN, Amount(1), "more"))
    await clock.advance(2 * 24 * 3600)
    grant_of(await ledger.grant(RUN, Amount(100), "more"))


async def one_account_has_several_caps(make: Make) -> None:
    """Every cap of an account holds: for ever, for a week, for a minute."""
    clock = FakeClock()
    ledger = await make(clock)
    caps = (Cap(tokens=100), Cap(tokens=50, window=_WEEK), Cap(tokens=20, cost=9, window=60 * SECOND))
    await ledger.set_caps(ANN, caps)
    expect(await ledger.caps(ANN) == caps, "they are kept in their order")
    expect(await ledger.caps(TENANT) == (), "an account has its own only")
    spent = 0
    for turn in range(12):
        for wanted in (20, 10):
            answer = await ledger.grant(RUN, Amount(wanted), f"{turn} {wanted}")
            if isinstance(answer, Grant):
                spent += (await ledger.settle(answer.key, answer.amount)).spent.tokens
        standings = (await ledger.balance(ANN)).standings
        expect([each.cap for each in standings] == list(caps), "the balance tells of each", standings)
        over = [each for each in standings if 0 < (each.cap.tokens or 0) < each.used.tokens]
        expect(not over, "no cap is passed", over)
        await clock.advance(61 if turn % 4 else 4 * 24 * 3600)
    expect(spent == 100, "in the end the one for ever is used up, to the last token", spent)


async def what_was_spent_before_a_cap_was_set_counts(make: Make) -> None:
    """What was spent before counts, also for a window that is new; a cap may be lower than what is used already."""
    clock = FakeClock()
    ledger = await make(clock)
    for key, spent in (("old", 1000), ("new", 70)):
        await clock.advance(10 * 24 * 3600)
        grant_of(await ledger.grant(RUN, Amount(spent), key))
        await ledger.settle(key, Amount(spent))
    grant_of(await ledger.grant(OTHER, Amount(500), "beside"))
    await ledger.settle("beside", Amount(500))
    await clock.advance(24 * 3600)
    await ledger.set_caps(ANN, [Cap(tokens=2000), Cap(tokens=100, window=_WEEK)])
    used = [standing.used for standing in (await ledger.balance(ANN)).standings]
    expect(used == [Amount(1070), Amount(70)], "for ever all of it, in the window what lies in it", used)
    await ledger.set_caps(ANN, [Cap(tokens=50, window=_WEEK), Cap(tokens=500, window=30 * _WEEK)])
    denied = denied_of(await ledger.grant(RUN, Amount(1), "k", least=Amount(1)))
    expect(denied.left == 0, "below what is used nothing is left", denied)
    await clock.advance(7 * 24 * 3600)
    denied = denied_of(await ledger.grant(RUN, Amount(1), "k"))
    expect(denied.cap.window == 30 * _WEEK, "the long window knows of both", denied)
    await ledger.set_caps(ANN, [Cap(tokens=50, window=_WEEK)])
    grant_of(await ledger.grant(RUN, Amount(50), "k"))


async def a_window_that_is_new_stands_as_if_it_had_always_been_there(make: Make) -> None:
    """What was spent before counts, also for a window that is new."""
    clock = FakeClock(1_800_000_000_000_123)
    ledger = await make(clock)
    hour = Cap(tokens=10**6, cost=10**6, window=3600 * SECOND)
    await ledger.set_caps(TENANT, [hour])
    for turn in range(200):
        grant_of(await ledger.grant(RUN, Amount(turn, 1), f"{turn}"))
        await ledger.settle(f"{turn}", Amount(turn, 1))
        await clock.advance(29)
        if turn % 10 == 9:
            await ledger.set_caps(ANN, [])
            await ledger.set_caps(ANN, [hour])
            old, new = [(await ledger.balance(account)).standings for account in (TENANT, ANN)]
            expect(old == new, "both windows hold the same", old, new)


async def open_grants_are_found_by_their_path(make: Make) -> None:
    """Returns open grants whose path begins with those names, by path and key."""
    ledger = await make(FakeClock())
    paths = (RUN, OTHER, ("local", "ann"), ("local", "ann-2", "s1"), ("local", "ann", "s1"), ("other", "ann", "s1"))
    for number, path in enumerate(paths):
        for letter in "ba":
            grant_of(await ledger.grant(path, Amount(number), f"{letter}{number}"))
    await ledger.settle("a0", Amount())
    found = await ledger.open_grants(ANN)
    expect([each.key for each in found] == ["a2", "b2", "a4", "b4", "b0"], "its own and those below it", found)
    expect(found[-1] == await ledger.grant(RUN, Amount(), "b0"), "each is told whole", found[-1])
    expect([each.key for each in await ledger.open_grants(RUN)] == ["b0"], "a settled one is none of them")
    expect(await ledger.open_grants(("nobody",)) == [], "where there are none there are none")
    everything = await ledger.open_grants()
    expect(len(everything) == 11, "no names mean all", everything)
    paged: list[Grant] = []
    while page := await ledger.open_grants(limit=2, after=paged[-1] if paged else None):
        expect(len(page) <= 2, "no more than asked for", page)
        paged += page
    expect(paged == everything, "page by page they are the same")
    last = everything[-1]
    expect(await ledger.open_grants(ANN, after=last) == [], "behind the last there is nothing", last)
    expect(len(await ledger.open_grants(TENANT, limit=0)) == 0, "none is none")


async def what_is_no_number_is_refused(make: Make) -> None:
    """Whole numbers from zero only; NaN, infinity, fractions and `True` are none."""
    ledger = await make(FakeClock())
    wrong: tuple[object, ...] = (float("nan"), float("inf"), -float("inf"), -1, 1.0, 0.5, True, "1", None)
    for number in wrong:
        for name in ("tokens", "cost", "time"):
            await refused(UsageError, _made(Amount, name, number), f"an amount with {name} {number!r}")
            if number is not None:
                await refused(UsageError, _made(Cap, name, number), f"a cap with {name} {number!r}")
        if number is not None:
            await refused(UsageError, _made(Cap, "window", number), f"a window of {number!r}")
    await refused(UsageError, _made(Cap, "window", 5), "a cap that bounds nothing")
    await refused(UsageError, ledger.grant(RUN, Amount(MOST + 1), "k"), "more than one grant may hold")
    grant_of(await ledger.grant(RUN, Amount(MOST, MOST, MOST), "k"))
    await refused(UsageError, ledger.grow("k", Amount(MOST + 1)), "more than one grant may hold")
    await refused(UsageError, ledger.settle("k", Amount(0, 0, MOST + 1)), "more than one grant may hold")
    expect((await ledger.settle("k", Amount(MOST))).spent == Amount(MOST), "the largest number is kept to the last")


async def _made(kind: Callable[..., object], name: str, number: object) -> object:
    return kind(**{name: number, **({"tokens": 1} if kind is Cap and name == "window" and number != 5 else {})})


async def names_and_keys_that_cannot_be_kept_are_refused(make: Make) -> None:
    """UsageError: a name or the key is not valid; nothing was done."""
    ledger = await make(FakeClock())
    for path in ((), ("",), ("a", "b/c"), ("a\0",), ("a\n",), ("\ud800",), ("x" * 129,), ("a",) * 9):
        await refused(UsageError, ledger.grant(path, Amount(1), "k"), f"the path {path!r}")
        await refused(UsageError, ledger.set_caps(path, [Cap(tokens=1)]), f"the account {path!r}")
        await refused(UsageError, ledger.balance(path), f"the account {path!r}")
    for key in ("", "x" * (KEY_LIMIT + 1), "a\nb", "\ud800"):
        await refused(UsageError, ledger.grant(RUN, Amount(1), key), f"the key {key!r}")
    expect(await ledger.open_grants() == [], "nothing was done")
    path = ("tenänt", "a b@c.de", "%_'\"", "x" * 128)
    expect(grant_of(await ledger.grant(path, Amount(1), "ключ " * 51)).path == path, "other words are fine")
    expect([each.path for each in await ledger.open_grants(path[:2])] == [path], "and are found")


async def many_at_once_get_exactly_what_the_cap_admits(make: Make) -> None:
    """Of a thousand grants at once, from two sides, a cap of a hundred admits a hundred."""
    clock = FakeClock()
    ledgers = (await make(clock), await make(clock))
    await ledgers[0].set_caps(TENANT, [Cap(tokens=700, window=_WEEK), Cap(cost=10**9)])
    paths: list[Account] = [("local", f"u{n % 7}", f"s{n}", f"r{n}") for n in range(1000)]
    calls = (ledgers[n % 2].grant(path, Amount(7, n), f"k{n}") for n, path in enumerate(paths))
    answers = await asyncio.gather(*calls)
    granted = [answer for answer in answers if isinstance(answer, Grant)]
    expect(len(granted) == 100, "exactly a hundred are granted", len(granted))
    await asyncio.gather(*(ledgers[n % 2].settle(each.key, each.amount) for n, each in enumerate(granted)))
    balance = await ledgers[1].balance(TENANT)
    cost = sum(each.amount.cost for each in granted)
    expect(balance.settled == Amount(700, cost), "what they come to adds up to the last unit", balance)
    users = [(await ledgers[0].balance(("local", f"u{n}"))).settled for n in range(7)]
    expect(sum(users, Amount()) == balance.settled, "at the accounts below as well", users)


async def the_same_key_at_once_is_one_grant(make: Make) -> None:
    """A request that is sent again while the first is on its way is the same request."""
    clock = FakeClock()
    ledgers = (await make(clock), await make(clock))
    await ledgers[0].set_caps(ANN, [Cap(tokens=100)])
    answers = await asyncio.gather(*(ledgers[n % 2].grant(RUN, Amount(60), "k") for n in range(40)))
    expect(len(set(map(repr, answers))) == 1, "all get the one grant", set(map(repr, answers)))
    settled = await asyncio.gather(*(ledgers[n % 2].settle("k", Amount(n)) for n in range(40)))
    expect(len(set(map(repr, settled))) == 1, "and one settlement", set(map(repr, settled)))
    balance = await ledgers[1].balance(ANN)
    expect((balance.open, balance.settled) == (Amount(), settled[0].spent), "which is charged once", balance)


CHECKS: tuple[Check, ...] = (
    *SETTLING,
    a_grant_counts_at_every_account_of_its_path,
    a_cap_anywhere_on_the_path_bounds_all_below_it,
    caps_beside_the_path_are_not_looked_at,
    every_dimension_is_bounded_by_itself,
    as_much_as_fits_is_granted_where_less_will_do,
    a_key_gives_the_same_grant_again,
    an_open_grant_grows_by_the_same_rule,
    what_leaves_the_window_is_free_again,
    what_waiting_does_not_help_has_no_time,
    an_open_grant_counts_however_old_it_is,
    one_account_has_several_caps,
    what_was_spent_before_a_cap_was_set_counts,
    a_window_that_is_new_stands_as_if_it_had_always_been_there,
    open_grants_are_found_by_their_path,
    what_is_no_number_is_refused,
    names_and_keys_that_cannot_be_kept_are_refused,
    many_at_once_get_exactly_what_the_cap_admits,
    the_same_key_at_once_is_one_grant,
)
"""Every check of the kit."""
