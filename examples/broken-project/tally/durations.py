"""Durations as people write them and as an invoice prints them.

In between they are whole seconds, so adding them up loses nothing; rounding happens once, at the end.
"""

import re

__all__ = ("format_hours", "parse_duration", "parse_span", "split_minutes")

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_CLOCK = re.compile(r"([0-9]+):([0-5][0-9])(?::([0-5][0-9]))?")
_UNITS = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
_SPAN = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


def parse_duration(text: str) -> int:
    """Seconds of a clock reading (`1:45`, `1:44:50`) or of units (`2h45m`, `90m`)."""
    match = _CLOCK.fullmatch(text) or (_UNITS.fullmatch(text) if text else None)
    if match is None:
        raise ValueError(f"not a duration: {text!r}; write it like 1:45, 1:44:50 or 2h45m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * _HOUR + minutes * _MINUTE + seconds


def parse_span(text: str) -> int | None:
    """Seconds from start to end of a span like `22:30-02:45`; None when the text is no span."""
    match = _SPAN.fullmatch(text)
    if match is None:
        return None
    start_hour, start_minute, end_hour, end_minute = (int(part) for part in match.groups())
    start = start_hour * _HOUR + start_minute * _MINUTE
    end = end_hour * _HOUR + end_minute * _MINUTE
    return end - start if end > start else end - start + _DAY


def split_minutes(seconds: int) -> tuple[int, int]:
    """Hours and minutes, rounded to the nearest minute; half a minute counts up."""
    hours, rest = divmod(seconds, _HOUR)
    return hours, (rest + _MINUTE // 2) // _MINUTE


def format_hours(seconds: int) -> str:
    """The duration as `H:MM`."""
    hours, minutes = split_minutes(seconds)
    return f"{hours}:{minutes:02d}"
