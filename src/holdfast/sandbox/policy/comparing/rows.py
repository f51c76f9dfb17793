"""Differences as values, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast.sandbox.policy.requesting import METHODS

__all__ = ("EVERY", "OTHERS", "UNREAD", "Comparison", "Difference", "Files", "Reach", "Setting", "described", "joined")

EVERY: Final = "*"
OTHERS: Final = "others"
"""In place of methods that nobody names."""
UNREAD: Final = "unread"
"""In place of methods, for what passes because nobody reads it: other protocols, and paths with two readings."""


class Files(msgspec.Struct, frozen=True, order=True):
    """A path that can be read, or written."""

    path: str
    how: str
    """`read` or `write`."""


class Reach(msgspec.Struct, frozen=True, order=True):
    """Requests that pass: by whom, where to, and which."""

    binary: str
    """A path or pattern, as the policies write it; several parted by ` with ` where one started the other."""
    host: str
    port: int
    path: str = "**"
    """Of the URL; `**` for every path that is not named, and with the method `*` for everything over a connection."""
    methods: tuple[str, ...] = (EVERY,)
    """Methods of HTTP, or of the protocol; `*` for all, `others` for those not named, `unread` for what
    nobody reads.
    """
    address: str = ""
    """A range its name may lead to; empty where that does not matter."""
    query: str = ""
    """Patterns for parameters of the query; empty where these do not matter."""


class Setting(msgspec.Struct, frozen=True, order=True):
    """A field of a profile that keeps in less, or more."""

    name: str
    before: str
    after: str


Difference = Files | Reach | Setting


class Comparison(msgspec.Struct, frozen=True):
    """How two policies, or profiles, differ in what they allow."""

    opened: tuple[Difference, ...] = ()
    """What the second allows and the first did not."""
    closed: tuple[Difference, ...] = ()
    """What the first allowed and the second does not."""
    unsure: tuple[str, ...] = ()
    """What differs between them, without its being known whether more passes."""


def described(comparison: Comparison) -> str:
    """Returns a comparison for people: a line for each difference, `+` for what was opened, `-` for what was closed,
    `?` for what cannot be told.
    """
    lines = [f"+ {_line(each)}" for each in comparison.opened] + [f"- {_line(each)}" for each in comparison.closed]
    lines += [f"? cannot tell: {each}" for each in comparison.unsure]
    return "\n".join(lines) or "nothing became reachable, and nothing stopped being so"


def _line(each: Difference) -> str:
    if isinstance(each, Files):
        return f"{each.how} {each.path}"
    if isinstance(each, Setting):
        return f"{each.name}: {each.before} -> {each.after}"
    what = f"{' '.join(each.methods)} {each.path}"
    if each.methods == (UNREAD,):
        what = "what nobody reads any more, whatever it is"
    elif (each.methods, each.path, each.query) == ((EVERY,), "**", ""):
        what = "everything"
    where = f"{each.host}:{each.port}" + (f" at {each.address}" if each.address else "")
    return f"{each.binary} -> {where} {what}{f' with {each.query}' if each.query else ''}"


def joined(rows: Iterable[Difference]) -> tuple[Difference, ...]:
    """Returns rows that differ in their method alone as one; a path, or a query, is left out where the same holds for
    all of them.
    """
    every = set(rows)
    files = sorted(each for each in every if isinstance(each, Files))
    settings = sorted(each for each in every if isinstance(each, Setting))
    methods: dict[Reach, set[str]] = {}
    for each in every:
        if isinstance(each, Reach):
            methods.setdefault(msgspec.structs.replace(each, methods=()), set()).update(each.methods)
    reaches: list[Reach] = []
    for key, every_name in methods.items():
        found = {each for each in every_name if not _said(each, every_name)}
        wider = {
            msgspec.structs.replace(key, path=path, query=query)
            for path in (key.path, "**")
            for query in (key.query, "")
        } - {key}
        if not any(found <= methods.get(each, set()) for each in wider):
            names = (EVERY,) if found >= {*METHODS, OTHERS} or EVERY in found else tuple(sorted(found, key=_order))
            reaches.append(msgspec.structs.replace(key, methods=names))
    return (*settings, *files, *sorted(reaches))


def _said(name: str, names: set[str]) -> bool:
    """Whether several calls in one request hold one that is listed by itself."""
    parts = name.split(" and ")
    return len(parts) > 1 and not names.isdisjoint(parts)


def _order(method: str) -> tuple[int, str]:
    last = len(METHODS) + (method in (OTHERS, UNREAD))
    return (METHODS.index(method) if method in METHODS else last, method)
