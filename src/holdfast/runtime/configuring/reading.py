"""How the values of settings are written: each reads one, or raises ValueError, whose text says what is wanted.

Not here: which settings there are (`runtime/settings.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from holdfast.errors import UnknownModel
from holdfast.errors.hinting import hint
from holdfast.models.routing.grammar import check_spec

__all__ = ("amount", "model", "one_of", "provider", "truth", "whole", "words")


def words(text: str) -> str:
    """Returns words of one line."""
    if not text.strip() or not text.isprintable():
        raise ValueError("some words on one line are wanted")
    return text.strip()


def model(text: str) -> str:
    """Returns what names models: one, or several with commas."""
    try:
        check_spec(text)
    except UnknownModel as error:
        raise ValueError(str(error)) from None
    return text.strip()


def provider(text: str) -> str:
    """Returns the word before a slash."""
    if not re.fullmatch(r"[\w.-]+", text):
        raise ValueError("the word before a model's slash is wanted, as in 'openai'")
    return text


def one_of(*names: str) -> Callable[[str], str]:
    """Returns what reads one of these names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(hint(text, names, f"one of {', '.join(names)} is wanted"))
        return text

    return read


def truth(text: str) -> bool:
    """Returns whether it is so."""
    truths = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in truths:
        raise ValueError("true or false is wanted")
    return truths[text.lower()]


def whole(text: str) -> int:
    """Returns a whole number from 1."""
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) < 1:
        raise ValueError("a whole number from 1 is wanted")
    return int(text)


def amount(text: str) -> float:
    """Returns a number over 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e12:
        raise ValueError("a number over 0 is wanted")
    return number
