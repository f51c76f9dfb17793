"""The port of values under keys, in places that are apart from each other.

A place belongs to a tenant. Each change names the operation that makes it, by the key of the call: an operation that
comes again, after a crash or a lost answer, changes nothing and gets the same answer, also where others have changed
the same key since. What a place may hold is checked in the transaction that changes it, so that any number of writers
at once never put in more. Versions of one place only ever grow, so that a key that was removed and written again is
not mistaken for what it was.

Every adapter passes one conformance kit (`holdfast.testing.conformance.keeping.values`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from holdfast.types import Digest, TenantId

__all__ = ("REMEMBERED", "Caps", "Change", "Entry", "KeyValues", "Place")

REMEMBERED = 30 * 86_400_000_000
"""µs for which an operation is known that comes again."""


class Place(msgspec.Struct, frozen=True):
    """Where keys are apart from those of other places."""

    tenant: TenantId
    name: str


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What one place may hold."""

    count: int
    total: int
    """Bytes of all values and keys."""


class Entry(msgspec.Struct, frozen=True):
    """What is kept under a key."""

    key: str
    value: str
    """Empty in a list."""
    size: int
    """Bytes it counts for."""
    version: int
    at: int
    """When it was written, µs UTC."""


class Change(msgspec.Struct, frozen=True):
    """What came of a change."""

    done: Literal["written", "removed", "absent", "other version", "too many", "too large"]
    version: int = 0
    """Of what is there now; 0 where there is nothing."""


class KeyValues(Protocol):
    """Values by place and key."""

    async def get(self, place: Place, key: str) -> Entry | None:
        """Returns what is kept under a key."""
        ...

    async def set(
        self,
        place: Place,
        key: str,
        value: str,
        *,
        operation: str,
        caps: Caps,
        size: int | None = None,
        version: int | None = None,
        refers: Sequence[Digest] = (),
    ) -> Change:
        """Keeps a value: `written`, or why it was not.

        With a `version`, only while that is the one that is there; 0 while there is none. It counts for `size` bytes,
        its own where nothing is said. The blobs it `refers` to are not collected while it is there.
        """
        ...

    async def delete(self, place: Place, key: str, *, operation: str) -> Change:
        """Removes a key: `removed`, or `absent`."""
        ...

    async def list(self, place: Place, prefix: str = "", *, after: str = "", limit: int = 100) -> list[Entry]:
        """Returns the entries whose keys begin like that, in order of their keys, without their values."""
        ...

    async def digests(self, tenant: TenantId) -> list[Digest]:
        """Returns the blobs that a tenant's entries refer to."""
        ...

    async def clear(self, place: Place) -> set[Digest]:
        """Removes a place with all that is in it, and returns the blobs that its entries referred to.

        For when whose place it is goes itself: nothing of it stays, no version either. Again, it removes nothing.
        """
        ...
