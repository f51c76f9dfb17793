"""Blobs that live as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import final

from holdfast.flow.clock import Clock, SystemClock
from holdfast.storage.blobs import REFRESH, BlobStore, Marks, Stored, Swept
from holdfast.storage.stores.sweeping import check_before
from holdfast.types import Digest, FaultClass, TenantId, digest_of

__all__ = ("MemoryBlobStore",)

_PAGE = 1000
"""Blobs looked at before others have a turn."""


class _Blob:
    __slots__ = ("data", "touched_at")

    def __init__(self, data: bytes, touched_at: int) -> None:
        self.data = data
        self.touched_at = touched_at


@final
class MemoryBlobStore(BlobStore):
    """Bytes by tenant and digest, in dictionaries."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._blobs: dict[TenantId, dict[Digest, _Blob]] = {}

    @property
    def survives(self) -> FaultClass:
        """Nothing: it ends with the process."""
        return "nothing"

    async def put(self, tenant: TenantId, data: bytes) -> Digest:
        """Returns the digest under which the bytes can be read from now on."""
        digest = digest_of(data)
        self.keep(tenant, digest, bytes(data))
        return digest

    async def put_many(self, tenant: TenantId, blobs: Sequence[bytes]) -> list[Digest]:
        """Puts all of them; returns the digest of each, in order."""
        return [await self.put(tenant, data) for data in blobs]

    def keep(self, tenant: TenantId, digest: Digest, data: bytes) -> None:
        """Keeps bytes whose digest is known."""
        now = self._clock.now()
        found = self._blobs.setdefault(tenant, {}).setdefault(digest, _Blob(data, now))
        found.touched_at = _later(found.touched_at, now)

    def those(self, tenant: TenantId, digests: Collection[Digest]) -> set[Digest]:
        """Returns those of some blobs that are there."""
        return self._blobs.get(tenant, {}).keys() & set(digests)

    def drop(self, tenant: TenantId, digests: Collection[Digest]) -> None:
        """Removes blobs, however lately they were put."""
        for digest in digests:
            self._blobs.get(tenant, {}).pop(digest, None)

    async def get(self, tenant: TenantId, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            KeyError: this tenant has no blob of that digest.
        """
        return self._blobs.get(tenant, {})[digest].data

    async def get_many(self, tenant: TenantId, digests: Sequence[Digest]) -> list[bytes]:
        """Returns the bytes of each digest, in order.

        Raises:
            KeyError: this tenant has no blob of one of them.
        """
        return [await self.get(tenant, digest) for digest in digests]

    async def has(self, tenant: TenantId, digest: Digest) -> bool:
        """Returns whether this tenant has a blob of that digest."""
        return digest in self._blobs.get(tenant, {})

    async def touch(self, tenant: TenantId, digests: Collection[Digest]) -> set[Digest]:
        """Counts as putting those that are there; returns those that are not."""
        now = self._clock.now()
        blobs = self._blobs.get(tenant, {})
        for digest in digests:
            if (found := blobs.get(digest)) is not None:
                found.touched_at = _later(found.touched_at, now)
        return {digest for digest in digests if digest not in blobs}

    async def tenants(self) -> list[TenantId]:
        """Returns whoever has blobs here, in order."""
        return sorted(tenant for tenant, blobs in self._blobs.items() if blobs)

    async def usage(self, tenant: TenantId) -> Stored:
        """Returns how many blobs a tenant has, and of what size."""
        blobs = self._blobs.get(tenant, {})
        return Stored(len(blobs), sum(len(each.data) for each in blobs.values()))

    async def now(self) -> int:
        """Returns the time by the store's clock, µs UTC."""
        return self._clock.now()

    async def collect(
        self,
        tenant: TenantId,
        marks: Marks,
        *,
        before: int,
        dry_run: bool = False,
        progress: Callable[[Swept], None] | None = None,
    ) -> Swept:
        """Removes a tenant's blobs that are not marked and were last put or touched before that time.

        Raises:
            UsageError: `before` is too late.
        """
        check_before(before, self._clock.now())
        blobs = self._blobs.get(tenant, {})
        kept = removed = size = 0
        for number, digest in enumerate(list(blobs), 1):
            if (found := blobs.get(digest)) is None:
                continue
            if digest in marks or found.touched_at >= before:
                kept += 1
            else:
                removed, size = removed + 1, size + len(found.data)
                if not dry_run:
                    del blobs[digest]
            if number % _PAGE == 0:
                if progress is not None:
                    progress(Swept(kept, removed, size))
                await asyncio.sleep(0)
        return Swept(kept, removed, size)


def _later(touched_at: int, now: int) -> int:
    return now if touched_at < now - REFRESH else touched_at
