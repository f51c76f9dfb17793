"""The rules of one account, as pure functions over its tally: every adapter decides by these.

A tally holds sums only: what is open, what was settled since ever, and for each window what was settled in each of its
grains. So a grant costs the same after ten grants and after ten million. Nothing here reads a clock: `now` is µs UTC by
the store's.

A window of length L is divided into grains of g = L / 60 µs, which lie at multiples of g whatever the time. What is
settled at t goes to grain t // g, and counts as long as the last µs of that grain is later than now - L. At any `now`
the sum therefore includes everything settled in (now - L, now]; as no grant lets it exceed the cap, no window does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from holdfast.ledger.amounts import DIMENSIONS, GRAINS, Account, Amount, Cap
from holdfast.ledger.port import Denied, Standing

__all__ = ("Grain", "Tally", "Window", "allowed", "freed", "grain_of", "held", "recapped", "settled", "standings")

Grain = tuple[int, int, int, int]
"""Which grain, and what was settled in it: (t // g, tokens, cost, time)."""


class Window(msgspec.Struct, frozen=True, array_like=True):
    """What was settled lately, for the caps of one window."""

    length: int
    grains: tuple[Grain, ...] = ()
    """Oldest first; those that have left the window are dropped whenever something is settled."""


class Tally(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an account stands at, those below it included."""

    open: Amount = Amount()
    settled: Amount = Amount()
    caps: tuple[Cap, ...] = ()
    windows: tuple[Window, ...] = ()
    """One for each length that a cap names."""
    since: int = 0
    """µs UTC up to which nothing counts that was settled."""


def grain_of(length: int) -> int:
    """Returns the µs of a grain of a window of that length."""
    return -(-length // GRAINS)


def allowed(
    line: Sequence[tuple[Account, Tally]], wanted: Amount, least: Amount | None, now: int
) -> tuple[Amount, Denied | None]:
    """Returns how much of an amount all accounts of a path cover, and why it is not enough if it is not.

    A dimension of which nothing is wanted is not looked at: who wants nothing of it takes nothing from it.
    """
    needed = (wanted if least is None else least).numbers
    fitting = list(wanted.numbers)
    denials: list[Denied] = []
    for account, tally in line:
        for standing in standings(tally, now):
            for i, left in enumerate(standing.left):
                if left is None or not wanted.numbers[i]:
                    continue
                fitting[i] = min(fitting[i], left)
                if left < needed[i]:
                    denials.append(_denial(account, tally, standing, i, needed[i], now))
    if not denials:
        return Amount(*fitting), None
    never = [denied for denied in denials if denied.again_at is None]
    return Amount(), never[0] if never else max(denials, key=lambda denied: denied.again_at or 0)


def held(tally: Tally, amount: Amount) -> Tally:
    """Returns the tally with so much more in open grants."""
    return replace(tally, open=tally.open + amount)


def freed(tally: Tally, amount: Amount) -> Tally:
    """Returns the tally with so much less in open grants."""
    return replace(tally, open=tally.open.beyond(amount))


def settled(tally: Tally, granted: Amount, spent: Amount, now: int) -> Tally:
    """Returns the tally after a grant came to what was spent."""
    windows = tuple(Window(each.length, _added(each, spent, now)) for each in tally.windows)
    return replace(tally, open=tally.open.beyond(granted), settled=tally.settled + spent, windows=windows)


def recapped(tally: Tally, caps: Sequence[Cap], new: Iterable[Window]) -> Tally:
    """Returns the tally with other caps; `new` are windows it had not, with what was settled in them."""
    lengths = {cap.window for cap in caps}
    windows = (*(each for each in tally.windows if each.length in lengths), *new)
    return replace(tally, caps=tuple(caps), windows=windows)


def standings(tally: Tally, now: int) -> Iterable[Standing]:
    """Yields how the account stands with each of its caps."""
    counted = {window.length: _counted(window, now) for window in tally.windows}
    for cap in tally.caps:
        yield Standing(cap=cap, used=tally.open + (tally.settled if cap.window is None else counted[cap.window]))


def _counted(window: Window, now: int) -> Amount:
    live = _live(window, now)
    return Amount(*(sum(grain[i] for grain in live) for i in (1, 2, 3)))


def _live(window: Window, now: int) -> tuple[Grain, ...]:
    """Returns the grains that count: a grain n leaves when its last µs, (n + 1) * g - 1, is no later than now - L."""
    first = (now - window.length + 1) // grain_of(window.length)
    return window.grains[bisect_left(window.grains, (first,)) :]


def _added(window: Window, spent: Amount, now: int) -> tuple[Grain, ...]:
    live = _live(window, now)
    if spent == Amount():
        return live
    number = now // grain_of(window.length)
    place = bisect_left(live, (number,))  # the end, unless the clock was set back
    here = live[place : place + 1]
    if here and here[0][0] == number:
        spent += Amount(*here[0][1:])
        return (*live[:place], (number, *spent.numbers), *live[place + 1 :])
    return (*live[:place], (number, *spent.numbers), *live[place:])


def _denial(account: Account, tally: Tally, standing: Standing, i: int, needed: int, now: int) -> Denied:
    return Denied(
        account=account,
        cap=standing.cap,
        dimension=DIMENSIONS[i],
        wanted=needed,
        left=standing.left[i] or 0,
        again_at=_again_at(tally, standing, i, needed, now),
    )


def _again_at(tally: Tally, standing: Standing, i: int, needed: int, now: int) -> int | None:
    missing = standing.used.numbers[i] + needed - (standing.cap.limits[i] or 0)
    for window in tally.windows:
        if window.length != standing.cap.window:
            continue
        for grain in _live(window, now):
            missing -= grain[i + 1]
            if missing <= 0:
                return (grain[0] + 1) * grain_of(window.length) - 1 + window.length
    return None
