"""A session from the file of an export, as a session of this store: a fork of something that is not here.

The file is read twice. First it is looked at from beginning to end, and its events are folded; only when all of it is
right is anything written. Then its blobs are put, and after them all its events in one batch. Who is killed before
that batch leaves blobs that nothing refers to, and perhaps a session without an event, which the same import takes; who
is killed after it leaves the session, whose files are put back by whoever goes on with it. Files that cannot be put
back take the session away again.

What was open in the file stayed where it came from, as with any fork: calls get the result "not in this branch", what
waited waits no longer, what was allowed is allowed no longer, and what was queued is left out. So nothing of it begins
to run by itself, and nothing is done twice. Its files go to a folder of their own: the one it worked in is a place on
another machine, or one that somebody who wrote the file would like us to work in.

Nobody knows who wrote the file. Its words are read, and nothing is done because of it, now or later: no run is set up
as its runs were, nothing is delivered where it says, and no path is touched that it names outside that folder
(`Forked.foreign` in `engine/events.py`; `_leave_to_file` in `engine/folding.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, final

import msgspec

from holdfast.engine.events import CODEC, Forked, InputReceived, Rewound, RunStarted
from holdfast.engine.folding import BROKEN, fold_log
from holdfast.engine.keeping.references import references
from holdfast.engine.lineage import is_child
from holdfast.engine.state import State
from holdfast.errors import HoldfastError, SandboxError, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import Reference, to_record
from holdfast.journal.port import Claim, Head, Journal, Park, Record
from holdfast.runtime.history.branching import Branching
from holdfast.runtime.history.exporting import Header
from holdfast.runtime.history.loading import Blob, Item, Reading, Told
from holdfast.runtime.history.reports import Imported, Loading
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.types import (
    Digest,
    Event,
    EventId,
    SnapshotRef,
    StreamId,
    TenantId,
    session_of,
    stream_id,
    tenant_of,
)

__all__ = ("Importing",)

_LATEST = 253_402_300_800_000_000
"""µs UTC at which the year 10,000 begins: whoever shows a time cannot show that."""
_ITEMS = 500
"""Items looked at before others have a turn."""
_BYTES = 8 * 1024 * 1024
"""Of blobs in one transaction."""


class _File(msgspec.Struct):
    """What a file says, all of it looked at."""

    header: Header
    digest: str
    records: list[Record]
    events: list[Event]
    blobs: int


@final
class Importing:
    """Imports sessions into one store."""

    def __init__(self, journal: Journal, clock: Clock, sandboxes: Sandboxes, branching: Branching) -> None:
        self._journal = journal
        self._clock = clock
        self._sandboxes = sandboxes
        self._branching = branching

    async def load(
        self,
        file: IO[bytes],
        tenant: TenantId,
        name: str | None,
        folder: str | Path | None,
        claim: Callable[[StreamId], Awaitable[Claim]],
        adopt: Callable[[StreamId], None],
        undo: Callable[[Sequence[StreamId]], Awaitable[None]],
        progress: Loading | None = None,
    ) -> Imported:
        """Makes a session from a file, under the name it had unless another is wanted; `undo` takes it away again
        where its files cannot be put into its folder.

        Raises:
            UsageError: a line of the file is wrong; there is such a session; the folder is not empty, or not wanted.
            NotOwnable, SandboxError, StorageError: see their messages. Nothing of the file is to be seen then.
        """
        told = await self._look(file, progress or _silent)
        if name is None and is_child(told.header.session):
            raise UsageError(
                f"{told.header.session!r} is a name that sessions get which an agent starts, and may be that of one to "
                "come: import it under another name"
            )
        stream = stream_id(tenant, name or told.header.session)
        self._check_name(stream, await self._journal.head(stream))
        file.seek(0)
        await self._put(file, tenant, told, progress or _silent)
        snapshots = await self._files(tenant, told)
        place = self._place(stream, told, folder)
        events = [*told.events, self._branch(stream, told, place, snapshots)]
        await asyncio.to_thread(_fold, events)  # a long session's takes seconds
        await self._write(stream, told, [*told.records, to_record(events[-1], CODEC)], claim)
        if place and snapshots:
            await self._furnish(stream, place, snapshots, claim, adopt, undo)
        return Imported(
            session_of(stream), told.header.stream, len(told.events), told.blobs, place, bool(place and snapshots)
        )

    async def _furnish(
        self,
        stream: StreamId,
        place: str,
        snapshots: tuple[SnapshotRef, ...],
        claim: Callable[[StreamId], Awaitable[Claim]],
        adopt: Callable[[StreamId], None],
        undo: Callable[[Sequence[StreamId]], Awaitable[None]],
    ) -> None:
        left: list[StreamId] = []
        try:
            await self._branching.furnish(stream, place, snapshots, claim, left.append)
        except BaseException:  # a cancelled caller's, too
            await asyncio.shield(undo([stream]))
            raise
        finally:
            if left and await self._journal.head(stream) is not None:  # somebody has spoken to it already
                adopt(stream)

    async def _look(self, file: IO[bytes], progress: Loading) -> _File:
        """Reads a file to its end and writes nothing."""
        reading = Reading(file)
        items = reading.items()
        bodies: list[Told] = []
        contents: dict[int, tuple[Digest, bytes]] = {}
        header: Header | None = None
        blobs = 0
        while batch := await asyncio.to_thread(_some, items):
            for item in batch:
                match item:
                    case Header():
                        header = item
                    case Told():
                        bodies.append(item)
                    case Blob():
                        blobs += 1
                        contents.update(dict.fromkeys(item.of, (item.digest, item.data)))
            progress(reading.bytes)
            await asyncio.sleep(0)
        assert header is not None
        records, events = await asyncio.to_thread(_decode, reading, bodies, contents)
        return _File(header, reading.digest, records, events, blobs)

    async def _put(self, file: IO[bytes], tenant: TenantId, told: _File, progress: Loading) -> None:
        reading = Reading(file)
        items = reading.items()
        read = reading.bytes
        waiting: list[bytes] = []
        size = 0
        while batch := await asyncio.to_thread(_some, items):
            for blob in (item for item in batch if isinstance(item, Blob)):
                waiting.append(blob.data)
                size += len(blob.data)
                if size > _BYTES:
                    await self._journal.blobs.put_many(tenant, waiting)
                    waiting, size = [], 0
            progress(read + reading.bytes)
        await self._journal.blobs.put_many(tenant, waiting)
        if reading.digest != told.digest:
            raise UsageError("the file was changed while it was imported: import it again")

    async def _files(self, tenant: TenantId, told: _File) -> tuple[SnapshotRef, ...]:
        """Returns what to put into the session's folder; looks at every snapshot, so that each can be kept later."""
        has_folder = any(_folder_in(event) for event in told.events)
        for event in told.events:
            await self._look_at(tenant, references(event).snapshots, event.seq + 1, has_folder=has_folder)
        files = told.header.files
        await self._look_at(tenant, files, 1, has_folder=has_folder)
        if files and files[0].whole:
            with suppress(SandboxError):  # they did not come along
                await self._branching.secure(files, tenant)
                return files
        return ()

    async def _look_at(
        self, tenant: TenantId, snapshots: tuple[SnapshotRef, ...], line: int, *, has_folder: bool
    ) -> None:
        for ref in snapshots:
            if not has_folder:
                raise UsageError(f"line {line} of the export names files, and no event a folder that they were in")
            keeper = self._sandboxes.keepers(tenant).get(ref.store)
            if keeper is None:
                raise UsageError(
                    f"line {line} of the export names a snapshot of the store {ref.store!r}, which this process has "
                    "not got: export it where that store is, or import with a newer Holdfast"
                )
            try:
                _ = [digest async for digest in keeper.digests(ref)]
                await keeper.check(ref)
            except SandboxError as error:
                if not isinstance(error.__context__, KeyError):  # what is not there cannot be wrong
                    raise UsageError(f"line {line} of the export names a broken snapshot: {error}") from error

    def _place(self, stream: StreamId, told: _File, folder: str | Path | None) -> str:
        if not any(_folder_in(event) for event in told.events):
            if folder is not None:
                raise UsageError(f"session {told.header.session!r} had no workspace: leave the folder out")
            return ""
        return str(self._sandboxes.place(tenant_of(stream), session_of(stream), folder))

    def _branch(self, stream: StreamId, told: _File, place: str, snapshots: tuple[SnapshotRef, ...]) -> Event:
        """Returns the event that says where the session came from, and that nothing of it is under way here."""
        at = len(told.events)
        return Event(
            seq=at + 1,
            id=EventId(f"{new_batch()}-0"),
            type=Forked.type,
            at=self._clock.now(),
            epoch=0,
            tenant=tenant_of(stream),
            actor="user",
            cause=f"import:{told.digest}",
            must_understand=Forked.must_understand,
            data=Forked("", at, place, snapshots if place else ()),
        )

    async def _write(
        self,
        stream: StreamId,
        told: _File,
        records: list[Record],
        claim: Callable[[StreamId], Awaitable[Claim]],
    ) -> None:
        """Writes all events, or leaves no session behind."""
        head = (await claim(stream)).head
        try:
            self._check_name(stream, head)
            done = await self._journal.append(stream, head.epoch, 0, new_batch(), records, park=Park("idle"))
            if not isinstance(done, Head):
                raise UsageError(_taken(stream))
        except BaseException:  # a cancelled caller's, too
            await asyncio.shield(self._undo(stream, head))
            raise

    async def _undo(self, stream: StreamId, head: Head) -> None:
        try:
            if head.seq or head.inbox_seq:  # it is somebody else's
                await self._journal.release(stream, head.epoch)
            else:
                await self._journal.delete(stream, head.epoch)
        except HoldfastError:
            pass  # what is left is a session without an event

    def _check_name(self, stream: StreamId, head: Head | None) -> None:
        if head is not None and (head.seq or head.inbox_seq):
            raise UsageError(_taken(stream))


