"""The messages of a conversation as bytes, where roles take turns: neighbours of one role are one message.

The results of a turn's calls stand before anything else a person says in it. Blocks are added at the end and never
encoded again, so what a step costs is what it adds.

Two places can be marked when the bytes are read: the end, and the end as it was before the last answer. The second is
where the request before this one ended, so its cache entry is found however long the turn was that came since. Marks
are put between the bytes, never into them.

Not here: what a block is.
"""

from __future__ import annotations

from typing import final

__all__ = ("Dialogue",)

_NOWHERE = -1


@final
class Dialogue:
    """Grows at its end."""

    __slots__ = ("_before", "_bytes", "_empty", "_inside", "_key", "_last", "_mark", "_results", "_role")

    def __init__(self, key: str, mark: bytes = b"", *, inside: bool = False) -> None:
        """Begins; `key` is the field that holds a message's blocks, `mark` a block that is put after marked ones, or
        where it stands `inside`, a field at their end.
        """
        self._key = key.encode()
        self._mark = b"," + mark if mark else b""
        self._inside = inside
        self._bytes = bytearray()
        self._role = ""
        self._results = 0
        """Where the results of the open message end."""
        self._empty = True
        """Whether the open message holds nothing but results."""
        self._last = _NOWHERE
        """Where the last block ends that may be marked."""
        self._before = _NOWHERE
        """The same before the last answer."""

    def add(self, role: str, block: bytes, *, markable: bool = True, result: bool = False) -> None:
        """Adds a block; a result goes before everything in the open message that is none."""
        if role != self._role:
            self._open(role, answer=role not in ("", "user"))
        elif result and not self._empty:
            self._insert(block)
            return
        else:
            self._bytes += b","
        self._bytes += block
        if markable:
            self._last = len(self._bytes) - self._inside
        if result:
            self._results = len(self._bytes)
        else:
            self._empty = False

    def pieces(self) -> list[bytes | bytearray | memoryview]:
        """Returns the messages with their marks, to be joined at once."""
        if not self._role:
            return []
        if not self._mark:
            return [self._bytes, b"]}"]
        view = memoryview(self._bytes)
        pieces: list[bytes | bytearray | memoryview] = []
        start = 0
        last = self._last if self._role == "user" else _NOWHERE  # an answer that is to be gone on with ends as it is
        for place in sorted({self._before, last} - {_NOWHERE}):
            pieces += (view[start:place], self._mark)
            start = place
        pieces += (view[start:], b"]}")
        return pieces

    def __len__(self) -> int:
        """Returns an upper bound of the bytes of `pieces`."""
        return len(self._bytes) + 2 * len(self._mark) + 2

    def _open(self, role: str, *, answer: bool) -> None:
        if answer:
            self._before = self._last
        self._bytes += b'%b{"role":"%b","%b":[' % (b"]}," if self._role else b"", role.encode(), self._key)
        self._role, self._results, self._empty = role, len(self._bytes), True

    def _insert(self, block: bytes) -> None:
        place = self._results
        first = self._bytes[place - 1] == ord("[")
        added = block + b"," if first else b"," + block
        self._bytes[place:place] = added
        if self._last > place:
            self._last += len(added)
        self._results = place + len(block) + (0 if first else 1)
