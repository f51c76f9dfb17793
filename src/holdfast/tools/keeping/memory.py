"""Values that live as long as the process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import final

from holdfast.flow.clock import Clock, SystemClock
from holdfast.tools.keeping.port import REMEMBERED, Caps, Change, Entry, KeyValues, Place
from holdfast.types import Digest, TenantId

__all__ = ("MemoryKeyValues",)


@final
class MemoryKeyValues(KeyValues):
    """Values in dictionaries; nothing is awaited between reading and writing them."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._places: dict[Place, dict[str, tuple[Entry, tuple[Digest, ...]]]] = {}
        self._totals: dict[Place, int] = {}
        """Bytes of all values and keys of a place."""
        self._versions: dict[Place, int] = {}
        self._operations: dict[tuple[TenantId, str], tuple[int, Change]] = {}

    async def get(self, place: Place, key: str) -> Entry | None:
        """Returns what is kept under a key."""
        found = self._places.get(place, {}).get(key)
        return None if found is None else found[0]

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
        """Keeps a value."""
        if (known := self._known(place, operation)) is not None:
            return known
        entries = self._places.setdefault(place, {})
        there = entries[key][0] if key in entries else None
        current = 0 if there is None else there.version
        if version is not None and version != current:
            return Change("other version", current)
        size = len(value.encode()) if size is None else size
        if len(entries) + (there is None) > caps.count:
            return Change("too many", current)
        new = Entry(key, value, size, self._versions.get(place, 0) + 1, self._clock.now())
        total = self._totals.get(place, 0) + _weight(new) - (0 if there is None else _weight(there))
        if total > caps.total:
            return Change("too large", current)
        entries[key], self._versions[place], self._totals[place] = (new, tuple(refers)), new.version, total
        return self._note(place, operation, Change("written", new.version))

    async def delete(self, place: Place, key: str, *, operation: str) -> Change:
        """Removes a key."""
        if (known := self._known(place, operation)) is not None:
            return known
        gone = self._places.get(place, {}).pop(key, None)
        if gone is not None:
            self._totals[place] -= _weight(gone[0])
        return self._note(place, operation, Change("absent" if gone is None else "removed"))

    async def list(self, place: Place, prefix: str = "", *, after: str = "", limit: int = 100) -> list[Entry]:
        """Returns entries in order of their keys."""
        entries = self._places.get(place, {})
        keys = sorted(key for key in entries if key.startswith(prefix) and key > after)[: max(limit, 0)]
        found = [entries[key][0] for key in keys]
        return [Entry(each.key, "", each.size, each.version, each.at) for each in found]

    async def digests(self, tenant: TenantId) -> list[Digest]:
        """Returns the blobs that a tenant's entries refer to."""
        own = [entries for place, entries in self._places.items() if place.tenant == tenant]
        return [digest for entries in own for _, refers in entries.values() for digest in refers]

    async def clear(self, place: Place) -> set[Digest]:
        """Removes a place."""
        entries = self._places.pop(place, {})
        self._totals.pop(place, None)
        self._versions.pop(place, None)
        return {digest for _, refers in entries.values() for digest in refers}

    def _known(self, place: Place, operation: str) -> Change | None:
        _, change = self._operations.get((place.tenant, operation), (0, None))
        return change

    def _note(self, place: Place, operation: str, change: Change) -> Change:
        now = self._clock.now()
        self._operations[place.tenant, operation] = now, change
        for key, (at, _) in list(islice(self._operations.items(), 4)):
            if at < now - REMEMBERED:
                del self._operations[key]
        return change


def _weight(entry: Entry) -> int:
    return entry.size + len(entry.key.encode())
