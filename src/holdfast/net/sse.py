"""Server-sent events out of bytes, however the bytes were cut.

The grammar is the event stream of the HTML standard. Nothing is decoded: a field is the bytes between two line
ends, so characters cut between reads come out whole. What the stream ends in the middle of is never handed out.

Nearly every stream of a model is `data: {...}` and a blank line, over and over, or the same with `event: ...` before
it. A read that holds nothing else is split in one step (`feed_data`); anything else walks line by line through the one
grammar.

Invariants: the held-back bytes are the beginning of one line, without its end; time is linear in the bytes however
they are cut; what one event may hold is bounded.
"""

from __future__ import annotations

from typing import Final, final

import msgspec

from holdfast.errors import AnswerTooLarge

__all__ = ("EVENT_LIMIT", "SseEvent", "SseParser")

EVENT_LIMIT: Final = 8 * 1024 * 1024
"""Bytes that one event, or one line, may have if nothing else is said."""

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_DELAY: Final = 12  # digits; more milliseconds than a lifetime


@final
class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream."""

    event: bytes
    """Its type, `message` when the stream names none."""
    data: bytes
    """Its data lines, joined by line feeds."""
    id: bytes
    """The last id the stream gave up to here; empty when it gave none."""


@final
class SseParser:
    """Turns what a connection delivers into events, keeping what is unfinished for the next read."""

    retry: int | None = None
    """Milliseconds the stream wants a reader to wait before it connects again; None when it did not say."""
    _at_start = True
    _after_cr = False
    _fresh = True  # no line of an unfinished event was read
    _data: list[bytes] | None = None  # until a stream is less plain than most
    _size = 0
    _event = b""
    _last_id = b""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._tail = bytearray()

    def feed(self, data: bytes) -> list[SseEvent]:
        """Returns the events that these bytes complete.

        Raises:
            AnswerTooLarge: an event or a line is over the limit; the parser is of no use any more.
        """
        return self._walk(self._whole_lines(data))

    def feed_data(self, data: bytes) -> list[bytes]:
        """Returns only the data of the events that these bytes complete, for protocols that use nothing else.

        Raises:
            AnswerTooLarge: an event or a line is over the limit; the parser is of no use any more.
        """
        if self._fresh and not self._tail and data.endswith(b"\n\n") and b"\r" not in data:
            events = self._split(data)
            if events is not None:  # as nearly every read
                self._at_start = self._after_cr = False
                return events
        text = self._whole_lines(data)
        if self._fresh:
            return self._data_of(text)
        end = text.find(b"\n\n") + 2  # the read before ended inside an event, as most long ones do
        if end < 2:
            return [event.data for event in self._walk(text)]
        found = [event.data for event in self._walk(text[:end])]
        return found + self._data_of(text[end:])

    def _data_of(self, text: bytes) -> list[bytes]:
        """Returns the data of the events in whole lines, the first of which begins an event."""
        end = text.rfind(b"\n\n") + 2
        events = self._split(text[:end]) if end >= 2 else None
        if events is None:
            return [event.data for event in self._walk(text)]
        if end < len(text):
            self._walk(text[end:])  # what the next read goes on with: no event ends here
        return events

    def _split(self, text: bytes) -> list[bytes] | None:
        """Returns the data of the events in whole lines, the last of which is empty, where they are plain: all of one
        data line, or all of that behind one with a type. None when there is anything else.
        """
        if len(text) > self._limit:
            return None
        begins = text[:6]
        return _plain(text) if begins == b"data: " else _named(text) if begins == b"event:" else None

    def _whole_lines(self, data: bytes) -> bytes:
        """The lines that are complete now, each ended by one line feed; the rest is held back."""
        if self._at_start or self._after_cr:
            data = self._without_lead(data)
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        tail = self._tail
        if not tail and data.endswith(b"\n"):
            return data
        end = data.rfind(b"\n") + 1
        lines = data[:end]
        if end and tail:
            lines = bytes(tail) + lines
            tail.clear()
        if end < len(data):
            tail += data[end:]
            if len(tail) > self._limit:
                raise self._too_large("a line")
        return lines

    def _without_lead(self, data: bytes) -> bytes:
        if self._at_start:
            if self._tail:
                data = bytes(self._tail) + data
                self._tail.clear()
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._tail += data  # may become a byte order mark
                return b""
            self._at_start = False
            return data.removeprefix(_BOM)
        if data:
            self._after_cr = False
            if data.startswith(b"\n"):
                return data[1:]  # the second half of a line end that was cut
        return data

    def _walk(self, text: bytes) -> list[SseEvent]:
        """Reads whole lines and returns the events they complete."""
        events: list[SseEvent] = []
        if not text:
            return events
        lines = text.split(b"\n")
        lines.pop()  # behind the last line end there is nothing
        if (fields := self._data) is None:
            fields = self._data = []
        for line in lines:
            if line:
                self._fresh = False
                self._field(line, fields)
                continue
            if fields:
                events.append(SseEvent(self._event or b"message", b"\n".join(fields), self._last_id))
                fields.clear()
                self._size = 0
            self._event = b""
            self._fresh = True
        return events

    def _field(self, line: bytes, fields: list[bytes]) -> None:
        if len(line) > self._limit:
            raise self._too_large("a line")
        if line.startswith(b"data: "):  # nearly all: one copy instead of two
            name, value = b"data", line[6:]
        else:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
        if name == b"data":
            fields.append(value)
            self._size += len(value) + 6
            if self._size > self._limit:
                raise self._too_large("an event")
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._last_id = value
        elif name == b"retry" and value.isdigit() and len(value) <= _LONGEST_DELAY:
            self.retry = int(value)

    def _too_large(self, what: str) -> AnswerTooLarge:
        message = f"{what} of the event stream is over {self._limit} bytes; ask for a shorter answer or raise the limit"
        return AnswerTooLarge(message)


def _plain(text: bytes) -> list[bytes] | None:
    """Returns the data of events that are one data line each; None when there is anything else."""
    pieces = text[6:-2].split(b"\n\ndata: ")
    # No line end but those between the pieces: each piece is the one data line of its event.
    return pieces if text.count(b"\n") == 2 * len(pieces) else None


def _named(text: bytes) -> list[bytes] | None:
    """Returns the data of events that are one line with a type and one of data; None when there is anything else."""
    lines = text.split(b"\n")
    count = len(lines) // 3
    # As many data lines and type lines as events, each type line behind an empty one, each third line empty: so each
    # event is a type line and a data line.
    if (
        len(lines) != 3 * count + 1
        or text.count(b"\ndata: ") != count
        or text.count(b"\n\nevent: ") != count - 1
        or any(lines[2::3])
    ):
        return None
    return [line[6:] for line in lines[1::3]]
