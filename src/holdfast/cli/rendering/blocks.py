"""Markdown that is still being written, cut into blocks that will not change any more.

A block is what can be drawn by itself: a paragraph, a heading, a list with all its items, a table, a piece of code. The
cut never depends on how the text arrives, and the work is linear in its length: no line is looked at twice.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ("Block", "Blocks")

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})")
_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)])(?: |$)")
_HEADING = re.compile(r"^#{1,6}(?: |$)")
_LINES = 200
"""Lines after which a piece of code, or of a list, is shown though it goes on."""


class Block(NamedTuple):
    """A piece of Markdown that is finished."""

    text: str
    joined: bool
    """Whether it goes on with the code, or the list, of the block before it."""


class Blocks:
    """Takes text in pieces and gives blocks."""

    def __init__(self) -> None:
        self._partial: list[str] = []
        self._lines: list[str] = []
        self._blank = False
        self._fence = ""
        self._opening = ""
        """The line that opened the code which is a block of its own; empty when there is none."""
        self._joined = False
        self._done: list[Block] = []

    def feed(self, text: str) -> list[Block]:
        """Takes more text and returns the blocks that are finished by it."""
        first, *rest = text.split("\n")
        if first:
            self._partial.append(first)
        if rest:
            self._line("".join(self._partial))
            for line in rest[:-1]:
                self._line(line)
            self._partial = [rest[-1]] if rest[-1] else []
        if self._blank and self._partial:
            self._begun(self._partial[0][0])
        return self._take()

    def end(self) -> list[Block]:
        """Returns what is left as finished."""
        last = "".join(self._partial)
        self._partial = []
        if last:
            self._line(last)
        self._finish()
        return self._take()

    def tail(self, lines: int, letters: int) -> str:
        """Returns the end of the block that is not finished, by itself good Markdown and no longer than that."""
        last = "".join(self._partial)[-letters:]
        shown: list[str] = [last] if last else []
        room = letters - len(last)
        for line in reversed(self._lines[-lines:]):
            room -= len(line) + 1
            if room < 0:
                break
            shown.append(line)
        shown.reverse()
        cut = len(shown) < len(self._lines) + bool(last)
        if self._opening and cut and shown[:1] != [self._opening]:
            shown.insert(0, self._opening)
        return "\n".join(shown)

    def _take(self) -> list[Block]:
        done, self._done = self._done, []
        return done

    def _line(self, line: str) -> None:
        line = line.removesuffix("\r")
        if self._fence:
            self._code(line)
        elif not line.strip():
            self._blank = bool(self._lines)
            if self._lines:
                self._lines.append(line)
        else:
            self._words(line)

    def _words(self, line: str) -> None:
        if self._lines and self._blank and not self._goes_on(line):
            self._finish()
        self._blank = False
        if len(self._lines) > _LINES and _ITEM.match(line) and _ITEM.match(self._lines[0]):
            self._finish()
            self._joined = True
        fence = _FENCE.match(line)
        nested = bool(self._lines) and bool(_ITEM.match(self._lines[0])) and line[:1] == " "
        if fence and (nested or len(fence[1]) < 4):
            self._fence = fence[2]
            if not nested:
                self._finish()
                self._opening = line
            self._lines.append(line)
        elif _HEADING.match(line):
            self._finish()
            self._lines.append(line)
            self._finish()
        else:
            self._lines.append(line)

    def _begun(self, letter: str) -> None:
        """Finishes a block as soon as the first letter behind an empty line tells that it does not go on."""
        may_go_on = letter.isspace() or (bool(_ITEM.match(self._lines[0])) and letter in "-*+0123456789")
        if not may_go_on:
            self._finish()

    def _goes_on(self, line: str) -> bool:
        """Whether a line behind an empty one still belongs to the block."""
        first = self._lines[0]
        if _ITEM.match(first):
            return line.startswith(("  ", "\t")) or bool(_ITEM.match(line))
        return first.startswith(("    ", "\t")) and line.startswith(("    ", "\t"))

    def _code(self, line: str) -> None:
        self._lines.append(line)
        bare = line.strip()
        if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
            self._fence = ""
            if self._opening:
                self._finish()
        elif self._opening and len(self._lines) > _LINES:
            opening, fence = self._opening, self._fence
            self._lines.append(fence)
            self._finish()
            self._lines, self._opening, self._fence, self._joined = [opening], opening, fence, True

    def _finish(self) -> None:
        text = "\n".join(self._lines).rstrip()
        only_fences = self._joined and self._opening and len(self._lines) < 2 + (not self._fence)
        if text and not only_fences:
            self._done.append(Block(text, self._joined))
        self._lines, self._blank, self._opening, self._joined = [], False, "", False
