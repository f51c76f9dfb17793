"""What a command printed, in bounded memory: the beginning, the end, and how much there was."""

from __future__ import annotations

import codecs
from collections.abc import Generator

__all__ = ("Output",)

_PICTURES = {
    # Characters that steer a terminal are shown as their pictures; tab and newline stay.
    **{chr(code): chr(0x2400 + code) for code in range(32) if code not in (9, 10)},
    "\x7f": "\u2421",
    **{chr(code): "\ufffd" for code in range(0x80, 0xA0)},
}
_AT_ONCE = 1 << 16
"""Bytes that become text at once: what is made on the way is small, and other threads get their turn."""


class Output:
    """Keeps the first and the last half of `keep` bytes of whatever it is fed."""

    def __init__(self, keep: int) -> None:
        self.total = 0
        """Bytes fed so far."""
        self._half = keep // 2
        self._head = bytearray()
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes more output."""
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > self._half + 65536:
            del self._tail[: -self._half]

    @property
    def omitted(self) -> int:
        """Bytes between the beginning and the end that were not kept."""
        return max(0, self.total - 2 * self._half)

    def raw(self) -> bytes:
        """Returns what was kept, to the byte."""
        return bytes(self._head + self._tail[-self._half :])

    def text(self) -> str:
        """Returns the output as text that is safe to show: bytes that are not UTF-8 become U+FFFD, control
        characters their pictures, carriage returns new lines.
        """
        if not self.omitted:
            return "".join(_shown(self._head + self._tail))
        # Neither half begins or ends with a piece of a character.
        tail = self._tail[-self._half :]
        start = next((at for at in range(min(4, len(tail))) if tail[at] & 0xC0 != 0x80), 0)
        note = f"\n[... {self.omitted} of {self.total} bytes left out ...]\n"
        return "".join((*_shown(self._head, whole=False), note, *_shown(tail[start:])))


def _shown(data: bytearray, *, whole: bool = True) -> Generator[str, None, None]:
    """Yields the text piece by piece; without `whole`, a character that is cut off at the end is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    held = ""
    for at in range(0, len(data), _AT_ONCE):
        last = at + _AT_ONCE >= len(data)
        text = held + decoder.decode(data[at : at + _AT_ONCE], final=last and whole)
        # A carriage return may have its new line in the next piece.
        held = "\r" if text.endswith("\r") and not last else ""
        yield _without_controls(text[: len(text) - len(held)])


def _without_controls(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for control, picture in _PICTURES.items():
        if control in text:
            text = text.replace(control, picture)
    return text
