"""The lines of a file, a page at a time, however large it and its lines are.

Works on anything that gives bytes in order; nothing is kept but the page. What begins with a byte order mark is
shown in UTF-8, whatever it is written in.
"""

from __future__ import annotations

import codecs
import threading
from typing import Protocol

import msgspec

from holdfast.tools.builtin.texts.encodings import encoding_of

__all__ = ("LINES", "WIDTH", "Page", "Source", "page_of", "render_page")

LINES = 2000
"""Lines that are shown when no limit is given."""
WIDTH = 2000
"""Characters of a line that are shown."""
_TOTAL = 48_000
"""Characters that are shown altogether: with the notes less than what the model gets to read of a result."""
_CHUNK = 1 << 16
_SNIFFED = 8192


class Source(Protocol):
    """Something bytes are read from, in order."""

    def read(self, size: int, /) -> bytes:
        """Returns at most so many bytes; none at the end."""
        ...


class Page(msgspec.Struct):
    """Some lines of a file."""

    lines: list[bytes]
    """Each with its end, in UTF-8 or what was meant to be, cut to `WIDTH` characters at the latest."""
    more: bool
    """Whether the file goes on."""
    cut: int
    """How many lines are not shown whole."""


def page_of(file: Source, *, offset: int, limit: int, stop: threading.Event, most: int | None = None) -> Page | None:
    """Returns `limit` lines from line `offset` on (from 1), or as many as are shown at once; None for what is no text.

    Past the end there are none. When `stop` is set the file ends there; with `most` it ends after so many bytes,
    so that one that grows faster than it is read has an end too.
    """
    lines = _Lines(_Watched(file, stop, most))
    if lines.binary():
        return None
    page = _page(lines, offset, limit)
    return None if any(b"\0" in line for line in page.lines) else page


def render_page(page: Page, offset: int) -> str:
    """Returns the text of a page, and below it in brackets what is not shown."""
    raw = b"".join(page.lines)
    text = raw.decode("utf-8", "replace")
    notes: list[str] = []
    if page.cut:
        notes.append(f"[{page.cut} long line(s) cut to at most {WIDTH} characters]")
    if page.more:
        following = offset + len(page.lines)
        notes.append(f"[lines {offset} to {following - 1} shown; there are more: read on with offset={following}]")
    if "\ufffd" in text and "\ufffd".encode() not in raw:
        notes.append("[not valid UTF-8: bytes that could not be decoded are shown as \ufffd]")
    if not notes:
        return text
    return text + ("" if text.endswith("\n") else "\n") + "\n".join(notes)


def _page(lines: _Lines, offset: int, limit: int) -> Page:
    lines.skip(offset - 1)
    page = Page([], more=False, cut=0)
    room = _TOTAL
    while len(page.lines) < limit:
        line, whole = lines.next()
        room -= len(line.decode("utf-8", "replace"))
        if not line:
            return page
        if room < 0:
            # Shown whole with the next call, rather than in part now.
            page.more = True
            return page
        page.lines.append(line)
        page.cut += not whole
    page.more = lines.more()
    return page


class _Watched:
    """A source that ends when it is told to."""

    def __init__(self, file: Source, stop: threading.Event, most: int | None) -> None:
        self._file = file
        self._stop = stop
        self._left = most

    def read(self, size: int, /) -> bytes:
        if self._stop.is_set() or self._left == 0:
            return b""
        data = self._file.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(data)
        return data


class _Transcoded:
    """A source in UTF-8 made of one in another encoding."""

    def __init__(self, file: Source, first: bytes, name: str) -> None:
        self._file = file
        self._first = first
        self._decoder = codecs.getincrementaldecoder(name)("replace")

    def read(self, size: int, /) -> bytes:
        while True:
            data = self._first or self._file.read(size)
            self._first = b""
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode("utf-8", "replace")


class _Lines:
    """A file's lines, one after another, without ever holding a whole long one."""

    def __init__(self, file: Source) -> None:
        self._file = file
        first = file.read(_CHUNK)
        while 0 < len(first) < _SNIFFED and (more := file.read(_CHUNK)):
            first += more
        encoding = encoding_of(first)
        self._buffer = first.removeprefix(encoding.mark)
        if encoding.name != "utf-8":
            self._file = _Transcoded(file, self._buffer, encoding.name)
            self._buffer = self._load()

    def binary(self) -> bool:
        """Whether the beginning is no text."""
        return b"\0" in self._buffer[:_SNIFFED]

    def skip(self, count: int) -> None:
        """Passes over lines without keeping them."""
        while count and self._buffer:
            there = self._buffer.count(b"\n")
            if there < count:
                count -= there
                self._buffer = self._load()
                continue
            at = -1
            for _ in range(count):
                at = self._buffer.index(b"\n", at + 1)
            self._buffer = self._buffer[at + 1 :]
            return

    def next(self) -> tuple[bytes, bool]:
        """Returns the next line, or its first `WIDTH` characters and a line end, and whether that is all of it;
        an empty one at the end of the file.
        """
        # A character has at most four bytes, so this much always holds one character more than is shown.
        enough = 4 * WIDTH + 4
        while b"\n" not in self._buffer and len(self._buffer) < enough:
            more = self._load()
            if not more:
                break
            self._buffer += more
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        line = self._buffer[:end]
        text = line[:enough].decode("utf-8", "replace")
        if len(text.rstrip("\r\n")) <= WIDTH:
            self._buffer = self._buffer[end:]
            return line, True
        self._pass_line()
        return text[:WIDTH].encode() + b"\n", False

    def more(self) -> bool:
        """Whether the file goes on."""
        self._buffer = self._buffer or self._load()
        return bool(self._buffer)

    def _pass_line(self) -> None:
        while b"\n" not in self._buffer:
            self._buffer = self._load()
            if not self._buffer:
                return
        self._buffer = self._buffer[self._buffer.index(b"\n") + 1 :]

    def _load(self) -> bytes:
        return self._file.read(_CHUNK)
