"""The name a TLS client asks for, read from its first message without taking part in the conversation.

The greeting may come in several records and any number of pieces; it is read whole before anything of it is sent on.
What the client encrypts inside of it (ECH) is not seen: this check keeps honest clients on the host they named, and
where more must be certain the proxy ends TLS itself.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ("HELLO_LIMIT", "Hello", "hello_of", "is_tls")

HELLO_LIMIT: Final = 16 * 1024
"""Bytes of a greeting that are read."""

_HANDSHAKE: Final = 0x16
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0


class Hello(msgspec.Struct, frozen=True):
    """What a client says first."""

    name: str
    """The host it asks for, in lower case; empty where it names none."""


class _Short(Exception):
    """The bytes end before the message does."""


def is_tls(data: bytes | bytearray) -> bool:
    """Returns whether bytes begin a TLS handshake."""
    return data[0] == _HANDSHAKE


def hello_of(data: bytes | bytearray) -> Hello | None:
    """Returns the greeting that bytes begin with; None while more of them are needed.

    Raises:
        ValueError: it is no greeting, longer than `HELLO_LIMIT`, or names two hosts.
    """
    message, whole = _message(bytes(data))
    if not whole:
        if len(data) >= HELLO_LIMIT:
            raise ValueError("the TLS greeting is too long")
        return None
    try:
        return Hello(_name_in(_extensions(message)))
    except _Short:
        raise ValueError("the TLS greeting is cut short") from None


def _message(data: bytes) -> tuple[bytes, bool]:
    """Returns the handshake message so far, out of its records, and whether that is all of it."""
    body, at = b"", 0
    while at + 5 <= len(data):
        if data[at] != _HANDSHAKE or data[at + 1] != 3:
            raise ValueError("the TLS greeting is none")
        size = int.from_bytes(data[at + 3 : at + 5])
        if not 0 < size <= 1 << 14:
            raise ValueError("the TLS greeting is none")
        body += data[at + 5 : at + 5 + size]
        at += 5 + size
        if len(body) >= 4:
            if body[0] != _CLIENT_HELLO:
                raise ValueError("the TLS greeting is none")
            length = int.from_bytes(body[1:4])
            if len(body) >= 4 + length:
                return body[4 : 4 + length], True
    return body, False


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self.at : self.at + count]
        if len(piece) < count:
            raise _Short
        self.at += count
        return piece

    def block(self, width: int) -> bytes:
        """Takes what is preceded by its length in so many bytes."""
        return self.take(int.from_bytes(self.take(width)))

    @property
    def more(self) -> bool:
        return self.at < len(self._data)


def _extensions(message: bytes) -> list[tuple[int, bytes]]:
    cursor = _Cursor(message)
    cursor.take(2 + 32)  # version, random
    for width in (1, 2, 1):  # session, ciphers, compressions
        cursor.block(width)
    if not cursor.more:
        return []
    inside, found = _Cursor(cursor.block(2)), list[tuple[int, bytes]]()
    while inside.more:
        kind = int.from_bytes(inside.take(2))
        found.append((kind, inside.block(2)))
    return found


def _name_in(extensions: list[tuple[int, bytes]]) -> str:
    named = [data for kind, data in extensions if kind == _SERVER_NAME]
    if not named:
        return ""
    names = _Cursor(_Cursor(named[0]).block(2))
    kind, name = names.take(1), names.block(2)
    if len(named) > 1 or names.more or kind != b"\0":
        raise ValueError("the TLS greeting names more than one host")
    try:
        return name.decode("ascii").lower()
    except UnicodeDecodeError:
        raise ValueError("the TLS greeting names no host") from None
