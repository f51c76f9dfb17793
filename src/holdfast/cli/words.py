"""Figures and words for people: amounts, durations, ages, and text that is safe to show on one line.

Not here: colours and layout.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import floor, log10

from holdfast.types import Usage, dollars

__all__ = (
    "age",
    "clock_time",
    "count",
    "model_name",
    "money",
    "names_in",
    "one_line",
    "printable",
    "seconds",
    "tokens",
)

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def money(cost: int | None, *, most: bool = False, short: bool = False) -> str:
    """Returns nanodollars for people; `most` says that it may be less, `short` that there is little room."""
    if cost is None:
        return "price unknown"
    return f"{('≤' if short else 'at most ') if most and cost else ''}${_digits(dollars(cost))}"


def _digits(amount: float) -> str:
    """Returns dollars with four places, or with as many as two digits of a small amount need."""
    if not 0 < amount < 0.001:
        return f"{amount:.4f}"
    whole, point, places = f"{amount:.{1 - floor(log10(amount))}f}".partition(".")
    return f"{whole}{point}{places.rstrip('0'):0<4}"


def tokens(usage: Usage) -> str:
    """Returns how many tokens were used, or the most that were."""
    return f"{'at most ' if usage.estimated else ''}{count(usage.total_tokens, 'token')}"


def seconds(amount: float) -> str:
    """Returns a duration for people."""
    if amount < 0.0995:
        return f"{amount * 1000:.0f} ms"
    if amount < 9.95:
        return f"{amount:.1f} s"
    if amount < _MINUTE - 0.5:
        return f"{amount:.0f} s"
    minutes, rest = divmod(round(amount), _MINUTE)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def age(at: int, now: int) -> str:
    """Returns how long ago a time (µs UTC) was, or its date when that is long ago."""
    passed = (now - at) / 1e6
    if passed < _MINUTE:
        return "just now"
    if passed < _HOUR:
        return f"{passed // _MINUTE:.0f} min ago"
    if passed < _DAY:
        return f"{passed // _HOUR:.0f} h ago"
    if passed < 7 * _DAY:
        return f"{passed // _DAY:.0f} d ago"
    return _local(at).strftime("%Y-%m-%d")


def clock_time(at: int) -> str:
    """Returns the time of day (of µs UTC, here) to the millisecond."""
    return _local(at).strftime("%H:%M:%S.%f")[:-3]


def count(number: int, what: str) -> str:
    """Returns a number of things: `1 step`, `2 steps`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def model_name(spec: str, most: int = 32) -> str:
    """Returns the short form of what a person wrote for a model: its name without the provider, and how many more
    there are behind it.
    """
    first, *others = spec.split(",")
    provider, slash, name = first.strip().partition("/")
    more = f" +{len(others)}" if others else ""
    return one_line(name if slash else provider, most - len(more)) + more


def one_line(text: str, most: int = 400) -> str:
    """Returns text on one line, cut where nobody would read on."""
    line = " ".join(printable(text[: most * 2]).split())
    if len(line) <= most:
        return line if not text[most * 2 :].strip() else f"{line[: most - 2]} …"  # blanks may have filled what was read
    return line[: most - 1] + "…"


def printable(text: str) -> str:
    """Returns text whose control characters cannot act on a terminal: models, tools and files may say anything."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def _local(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1e6, UTC).astimezone()


def names_in(text: str) -> tuple[str, ...]:
    """Returns the names in a list with commas."""
    return tuple(each.strip() for each in text.split(",") if each.strip())
