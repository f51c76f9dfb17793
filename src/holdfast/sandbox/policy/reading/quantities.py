"""Sizes and durations as people write them: `512Mi`, `120s`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ("duration_of", "size_of")

_SIZES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{sign}i": 1024**power for power, sign in enumerate("KMGT", 1)
}
_SECONDS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s?([A-Za-z]*)")


def size_of(text: str) -> int:
    """Returns the bytes of `512Mi`, `4Ki`, `1G` or `1024`.

    Raises:
        ValueError: it is none, or nothing.
    """
    return round(_number(text, _SIZES, "a size such as 512Mi, 1G or 4096"))


def duration_of(text: str) -> float:
    """Returns the seconds of `120s`, `5m`, `1h`, `500ms` or `2.5`.

    Raises:
        ValueError: it is none, or nothing.
    """
    return _number(text, _SECONDS, "a duration such as 120s, 5m or 500ms")


def _number(text: str, units: dict[str, int] | dict[str, float], wanted: str) -> float:
    found = _QUANTITY.fullmatch(text.removesuffix("B") if text.endswith("iB") else text)
    if found is None or found[2] not in units or float(found[1]) == 0:
        raise ValueError(f"{text[:80]!r} is no such quantity; write {wanted}")
    return float(found[1]) * units[found[2]]
