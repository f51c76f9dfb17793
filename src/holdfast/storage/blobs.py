"""The port for content that is too large for an event.

A blob is named by its SHA-256 and belongs to a tenant: the same bytes of two tenants are two blobs, so that a
name that leaks from one opens nothing of the other.

What nothing refers to is collected. Nobody counts references: a collector marks every blob the log needs and `collect`
removes the others, unless somebody put or touched them lately. So whoever writes a reference down has put or touched
the blob within the last hours, or copies a reference that stands in the log. A put that finds its bytes there already
counts as well, however old they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol, final

import msgspec

from holdfast.types import Digest, FaultClass, TenantId

__all__ = ("GRACE", "REFRESH", "BlobStore", "Marks", "Stored", "Swept")

GRACE = 24 * 3600.0
"""Seconds for which a collection leaves a blob that nothing refers to yet, unless it is told otherwise."""
REFRESH = 3_600_000_000
"""µs for which a put or a touch is not written down again: a blob used all the time is not written all the time."""


class Stored(msgspec.Struct, frozen=True):
    """What a tenant has in a store."""

    blobs: int
    bytes: int
    """Of their contents."""


class Swept(msgspec.Struct, frozen=True):
    """How far a collection is, and at its end what it did."""

    kept: int = 0
    removed: int = 0
    bytes: int = 0
    """Of the contents that were removed."""


@final
class Marks:
    """The digests that are needed, at 32 bytes each; what is no digest marks nothing."""

    __slots__ = ("_marked",)

    def __init__(self, digests: Iterable[Digest] = ()) -> None:
        self._marked: set[bytes] = set()
        for digest in digests:
            self.add(digest)

    def add(self, digest: Digest) -> bool:
        """Marks a blob; returns whether it was not marked before."""
        raw = _raw(digest)
        if raw is None or raw in self._marked:
            return False
        self._marked.add(raw)
        return True

    def __contains__(self, digest: Digest) -> bool:
        return _raw(digest) in self._marked

    def __len__(self) -> int:
        return len(self._marked)


class BlobStore(Protocol):
    """Bytes by digest, per tenant."""

    @property
    def survives(self) -> FaultClass:
        """What a blob survives once its put has returned."""
        ...

    async def put(self, tenant: TenantId, data: bytes) -> Digest:
        """Returns the digest under which the bytes can be read from now on.

        Putting the same bytes again gives the same digest, and no collection that is under way removes them. The
        blob is as durable as an append that was acknowledged, once this returns.
        """
        ...

    async def put_many(self, tenant: TenantId, blobs: Sequence[bytes]) -> list[Digest]:
        """Puts all of them, or none, in one transaction; returns the digest of each, in order.

        It comes to the same as putting each.
        """
        ...

    async def get(self, tenant: TenantId, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            KeyError: this tenant has no blob of that digest.
            StorageDamaged: what lies there is not what was put.
        """
        ...

    async def get_many(self, tenant: TenantId, digests: Sequence[Digest]) -> list[bytes]:
        """Returns the bytes of each digest, in order.

        Raises:
            KeyError: this tenant has no blob of one of them.
            StorageDamaged: what lies there is not what was put.
        """
        ...

    async def has(self, tenant: TenantId, digest: Digest) -> bool:
        """Returns whether this tenant has a blob of that digest."""
        ...

    async def touch(self, tenant: TenantId, digests: Collection[Digest]) -> set[Digest]:
        """Counts as putting those that are there; returns those that are not, which have to be put.

        For whoever refers anew to what was put long ago, without having the bytes at hand.
        """
        ...

    async def tenants(self) -> list[TenantId]:
        """Returns whoever has blobs here, in order."""
        ...

    async def usage(self, tenant: TenantId) -> Stored:
        """Returns how many blobs a tenant has, and of what size."""
        ...

    async def now(self) -> int:
        """Returns the time by the store's clock, µs UTC: the one that `collect` goes by."""
        ...

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

        Others may put, touch and collect meanwhile: whether a blob was touched is looked at in the transaction that
        removes it. Whatever stops a collection, each blob is there or is not, and the next one does the rest.
        `before` lies at least two `REFRESH` back. With `dry_run` nothing is removed, only counted.

        Raises:
            UsageError: `before` is too late.
        """
        ...


def _raw(digest: str) -> bytes | None:
    kind, _, digits = digest.partition(":")
    if kind != "sha256" or len(digits) != 64:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None
