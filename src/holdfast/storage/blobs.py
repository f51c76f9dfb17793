"""The port for content that is too large for an event.

A blob is named by its SHA-256 and belongs to a tenant: the same bytes of two tenants are two blobs, so that a
name that leaks from one opens nothing of the other.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.types import Digest, TenantId

__all__ = ("BlobStore",)


class BlobStore(Protocol):
    """Bytes by digest, per tenant."""

    async def put(self, tenant: TenantId, data: bytes) -> Digest:
        """Returns the digest under which the bytes can be read from now on.

        Putting the same bytes again changes nothing and gives the same digest. The blob is as durable as an
        append that was acknowledged, once this returns.
        """
        ...

    async def get(self, tenant: TenantId, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            KeyError: this tenant has no blob of that digest.
            StorageDamaged: what lies there is not what was put.
        """
        ...

    async def has(self, tenant: TenantId, digest: Digest) -> bool:
        """Returns whether this tenant has a blob of that digest."""
        ...
