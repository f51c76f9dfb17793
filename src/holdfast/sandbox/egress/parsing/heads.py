"""HTTP/1.1 heads out of bytes, and how long what follows them is.

Pure and strict (RFC 9112 without its leniencies): lines end in CRLF, no line is folded, no length is said twice or in
two ways, no byte of a head is a control character. A proxy and a server that disagree about where a request ends can
be made to see different requests; what is refused here cannot be disagreed about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

__all__ = (
    "CHUNKED",
    "Framing",
    "Head",
    "bare_newline",
    "framing_of_answer",
    "framing_of_request",
    "head_of",
    "without_hops",
)

CHUNKED: Final = "chunked"

Framing = int | Literal["chunked", "end"]
"""How long a body is: so many bytes, in chunks, or until the connection ends."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD: Final = re.compile(r"[A-Z]+(?:-[A-Z]+)*")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_TARGET: Final = re.compile(r"[!-~]+")
_STATUS: Final = re.compile(r"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)[^\n]")
_FIELDS: Final = 100
_HOPS: Final = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields about one connection, and those that say how long a body is: we write our own."""

Fields = tuple[tuple[str, str], ...]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a request or an answer."""

    method: str = ""
    target: str = ""
    version: str = "1.1"
    status: int = 0
    """Of an answer; 0 for a request."""
    reason: str = ""
    fields: Fields = ()
    """Names as they were sent, with their values."""

    def values(self, name: str) -> list[str]:
        """Returns the values of a field, by its name in lower case."""
        return [value for each, value in self.fields if each.lower() == name]

    def words(self, name: str) -> set[str]:
        """Returns the words of a field whose value is a list, in lower case."""
        return {word.strip().lower() for value in self.values(name) for word in value.split(",")}

    @property
    def keeps(self) -> bool:
        """Whether the connection stays for another request, as far as this side says."""
        return self.version == "1.1" and "close" not in self.words("connection")


def bare_newline(data: bytes | bytearray) -> bool:
    """Returns whether a line ends in anything but CRLF: then no end of a head will come that all agree about."""
    return _BARE.search(data) is not None


def head_of(raw: bytes) -> Head:
    """Returns a head, given with the empty line that ends it.

    Raises:
        ValueError: it is none, or can be read in several ways.
    """
    if not raw.endswith(b"\r\n\r\n"):
        raise ValueError("the head does not end in an empty line")
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    if len(lines) > _FIELDS:
        raise ValueError(f"the head has more than {_FIELDS} fields")
    fields = tuple(_field_of(line) for line in lines)
    if start.startswith("HTTP/"):
        if not (found := _STATUS.fullmatch(start)):
            raise ValueError("the status line is none")
        return Head(status=int(found[1]), reason=start[13:], version=start[5:8], fields=fields)
    method, target, version = _request_of(start)
    return Head(method=method, target=target, version=version, fields=fields)


def framing_of_request(head: Head) -> Framing:
    """Returns how long the body of a request is.

    Raises:
        ValueError: it is said in two ways, or in one that not everybody knows.
    """
    said = _said_length(head)
    return 0 if said is None else said


def framing_of_answer(head: Head, method: str) -> Framing:
    """Returns how long the body of an answer to such a request is.

    Raises:
        ValueError: as for a request.
    """
    said = _said_length(head)
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return 0
    return "end" if said is None else said


def without_hops(head: Head, drop: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Returns the fields that are sent on: not those about this connection, nor those named."""
    gone = _HOPS | head.words("connection") | frozenset(drop)
    return [(name, value) for name, value in head.fields if name.lower() not in gone]


def _request_of(line: str) -> tuple[str, str, str]:
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("the request line is none: a method in capitals, a target without blanks, a version")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise ValueError("the version is neither HTTP/1.1 nor HTTP/1.0")
    return method, target, version[5:]


def _field_of(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):  # a blank at either end of the name, or a folded line
        raise ValueError("a field of the head has no plain name, or is folded")
    if not _VALUE.fullmatch(value):
        raise ValueError("a field of the head has a control character in it")
    return name, value.strip(" \t")


def _said_length(head: Head) -> Framing | None:
    lengths, codings = head.values("content-length"), head.values("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise ValueError("the length of the body is said more than once")
    if codings:
        if codings[0].lower() != CHUNKED or head.version != "1.1":
            raise ValueError("the body comes in a coding that is not chunked")
        return CHUNKED
    if lengths:
        if not _LENGTH.fullmatch(lengths[0]):
            raise ValueError("the length of the body is no number")
        return int(lengths[0])
    return None
