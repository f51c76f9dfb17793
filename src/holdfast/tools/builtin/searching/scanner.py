"""The process that searches files for `grep`: the only thing that decides which lines match.

It is a process of its own so that a pattern that takes for ever can be ended, and so that neither the files nor the
work weigh on the one that asked. It is given a folder that is open already and never looks beyond what is below it.
With `listed` it looks only at the files whose names ripgrep sends it, and otherwise at all of them; what it says of
a file is the same. It answers with one line of JSON.

Needs nothing but the standard library and modules that need no more, because starting it is part of every search.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from holdfast.sandbox.browsing import browse, open_below, open_regular
from holdfast.tools.builtin.searching.wildcards import Wildcards
from holdfast.tools.builtin.texts.showing import shown_path, shown_text

__all__ = ("WIDTH", "main")

WIDTH = 500
"""Characters of a line that are shown."""
_BEFORE = 100
"""Of these, how many stand before the match where the line is longer."""
_BOM = b"\xef\xbb\xbf"


class _Line(NamedTuple):
    start: int
    end: int
    match: int | None
    """Where the match begins; None for a line that is only near one."""


class _Search:
    def __init__(self, request: dict[str, Any]) -> None:
        self.find = re.compile(request["pattern"], re.MULTILINE).search
        self.include = Wildcards(request["include"], anywhere=True) if request["include"] else None
        self.exclude = Wildcards(request["exclude"], anywhere=True) if request["exclude"] else None
        self.single: str = request["single"]
        self.prefix: str = request["prefix"]
        self.listed: bool = request["listed"]
        self.limit: int = request["limit"]
        self.near: int = request["near"]
        self.largest: int = request["largest"]
        self.room: int = request["room"]
        self.out: list[str] = []
        self.count = 0
        self.more = False
        self.binary = False

    def run(self, folder: int) -> dict[str, Any]:
        if self.single:
            self._look(folder, (self.single,))
        else:
            files = self._listed(folder) if self.listed else self._found(folder)
            for at, parts in files:
                self._look(at, parts)
                if self.more:
                    break
            files.close()
        return {"text": "\n".join(self.out), "count": self.count, "more": self.more, "binary": self.binary}

    def _listed(self, folder: int) -> Generator[tuple[int, tuple[str, ...]], None, None]:
        """The files whose names come in, in the order in which they are found without them."""
        names = sys.stdin.buffer.read().split(b"\0")
        paths = sorted({tuple(os.fsdecode(name).removeprefix("./").split("/")) for name in names if name})
        for parts in paths:
            if self._wanted(parts):
                with suppress(OSError), open_below(folder, parts) as at:
                    yield at, parts

    def _found(self, folder: int) -> Generator[tuple[int, tuple[str, ...]], None, None]:
        for spot in browse(folder, enter=self._enters):
            if spot.kind == "file" and self._wanted(spot.parts):
                yield spot.folder, spot.parts

    def _enters(self, parts: tuple[str, ...]) -> bool:
        if parts[-1].startswith(".") or (self.exclude and self.exclude.matches(parts)):
            return False
        return self.include is None or self.include.reaches(parts)

    def _wanted(self, parts: tuple[str, ...]) -> bool:
        if any(part.startswith(".") for part in parts):
            return False
        if self.exclude and self.exclude.matches(parts, above=True):
            return False
        return self.include is None or self.include.matches(parts)

    def _look(self, folder: int, parts: tuple[str, ...]) -> None:
        data = self._contents(folder, parts[-1])
        if b"\0" in data:
            self.binary = bool(self.single)
            return
        if not data:
            return
        # A text whose last line is ended has no line after it.
        text = data.removeprefix(_BOM).decode("utf-8", "surrogateescape").replace("\r\n", "\n").removesuffix("\n")
        path = shown_path("/".join((self.prefix, *parts) if self.prefix else parts))
        last = -1
        for number, line in sorted(self._lines(text).items()):
            mark = "-" if line.match is None else ":"
            shown = f"{path}{mark}{number}{mark}{_cut(text, line)}"
            self.room -= len(shown) + 1
            if self.room < 0:
                self.more = True
                return
            self.out += ["--", shown] if self.near and self.out and number != last + 1 else [shown]
            self.count += line.match is not None
            last = number

    def _contents(self, folder: int, name: str) -> bytes:
        with suppress(OSError):
            descriptor, status = open_regular(folder, name)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                return file.read(status.st_size) if status.st_size <= self.largest else b""
        return b""

    def _lines(self, text: str) -> dict[int, _Line]:
        """The lines that match and those near them, by number."""
        lines: dict[int, _Line] = {}
        for number, hit in self._hits(text):
            lines[number] = hit
            start, end = hit.start, hit.end
            for distance in range(1, self.near + 1):
                if start > 0:
                    above = _Line(text.rfind("\n", 0, start - 1) + 1, start - 1, None)
                    start = above.start
                    lines.setdefault(number - distance, above)
                if end < len(text):
                    found = text.find("\n", end + 1)
                    below = _Line(end + 1, len(text) if found < 0 else found, None)
                    end = below.end
                    lines.setdefault(number + distance, below)
        return lines

    def _hits(self, text: str) -> Iterator[tuple[int, _Line]]:
        at, number, counted, left = 0, 1, 0, self.limit - self.count
        while at <= len(text):
            found = self.find(text, at)
            if found is None:
                return
            if left == 0:
                self.more = True
                return
            left -= 1
            start = text.rfind("\n", 0, found.start()) + 1
            end = text.find("\n", found.start())
            end = len(text) if end < 0 else end
            number += text.count("\n", counted, start)
            counted = start
            yield number, _Line(start, end, found.start())
            at = end + 1


def _cut(text: str, line: _Line) -> str:
    """A line as it is shown: the part about the match where it is long."""
    first = line.start
    if line.match is not None and line.match - line.start >= WIDTH:
        first = line.match - _BEFORE
    shown = text[first : min(line.end, first + WIDTH)]
    before = "" if first == line.start else "[...]"
    after = "" if first + WIDTH >= line.end else "[...]"
    return before + shown_text(shown) + after


def main() -> None:
    """Does one search: the request and the number of the open folder are the arguments."""
    result = _Search(json.loads(sys.argv[-2])).run(int(sys.argv[-1]))
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # at once: there is nothing to tidy up
