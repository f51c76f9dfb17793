"""The kit of `holdfast.storage.blobs`: what every place for blobs must do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from holdfast.storage.blobs import BlobStore
from holdfast.testing.conformance.checking import LOCAL, expect, refused
from holdfast.types import Digest, TenantId

__all__ = ("CHECKS", "Check", "Make")

Make = Callable[[], Awaitable[BlobStore]]
"""Opens the store under test; every call within one check opens the same store again."""
Check = Callable[[Make], Awaitable[None]]
"""One promise; it raises `AssertionError` when the adapter breaks it."""

_OTHER = TenantId("other")


async def a_blob_is_found_by_its_digest(make: Make) -> None:
    """Returns the digest under which the bytes can be read from now on."""
    store = await make()
    for data in (b"", b"\0\xff", bytes(range(256)) * 4096):
        digest = await store.put(LOCAL, data)
        expect(digest == f"sha256:{hashlib.sha256(data).hexdigest()}", "the name is the SHA-256 of the bytes", digest)
        expect(await store.get(LOCAL, digest) == data, "the bytes come back", len(data))
        expect(await store.has(LOCAL, digest), "what was put is there")
        again = await make()
        expect(await again.get(LOCAL, digest) == data, "whoever opens the store finds it")


async def the_same_bytes_again_change_nothing(make: Make) -> None:
    """Putting the same bytes again changes nothing and gives the same digest."""
    store = await make()
    digests = await asyncio.gather(*(store.put(LOCAL, b"same") for _ in range(20)))
    expect(len(set(digests)) == 1, "twenty puts of the same bytes give one name", digests)
    expect(await store.get(LOCAL, digests[0]) == b"same", "and the bytes are there")


async def a_blob_that_is_not_there_is_a_key_error(make: Make) -> None:
    """KeyError: this tenant has no blob of that digest."""
    store = await make()
    nowhere = Digest("sha256:" + "0" * 64)
    await refused(KeyError, store.get(LOCAL, nowhere), "a digest that nobody put")
    expect(not await store.has(LOCAL, nowhere), "and it is not there")


async def tenants_have_blobs_of_their_own(make: Make) -> None:
    """The same bytes of two tenants are two blobs: a name that leaks from one opens nothing of the other."""
    store = await make()
    digest = await store.put(LOCAL, b"secret")
    expect(not await store.has(_OTHER, digest), "another tenant does not have it")
    await refused(KeyError, store.get(_OTHER, digest), "another tenant cannot read it")
    expect(await store.put(_OTHER, b"secret") == digest, "its own copy has the same name")
    expect(await store.get(_OTHER, digest) == b"secret", "and then it is there")


CHECKS: tuple[Check, ...] = (
    a_blob_is_found_by_its_digest,
    the_same_bytes_again_change_nothing,
    a_blob_that_is_not_there_is_a_key_error,
    tenants_have_blobs_of_their_own,
)
"""Every check."""
