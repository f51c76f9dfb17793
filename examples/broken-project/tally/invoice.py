"""A month's invoice: one line a client, hours to the minute, money to the cent."""

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from tally.durations import format_hours, split_minutes
from tally.sheet import Entry, between

__all__ = ("Invoice", "Line", "month_invoice", "render_invoice")

_CENT = Decimal("0.01")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one client owes for the month."""

    client: str
    hours: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """The month's lines, by client."""

    lines: tuple[Line, ...]

    @property
    def total(self) -> Decimal:
        """The sum of the lines, zero for an empty month."""
        return sum((line.amount for line in self.lines), Decimal("0.00"))


def month_invoice(entries: Iterable[Entry], rates: Mapping[str, Decimal], year: int, month: int) -> Invoice:
    """The invoice for the billable work of one month; `rates` are per hour."""
    first = date(year, month, 1)
    last = date(year, month, monthrange(year, month)[1])
    worked: dict[str, int] = {}
    for entry in between(entries, first, last):
        if entry.billable:
            worked[entry.client] = worked.get(entry.client, 0) + entry.seconds
    return Invoice(lines=tuple(_line(client, worked[client], rates) for client in sorted(worked)))


def render_invoice(invoice: Invoice) -> str:
    """The invoice as text, a line a client and the total at the foot."""
    rows = [f"{line.client:<12}{line.hours:>8}{line.amount:>12}" for line in invoice.lines]
    return "\n".join([*rows, f"{'total':<20}{invoice.total:>12}"])


def _line(client: str, seconds: int, rates: Mapping[str, Decimal]) -> Line:
    if client not in rates:
        raise LookupError(f"no rate for client {client!r}; add one to the rates")
    hours, minutes = split_minutes(seconds)
    amount = (hours * 60 + minutes) * rates[client] / 60
    return Line(
        client=client, hours=format_hours(seconds), amount=amount.quantize(_CENT, rounding=ROUND_HALF_UP)
    )
