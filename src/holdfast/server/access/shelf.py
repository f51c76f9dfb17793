"""What is kept of keys, users and logins: records under names, in the store of the runtime.

They are values as tools keep them (`tools/keeping`), in places of an owner that no tenant can be called, so that no
agent, no session and no tenant ever comes near them; and so they are in the database with all else, are carried along
with its copies, and are seen by every process that has it open.

A record is read once a second at most: `Fresh` remembers what it was. Whoever changes one in this process has it
forgotten here at once; every other process has the change within `STALE` seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar, final

import msgspec

from holdfast.errors import StorageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_key
from holdfast.server.problems import Refused
from holdfast.tools.keeping.port import Caps, KeyValues, Place
from holdfast.types import TenantId

__all__ = ("OWNER", "STALE", "Fresh", "Held", "Shelf")

OWNER: Final = TenantId("~access")
"""Whose they are: the name of a tenant begins with a letter or a digit."""
STALE: Final = 1.0
"""Seconds for which a process may go by what it read."""
_BYTES: Final = 256 * 1024**2
_REMEMBERED: Final = 50_000
"""Records that a process remembers of one kind."""

Record = TypeVar("Record")
Value = TypeVar("Value")


class Held(msgspec.Struct, Generic[Record], frozen=True):
    """A record as it is in the store."""

    record: Record
    version: int
    """Of just this record; it only ever grows."""


@final
class Shelf(Generic[Record]):
    """Records of one kind, by name."""

    def __init__(self, values: KeyValues, name: str, kind: type[Record], most: int) -> None:
        self._values = values
        self._place = Place(OWNER, name)
        self._decoder = msgspec.json.Decoder(kind)
        self._caps = Caps(count=most, total=_BYTES)

    async def get(self, name: str) -> Held[Record] | None:
        """Returns a record; None where there is none.

        Raises:
            StorageError: the store does not answer, or what it holds is no record.
        """
        found = await self._values.get(self._place, name)
        if found is None:
            return None
        try:
            return Held(self._decoder.decode(found.value), found.version)
        except msgspec.MsgspecError as error:
            raise StorageError(
                f"the record {name!r} in {self._place.name!r} cannot be read ({error}): another version wrote it, or "
                "somebody changed the store by hand"
            ) from error

    async def put(self, name: str, record: Record, version: int | None = None) -> bool:
        """Keeps a record; with a version, only while that is the one that is there, 0 while there is none. Returns
        whether it did.

        Raises:
            Refused: there are too many of them.
        """
        text = msgspec.json.encode(record).decode()
        change = await self._values.set(self._place, name, text, operation=new_key(), caps=self._caps, version=version)
        if change.done in ("too many", "too large"):
            raise Refused(
                409, "too_many", f"there are {self._caps.count:,} of these at most: remove some that nobody needs"
            )
        return change.done == "written"

    async def remove(self, name: str) -> bool:
        """Removes a record; returns whether there was one."""
        change = await self._values.delete(self._place, name, operation=new_key())
        return change.done == "removed"

    async def names(self, prefix: str = "", after: str = "", limit: int = 100) -> list[tuple[str, int]]:
        """Returns names in their order, each with when it was written (µs)."""
        found = await self._values.list(self._place, prefix, after=after, limit=limit)
        return [(each.key, each.at) for each in found]


@final
class Fresh(Generic[Value]):
    """What somebody said of names, as long as it may be gone by. That there is nothing is asked again each time."""

    def __init__(
        self,
        look: Callable[[str], Awaitable[Value | None]],
        clock: Clock,
        seconds: float = STALE,
        most: int = _REMEMBERED,
    ) -> None:
        self._look = look
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._held: dict[str, tuple[float, Value]] = {}
        self._forgotten = 0
        """How often something was forgotten: what was asked before is not remembered after it."""

    def held(self, name: str) -> Value | None:
        """Returns what is remembered and may be gone by."""
        found = self._held.get(name)
        if found is None or self._clock.monotonic() - found[0] >= self._seconds:
            return None
        return found[1]

    async def get(self, name: str) -> Value | None:
        """Returns what holds of a name, or held less than so many seconds ago."""
        if (known := self.held(name)) is not None:
            return known
        began, forgotten = self._clock.monotonic(), self._forgotten
        value = await self._look(name)
        if value is None:
            self._held.pop(name, None)
        elif forgotten == self._forgotten:
            self._held.pop(name, None)  # the newest stand last
            self._held[name] = (began, value)
            if len(self._held) > self._most:
                del self._held[next(iter(self._held))]
        return value

    def forget(self, name: str) -> None:
        """Asks again the next time."""
        self._forgotten += 1
        self._held.pop(name, None)