def _taken(stream: StreamId) -> str:
    return f"there is a session {session_of(stream)!r} already: import it under another name"


def _folder_in(event: Event) -> str:
    match event.data:
        case RunStarted() as data:
            return data.setup.workspace
        case InputReceived() as data:
            return data.setup.workspace if data.setup is not None else ""
        case Forked() | Rewound() as data:
            return data.workspace
        case _:
            return ""


def _some(items: Iterator[Item]) -> list[Item]:
    """Returns what comes next of a file, not too much of it."""
    found: list[Item] = []
    size = 0
    for item in islice(items, _ITEMS):
        found.append(item)
        size += len(item.data) if isinstance(item, Blob) else 0
        if size > _BYTES:
            break
    return found


def _decode(
    reading: Reading, bodies: list[Told], contents: dict[int, tuple[Digest, bytes]]
) -> tuple[list[Record], list[Event]]:
    """Returns a file's events, as a store keeps them and as they are understood."""
    records: list[Record] = []
    events: list[Event] = []
    for told in bodies:
        line = told.seq + 1
        digest, data = contents.get(told.seq, (None, b""))
        try:
            body = told.body if digest is None else _whole(told.body, digest, data)
            event = CODEC.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            reading.refuse(f"is no event that can be read ({error})", line)
        if not 0 <= event.at < _LATEST:
            reading.refuse(f"is of no time that there is ({event.at})", line)
        if isinstance(event.data, Rewound) and not 0 <= event.data.to < event.seq:
            reading.refuse(f"goes back to event {event.data.to}, which does not come before it", line)
        if event.must_understand and not CODEC.knows(event.type):
            reading.refuse(f"is a {event.type!r}, which this version of Holdfast must understand and does not", line)
        records.append(Record(told.seq, event.type, told.body, digest))
        events.append(event)
    _fold(events)
    return records, events


def _whole(body: bytes, digest: Digest, data: bytes) -> bytes:
    """Returns an event together with its content.

    Raises:
        msgspec.DecodeError: it does not name this blob as its content.
    """
    envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if "data" not in envelope or msgspec.json.decode(envelope["data"], type=Reference).blob != digest:
        raise msgspec.DecodeError("its content is another blob than the one it names")
    return msgspec.json.encode({**envelope, "data": msgspec.Raw(data)})


def _fold(events: list[Event]) -> None:
    state = State()
    try:
        fold_log(state, events)
    except BROKEN as error:
        raise UsageError(
            f"line {state.seq + 1} of the export says what cannot follow what came before it, so its events do not "
            f"make a session ({type(error).__name__}: {error}): export the session again, and import that file"
        ) from error


def _silent(_bytes: int) -> None:
    pass
