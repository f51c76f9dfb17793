"""The blobs of one tenant, as snapshots use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence
from contextlib import suppress
from typing import ParamSpec, TypeVar

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.entries import Entry, decode_chunks, decode_folder
from holdfast.storage.blobs import BlobStore
from holdfast.types import Digest, FaultClass, TenantId

__all__ = ("Batch", "Blobs", "in_thread")

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE = 256
"""Folders that are read together."""
_ENOUGH = 8 * 1024 * 1024
_MANY = 1024


class Batch:
    """Gathers contents that are to be stored, until they are worth a commit."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._weight = 0

    def keep(self, data: bytes) -> Generator[list[bytes], None, None]:
        """Takes some content; gives everything it holds once that is enough."""
        self._held.append(data)
        self._weight += len(data)
        if self._weight >= _ENOUGH or len(self._held) >= _MANY:
            held, self._held, self._weight = self._held, [], 0
            yield held

    def closing(self, reading: Generator[list[bytes], None, T]) -> Generator[list[bytes], None, T]:
        """Runs what keeps contents here, gives what is left in the end, and returns its result."""
        result = yield from reading
        if self._held:
            yield self._held
        return result


class Blobs:
    """What a snapshot stores and reads again."""

    def __init__(self, store: BlobStore, tenant: TenantId) -> None:
        self._store = store
        self._tenant = tenant

    @property
    def survives(self) -> FaultClass:
        """What a blob survives once it was put."""
        return self._store.survives

    async def put(self, data: bytes) -> Digest:
        """Returns the digest of what is durable once this returns."""
        return await self._store.put(self._tenant, data)

    async def has(self, digest: Digest) -> bool:
        """Returns whether it is there."""
        return await self._store.has(self._tenant, digest)

    async def touch(self, digests: Collection[Digest]) -> set[Digest]:
        """Keeps them from being collected for some hours; returns those that are not there."""
        return await self._store.touch(self._tenant, digests)

    async def now(self) -> int:
        """Returns the time that collections go by, µs UTC."""
        return await self._store.now()

    async def get(self, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            SandboxError: they are not there.
        """
        return (await self.get_many((digest,)))[0]

    async def get_many(self, digests: Sequence[Digest]) -> list[bytes]:
        """Returns the bytes of each.

        Raises:
            SandboxError: some are not there.
        """
        try:
            return await self._store.get_many(self._tenant, digests)
        except KeyError as error:
            raise SandboxError(
                f"the snapshot's content {error.args[0]!r} is not in the store: it cannot be restored. "
                "The files of that moment are no longer kept; go back to a newer event"
            ) from None

    async def folder(self, digest: Digest) -> tuple[Entry, ...]:
        """Returns what a folder holds.

        Raises:
            SandboxError: it is not there, or no folder.
        """
        return decode_folder(await self.get(digest))

    async def folders(self, digests: Sequence[Digest]) -> list[tuple[Entry, ...]]:
        """Returns what each folder holds.

        Raises:
            SandboxError: one is not there, or no folder.
        """
        found: list[tuple[Entry, ...]] = []
        for start in range(0, len(digests), _AT_ONCE):
            found += [decode_folder(data) for data in await self.get_many(digests[start : start + _AT_ONCE])]
        return found

    async def pieces(self, entry: Entry) -> AsyncGenerator[bytes, None]:
        """Gives a file's content, a piece at a time.

        Raises:
            SandboxError: some of it is not there, or there is more than the file has.
        """
        if not entry.pieces:
            yield await self.get(entry.digest)
            return
        left = entry.size
        for digest in decode_chunks(await self.get(entry.digest)):
            piece = await self.get(digest)
            left -= len(piece)
            if left < 0:  # one piece, listed a million times, fills every disk
                raise SandboxError("the snapshot says that a file has another size than it has: it is damaged")
            yield piece

    async def store(self, reading: Generator[list[bytes], None, T]) -> T:
        """Runs a walk in a thread and stores what it gives, a batch while it reads the next; returns its result.

        When this is cancelled, the walk has stopped once it ends.
        """
        writing: asyncio.Task[list[Digest]] | None = None
        try:
            while True:
                batch, result = await in_thread(_step, reading)
                if writing is not None:
                    await writing
                    writing = None
                if batch is None:
                    return result  # type: ignore[return-value] - there is one when there is no batch
                writing = asyncio.create_task(self._store.put_many(self._tenant, batch))
        finally:
            if writing is not None:
                writing.cancel()


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a function in a thread, and does not return before it ended, also when it is cancelled.

    For what works with descriptors that the caller closes: their numbers belong to others right after.
    """
    running = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise


def _step(reading: Generator[list[bytes], None, T]) -> tuple[list[bytes] | None, T | None]:
    try:
        return next(reading), None
    except StopIteration as end:
        return None, end.value
