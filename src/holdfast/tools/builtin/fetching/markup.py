"""HTML as a sequence of tags and texts, in time that grows with its length only.

Pages are hostile: whatever is left open or repeated without end costs no more than its length, because the search for
an end either finds one, and goes on behind it, or finds none, and then the page is over. What the standard says of
broken markup is followed as far as reading needs it; what is not text (scripts, styles, drawings) is left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Generator
from typing import Final

__all__ = ("Tag", "tags_and_texts")

Tag = tuple[str, dict[str, str]]
"""A tag: its name, with a `/` before it if it closes, and those of its attributes that somebody wants."""

_NAME: Final = re.compile(r"[A-Za-z][^\s/>]{0,63}")
_BETWEEN: Final = re.compile(r"[\s/]*")
_ATTRIBUTE: Final = re.compile(r"""([^\s/>=]+)(?:\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")
_WANTED: Final = frozenset(("href", "src", "alt", "start"))
_LEFT_OUT: Final = frozenset(
    (
        "script",
        "style",
        "template",
        "svg",
        "math",
        "iframe",
        "noembed",
        "noframes",
        "datalist",
        "object",
        "audio",
        "video",
    )
)
_PLAIN: Final = frozenset(("title", "textarea"))
"""What holds text and no tags."""
_ENDS: Final = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _LEFT_OUT | _PLAIN}
_LONG_NUMBER: Final = re.compile(r"&#[0-9]{10,}")


def tags_and_texts(page: str, wanted: frozenset[str] = _WANTED) -> Generator[Tag | str, None, None]:
    """Yields what a page consists of, in order; of the attributes of its tags those that are wanted."""
    at, length = 0, len(page)
    while at < length:
        begin = page.find("<", at)
        if begin < 0:
            yield _plain(page[at:])
            return
        if begin > at:
            yield _plain(page[at:begin])
        after = page[begin + 1 : begin + 2]
        if after in ("!", "?"):
            at = _after_declaration(page, begin)
            continue
        closes = after == "/"
        found = _NAME.match(page, begin + 1 + closes)
        if found is None:
            at = _after(page, ">", begin) if closes else begin + 1
            if not closes:
                yield "<"
            continue
        name = found[0].lower()
        at, attributes = _attributes(page, found.end(), wanted)
        if at > length:
            return  # a tag that never ends
        yield (f"/{name}" if closes else name), attributes
        if not closes and name in _ENDS:
            end = _ENDS[name].search(page, at)
            stop = end.start() if end else length
            if name in _PLAIN:
                yield _plain(page[at:stop])
            at = stop


def _after(page: str, what: str, at: int) -> int:
    """Where the page goes on behind that; behind its end where it does not."""
    found = page.find(what, at)
    return len(page) + 1 if found < 0 else found + len(what)


def _after_declaration(page: str, begin: int) -> int:
    return _after(page, "-->", begin + 2) if page.startswith("<!--", begin) else _after(page, ">", begin)


def _attributes(page: str, at: int, wanted: frozenset[str]) -> tuple[int, dict[str, str]]:
    """Returns where a tag is over, behind the end of the page when it is not, and its attributes."""
    attributes: dict[str, str] = {}
    length = len(page)
    while True:
        at = _skipped(page, at)
        if at >= length:
            return length + 1, attributes
        if page[at] == ">":
            return at + 1, attributes
        found = _ATTRIBUTE.match(page, at)
        if found is None:
            at += 1
            continue
        at = found.end()
        name = found[1].lower()
        if name in wanted:
            attributes.setdefault(name, _plain(found[2] or found[3] or found[4] or ""))


def _skipped(page: str, at: int) -> int:
    found = _BETWEEN.match(page, at)
    return found.end() if found else at


def _plain(text: str) -> str:
    if "&" not in text:
        return text
    return html.unescape(_LONG_NUMBER.sub("&#999999999", text))  # longer ones cannot even be read as numbers
