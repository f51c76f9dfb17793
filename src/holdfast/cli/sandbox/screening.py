"""What of a sandbox's output reaches a person's terminal while they work in it.

Programs draw: they move the cursor, colour, clear, scroll, take the other screen, ask for the mouse. That goes through,
by a list of what is known to do no more. What would make the terminal answer does not: an answer is typed input, and
one that comes when the shell has ended is typed into the shell outside. Nor does what reaches past the screen: the
clipboard, the title, links, printing, windows, keys that are redefined, pictures. What is on no list is dropped.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, final

__all__ = ("RESET", "Screen")

_TOKEN: Final = re.compile(
    r"(?P<plain>[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+|[\x07-\x0f])"
    r"|\x1b\[(?P<private>[<-?]?)(?P<numbers>[0-9;:]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1b(?P<string>[PX\]^_])"
    r"|\x1b(?P<escape>[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
    r"|(?P<other>[^\x1b]|\x1b(?!\Z|\[[0-?]*[ -/]*\Z|[ -/]+\Z))"
)
_END: Final = re.compile(r"[\x07\x18\x1a\x1b\x9c]")
"""What ends a string that was begun; an escape is looked at again, and may begin another."""
_FINALS: Final = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefmrsu")
"""Of sequences without a mark: moving, erasing, inserting, scrolling, colours, margins."""
_MARKED: Final = frozenset({("?", "", "J"), ("?", "", "K"), ("", " ", "q"), ("", "!", "p")})
"""Erasing what is not protected, the cursor's form, and the soft reset."""
_MODES: Final = frozenset(
    {1, 5, 6, 7, 12, 25, 45, 47, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1047, 1048, 1049, 2004, 2026}
)
"""Private modes that may be set: keys, cursor, wrapping, the other screen, the mouse, focus and pasting in brackets."""
_ESCAPES: Final = re.compile(r"[78DEMc=>]|[()*+][0AB]|#8")
_OTHER: Final = frozenset({47, 1047, 1049})
"""Ways to take the other screen."""
_LONGEST: Final = 256
"""Characters of one sequence."""
_DIGITS: Final = 4
"""Of a number in one: nothing is that far away, and a million lines take a while to scroll."""

RESET: Final = (
    "\x1b[!p\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1007l\x1b[?1015l\x1b[?2004l"
    "\x1b[?2026l\x1b[?1l\x1b[?5l\x1b[?7h\x1b[?25h\x1b[4l\x1b>\x1b(B\x0f\x1b7\x1b[r\x1b8\x1b[0 q\x1b[0m"
)
"""Takes back every mode that a program in there may have left set, but for the other screen; the cursor stays where it
is, though it goes to the corner when the margins go."""


@final
class Screen:
    """Lets output through that only draws; sequences may be cut anywhere between two pieces."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._in_string = False
        self._other = ""
        """The mode that took the other screen, until the screen that was there is back."""

    @property
    def reset(self) -> bytes:
        """What puts the terminal right when nothing more comes; a screen that was not left is not gone back to, since
        that moves the cursor.
        """
        back = f"\x1b[?{self._other}l" if self._other else ""
        return (back + RESET).encode()

    def let_through(self, data: bytes) -> bytes:
        """Returns what of the next piece may be written to the terminal, in UTF-8."""
        text, self._rest = self._rest + self._decode(data), ""
        kept: list[str] = []
        at = 0
        while at < len(text):
            if self._in_string:
                end = _END.search(text, at)
                if end is None:
                    break  # all of it belongs to the string
                self._in_string = False
                at = end.start() if end.group() == "\x1b" else end.end()
                continue
            found = _TOKEN.match(text, at)
            if found is None:  # a sequence that goes on in the next piece
                if len(text) - at <= _LONGEST:
                    self._rest = text[at:]
                    break
                at += 1
                continue
            at = found.end()
            if found["string"]:
                self._in_string = True
            else:
                kept.append(_judged(found))
                self._notice(kept[-1])
        return "".join(kept).encode()

    def _notice(self, written: str) -> None:
        """Follows which of the two screens is shown."""
        if written == "\x1bc":
            self._other = ""
        elif written.startswith("\x1b[?") and written[-1] in "hl":
            for mode in written[3:-1].split(";"):
                if int(mode) in _OTHER:
                    self._other = mode if written[-1] == "h" else ""


def _judged(found: re.Match[str]) -> str:
    """Returns what a sequence may be written as; empty when it may not."""
    if found["plain"]:
        return found[0]
    if found["escape"]:
        return found[0] if _ESCAPES.fullmatch(found["escape"]) else ""
    if not found["final"]:
        return ""
    private, numbers, between, final = found["private"], found["numbers"], found["between"], found["final"]
    parts = re.split("[;:]", numbers)
    if any(len(part) > _DIGITS for part in parts):
        return ""
    if (private, between) == ("?", "") and final in "hl":
        modes = [part for part in parts if part.isdigit() and int(part) in _MODES]
        return f"\x1b[?{';'.join(modes)}{final}" if modes else ""
    if (private, between) == ("", "") and final in "hl":
        return f"\x1b[4{final}" if "4" in parts else ""  # whether letters are put in or over
    if (private, between) == ("", "") and final in _FINALS:
        return "" if final == "T" and len(parts) > 1 else found[0]  # with more numbers it follows the mouse
    return found[0] if (private, between, final) in _MARKED else ""
