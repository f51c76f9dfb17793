"""How the events of a stream stand one after another in its bytes.

A framing is fed bytes, cut anywhere, and returns the data of each event that is whole: server-sent events
(`net/sse.py`), or lines of JSON. Not here: what events mean; the binary frames of one provider, which are in its wire.
"""

from __future__ import annotations

from typing import Protocol, final

from holdfast.errors import AnswerTooLarge

__all__ = ("Framing", "Lines")


class Framing(Protocol):
    """Parts bytes into events."""

    def feed_data(self, data: bytes) -> list[bytes]:
        """Returns the data of the events that these bytes complete.

        Raises:
            AnswerTooLarge: an event is longer than is allowed.
        """
        ...


@final
class Lines:
    """One JSON value on each line."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        """Refuses lines of more than `limit` bytes."""
        self._limit = limit
        self._rest = bytearray()

    def feed_data(self, data: bytes) -> list[bytes]:
        """Returns the lines that these bytes complete; blank ones are none.

        Raises:
            AnswerTooLarge: a line is longer than is allowed.
        """
        if b"\n" not in data:
            self._rest += data
            if len(self._rest) > self._limit:
                raise AnswerTooLarge(f"a line of more than {self._limit} bytes; ask for less at once")
            return []
        first, *lines = data.split(b"\n")
        lines.insert(0, bytes(self._rest) + first)
        self._rest = bytearray(lines.pop())
        if max(map(len, (*lines, self._rest))) > self._limit:
            raise AnswerTooLarge(f"a line of more than {self._limit} bytes; ask for less at once")
        return [line for line in lines if line.strip()]
