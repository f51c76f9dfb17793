"""What happens in a session as bytes: server-sent events, and JSON texts for sockets.

    id: 7
    event: tool.finished
    data: {"seq":7,"id":"e7","type":"tool.finished",...}

A durable event is written as the log's codec writes it, and its id is its sequence number. Deltas have no id, so that
whoever comes back asks for what follows the last durable event. An item is encoded once for all who are sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, final, get_args

import msgspec

from holdfast.types import Delta, Event, Reset

__all__ = ("BEYOND", "JOINED", "Frames", "json_frame", "sse_frame", "sse_note")

_KEPT, _BYTES = 1024, 8 * 1024 * 1024
"""Items of a generation whose bytes are kept, and how many bytes: who follow one session are sent it within moments of
each other."""
_PIECE = 256 * 1024
"""Bytes after which a piece ends, so that a connection never holds much more than that."""
JOINED: Final = Reset("joined")
"""Begins each stream: whatever its client had of an answer, all of it comes again, or none."""
BEYOND: Final = Reset("beyond")
"""Begins one for whoever knows more events than there are: theirs were of a session that was deleted since, and another
one has its name. All that they know counts no more.
"""
_encode = msgspec.json.Encoder().encode


def sse_note(event: str, data: object, *, id: int | None = None) -> bytes:
    """Returns something that is said of the stream itself as a server-sent event."""
    named = b"" if id is None else b"id: %d\n" % id
    return b"%sevent: %s\ndata: %s\n\n" % (named, event.encode(), _encode(data))


def sse_frame(item: Event | Delta, encode: Callable[[Event], bytes]) -> bytes:
    """Returns an item as a server-sent event."""
    if isinstance(item, Event):
        # The type of an event from a file may be anything; of one line it is here.
        kind = b" ".join(item.type.encode().split())
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.seq, kind, _line(encode(item)))
    return b"%s%s\n\n" % (_BEGIN_SSE[type(item)], _encode(item)[1:])


def json_frame(item: Event | Delta, encode: Callable[[Event], bytes]) -> bytes:
    """Returns an item as JSON of one line, with its end of line."""
    if isinstance(item, Event):
        return _line(encode(item)) + b"\n"
    return b"%s%s\n" % (_BEGIN_JSON[type(item)], _encode(item)[1:])


_BEGIN_JSON = {kind: b'{"type":"%s",' % kind.type.encode() for kind in get_args(Delta)}
"""What is the same of each delta of a type; its fields follow."""
_BEGIN_SSE = {kind: b"event: %s\ndata: %s" % (kind.type.encode(), begin) for kind, begin in _BEGIN_JSON.items()}


def _line(encoded: bytes) -> bytes:
    """Returns JSON without ends of lines: between its parts a stored event of a file may have some."""
    if b"\n" in encoded or b"\r" in encoded:
        return encoded.replace(b"\n", b" ").replace(b"\r", b" ")
    return encoded


@final
class Frames:
    """Encodes items, each once."""

    def __init__(
        self, frame: Callable[[Event | Delta, Callable[[Event], bytes]], bytes], encode: Callable[[Event], bytes]
    ) -> None:
        self._frame = frame
        self._encode = encode
        self._young: dict[int, tuple[Event | Delta, bytes]] = {}
        """By identity; an item that is kept keeps its identity from others."""
        self._old: dict[int, tuple[Event | Delta, bytes]] = {}
        """The generation before, which is forgotten as a whole."""
        self._size = 0

    def pieces(self, items: Sequence[Event | Delta]) -> Iterable[bytes]:
        """Returns items that came together as one piece, or as few as that can be, each made when it is its turn."""
        return (self._of(items[0]),) if len(items) == 1 else self._joined(items)

    def _joined(self, items: Sequence[Event | Delta]) -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        for item in items:
            held.append(encoded := self._of(item))
            size += len(encoded)
            if size >= _PIECE:
                yield b"".join(held)
                held, size = [], 0
        if held:
            yield b"".join(held)

    def _of(self, item: Event | Delta) -> bytes:
        key = id(item)
        found = self._young.get(key) or self._old.get(key)
        if found is not None:
            return found[1]
        encoded = self._frame(item, self._encode)
        if len(self._young) >= _KEPT or self._size >= _BYTES:
            self._young, self._old, self._size = {}, self._young, 0
        self._young[key] = item, encoded
        self._size += len(encoded)
        return encoded
