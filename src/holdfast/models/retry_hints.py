"""How long a server wants to be left alone, from the headers of its refusal.

Read are `retry-after-ms`, `retry-after` in seconds or as a date, and the reset of whichever of OpenAI's rate windows
is used up. What cannot be read is as good as not said: these are hints of a stranger.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

__all__ = ("retry_after",)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Returns how many seconds the server wants to be left alone; None when it does not say."""
    seconds = _number(headers.get("retry-after-ms", ""))
    if seconds is not None:
        return seconds / 1000
    said = headers.get("retry-after", "").strip()
    if said:
        return _until(said, headers, now)
    waits = [
        wait
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"
        and (wait := _duration(headers.get(f"x-ratelimit-reset-{kind}", ""))) is not None
    ]
    return max(waits) if waits else None


def _until(said: str, headers: Mapping[str, str], now: Callable[[], float]) -> float | None:
    seconds = _number(said)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return None
    try:  # the server's own clock, where it tells
        reference = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        reference = now()
    return max(0.0, moment - reference)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,12}(\.\d{1,12})?\s*", text, re.ASCII) else None


def _duration(text: str) -> float | None:
    """Returns the seconds of `1m30.5s` or of a plain number."""
    if not re.fullmatch(r"(\d{1,9}(\.\d{1,9})?(ms|s|m|h|d)){1,5}", text.strip(), re.ASCII):
        return _number(text)
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|[smhd])", text))
