"""Files that come before the prompt that is given them: kept as blobs of the tenant, under a card that names them.

The card is a blob, too, and its digest is the id: nobody who does not know it can guess it, and it is of one tenant.
What a card says is believed no further than its bytes bear out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from holdfast.errors import InputTooLarge, StorageDamaged, UsageError
from holdfast.storage.blobs import BlobStore
from holdfast.storage.chunks import get_chunked
from holdfast.tools.attaching import stored_file
from holdfast.types import Attachment, Digest, TenantId

__all__ = ("Kept", "keep", "kept")

_PREFIX = "upload-"
_HEX = frozenset("0123456789abcdef")
_TOGETHER = 200_000_000
"""Bytes of all files that one prompt is given out of what was kept: they are in memory at once."""
_CARD = 16 * 1024
"""The longest card."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file that waits for its prompt."""

    id: str
    """What a prompt names it by."""
    name: str
    media_type: str
    size: int
    """Bytes."""


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kept: Literal["file"]
    file: Attachment


async def keep(blobs: BlobStore, tenant: TenantId, name: str, data: bytes, media_type: str) -> Kept:
    """Keeps a file.

    Raises:
        InputTooLarge: it has more than 50 MB.
    """
    file = await stored_file(blobs, tenant, name, data, media_type)
    digest = await blobs.put(tenant, msgspec.json.encode(_Card("file", file)))
    return Kept(id=_PREFIX + digest.partition(":")[2], name=file.name, media_type=file.media_type, size=file.size)


async def kept(blobs: BlobStore, tenant: TenantId, ids: Sequence[str]) -> list[tuple[str, bytes]]:
    """Returns the names and bytes of files that were kept.

    Raises:
        UsageError: one of them is not there.
        InputTooLarge: all of them are too much for one prompt.
    """
    files = [await _card(blobs, tenant, id) for id in ids]
    if sum(each.size for each in files) > _TOGETHER:
        raise InputTooLarge(f"the files have more than {_TOGETHER:,} bytes together: give the prompt fewer")
    found: list[tuple[str, bytes]] = []
    for id, file in zip(ids, files, strict=True):
        try:
            data = await get_chunked(blobs, tenant, file.digest, file.chunks)
        except (KeyError, StorageDamaged) as error:
            raise _missing(id) from error
        if len(data) != file.size:
            raise _missing(id)
        found.append((file.name, data))
    return found


async def _card(blobs: BlobStore, tenant: TenantId, id: str) -> Attachment:
    name = id.removeprefix(_PREFIX)
    if not id.startswith(_PREFIX) or len(name) != 64 or not _HEX.issuperset(name):
        raise _missing(id)
    try:
        card = await blobs.get(tenant, Digest(f"sha256:{name}"))
        if len(card) > _CARD:
            raise _missing(id)
        return msgspec.json.decode(card, type=_Card).file
    except (KeyError, StorageDamaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _missing(id) from error


def _missing(id: str) -> UsageError:
    return UsageError(f"no file is kept under {id[:80]!r}, or not any more: upload it again, and give its new id")
