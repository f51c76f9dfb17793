"""The messages of a conversation as bytes: one block after another, neighbours of one role in one message.

The protocol wants roles to take turns, and the results of a turn's calls before anything else a person says in it.
Blocks are added at the end and never encoded again, so what a step costs is what it adds.

Two places can be marked for the provider's cache when the bytes are read: the end, and the end as it was before the
last answer. The second is where the request before this one ended, so its cache entry is found however long the turn
was that came since; both follow from the conversation alone. Marks are put between the bytes, never into them.
"""

from __future__ import annotations

from typing import Literal, final

__all__ = ("CACHE_MARK", "History")

CACHE_MARK = b',"cache_control":{"type":"ephemeral"}'
"""Stands before the last brace of what is marked."""

_NOWHERE = -1


@final
class History:
    """Grows at its end."""

    __slots__ = ("_before", "_bytes", "_empty", "_last", "_results", "_role")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._role = ""
        self._results = 0
        """Where the results of the open message end."""
        self._empty = True
        """Whether the open message holds nothing but results."""
        self._last = _NOWHERE
        """Where the last block that takes a mark ends, before its closing brace."""
        self._before = _NOWHERE
        """The same before the last answer."""

    def add(
        self, role: Literal["user", "assistant"], block: bytes, *, markable: bool = True, result: bool = False
    ) -> None:
        """Adds a block; a result goes before everything in the open message that is none."""
        if role != self._role:
            self._open(role)
        elif result and not self._empty:
            self._insert(block)
            return
        else:
            self._bytes += b","
        self._bytes += block
        if markable:
            self._last = len(self._bytes) - 1
        if result:
            self._results = len(self._bytes)
        else:
            self._empty = False

    def pieces(self) -> list[bytes | bytearray | memoryview]:
        """Returns the messages with their marks, to be joined at once."""
        if not self._role:
            return []
        places = [place for place in (self._before, self._last) if place != _NOWHERE]
        if len(places) == 2 and places[0] == places[1]:
            places.pop()
        view = memoryview(self._bytes)
        pieces: list[bytes | bytearray | memoryview] = []
        start = 0
        for place in places:
            pieces += (view[start:place], CACHE_MARK)
            start = place
        pieces += (view[start:], b"]}")
        return pieces

    def __len__(self) -> int:
        """Returns an upper bound of the bytes of `pieces`."""
        return len(self._bytes) + 2 * len(CACHE_MARK) + 2

    def _open(self, role: str) -> None:
        if role == "assistant":
            self._before = self._last
        self._bytes += b'%b{"role":"%b","content":[' % (b"]}," if self._role else b"", role.encode())
        self._role, self._results, self._empty = role, len(self._bytes), True

    def _insert(self, block: bytes) -> None:
        place = self._results
        first = self._bytes[place - 1] == ord("[")
        added = block + b"," if first else b"," + block
        self._bytes[place:place] = added
        if self._last >= place:
            self._last += len(added)
        self._results = place + len(block) + (0 if first else 1)
