"""Reads the file of an export, and believes nothing in it: what is not as it must be is refused by its line.

Only what can be checked without a store is checked here: the shape of each line, the order of events, that bytes are
what their digest says, that the file has an end and is the one that was written. Whether the events make a session is
the business of `importing.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, NoReturn, final

import msgspec

from holdfast.errors import UsageError
from holdfast.runtime.history.exporting import FORMAT, LINE, VERSION, BlobLine, DataLine, End, EndLine, Header
from holdfast.types import Digest, digest_of

__all__ = ("Blob", "Item", "Reading", "Told")


class Told(msgspec.Struct, frozen=True):
    """An event, as it stands in the file."""

    seq: int
    body: bytes


class Blob(msgspec.Struct, frozen=True):
    """A blob, whole, whose bytes are what its digest says."""

    digest: Digest
    of: tuple[int, ...]
    data: bytes


Item = Header | Told | Blob

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding bytes of others raises."""
_header = msgspec.json.Decoder(Header)
_blob = msgspec.json.Decoder(BlobLine)
_data = msgspec.json.Decoder(DataLine)
_end = msgspec.json.Decoder(EndLine)


class _Numbered(msgspec.Struct):
    seq: int


_event = msgspec.json.Decoder(_Numbered)


@final
class Reading:
    """One way through a file, from its beginning."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._line = b""
        self.number = 0
        """Of the line that was read last, from 1."""
        self.bytes = 0
        """How much was read."""
        self.digest = ""
        """Of the whole file, when it was read to its end."""

    def refuse(self, why: str, line: int | None = None) -> NoReturn:
        """Raises the error that says which line is wrong."""
        number = self.number if line is None else line
        raise UsageError(f"line {number} of the export {why}: export the session again, and import that file")

    def items(self) -> Iterator[Item]:
        """Yields what is in the file: its header, the events in order, the blobs.

        Raises:
            UsageError: a line is not what it must be; nothing behind it is looked at.
        """
        header = self._header()
        yield header
        for seq in range(1, header.events + 1):
            yield self._event(seq)
        blobs = 0
        while (end := self._ending()) is None:
            yield self._blob(header.events)
            blobs += 1
        if (end.events, end.blobs) != (header.events, blobs):
            self.refuse("does not count what came before it")
        if self._file.read(1):
            self.refuse("is the end, and there is more behind it")

    def _next(self) -> bytes:
        self._hash.update(self._line)
        line = self._file.readline(LINE + 1)
        self.number += 1
        self.bytes += len(line)
        if len(line) > LINE:
            self.refuse(f"has more than {LINE:,} bytes")
        if not line.endswith(b"\n"):
            self.refuse("is missing or torn: the file ends here")
        self._line = line
        return line

    def _header(self) -> Header:
        try:
            header = _header.decode(self._next())
        except _UNREADABLE:
            self.refuse("does not say that this is an export of a session")
        if header.format != FORMAT or header.version != VERSION:
            self.refuse(f"says {header.format!r} {header.version}, and this version reads {FORMAT!r} {VERSION}")
        if header.events < 1:
            self.refuse("says that there are no events")
        return header

    def _event(self, seq: int) -> Told:
        line = self._next()
        try:
            line.decode()
            found = _event.decode(line).seq
        except _UNREADABLE:
            self.refuse(f"is not event {seq}")
        if found != seq:
            self.refuse(f"is event {found}, where {seq} belongs")
        return Told(seq, line[:-1])

    def _ending(self) -> End | None:
        """Returns what the next line says when it is the last one."""
        line = self._next()
        if not line.startswith(b'{"end":'):
            return None
        try:
            end = _end.decode(line).end
        except _UNREADABLE:
            self.refuse("is no end")
        self.digest = self._hash.hexdigest()
        if end.sha256 != self.digest:
            self.refuse("has the digest of another file: something before it was changed")
        return end

    def _blob(self, events: int) -> Blob:
        """Returns the blob that the line begins which was read last."""
        begin = self.number
        try:
            head = _blob.decode(self._line)
        except _UNREADABLE:
            self.refuse("is neither a blob nor the end")
        if head.size < 0 or not all(1 <= seq <= events for seq in head.of):
            self.refuse("begins a blob of no event, or of no size")
        data = bytearray()
        while len(data) < head.size:
            try:
                part = _data.decode(self._next()).data
            except _UNREADABLE:
                self.refuse(f"is no part of the blob that line {begin} begins")
            if not part or len(data) + len(part) > head.size:
                self.refuse(f"does not fit into the blob that line {begin} begins")
            data += part
        if digest_of(bytes(data)) != head.blob:
            self.refuse("begins a blob whose bytes are not what its digest says", begin)
        return Blob(head.blob, head.of, bytes(data))
