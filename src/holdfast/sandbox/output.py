"""What a command printed, in bounded memory: the beginning, the end, and how much there was."""

from __future__ import annotations

import codecs

__all__ = ("Output",)

_CONTROLS = {
    # Characters that steer a terminal are shown as their pictures; tab and newline stay.
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10)},
    127: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


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

    def text(self) -> str:
        """Returns the output as text that is safe to show: bytes that are not UTF-8 become U+FFFD, control
        characters their pictures, carriage returns new lines.
        """
        if not self.omitted:
            return _shown((self._head + self._tail).decode("utf-8", "replace"))
        # Neither half begins or ends with a piece of a character.
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(self._head)
        tail = self._tail[-self._half :]
        start = next((at for at in range(min(4, len(tail))) if tail[at] & 0xC0 != 0x80), 0)
        note = f"\n[... {self.omitted} of {self.total} bytes left out ...]\n"
        return _shown(head) + note + _shown(tail[start:].decode("utf-8", "replace"))


def _shown(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)
