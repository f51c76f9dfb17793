"""What doors keep for a while under a name of a user: in the store, for every process, bounded in size and in time.

It is kept in drawers of a span of time each, of which there are two: what is older than both is gone as a whole.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar, final

import msgspec

from holdfast.flow.ids import new_key
from holdfast.runtime.opening import open_values
from holdfast.server.routing.route import Call
from holdfast.tools.keeping.port import Caps, Place

__all__ = ("Shelf",)

_OLDEST: Final = 32
"""How many drawers back is tidied up: a user may have been away for so long."""

T = TypeVar("T", bound=msgspec.Struct)


@final
class Shelf(Generic[T]):
    """Values of one kind, of whoever makes a call.

    Args:
        call: Whose.
        name: Which kind.
        kind: The type of the values.
        span: µs of one drawer.
        room: What one drawer holds.
    """

    def __init__(self, call: Call[Any, Any, Any], name: str, kind: type[T], span: int, room: Caps) -> None:
        self._values = open_values(call.runtime.journal, call.service.clock)
        self._now, self._tenant = call.service.clock.now(), call.who.tenant
        self._name, self._user, self._span, self._room = name, call.who.user, span, room
        self._decode = msgspec.json.Decoder(kind).decode

    async def put(self, key: str, value: T) -> bool:
        """Keeps a value; returns whether there was room for it.

        Raises:
            StorageError: it is not known whether it is kept.
        """
        data = msgspec.json.encode(value).decode()
        change = await self._values.set(self._drawer(0), key, data, operation=new_key(), caps=self._room)
        if change.version == 1:  # the first of its drawer
            for age in range(2, _OLDEST):
                await self._values.clear(self._drawer(age))
        return change.done == "written"

    async def get(self, key: str) -> T | None:
        """Returns a value; None where there is none."""
        for age in (0, 1):
            entry = await self._values.get(self._drawer(age), key)
            if entry is not None:
                return self._decode(entry.value)
        return None

    async def drop(self, key: str) -> bool:
        """Removes a value; returns whether there was one.

        Raises:
            StorageError: it is not known whether it is gone.
        """
        gone = [await self._values.delete(self._drawer(age), key, operation=new_key()) for age in (0, 1)]
        return any(each.done == "removed" for each in gone)

    async def first(self, key: str, value: T) -> bool:
        """Keeps a value where there is none; returns whether that was so, which it is for one of any number at once.

        Raises:
            StorageError: it is not known whether it is kept.
        """
        if await self._values.get(self._drawer(1), key) is not None:
            return False
        data = msgspec.json.encode(value).decode()
        drawer = self._drawer(0)
        change = await self._values.set(drawer, key, data, operation=new_key(), caps=self._room, version=0)
        return change.done == "written"

    def _drawer(self, age: int) -> Place:
        name = [self._name, self._user, self._now // self._span - age]
        return Place(self._tenant, msgspec.json.encode(name).decode())
