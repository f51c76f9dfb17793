"""When keys were last used.

It is noted in memory and written now and then, many keys in one record, so that a thousand requests a second write
next to nothing. A crash loses the last minute of it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, final

from holdfast.flow.clock import Clock
from holdfast.server.access.shelf import Shelf
from holdfast.tools.keeping.port import KeyValues

__all__ = ("EVERY", "Uses")

EVERY: Final = 60.0
"""Seconds between two times that uses are written."""
_TRIES: Final = 4
_MOST: Final = 20_000
"""Keys of one record; those that were not used for longest are left out."""


@final
class Uses:
    """When each key was last used."""

    def __init__(self, values: KeyValues, clock: Clock) -> None:
        self._shelf: Shelf[dict[str, int]] = Shelf(values, "uses of keys", dict[str, int], 16)
        self._clock = clock
        self._noted: dict[str, int] = {}
        """What is not written yet, by the id of the key (µs)."""

    def note(self, id_: str) -> None:
        """Takes note of a use, now."""
        self._noted[id_] = self._clock.now()

    async def last(self, ids: list[str]) -> dict[str, int]:
        """Returns when keys were last used, of those that were (µs)."""
        found: dict[str, int] = {}
        for name in {each[:1] for each in ids}:
            held = await self._shelf.get(name)
            found |= {} if held is None else held.record
        return {each: at for each in ids if (at := max(found.get(each, 0), self._noted.get(each, 0)))}

    async def write(self) -> None:
        """Writes what was noted.

        Raises:
            StorageError: it was not written, or not all of it; what was not is kept for the next time.
        """
        by_name: dict[str, dict[str, int]] = defaultdict(dict)
        for id_, at in self._noted.items():
            by_name[id_[:1]][id_] = at
        for name, noted in by_name.items():
            if await self._merge(name, noted):
                for id_, at in noted.items():
                    if self._noted.get(id_) == at:
                        del self._noted[id_]

    async def _merge(self, name: str, noted: dict[str, int]) -> bool:
        """Writes uses beside those that other processes wrote; returns whether it came to that."""
        for _ in range(_TRIES):
            held = await self._shelf.get(name)
            known = {} if held is None else held.record
            merged = known | {id_: max(at, known.get(id_, 0)) for id_, at in noted.items()}
            newest = sorted(merged.items(), key=lambda each: each[1], reverse=True)[:_MOST]
            if await self._shelf.put(name, dict(newest), 0 if held is None else held.version):
                return True
        return False
