"""Long texts that a person decides about: their beginning and their end, and how much stands between them.

Nothing is left out in silence, and blanks cannot push words out of sight: a long run of them is counted instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from holdfast.cli.words import count, printable

__all__ = ("Extract", "extract", "extract_lines")

_LINES = 60
_LETTERS = 6000
"""Lines and letters of a text that are shown."""
_WIDE = 1000
"""Letters of one line among others."""
_BLANK = " \t\u115f\u1160\u2800\u3164\uffa0"
"""What is there and is not seen."""
_BLANKS = re.compile(rf"(?:[{_BLANK}]*\n){{6,}}|[{_BLANK}]{{40,}}")
_NOTE = re.compile(r"⟨[\d,]+ (?:blanks?|blank lines|characters?|lines?)[^⟩]*⟩")


class Extract(NamedTuple):
    """What is shown of a text."""

    lines: list[Text]
    whole: bool
    """Whether that is all of it."""


def extract(text: str, style: str = "") -> Extract:
    """Returns a text as lines: all of it, or its beginning and its end."""
    text = _collapsed(printable(text).strip("\n"))
    begin = min(_line_at(text), _LETTERS // 2)
    end = max(_line_before(text), len(text) - _LETTERS // 2)
    if begin >= end:
        return Extract([_styled(line, style) for line in text.split("\n")], True)
    hidden = text[begin:end]
    note = f"⟨{count(len(hidden), 'character')} in {count(hidden.strip(chr(10)).count(chr(10)) + 1, 'line')} not shown⟩"
    shown = [*text[:begin].removesuffix("\n").split("\n"), note, *text[end:].removeprefix("\n").split("\n")]
    return Extract([_styled(line, style) for line in shown], False)


def extract_lines(lines: Sequence[Text]) -> Extract:
    """Returns lines that have their styles: all of them, or the first and the last ones; of long ones their ends."""
    whole = len(lines) <= _LINES
    half = _LINES // 2
    note = Text(f"⟨{count(len(lines) - 2 * half, 'line')} not shown⟩", "bold red")
    kept = [*lines] if whole else [*lines[:half], note, *lines[-half:]]
    shown = [_short(line) for line in kept]
    return Extract(shown, whole and all(len(line) <= _WIDE for line in lines))


def _short(line: Text) -> Text:
    if len(line) <= _WIDE:
        return _styled(_collapsed(line.plain), str(line.style)) if _BLANKS.search(line.plain) else line
    half, plain = _WIDE // 2, line.plain
    hidden = count(len(plain) - 2 * half, "character")
    return _styled(_collapsed(f"{plain[:half]}⟨{hidden} not shown⟩{plain[-half:]}"), str(line.style))


def _collapsed(text: str) -> str:
    def counted(found: re.Match[str]) -> str:
        lines = found[0].count("\n")
        return f"\n⟨{lines - 1:,} blank lines⟩\n" if lines > 1 else f" ⟨{count(len(found[0]), 'blank')}⟩ "

    return _BLANKS.sub(counted, text)


def _line_at(text: str) -> int:
    """Returns where the first half of the lines that may be shown ends."""
    at = -1
    for _ in range(_LINES // 2):
        at = text.find("\n", at + 1)
        if at < 0:
            return len(text)
    return at + 1


def _line_before(text: str) -> int:
    """Returns where the last half of them begins."""
    at = len(text)
    for _ in range(_LINES // 2):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1


def _styled(line: str, style: str) -> Text:
    text = Text(line.expandtabs(4), style)
    text.highlight_regex(_NOTE, "bold red")
    return text
