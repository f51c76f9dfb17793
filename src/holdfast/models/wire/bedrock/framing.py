"""The binary frames of an event stream (`application/vnd.amazon.eventstream`), and back.

A frame is its whole length, the length of its headers, a checksum of both, headers, a payload, and a checksum of all
before it; numbers are big-endian. A frame is handed on as one JSON object whose only key is what it is:
`{"contentBlockDelta": <payload>}` for an event, `{"exception": {"type": …, "said": <payload>}}` for an exception, and
`{"error": {"type": …, "message": …}}` for a failure that has no payload. Frames that say nothing are left out.

Invariants: both checksums hold; the length is judged as soon as it is there, so no promise of a long frame is waited
for; time is linear in the bytes however they are cut.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, final

import msgspec

from holdfast.errors import AnswerTooLarge, ProtocolError

__all__ = ("Frame", "Frames", "frame_of")

_PRELUDE: Final = struct.Struct("!III")
_NUMBER: Final = struct.Struct("!I")
_SHORT: Final = struct.Struct("!H")
_LEAST: Final = _PRELUDE.size + _NUMBER.size
_LONGEST_HEADERS: Final = 128 * 1024
_SIZES: Final[Mapping[int, int]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its kind; bytes (6) and text (7) say their own length."""
_BYTES, _TEXT = 6, 7
_KINDS: Final = 32
"""How many different headers are remembered: those of all frames of a kind are the same bytes."""
_LONGEST_KEPT: Final = 512
_LONGEST_WORD: Final = 100
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame."""

    headers: dict[str, str]
    """Those that are text."""
    payload: bytes

    def event(self) -> bytes:
        """Returns it as one JSON object; nothing for one that is about nothing."""
        kind = self.headers.get(":message-type", "event")
        payload = self.payload if self.payload.strip() else b"{}"
        if kind == "error":
            said = {"type": self.headers.get(":error-code", ""), "message": self.headers.get(":error-message", "")}
            return msgspec.json.encode({"error": said})
        if kind == "exception":
            type = self.headers.get(":exception-type", "")
            return b'{"exception":{"type":%b,"said":%b}}' % (msgspec.json.encode(type), payload)
        name = self.headers.get(":event-type", "")
        opening = _opening(name) if len(name) <= _LONGEST_WORD else b""
        return opening + payload + b"}" if opening else b""


@final
class Frames:
    """Parts bytes into frames."""

    __slots__ = ("_known", "_limit", "_rest", "_wanted", "broken")

    def __init__(self, limit: int) -> None:
        """Refuses frames of more than `limit` bytes."""
        self._limit = limit
        self._known: dict[bytes, dict[str, str]] = {}
        """Headers that were read before."""
        self._rest = bytearray()
        self.broken: AnswerTooLarge | ProtocolError | None = None
        """Why nothing can be read any more, where frames of the same bytes had to be handed out first."""
        self._wanted = _PRELUDE.size
        """How many bytes have to be there before there is anything to look at."""

    def feed_data(self, data: bytes) -> list[bytes]:
        """Returns the events of the frames that these bytes complete.

        Raises:
            AnswerTooLarge: a frame is longer than is allowed.
            ProtocolError: the bytes are no frames, or were changed on the way.
        """
        return [event for frame in self.feed(data) if (event := frame.event())]

    def feed(self, data: bytes) -> list[Frame]:
        """Returns the frames that these bytes complete.

        Raises:
            AnswerTooLarge: a frame is longer than is allowed.
            ProtocolError: the bytes are no frames, or were changed on the way.
        """
        if self.broken is not None:
            raise self.broken
        rest = self._rest
        rest += data
        if len(rest) < self._wanted:
            return []
        frames: list[Frame] = []
        start = 0
        whole = bytes(rest)
        try:
            while len(whole) - start >= _PRELUDE.size:
                length, headers = self._prelude(whole, start)
                if len(whole) - start < length:
                    self._wanted = length
                    break
                frames.append(self._frame(whole, start, length, headers))
                start += length
                self._wanted = _PRELUDE.size
        except (AnswerTooLarge, ProtocolError) as error:
            if not frames:
                raise
            self.broken = error
        del rest[:start]
        return frames

    def _prelude(self, data: bytes, start: int) -> tuple[int, int]:
        """Returns the length of the frame that begins there, and that of its headers."""
        length, headers, checksum = _PRELUDE.unpack_from(data, start)
        if zlib.crc32(data[start : start + 8]) != checksum:
            raise ProtocolError("bytes that are no frames of an event stream; check the address")
        if length > self._limit:
            raise AnswerTooLarge(f"a frame of {length} bytes where {self._limit} are allowed; ask for less at once")
        if headers > _LONGEST_HEADERS or length < _LEAST + headers:
            raise ProtocolError("a frame whose lengths do not fit each other; check the address")
        return length, headers

    def _frame(self, data: bytes, start: int, length: int, headers: int) -> Frame:
        end = start + length - _NUMBER.size
        if zlib.crc32(data[start:end]) != _NUMBER.unpack_from(data, end)[0]:
            raise ProtocolError("a frame was changed on the way: its checksum does not hold; try again")
        begin = start + _PRELUDE.size
        raw = data[begin : begin + headers]
        said = self._known.get(raw)
        if said is None:
            try:
                said = dict(_headers(raw))
            except (IndexError, struct.error, UnicodeDecodeError):
                raise ProtocolError("a frame whose headers cannot be read; check the address") from None
            if len(self._known) < _KINDS and len(raw) <= _LONGEST_KEPT:
                self._known[raw] = said
        return Frame(said, data[begin + headers : end])


def frame_of(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Returns a frame whose headers are text."""
    said = b"".join([_header(name, value) for name, value in headers.items()])
    begin = struct.pack("!II", _LEAST + len(said) + len(payload), len(said))
    begin += _NUMBER.pack(zlib.crc32(begin)) + said + payload
    return begin + _NUMBER.pack(zlib.crc32(begin))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode("utf-8", "replace")
    return bytes((len(key),)) + key + bytes((_TEXT,)) + _SHORT.pack(len(text)) + text


@functools.lru_cache(maxsize=64)
def _opening(name: str) -> bytes:
    """Returns how the event of that name begins; nothing where it is no name."""
    return b'{"%b":' % name.encode() if _WORD.fullmatch(name) else b""


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        name, kind = data[at + 1 : end].decode(), data[end]
        at = end + 1
        if kind in (_BYTES, _TEXT):
            at += _SHORT.size
            size = _SHORT.unpack_from(data, at - _SHORT.size)[0]
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ProtocolError(f"a header of kind {kind}, which there is not; check the address")
        if at + size > len(data):
            raise ProtocolError("a header that is longer than all headers are; check the address")
        if kind == _TEXT:
            yield name, data[at : at + size].decode()
        at += size
