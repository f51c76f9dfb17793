"""The kinds of hosts, programs, paths and other texts that some patterns tell apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from holdfast.sandbox.policy.comparing.wildcards import Patterns
from holdfast.sandbox.policy.matching import address_in, canonical_host

__all__ = ("ENCODED_SLASH", "closest", "hosts_of", "paths_of", "programs_of", "quoted", "texts_of")

ENCODED_SLASH: Final = "%2F"
_ROOT, _DOT, _DOTS, _NAME, _SLASH = range(1, 6)
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz_")
_DIGITS: Final = frozenset("0123456789")


def closest(patterns: Iterable[str], default: str) -> str:
    """Returns the pattern that says most, of those that match something."""
    return max(patterns, key=lambda each: (len(re.sub(r"[*?]", "", each)), each), default=default)


def hosts_of(patterns: Sequence[str]) -> list[str]:
    """Returns a host of each kind; of those without a pattern none.

    Raises:
        OverflowError: there are more kinds than can be looked at, or hosts that look like addresses among them.
    """
    found = Patterns()
    literal: list[str] = []
    for each in dict.fromkeys(patterns):
        name = each.lower().removesuffix(".")
        if "*" in name:
            if name.rpartition(".")[2].isdigit():
                raise OverflowError("more kinds than can be looked at")
            found.add_glob(name, ".")
        elif not name:
            found.add_glob("**", ".")
        elif (host := canonical_host(name)) is not None and address_in(host):
            literal.append(host)
        else:
            found.add_text(host or name)
    return [*literal, *(each for matched, each in found.kinds(".", _host, lambda shape: shape == 1).items() if matched)]


def programs_of(patterns: Sequence[str]) -> list[str]:
    """Returns a program of each kind; of those without a pattern none.

    Raises:
        OverflowError: there are more kinds than can be looked at.
    """
    found = Patterns()
    for each in dict.fromkeys(patterns):
        if "*" in each:
            found.add_glob(each, "/")
        else:
            found.add_text(each)
    return [each for matched, each in found.kinds("/", _path, lambda shape: shape == _NAME).items() if matched]


def paths_of(globs: Sequence[str], selectors: Sequence[str], *, encoded: bool) -> list[str]:
    """Returns a path of each kind, in the one spelling; with `encoded` also of those that hold an encoded slash.

    Raises:
        OverflowError: there are more kinds than can be looked at.
    """
    found = Patterns()
    for each in dict.fromkeys(globs):
        found.add_glob(each, "/")
    for each in dict.fromkeys(selectors):
        found.add_selector(each)
    if encoded:
        found.add_part(ENCODED_SLASH)
    extra = ENCODED_SLASH if encoded else ""
    return [*found.kinds("/", _path, lambda shape: shape in (_ROOT, _NAME, _SLASH), extra=extra).values()]


def texts_of(patterns: Sequence[str], separator: str) -> list[str]:
    """Returns a text of each kind, of those without a pattern, too.

    Raises:
        OverflowError: there are more kinds than can be looked at.
    """
    found = Patterns()
    for each in dict.fromkeys(patterns):
        found.add_glob(each, separator)
    return [*found.kinds(separator, lambda shape, sign: 0, lambda shape: True).values()]


def quoted(path: str) -> str:
    """Returns a path as clients send it."""
    return ENCODED_SLASH.join(quote(each, safe="/!$&'()*+,=:@~-._") for each in path.split(ENCODED_SLASH))


def _path(shape: int, sign: str) -> int:
    """What a path in its one spelling has to be: begun by a slash, without `//`, `.`, `..`, `;` and backslashes."""
    if sign in ";\\" or sign < " " or sign == "\x7f":
        return -1
    if shape == 0:
        return _ROOT if sign == "/" else -1
    if sign == "/":
        return _SLASH if shape == _NAME else -1
    if sign == "." and shape != _NAME:
        return {_DOT: _DOTS, _DOTS: _NAME}.get(shape, _DOT)
    return _NAME


def _host(shape: int, sign: str) -> int:
    """What a host has to be: 0 begins a label, 1 has a letter in it, 2 has digits alone, 3 ends in a hyphen."""
    if sign in _LETTERS:
        return 1
    if sign in _DIGITS:
        return 2 if shape in (0, 2) else 1
    if sign == "-":
        return 3 if shape else -1
    return 0 if sign == "." and shape in (1, 2) else -1
