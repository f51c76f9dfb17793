"""Files that calls attach to what they come to: kept as blobs, and handed over with the result, once.

What a call attached counts when the log holds its result, or that it waits. A call that was under way at a crash and
runs again attaches anew; what it had attached before was never written down, so nothing is doubled.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence

import msgspec

from holdfast.errors import InputTooLarge
from holdfast.storage.blobs import BlobStore
from holdfast.storage.chunks import put_chunked
from holdfast.types import (
    FILE_BYTES,
    Attachment,
    TenantId,
    Wait,
    digest_of,
    plain_name,
    plain_type,
)

__all__ = ("MOST", "check_size", "stored_file", "type_of", "waiting")

MOST = 100
"""Files that one call may attach, or one run be given."""


def check_size(name: str, size: int) -> None:
    """Returns when a file of that size may travel with a run.

    Raises:
        InputTooLarge: it may not.
    """
    if size > FILE_BYTES:
        raise InputTooLarge(
            f"the file {plain_name(name)!r} has {size:,} bytes and {FILE_BYTES:,} are allowed: make it smaller, split "
            "it, or put it into the workspace"
        )


def type_of(name: str) -> str:
    """Returns the media type that the ending of a name stands for."""
    return plain_type(mimetypes.guess_type(name, strict=False)[0] or "")


async def stored_file(blobs: BlobStore, tenant: TenantId, name: str, data: bytes, media_type: str = "") -> Attachment:
    """Returns a file as the log refers to it, its bytes kept.

    Raises:
        InputTooLarge: it has too many bytes; nothing was kept.
    """
    check_size(name, len(data))
    name = plain_name(name)
    digest, chunks = await put_chunked(blobs, tenant, data)
    kind = plain_type(media_type) if media_type else type_of(name)
    return Attachment(name, kind, digest or digest_of(data), len(data), chunks)


def waiting(wait: Wait, attached: Sequence[Attachment]) -> Wait:
    """Returns the wait with what its call attached before; one for an approval runs again, and attaches then."""
    return msgspec.structs.replace(wait, attachments=tuple(attached)) if attached and wait.kind != "approval" else wait
