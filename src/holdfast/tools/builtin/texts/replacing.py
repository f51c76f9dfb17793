"""Where a text stands in another one, and what the other one is with something else in its place.

Line ends need not be written as the file has them: what is looked for with plain line feeds is found where the file
has CRLF, and what is put there gets the line ends of that place. However many places there are, and however long the
lines, it takes time in proportion to the text.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from io import StringIO

__all__ = ("LineEnds", "Place", "count_places", "places_in", "put")

_WATCHED = 4096
"""Places that are filled before it is looked again whether to go on."""

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


def count_places(text: str, wanted: str) -> int:
    """Returns how many places `places_in` finds."""
    found = text.count(wanted)
    return found if found or not _may_differ(text, wanted) else _plain(text).count(_plain(wanted))


def places_in(text: str, wanted: str, *, overlap: bool = False) -> Iterator[Place]:
    """Yields where the wanted text stands, in order.

    Without regard to the kind of line ends only where it does not stand as it is written.
    """
    if wanted in text:
        return _exact(text, wanted, overlap=overlap)
    return _tolerant(text, wanted, overlap=overlap) if _may_differ(text, wanted) else iter(())


def put(text: str, places: Iterable[Place], new: str, stop: threading.Event | None = None) -> str:
    """Returns the text with `new` at all of these places, in the line ends that each place has.

    The places come in order. When `stop` is set what is returned is not whole: the caller looks, and drops it.
    """
    pieces = StringIO(newline="")
    ended = _Ended(text, new)
    done = 0
    for number, (start, end) in enumerate(places):
        if number % _WATCHED == 0 and stop is not None and stop.is_set():
            break
        pieces.write(text[done:start])
        pieces.write(ended.at(start))
        done = end
    pieces.write(text[done:])
    return pieces.getvalue()


def _may_differ(text: str, wanted: str) -> bool:
    return "\n" in wanted and "\r\n" in text


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _exact(text: str, wanted: str, *, overlap: bool) -> Iterator[Place]:
    at = text.find(wanted)
    while at >= 0:
        yield at, at + len(wanted)
        at = text.find(wanted, at + (1 if overlap else len(wanted)))


def _tolerant(text: str, wanted: str, *, overlap: bool) -> Iterator[Place]:
    """Looks in the text with plain line feeds: a pattern that leaves each line end open would try every place."""
    plain, wanted = _plain(text), _plain(wanted)
    step = 1 if overlap else len(wanted)
    at, passed, start = plain.find(wanted), 0, 0
    while at >= 0:
        start, passed = _further(text, start, at - passed), at
        yield start, _further(text, start, len(wanted))
        at = plain.find(wanted, at + step)


def _further(text: str, start: int, count: int) -> int:
    """Where so many characters after `start` end, when each CRLF is one."""
    end = start
    while count:
        start, end = end, end + count
        count = text.count("\r\n", start, end + 1)  # those that begin before the end took a character more
    return end


class _Ended:
    """What is put in, in the line ends of each place; the places are asked for in order.

    The next line feed is looked for once, however many places stand before it: a file may be one long line.
    """

    __slots__ = ("_as_it_is", "_feed", "_new", "_now", "_text")

    def __init__(self, text: str, new: str) -> None:
        self._as_it_is = "\n" not in new or "\r\n" in new or "\r\n" not in text
        self._text = text
        self._new = self._now = new
        self._feed = -1
        """The line feed that says how the places up to it are ended."""

    def at(self, start: int) -> str:
        if self._as_it_is or start <= self._feed:
            return self._now
        text = self._text
        feed = text.find("\n", start)
        # Past the last one the one before says it, once for all.
        self._feed = feed if feed >= 0 else len(text)
        feed = feed if feed >= 0 else text.rfind("\n")
        self._now = self._new.replace("\n", "\r\n") if feed > 0 and text[feed - 1] == "\r" else self._new
        return self._now
