"""Large content as several blobs, so that no transaction and no row is large.

Others write between two chunks. Whoever stops half-way leaves blobs that nothing names, and the next collection
removes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.storage.blobs import BlobStore
from holdfast.types import Digest, TenantId

__all__ = ("CHUNK_BYTES", "get_chunked", "put_chunked")

CHUNK_BYTES = 4 * 1024 * 1024
"""The largest blob that is made of content which may be large."""


async def put_chunked(blobs: BlobStore, tenant: TenantId, data: bytes) -> tuple[Digest, tuple[Digest, ...]]:
    """Returns the digest of the bytes that are one blob, and no chunks; of larger ones no digest, and their chunks."""
    if len(data) <= CHUNK_BYTES:
        return await blobs.put(tenant, data), ()
    view = memoryview(data)
    chunks = [await blobs.put(tenant, bytes(view[at : at + CHUNK_BYTES])) for at in range(0, len(data), CHUNK_BYTES)]
    return Digest(""), tuple(chunks)


async def get_chunked(blobs: BlobStore, tenant: TenantId, digest: Digest, chunks: Sequence[Digest]) -> bytes:
    """Returns the bytes of the chunks, or of the one blob where there are none.

    Raises:
        KeyError: one of them is not there.
        StorageDamaged: what lies there is not what was put.
    """
    if not chunks:
        return await blobs.get(tenant, digest)
    return b"".join([await blobs.get(tenant, each) for each in chunks])
