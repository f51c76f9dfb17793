"""A session as lines of JSON: everything it needs to be read, shown and gone on with in another store.

    {"format":"holdfast.session","version":1,...}       what this is
    {"seq":1,"id":...}                                  each event, as it is stored: a line that nobody understands too
    {"blob":"sha256:...","size":70000,"of":[4]}         each blob, followed by its bytes in base64
    {"data":"..."}
    {"end":{"events":90,"blobs":3,...,"sha256":"..."}}  what came before it, so that a torn file is known as one

A fork is written with its whole line of events: the file needs no other. `of` names the events whose content a blob
is; the others are what events refer to. Every line has at most `LINE` bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Iterator

import msgspec

from holdfast import __version__
from holdfast.engine.events import CODEC
from holdfast.engine.keeping.references import may_refer, references
from holdfast.errors import Corrupt, SandboxError
from holdfast.journal.port import Head, Journal, Record
from holdfast.journal.reading import decode_record
from holdfast.runtime.history.collecting import Keepers
from holdfast.types import Digest, SnapshotRef, StreamId, session_of, tenant_of

__all__ = ("CHUNK", "FORMAT", "LINE", "VERSION", "BlobLine", "DataLine", "End", "EndLine", "Header", "export_lines")

FORMAT = "holdfast.session"
VERSION = 1
LINE = 1024 * 1024
"""Bytes of the longest line."""
CHUNK = 48 * 1024
"""Bytes of a blob in one line, before they become base64."""
_PAGE = 1000


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: str
    version: int
    stream: str
    session: str
    parent: str | None = None
    """The session it was forked from; its events are here, too."""
    events: int
    blobs: bool = True
    """Whether everything that events refer to is in the file, or only their own content."""
    files: tuple[SnapshotRef, ...] = ()
    """How the files of its workspace were: a whole snapshot, then what to put back over it; none where that is not
    known, or they are not in the file."""
    holdfast: str = ""


class BlobLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begins a blob."""

    blob: Digest
    size: int
    of: tuple[int, ...] = ()
    """The events whose content it is."""


class DataLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a blob."""

    data: bytes


class End(msgspec.Struct, frozen=True):
    """What the file holds."""

    events: int
    blobs: int
    missing: int
    """Blobs and snapshots that events refer to, and that were not kept or cannot travel."""
    sha256: str
    """Of every byte before this line."""


class EndLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    end: End


async def export_lines(
    journal: Journal,
    keepers: Keepers,
    stream: StreamId,
    head: Head,
    files: tuple[SnapshotRef, ...] = (),
    *,
    blobs: bool,
) -> AsyncIterator[bytes]:
    """Yields a session's lines, each with its end of line, up to the event that is the last of `head`.

    Args:
        journal: The log.
        keepers: Tells which blobs a snapshot needs.
        stream: The session.
        head: Of it.
        files: How the files of its workspace are.
        blobs: Whether to give all that events refer to, and the files, or only what is an event's own content.

    Raises:
        Corrupt: an event's content is gone.
    """
    digest = hashlib.sha256()
    writer = _Export(journal, keepers, stream, head, files, blobs=blobs)
    async for line in writer.lines():
        digest.update(line)
        yield line
    yield _line(EndLine(End(head.seq, writer.blobs, writer.missing, digest.hexdigest())))


class _Export:
    def __init__(
        self,
        journal: Journal,
        keepers: Keepers,
        stream: StreamId,
        head: Head,
        files: tuple[SnapshotRef, ...],
        *,
        blobs: bool,
    ) -> None:
        self._journal = journal
        self._keepers = keepers
        self._stream = stream
        self._head = head
        self._all = blobs
        self._contents: dict[Digest, list[int]] = {}
        self._named: dict[Digest, None] = {}
        self._files = files
        self._snapshots: dict[SnapshotRef, None] = dict.fromkeys(files)
        self.blobs = 0
        self.missing = 0

    async def lines(self) -> AsyncIterator[bytes]:
        head = self._head
        parent = None if head.parent is None else session_of(head.parent)
        yield _line(
            Header(
                format=FORMAT,
                version=VERSION,
                stream=self._stream,
                session=session_of(self._stream),
                parent=parent,
                events=head.seq,
                blobs=self._all,
                files=self._files,
                holdfast=__version__,
            )
        )
        after = 0
        while after < head.seq:
            for record in await self._journal.read(self._stream, after=after, limit=min(_PAGE, head.seq - after)):
                after = record.seq
                # Between the parts of an event a line may end, within them none does.
                yield record.body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"
                await self._note(record)
        async for digest in self._digests():
            async for line in self._blob(digest):
                yield line

    async def _note(self, record: Record) -> None:
        if record.blob is not None:
            self._contents.setdefault(record.blob, []).append(record.seq)
        if self._all and (record.blob is not None or may_refer(record.body)):
            found = references(await decode_record(record, self._stream, CODEC, self._journal))
            self._named.update(dict.fromkeys(found.digests))
            self._snapshots.update(dict.fromkeys(found.snapshots))

    async def _digests(self) -> AsyncIterator[Digest]:
        """Yields what has to come along, each once."""
        seen: set[Digest] = set()
        for digest in (*self._contents, *self._named):
            if digest not in seen:
                seen.add(digest)
                yield digest
        for ref in self._snapshots:
            keeper = self._keepers(tenant_of(self._stream)).get(ref.store)
            try:
                needed = [] if keeper is None else [digest async for digest in keeper.digests(ref)]
            except SandboxError:
                needed = []  # it was let go
            self.missing += not needed
            for digest in (each for each in needed if each not in seen):
                seen.add(digest)
                yield digest

    async def _blob(self, digest: Digest) -> AsyncIterator[bytes]:
        try:
            data = await self._journal.blobs.get(tenant_of(self._stream), digest)
        except KeyError:
            if digest in self._contents:
                raise Corrupt(
                    f"the content of event {self._contents[digest][0]} of stream {self._stream!r} is gone; restore the "
                    "store from a backup, or fork the session before that event"
                ) from None
            self.missing += 1
            return
        self.blobs += 1
        for line in _blob_lines(digest, data, tuple(self._contents.get(digest, ()))):
            yield line


def _blob_lines(digest: Digest, data: bytes, of: tuple[int, ...]) -> Iterator[bytes]:
    yield _line(BlobLine(digest, len(data), of))
    for start in range(0, len(data), CHUNK):
        yield b'{"data":"' + base64.b64encode(data[start : start + CHUNK]) + b'"}\n'


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
