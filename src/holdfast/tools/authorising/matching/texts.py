"""Patterns of text, and ranges of numbers.

Of a text pattern `*` is anything, `?` any one character, and a backslash before one of these, or before another
backslash, makes it a character like any other. Matching costs no more than the length of the text times that of the
pattern, whoever chose the text: what a star in the middle has found is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

__all__ = ("LONGEST", "compile_number", "compile_text", "expression_of", "number_of", "text_of")

LONGEST: Final = 64 * 1024
"""Characters that a text may have which is compared with patterns."""
_TOKEN: Final = re.compile(r"\\[*?\\]|\*+|\?|[^*?\\]+|\\", re.DOTALL)
_RANGE: Final = re.compile(r"(?P<low>[-+.\deE]*?)\.\.(?P<high>[-+.\deE]*)")


@lru_cache(maxsize=4096)
def expression_of(pattern: str, any_one: str = ".") -> re.Pattern[str]:
    """Returns a pattern as an expression for `fullmatch`; wildcards stand for what `any_one` matches."""
    chunks = [""]
    for token in _TOKEN.findall(pattern):
        if token.startswith("*"):
            chunks.append("")
        elif token == "?":
            chunks[-1] += any_one
        else:
            chunks[-1] += re.escape(token[1:] if len(token) == 2 and token[0] == "\\" else token)
    if len(chunks) == 1:
        return re.compile(chunks[0], re.DOTALL)
    middle = "".join(f"(?>{any_one}*?{chunk})" for chunk in chunks[1:-1] if chunk)
    return re.compile(f"{chunks[0]}{middle}{any_one}*{chunks[-1]}", re.DOTALL)


def text_of(value: object, root: str = "") -> str:
    """Returns a text that patterns are compared with.

    Raises:
        TypeError: it is no text.
        ValueError: it is too long.
    """
    if not isinstance(value, str):
        raise TypeError("a text")
    if len(value) > LONGEST:
        raise ValueError(f"it has {len(value):,} characters, and {LONGEST:,} are the most that is looked at")
    return value


def compile_text(pattern: str, *, denies: bool) -> Callable[[str], bool]:
    """Returns whether a text is what a pattern says; where that denies, upper and lower case are the same."""
    if not denies:
        found = expression_of(pattern)
        return lambda text: found.fullmatch(text) is not None
    folded = expression_of(pattern.casefold())
    return lambda text: folded.fullmatch(text.casefold()) is not None


def number_of(value: object, root: str = "") -> Decimal:
    """Returns a number exactly as it was written.

    Raises:
        TypeError: it is no number; truth is none, and neither is a number in a text.
        ValueError: it is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError("a number")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("it is no finite number")
    return number


def compile_number(pattern: str, *, denies: bool) -> Callable[[Decimal], bool]:
    """Returns whether a number lies in a range, its ends included: `1..10`, `..10`, `1..`, or `5` for the one number.

    Raises:
        ValueError: that is no range.
    """
    found = _RANGE.fullmatch(pattern)
    if found is None:
        low = high = _bound(pattern, pattern)
    else:
        low, high = (_bound(found[each], pattern) if found[each] else None for each in ("low", "high"))
    if low is None and high is None:
        raise ValueError("a range has an end: write one like `1..10`, `..10` or `1..`")
    if low is not None and high is not None and low > high:
        raise ValueError("the range runs backwards: write the lower end first")
    return lambda number: (low is None or low <= number) and (high is None or number <= high)


def _bound(text: str, pattern: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError(f"{pattern[:80]!r} is no range of numbers: write one like `1..10`, `..10`, `1..` or `5`")
    return number
