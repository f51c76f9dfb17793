"""Finds the JSON in an answer: all of it, the inside of a code fence, or the one value amid prose.

Models say "Here you are:" and fence what they were to say alone. What is found here may be no JSON yet, or not what was
asked for: whoever asked tries it. The work is bounded, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ("MOST", "candidates")

MOST = 16
"""Values that are tried; a text with more of them is no answer."""
_UNCLOSED = 3
"""Brackets that nothing closes; each costs a look at all that follows."""
_DEEPEST = 1_000
"""Levels of brackets; no decoder goes down further."""
_FENCE = re.compile(
    r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+[\w+-]*+[ \t]*+\r?\n(.*?)(?:\r?\n[ \t]*+\1|\Z)", re.DOTALL | re.MULTILINE
)
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]]', re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_PAIRS = {"}": "{", "]": "["}


def candidates(text: str) -> list[list[str]]:
    """Returns what the JSON may be, in groups: the whole text, what is in fences, what stands in brackets amid prose.

    A group counts only if nothing of those before it is what was asked for.
    """
    whole = text.strip().removeprefix("\ufeff").strip()
    groups = [[whole]] if whole else []
    fenced = [match[2].strip() for _, match in zip(range(MOST), _FENCE.finditer(whole), strict=False)]
    if fenced:
        groups.append(fenced)
    amid = [each for each in _in_brackets(whole) if each != whole]
    if amid:
        groups.append(amid)
    return groups


def _in_brackets(text: str) -> Iterator[str]:
    """Yields the stretches between a bracket and the one that closes it; one that none closes is passed over."""
    at = unclosed = 0
    for _ in range(MOST):
        opening = _OPENING.search(text, at)
        if opening is None or unclosed == _UNCLOSED:
            return
        end = _closing(text, opening.start())
        if end:
            yield text[opening.start() : end]
        if not end and not opening.start():
            return  # the text itself is JSON that was cut off, or damaged: a part of it is no answer
        unclosed += not end
        at = end or opening.end()


def _closing(text: str, start: int) -> int:
    """Returns the place behind the bracket that closes the one at `start`; 0 when none does."""
    pending: list[str] = []
    for token in _TOKEN.finditer(text, start):
        sign = token[0]
        if sign in "{[":
            pending.append(sign)
            if len(pending) > _DEEPEST:
                return 0
        elif sign in "}]":
            if pending.pop() != _PAIRS[sign]:
                return 0
            if not pending:
                return token.end()
    return 0
