"""What two texts have in common: the diff of an edit, and the place an edit may have meant.

Both are bounded: comparing two large texts line by line can take minutes.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from itertools import islice

__all__ = ("near_match", "unified_diff")

_CONTEXT = 3
_COMPARED = 2000
"""Lines that are compared with each other at most."""
_DIFF = 20_000
"""Characters a diff has at most."""
_LIKELY = 12
"""Lines of those that are compared letter by letter."""
_NEAREST = 3
"""Similar lines that are named at most."""
_NO_TEXT = re.compile("[\ud800-\udfff]")
_WIDTH = 200
"""Characters of a line that a search for similar lines looks at."""


def unified_diff(before: str, after: str, path: str) -> str:
    """Returns the unified diff of two versions of a file; its end is cut off when it gets long.

    Bytes that are no text (lone surrogates) are shown as marks.
    """
    old, new = _lines(before), _lines(after)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    if start == len(old) == len(new):
        return ""
    if len(old) + len(new) - 2 * (start + end) <= _COMPARED:
        hunks = _hunks(old, new, start, end)
    else:
        hunks = [_whole_hunk(old, new, start, end)]
    text = _shown(f"--- a/{path}\n+++ b/{path}\n" + "".join(hunks))
    return text if len(text) <= _DIFF else text[:_DIFF] + f"\n[... {len(text) - _DIFF} more characters of diff ...]\n"


def near_match(text: str, wanted: str) -> str:
    """Returns a hint on where a text that does not occur may have been meant, beginning with `; `; or nothing."""
    lines = [line.strip() for line in islice(text.split("\n"), 20_000)]
    asked = [line.strip() for line in wanted.strip().split("\n")]
    stripped, sought = "\n".join(("", *lines, "")), "\n".join(("", *asked, ""))
    at = stripped.find(sought) if any(asked) else -1
    if at >= 0:
        first = stripped.count("\n", 0, at) + 1
        last = first + len(asked) - 1
        place = f"line {last}" if len(asked) == 1 else f"lines {first} to {last}"
        return f"; {place} would match but for white space"
    longest = max(asked, key=len)[:_WIDTH]
    candidates = {line[:_WIDTH]: number for number, line in enumerate(lines[:_COMPARED], 1) if line}
    near = difflib.get_close_matches(longest, _likely(longest, candidates), n=_NEAREST, cutoff=0.6)
    if not near:
        return ""
    shown = ", ".join(f"line {candidates[line]}: {_shown(line[:80])!r}" for line in near)
    return f"; the nearest is {shown}" if len(near) == 1 else f"; the nearest are {shown}"


def _likely(wanted: str, lines: Iterable[str]) -> list[str]:
    """The lines that have the most in common with the wanted one, by the pairs of letters both hold.

    Comparing two lines well takes time with the third power of their length, so only few are compared so.
    """
    pairs = Counter(map(str.__add__, wanted, wanted[1:]))

    def shared(line: str) -> float:
        both = (pairs & Counter(map(str.__add__, line, line[1:]))).total()
        return both / (len(wanted) + len(line))

    return nlargest(_LIKELY, lines, shared)


def _shown(text: str) -> str:
    return _NO_TEXT.sub("\ufffd", text)


def _lines(text: str) -> list[str]:
    """The lines with their ends; the last one says so when it has none."""
    lines = text.split("\n")
    rest = lines.pop()
    ended = [line + "\n" for line in lines]
    return [*ended, rest + "\n\\ No newline at end of file\n"] if rest else ended


def _hunks(old: list[str], new: list[str], start: int, end: int) -> list[str]:
    first = max(0, start - _CONTEXT)
    keep = max(0, end - _CONTEXT)
    matcher = difflib.SequenceMatcher(None, old[first : len(old) - keep], new[first : len(new) - keep])
    hunks: list[str] = []
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        a, b = first + group[0][1], first + group[0][3]
        lines = [_header(a, first + group[-1][2], b, first + group[-1][4])]
        for tag, i, j, k, m in group:
            if tag == "equal":
                lines += [" " + line for line in old[first + i : first + j]]
                continue
            lines += ["-" + line for line in old[first + i : first + j]]
            lines += ["+" + line for line in new[first + k : first + m]]
        hunks.append("".join(lines))
    return hunks


def _whole_hunk(old: list[str], new: list[str], start: int, end: int) -> str:
    """One hunk that takes all of the changed stretch out and puts all of the new one in."""
    first = max(0, start - _CONTEXT)
    after = min(end, _CONTEXT)
    lines = [_header(first, len(old) - end + after, first, len(new) - end + after)]
    lines += [" " + line for line in old[first:start]]
    lines += ["-" + line for line in old[start : len(old) - end]]
    lines += ["+" + line for line in new[start : len(new) - end]]
    lines += [" " + line for line in old[len(old) - end : len(old) - end + after]]
    return "".join(lines)


def _header(a: int, a_end: int, b: int, b_end: int) -> str:
    return f"@@ -{_range(a, a_end)} +{_range(b, b_end)} @@\n"


def _range(start: int, end: int) -> str:
    count = end - start
    return f"{start + 1 if count else start},{count}" if count != 1 else f"{start + 1}"
