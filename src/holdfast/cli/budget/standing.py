"""How an account stands with its caps: as data, and as a table."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.words import seconds
from holdfast.ledger.amounts import Amount
from holdfast.ledger.port import Balance, Standing
from holdfast.types import dollars

__all__ = ("Bound", "CapShown", "Shown", "print_accounts", "print_balance", "shown_of")

_HOUR = 3_600_000_000
_SMALL = 0.1
"""Dollars below which whole cents would say too little."""
_NEARLY = 0.8
"""From which part on a cap is nearly used up."""


class Bound(msgspec.Struct, frozen=True):
    """One bound of a cap."""

    cap: float
    used: float
    """What was spent, and what open runs hold."""
    left: float


class CapShown(msgspec.Struct, frozen=True):
    """One cap, in units for people."""

    per_seconds: float | None
    """The rolling window; None for a cap that holds for ever."""
    tokens: Bound | None = None
    dollars: Bound | None = None
    hours: Bound | None = None
    configured: bool = False
    """Whether a server's configuration says so, and not a person."""

    @property
    def bounds(self) -> tuple[tuple[str, Bound], ...]:
        """What it bounds, by name."""
        named = (("tokens", self.tokens), ("dollars", self.dollars), ("hours", self.hours))
        return tuple((name, bound) for name, bound in named if bound is not None)


class Spent(msgspec.Struct, frozen=True):
    """An amount, in units for people."""

    tokens: int
    dollars: float
    hours: float


class Shown(msgspec.Struct, frozen=True):
    """An account."""

    account: str
    settled: Spent
    """Since ever, of runs that were counted: those under some cap."""
    held: Spent
    """By runs that are open."""
    caps: tuple[CapShown, ...]


def shown_of(balance: Balance) -> Shown:
    """Returns an account in units for people."""
    caps = tuple(map(_cap, balance.standings))
    return Shown("/".join(balance.account), _spent(balance.settled), _spent(balance.open), caps)


def _cap(standing: Standing) -> CapShown:
    units = (1, 1_000_000_000, _HOUR)
    tokens, dollars_, hours = (
        None if cap is None or left is None else Bound(cap / unit, used / unit, left / unit)
        for cap, used, left, unit in zip(standing.cap.limits, standing.used.numbers, standing.left, units, strict=True)
    )
    window = standing.cap.window
    per = None if window is None else window / 1e6
    return CapShown(per, tokens, dollars_, hours, configured=bool(standing.cap.origin))


def _spent(amount: Amount) -> Spent:
    return Spent(amount.tokens, dollars(amount.cost), amount.time / _HOUR)


def print_accounts(console: Console, accounts: Sequence[Shown]) -> None:
    """Prints a table with a line for each bound of each cap."""
    rows = [
        (account.account, span(cap.per_seconds), name, *figures(name, bound), _part(bound), "by serve" * cap.configured)
        for account in accounts
        for cap in account.caps
        for name, bound in cap.bounds
    ]
    heads = ("account", "per", "of", "used", "cap", "left", "", "")
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    for number, row in enumerate((heads, *rows)):
        line = Text()
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            line.append(cell.rjust(width) if 3 <= place <= 5 else cell.ljust(width), "" if number else "dim")
            line.append("  ")
        if number and row[-1]:
            line.stylize("yellow")
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def print_balance(console: Console, account: Shown) -> None:
    """Prints an account by itself."""
    spent, held = account.settled, account.held
    console.print(Text(account.account, "bold"))
    console.print(Text(f"  spent  {_words(spent)}"))
    if held != Spent(0, 0.0, 0.0):
        console.print(Text(f"  held   {_words(held)}, by runs that are open", "dim"))
    if not account.caps:
        console.print(Text("  no cap of its own", "dim"))
    for cap in account.caps:
        for name, bound in cap.bounds:
            used, limit, left = figures(name, bound)
            unit = "" if name == "dollars" else f" {name}"
            per = "" if cap.per_seconds is None else f" per {span(cap.per_seconds)}"
            said = ", by a server's configuration" if cap.configured else ""
            line = Text(f"  cap    {used} of {limit}{unit}{per}, {left} left{said}", "yellow" if _part(bound) else "")
            console.print(line, soft_wrap=True)


def _words(spent: Spent) -> str:
    return f"{spent.tokens:,} tokens · ${spent.dollars:.4f} · {seconds(spent.hours * 3600)}"


def figures(name: str, bound: Bound) -> tuple[str, str, str]:
    """Returns what is used of a bound, the bound, and what is left."""
    numbers = (bound.used, bound.cap, bound.left)
    cents = "${:,.4f}" if any(0 < abs(number) < _SMALL for number in numbers) else "${:,.2f}"
    form = {"tokens": "{:,.0f}", "dollars": cents, "hours": "{:,.1f}"}[name]
    used, cap, left = (form.format(number) for number in numbers)
    return used, cap, left


def _part(bound: Bound) -> str:
    if bound.left <= 0:
        return "used up"
    return "nearly used up" if bound.cap and bound.used / bound.cap >= _NEARLY else ""


def span(per_seconds: float | None) -> str:
    """Returns a window as it was given."""
    if per_seconds is None:
        return "ever"
    for letter, unit in (("d", 86_400), ("h", 3600), ("m", 60)):
        if per_seconds % unit == 0:
            return f"{per_seconds / unit:.0f}{letter}"
    return f"{per_seconds:g}s"
