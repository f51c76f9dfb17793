"""How much, at most how much, and of whom: the values of a ledger.

An amount has three dimensions that are never converted into one another. All numbers are whole, so that sums are
exact and a cap is a comparison; what is no whole number from zero is refused where it is made.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.errors import UsageError

__all__ = (
    "DIMENSIONS",
    "GRAINS",
    "LONGEST",
    "MOST",
    "Account",
    "Amount",
    "Cap",
    "Dimension",
    "account_id",
    "check_amount",
)

Dimension = Literal["tokens", "cost", "time"]
DIMENSIONS: tuple[Dimension, ...] = ("tokens", "cost", "time")
"""Tokens, nanodollars and µs, in the order of the fields."""

MOST = 10**15
"""The largest number in one grant or settlement: a million dollars, or 31 years. Totals and caps have no bound."""
GRAINS = 60
"""Into how many grains a window is divided: a week is counted to 2 h 48 min, an hour to a minute."""

LONGEST = 366 * 24 * 3600 * 1_000_000
"""µs of the longest window that a cap may be set for, a year: what was settled in it is known grant by grant."""

Account = tuple[str, ...]
"""An account: the names that lead to it from the outermost in, such as (tenant, user, session, root)."""

_DEPTH = 8
_NAME = 128


class Amount(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """So much of each dimension.

    Raises:
        UsageError: a number is negative or not whole (NaN, infinity and `True` are not).
    """

    tokens: int = 0
    cost: int = 0
    """Nanodollars."""
    time: int = 0
    """µs."""

    def __post_init__(self) -> None:
        if not (type(self.tokens) is type(self.cost) is type(self.time) is int and min(self.numbers) >= 0):
            raise UsageError(f"{self!r} is no amount: give whole numbers from 0 (tokens, nanodollars, µs)")

    def __add__(self, other: Amount) -> Amount:
        """Returns both together."""
        return Amount(self.tokens + other.tokens, self.cost + other.cost, self.time + other.time)

    @property
    def numbers(self) -> tuple[int, int, int]:
        """The three numbers, in the order of `DIMENSIONS`."""
        return self.tokens, self.cost, self.time

    def within(self, other: Amount) -> bool:
        """Returns whether no dimension is larger than the other's."""
        return self.tokens <= other.tokens and self.cost <= other.cost and self.time <= other.time

    def beyond(self, other: Amount) -> Amount:
        """Returns, in each dimension, by how much this is larger than the other; zero where it is not."""
        return Amount(*(max(0, mine - theirs) for mine, theirs in zip(self.numbers, other.numbers, strict=True)))

    def smaller(self, other: Amount) -> Amount:
        """Returns, in each dimension, the smaller number of the two."""
        return Amount(*map(min, self.numbers, other.numbers))

    def larger(self, other: Amount) -> Amount:
        """Returns, in each dimension, the larger number of the two."""
        return Amount(*map(max, self.numbers, other.numbers))


class Cap(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an account and all below it may spend together; `None` leaves a dimension unbounded.

    `Cap(tokens=..., cost=..., time=..., window=...)`: tokens in and out together, what models cost in nanodollars
    (`from_dollars(20)` of `holdfast.types`), time in µs, and a rolling window in µs, without which it holds for ever.

    Raises:
        UsageError: it bounds nothing, or a number is not whole or too small.
    """

    tokens: int | None = None
    cost: int | None = None
    """Nanodollars."""
    time: int | None = None
    """µs."""
    window: int | None = None
    """µs of a rolling window, `LONGEST` at most, within any of which the cap holds; None: it holds for ever.

    The window moves in `GRAINS` steps. What was spent counts from its settlement until all of the grain it fell into
    has left the window: a sixtieth of the window too long at most, never too short.
    """
    origin: str = ""
    """Whose configuration it follows; empty for a cap that a person set. The ledger only keeps it."""

    def __post_init__(self) -> None:
        if self.limits == (None, None, None):
            raise UsageError("a cap that bounds nothing is none: name tokens, cost or time, or take the cap away")
        for name, least in (("tokens", 0), ("cost", 0), ("time", 0), ("window", 1)):
            number: object = getattr(self, name)
            if number is not None and (type(number) is not int or number < least):
                raise UsageError(f"Cap({name}={number!r}) is no cap: give a whole number from {least}, or None")

    @property
    def limits(self) -> tuple[int | None, int | None, int | None]:
        """The three bounds, in the order of `DIMENSIONS`."""
        return self.tokens, self.cost, self.time


def account_id(account: Account) -> str:
    """Returns an account as one string, `tenant/user/…`.

    Raises:
        UsageError: there are no names or more than 8, or one is empty, longer than 128, holds a slash or cannot be
            printed.
    """
    if not 1 <= len(account) <= _DEPTH:
        raise UsageError(f"{account!r} is no account: name 1 to {_DEPTH}, from the outermost in")
    for name in account:
        if not 1 <= len(name) <= _NAME or "/" in name or not name.isprintable():
            raise UsageError(
                f"{name!r} cannot be the name of an account: use 1 to {_NAME} printable characters without a slash"
            )
    return "/".join(account)


def check_amount(amount: Amount) -> None:
    """Sees that an amount is one that somebody can mean.

    Raises:
        UsageError: a number is over `MOST`.
    """
    if max(amount.numbers) > MOST:
        raise UsageError(f"{amount!r} is more than one grant may hold ({MOST} of each): check its units")
