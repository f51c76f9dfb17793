"""A page of HTML as Markdown: headings, paragraphs, lists, quotes, code, tables as lines, links and images.

It is for reading, not for showing: what only lays out is gone. Time and length are bounded whatever the page is.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Final, final
from urllib.parse import urljoin

import msgspec

from holdfast.tools.builtin.fetching.markup import tags_and_texts

__all__ = ("Page", "as_markdown")

_LENGTH: Final = 4_000_000
"""Characters a page may come to."""
_SECONDS: Final = 5.0
"""Seconds reading it may take."""
_OFTEN: Final = 512
_URL: Final = 2_000
_DEEP: Final = 8
"""Levels of lists, or of quotes, that are told apart."""
_NAMES: Final = (
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol option p pre section select "
    "summary table tbody tfoot thead title tr ul"
)
_BLOCKS: Final = frozenset(_NAMES.split())
_SPACE: Final = re.compile(r"[ \t\r\n\f\xa0\u200b]+")
_TICKS: Final = re.compile("`+")


class Page(msgspec.Struct, frozen=True):
    """What a page says."""

    title: str
    text: str
    whole: bool
    """Whether it was read to its end."""


def as_markdown(html: str, url: str, stop: threading.Event | None = None) -> Page:
    """Returns a page as Markdown; links are made whole by the URL it came from. A set `stop` ends it early."""
    reader = _Reader(url)
    end = time.monotonic() + _SECONDS
    whole = True
    for number, item in enumerate(tags_and_texts(html)):
        if isinstance(item, str):
            reader.say(item)
        else:
            reader.tag(*item)
        if number % _OFTEN == 0 and (time.monotonic() > end or (stop is not None and stop.is_set())):
            whole = False
        if reader.length > _LENGTH or not whole:
            whole = False
            break
    reader.flush()
    text = "\n".join(reader.lines).strip("\n")
    return Page(reader.title.strip()[:500], text[:_LENGTH], whole)


@final
class _Reader:
    def __init__(self, url: str) -> None:
        self.lines: list[str] = []
        self.length = 0
        self.title = ""
        self._url = url
        self._words: list[str] = []
        self._spaced = True
        """Whether what was said last ends with white space."""
        self._marker = ""
        """What the next line begins with: a list's sign or a heading's."""
        self._lists: list[int] = []
        """Of each open list the number of its next item; 0 for one without numbers."""
        self._quotes = 0
        self._pre = 0
        self._in_title = False
        self._row = False
        """Whether what is said now is in a row of a table."""
        self._after_row = False
        self._link: tuple[int, str] | None = None

    def say(self, text: str) -> None:
        if self._in_title:
            self.title = _SPACE.sub(" ", text) if not self.title else self.title
            return
        self.length += len(text)
        if self._pre:
            self._words.append(text)
            return
        text = _SPACE.sub(" ", text)
        if self._spaced:
            text = text.lstrip(" ")
        if text:
            self._words.append(text)
            self._spaced = text[-1] == " "

    def tag(self, name: str, attributes: dict[str, str]) -> None:
        plain = name.removeprefix("/")
        closes = plain is not name
        if plain in _BLOCKS:
            self.flush()
            self._block(plain, attributes, closes=closes)
        elif plain == "a":
            self._end_link()
            if not closes and (href := self._absolute(attributes.get("href", ""))):
                self._link = (len(self._words), href)
        elif closes:
            self._close_inline(plain)
        else:
            self._open_inline(plain, attributes)

    def flush(self) -> None:
        """Ends a line of text, where there is one."""
        self._end_link()
        text = "".join(self._words)
        self._words.clear()
        self._spaced = True
        if self._pre:
            if text.strip():
                longest = max((len(run) for run in _TICKS.findall(text)), default=0)
                fence = "`" * max(3, longest + 1)
                self._write(f"{fence}\n{text.strip(chr(10))}\n{fence}")
            return
        text = text.replace(" \n", "\n").strip()
        if text:
            self._write(self._marker + text)
            self._marker = ""
            self._row = False

    def _write(self, text: str) -> None:
        indent = "  " * (min(len(self._lists), _DEEP) - 1) if self._marker else "  " * min(len(self._lists), _DEEP)
        prefix = "> " * min(self._quotes, _DEEP) + indent
        if not self._lists and not (self._row and self._after_row):
            self._blank()
        self._after_row = self._row
        lines = [prefix + line for line in text.split("\n")]
        self.lines += lines
        self.length += sum(map(len, lines)) - len(text) + len(lines)

    def _blank(self) -> None:
        """Parts what comes from what came; within a quote, the quote goes on."""
        quoted = self._quotes and self.lines and self.lines[-1].startswith(">")
        self.lines.append(">" if quoted else "")

    def _block(self, name: str, attributes: dict[str, str], *, closes: bool) -> None:
        if name[0] == "h" and name[1:].isdigit():
            self._marker = "" if closes else "#" * int(name[1:]) + " "
        elif name in ("ul", "ol", "menu", "dir"):
            self._list(attributes.get("start", "") if name == "ol" else None, closes=closes)
        elif name == "li" and not closes:
            self._item()
        elif name == "blockquote":
            self._quotes = max(0, self._quotes + (-1 if closes else 1))
        elif name == "pre":
            self._pre = max(0, self._pre + (-1 if closes else 1))
        elif name == "hr" and not closes:
            self._write("---")
        elif name == "title":
            self._in_title = not closes

    def _list(self, start: str | None, *, closes: bool) -> None:
        self._marker = ""
        if not closes:
            first = int(start) if start and len(start) < 7 and start.isascii() and start.isdigit() else 1
            self._lists.append(0 if start is None else max(1, first))
            if len(self._lists) == 1:
                self._blank()
        elif self._lists:
            self._lists.pop()

    def _item(self) -> None:
        number = self._lists[-1] if self._lists else 0
        self._marker = f"{number}. " if number else "- "
        if number:
            self._lists[-1] += 1

    def _open_inline(self, name: str, attributes: dict[str, str]) -> None:
        if name == "br":
            self._words.append("\n")
            self._spaced = not self._pre
        elif name in ("td", "th"):
            self._row = True
            if self._words:
                self._words.append("| " if self._spaced else " | ")
                self._spaced = True
        elif name == "img":
            if (alt := attributes.get("alt", "").strip()) and not self._in_title:
                self.say(f"![{alt[:_URL]}]({self._absolute(attributes.get('src', ''))})")
        elif name in ("code", "kbd", "samp", "tt") and not self._pre:
            self._words.append("`")
            self._spaced = False

    def _close_inline(self, name: str) -> None:
        if name in ("code", "kbd", "samp", "tt") and not self._pre:
            self._words.append("`")
            self._spaced = False

    def _end_link(self) -> None:
        if self._link is None:
            return
        at, href = self._link
        self._link = None
        words = "".join(self._words[at:])
        if words.strip() and not self._pre:
            self._words[at:] = [f"[{words.strip()}]({href})", *((" ",) if words[-1] in " \n" else ())]
            self.length += len(href)

    def _absolute(self, url: str) -> str:
        """The URL of a link or image, nothing where it leads nowhere on the web."""
        url = url.strip()
        if not url or url.startswith("#") or len(url) > _URL:
            return ""
        try:
            whole = urljoin(self._url, url)
        except ValueError:
            return ""
        if not whole.startswith(("http://", "https://", "mailto:")) or len(whole) > 2 * _URL:
            return ""
        return _SPACE.sub("%20", whole).replace(")", "%29")
