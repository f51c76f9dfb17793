"""The time sheet: one entry a line, `day time client note`, and whole lines of comment after `#`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from tally.durations import parse_duration, parse_span

__all__ = ("Entry", "SheetError", "between", "parse_sheet")

_LEAST_FIELDS = 3


class SheetError(ValueError):
    """A line of the sheet cannot be read; the message names the line."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One piece of work on one day."""

    day: date
    client: str
    seconds: int
    billable: bool = True
    note: str = ""


def parse_sheet(text: str) -> list[Entry]:
    """Every entry of the sheet, in its order."""
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        try:
            entries.append(_parse_line(content))
        except ValueError as error:
            raise SheetError(f"line {number}: {error}") from error
    return entries


def between(entries: Iterable[Entry], first: date, last: date) -> list[Entry]:
    """The entries of the days from `first` to `last`, both included."""
    return [entry for entry in entries if first <= entry.day < last]


def _parse_line(content: str) -> Entry:
    fields = content.split(maxsplit=_LEAST_FIELDS)
    if len(fields) < _LEAST_FIELDS:
        raise ValueError(f"{content!r} needs a day, a time and a client")
    day, time, client = fields[:_LEAST_FIELDS]
    seconds = parse_span(time)
    return Entry(
        day=date.fromisoformat(day),
        client=client.removeprefix("~"),
        seconds=parse_duration(time) if seconds is None else seconds,
        billable=not client.startswith("~"),
        note=fields[_LEAST_FIELDS] if len(fields) > _LEAST_FIELDS else "",
    )
