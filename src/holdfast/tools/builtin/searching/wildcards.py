"""Patterns over paths: `*`, `?` and `[a-z]` within a name, `**` for any number of folders, `{a,b}` for alternatives.

A pattern is followed name by name from the first folder down, so that folders in which nothing can match are never
entered. Names that begin with a dot match only where the pattern writes the dot. Case counts.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from itertools import pairwise

__all__ = ("States", "Wildcards")

_MOST = 200
"""Alternatives that braces may come to."""
_LONGEST = 2000
_DEEP = "**"

States = frozenset[tuple[int, int]]
"""How far a path has come in each of the alternatives; empty when nothing below can match."""


class _Part:
    def __init__(self, text: str) -> None:
        self.dotted = text.startswith(".")
        self.matches = re.compile(fnmatch.translate(text)).match

    def fits(self, name: str) -> bool:
        return (self.dotted or not name.startswith(".")) and self.matches(name) is not None


class Wildcards:
    """A pattern that paths are held against.

    Raises:
        ValueError: it is too long, absolute, leads upwards or has too many alternatives; says so.
    """

    def __init__(self, pattern: str, *, anywhere: bool = False) -> None:
        """With `anywhere` a pattern without a slash may match at every depth."""
        if len(pattern) > _LONGEST or "\0" in pattern:
            raise ValueError(f"the pattern is longer than {_LONGEST} characters or holds NUL")
        self._ways = [_parts(text, anywhere) for text in _alternatives(pattern)]

    def start(self) -> States:
        """Returns where a path begins."""
        return self._closed((way, 0) for way in range(len(self._ways)))

    def step(self, states: States, name: str) -> States:
        """Returns how far the path comes with one more name."""
        reached: list[tuple[int, int]] = []
        for way, at in states:
            parts = self._ways[way]
            if at == len(parts):
                continue
            part = parts[at]
            if isinstance(part, _Part):
                if part.fits(name):
                    reached.append((way, at + 1))
            elif not name.startswith("."):
                reached.append((way, at))
        return self._closed(reached)

    def ends(self, states: States) -> bool:
        """Whether a path that came this far matches."""
        return any(at == len(self._ways[way]) for way, at in states)

    def matches(self, parts: Iterable[str], *, above: bool = False) -> bool:
        """Whether the path matches; with `above`, or a folder it is in."""
        states = self.start()
        for name in parts:
            states = self.step(states, name)
            if above and self.ends(states):
                return True
        return self.ends(states)

    def reaches(self, parts: Iterable[str]) -> bool:
        """Whether something below this folder can match."""
        states = self.start()
        for name in parts:
            states = self.step(states, name)
        return bool(states)

    def _closed(self, states: Iterable[tuple[int, int]]) -> States:
        """With what is reached by taking `**` for no folder at all."""
        found: set[tuple[int, int]] = set()
        for way, first in states:
            at = first
            found.add((way, at))
            while at < len(self._ways[way]) and self._ways[way][at] is None:
                at += 1
                found.add((way, at))
        return frozenset(found)


def _parts(text: str, anywhere: bool) -> list[_Part | None]:
    if text.startswith("/"):
        raise ValueError("the pattern is absolute; write it relative to the folder, such as 'src/**/*.py'")
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError("the pattern leads upwards with '..'; name the folder in `path` instead")
    if not names:
        raise ValueError("the pattern names nothing; '**' finds every file")
    if names[-1] == _DEEP:
        names.append("*")
    if anywhere and len(names) == 1:
        names.insert(0, _DEEP)
    names = [name for at, name in enumerate(names) if not (name == _DEEP and names[at - 1 : at] == [_DEEP])]
    return [None if name == _DEEP else _Part(re.sub(r"\*\*+", "*", name)) for name in names]


def _alternatives(text: str) -> list[str]:
    """What braces come to, each once, in order."""
    waiting, done = [text], list[str]()
    while waiting:
        first = waiting.pop(0)
        group = _first_group(first)
        if group is None:
            done.append(first)
        else:
            start, end, choices = group
            waiting[:0] = [first[:start] + choice + first[end:] for choice in choices]
        if len(waiting) + len(done) > _MOST:
            raise ValueError(f"the braces come to more than {_MOST} patterns; use fewer")
    return list(dict.fromkeys(done))


def _first_group(text: str) -> tuple[int, int, list[str]] | None:
    """The first braces with a comma: where they begin and end, and what they offer."""
    opened: list[list[int]] = []
    found: tuple[int, int, list[str]] | None = None
    for at, sign in enumerate(text):
        if sign == "{":
            opened.append([at])
        elif sign == "," and opened:
            opened[-1].append(at)
        elif sign == "}" and opened:
            marks = opened.pop()
            if len(marks) > 1 and (found is None or marks[0] < found[0]):
                bounds = [*marks, at]
                choices = [text[a + 1 : b] for a, b in pairwise(bounds)]
                found = (marks[0], at + 1, choices)
            if not opened and found:
                return found
    return found
