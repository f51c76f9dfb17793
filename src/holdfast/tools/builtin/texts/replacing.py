"""Where a text stands in another one, and what the other one is with something else in its place.

Line ends need not be written as the file has them: what is looked for with plain line feeds is found where the file
has CRLF, and what is put there gets the line ends of that place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

__all__ = ("LineEnds", "Place", "find_places", "put")

Place = tuple[int, int]
"""Where something begins and ends."""


class LineEnds:
    """The line ends of a file; where they are all alike, the text is worked on with plain line feeds."""

    def __init__(self, text: str) -> None:
        feeds = text.count("\n")
        self.windows = feeds > 0 and text.count("\r\n") == feeds == text.count("\r")
        """Whether all of them are CRLF."""

    def plain(self, text: str) -> str:
        """Returns the text as it is worked on."""
        return text.replace("\r\n", "\n") if self.windows else text

    def own(self, text: str) -> str:
        """Returns a text that was worked on as the file has it."""
        return text.replace("\n", "\r\n") if self.windows else text


def find_places(text: str, wanted: str, *, most: int | None = None) -> list[Place]:
    """Returns where the wanted text stands, at most so many places; with `most` they may overlap.

    Without regard to the kind of line ends only where it does not stand as it is written.
    """
    found = list(islice(_exact(text, wanted, overlap=most is not None), most))
    if found or "\n" not in wanted or "\r\n" not in text:
        return found
    pattern = r"\r?\n".join(map(re.escape, wanted.replace("\r\n", "\n").split("\n")))
    return list(islice(_tolerant(text, re.compile(pattern), overlap=most is not None), most))


def put(text: str, places: list[Place], new: str) -> str:
    """Returns the text with `new` at all of these places, in the line ends that each place has."""
    pieces: list[str] = []
    done = 0
    for start, end in places:
        pieces += (text[done:start], _ended(text, start, end, new))
        done = end
    return "".join((*pieces, text[done:]))


def _exact(text: str, wanted: str, *, overlap: bool) -> Iterator[Place]:
    at = text.find(wanted)
    while at >= 0:
        yield at, at + len(wanted)
        at = text.find(wanted, at + (1 if overlap else len(wanted)))


def _tolerant(text: str, wanted: re.Pattern[str], *, overlap: bool) -> Iterator[Place]:
    found = wanted.search(text)
    while found:
        yield found.span()
        found = wanted.search(text, found.start() + 1 if overlap else found.end())


def _ended(text: str, start: int, end: int, new: str) -> str:
    if "\n" not in new or "\r\n" in new:
        return new
    feed = text.find("\n", start, end)
    if feed < 0:
        feed = text.find("\n", end)
    if feed < 0:
        feed = text.rfind("\n", 0, start)
    return new.replace("\n", "\r\n") if feed > 0 and text[feed - 1] == "\r" else new
