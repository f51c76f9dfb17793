"""The last part of an output that may go on for ever.

Each byte has a place: how many were printed before it. Who reads says from which place on, and is told how many bytes
went before anybody read them. So any number of readers go at their own speed, and none holds up the process.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Sequence
from typing import Final, Protocol, final

import msgspec

from holdfast.safety.redacting import MARK
from holdfast.sandbox.output import Output

__all__ = ("KEPT", "Hides", "Piece", "Ring")

KEPT: Final = 1 << 20
"""Bytes of one process's output that are kept."""


class Hides(Protocol):
    """Knows what nobody is to read."""

    @property
    def longest(self) -> int:
        """Bytes of the longest of it; 0 where there is none."""
        ...

    def spans(self, data: bytes, *, begun: bool = False) -> Sequence[tuple[int, int]]:
        """Returns where it stands in a part of an output, in order; and the rest of it where that `begun` before."""
        ...

    def beginning(self, data: bytes) -> int:
        """Returns how many bytes at the end of a part may become it."""
        ...


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A part of an output."""

    text: str
    """Safe to show, as `Output.text` makes it."""
    next: int
    """Where the following part begins."""
    lost: int
    """Bytes before it that nobody can read any more."""


@final
class Ring:
    """Keeps the last `keep` bytes of whatever it is fed."""

    def __init__(self, keep: int = KEPT) -> None:
        self.total = 0
        """Bytes fed so far."""
        self.closed = False
        """Whether nothing more will come."""
        self._keep = keep
        self._held = bytearray()
        self._news: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Takes more output."""
        self.total += len(data)
        self._held += data
        if len(self._held) > 2 * self._keep:  # not at each byte
            del self._held[: -self._keep]
        self._tell()

    def close(self) -> None:
        """Notes that nothing more will come; who waits for more is told."""
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def read(self, since: int = 0, most: int = KEPT, hides: Hides | None = None) -> Piece:
        """Returns what was printed from a place on, the last `most` bytes of it as far as they are kept.

        Half a character at the end stays for the next part, and so does what may become something that `hides` knows.
        """
        first = self.total - min(len(self._held), self._keep, most)
        start = min(max(since, first), self.total)
        data = self._from(start)
        if start > since:  # it begins with no piece of a character
            cut = next((at for at in range(min(4, len(data))) if data[at] & 0xC0 != 0x80), 0)
            start, data = start + cut, data[cut:]
        if not self.closed or start + len(data) < self.total:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            decoder.decode(data)
            data = data[: len(data) - len(decoder.getstate()[0])]
        end = start + len(data)
        if hides is not None and hides.longest:
            data, end = self._hidden(start, data, hides)
        output = Output(2 * len(data) + 2)
        output.feed(data)
        return Piece(output.text(), end, max(0, start - since))

    def _from(self, start: int) -> bytes:
        """Returns what is held from a place on."""
        return bytes(self._held[len(self._held) - (self.total - start) :]) if start < self.total else b""

    def _hidden(self, start: int, data: bytes, hides: Hides) -> tuple[bytes, int]:
        """Returns a part without what nobody is to read, and where the next one begins. What began before the part was
        marked there.
        """
        end, oldest = start + len(data), self.total - min(len(self._held), self._keep)
        before = max(start - hides.longest, oldest)
        seen = self._from(before)[: end - before]
        pieces: list[bytes] = []
        done, last = start, before
        for left, right in hides.spans(seen, begun=before == oldest > 0):
            if before + left >= done:
                pieces += (seen[done - before : left], MARK.encode())
            done, last = max(done, before + right), max(last, before + right)
        if not self.closed or end < self.total:
            end = max(end - hides.beginning(seen[last - before :]), start)
        return b"".join((*pieces, seen[done - before : end - before])), end

    async def more(self, than: int) -> None:
        """Returns when more than so many bytes were printed, or nothing more will come."""
        while self.total <= than and not self.closed:
            if self._news is None or self._news.done():
                self._news = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._news)
