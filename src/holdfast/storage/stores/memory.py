"""Blobs that live as long as the process."""

from __future__ import annotations

import hashlib
from typing import final

from holdfast.storage.blobs import BlobStore
from holdfast.types import Digest, TenantId

__all__ = ("MemoryBlobStore",)


@final
class MemoryBlobStore(BlobStore):
    """Bytes by tenant and digest, in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[tuple[TenantId, Digest], bytes] = {}

    async def put(self, tenant: TenantId, data: bytes) -> Digest:
        """Returns the digest under which the bytes can be read from now on."""
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        self.keep(tenant, digest, bytes(data))
        return digest

    def keep(self, tenant: TenantId, digest: Digest, data: bytes) -> None:
        """Keeps bytes whose digest is known."""
        self._blobs.setdefault((tenant, digest), data)

    async def get(self, tenant: TenantId, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            KeyError: this tenant has no blob of that digest.
        """
        return self._blobs[tenant, digest]

    async def has(self, tenant: TenantId, digest: Digest) -> bool:
        """Returns whether this tenant has a blob of that digest."""
        return (tenant, digest) in self._blobs
