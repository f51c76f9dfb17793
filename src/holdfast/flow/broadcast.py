"""Hands items to many readers, without ever waiting for one.

A publisher gives a list; each reader finds lists joined together and is woken once for as many lists as came
while it slept. One wake-up for each item, or a queue operation for each, costs more than everything else on a
streaming path together.

What nobody has to remember can pass by a reader that waits: its sink is handed it on the spot, and nobody is woken.

A reader that does not keep up loses its backlog: what it missed is summed up by `overflow`, and it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, final

__all__ = ("Broadcast", "Reader")

T = TypeVar("T")


@final
class Reader(Generic[T]):
    """One reader's place in a broadcast."""

    __slots__ = ("_broadcast", "_closed", "_items", "_mark", "_waiter", "lost", "mark", "sink")

    def __init__(self, broadcast: Broadcast[T]) -> None:
        self._broadcast = broadcast
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._mark = 0
        self.lost = False
        """Whether items were dropped since the reader last took some."""
        self.mark = 0
        """The publisher's mark of the last items taken."""
        self.sink: Callable[[Sequence[T]], bool] | None = None
        """Is handed what passes by while the reader waits for more, and says whether it took it; where it did not, the
        reader is woken and takes it. It never waits, and leaves no broadcast. One that fails is not asked again.
        """

    async def take(self) -> list[T]:
        """Returns everything that came since the last call, waiting until there is something; an empty list
        means the broadcast is over, or that all there was had to be dropped (see `lost`).
        """
        while not self._items and not self._closed and not self.lost:
            loop = self._broadcast.loop
            if loop is None:  # asked once: it is a call of the system's
                loop = self._broadcast.loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            await self._waiter
        items, self._items = self._items, []
        if not self.lost:
            self.mark = self._mark
        return items

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def close(self) -> None:
        """Leaves the broadcast."""
        if not self._closed:
            self._broadcast.leave(self)
            self.end()

    def offer(self, items: Sequence[T]) -> bool:
        """Returns whether the sink took them: only when the reader has all that came before, and waits."""
        if (sink := self.sink) is None or (waiter := self._waiter) is None or waiter.done():
            return False
        try:
            return sink(items)
        except Exception:  # noqa: BLE001 - the publisher is not to blame; what is wrong with an item is met again
            self.sink = None
            return False

    def give(self, items: Sequence[T], limit: int, mark: int) -> None:
        """Adds items; drops the backlog when it grew over the limit, and what comes after it as well."""
        if self.lost:
            return
        self._mark = mark
        backlog = self._items
        backlog += items
        if len(backlog) > limit:
            backlog.clear()
            self.lost = True
        if (waiter := self._waiter) is not None and not waiter.done():
            waiter.set_result(None)

    def end(self) -> None:
        """Marks that nothing more will come."""
        self._closed = True
        if (waiter := self._waiter) is not None and not waiter.done():
            waiter.set_result(None)


@final
class Broadcast(Generic[T]):
    """A one-to-many hand-over inside one event loop."""

    __slots__ = ("_readers", "limit", "loop")

    def __init__(self, *, limit: int = 20_000, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.limit = limit
        """How many items are kept for a reader that does not come for them."""
        self.loop = loop
        """That event loop, as soon as it is known."""
        self._readers: list[Reader[T]] = []

    def join(self) -> Reader[T]:
        """Returns a reader that gets everything published from now on."""
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    def leave(self, reader: Reader[T]) -> None:
        """Takes a reader out; unknown readers are none of its business."""
        if reader in self._readers:
            self._readers.remove(reader)

    def publish(self, items: Sequence[T], mark: int, *, passing: bool = False) -> None:
        """Gives the items to each reader; `mark` says how far they reach, in the publisher's own count. Where they are
        `passing`, a reader's sink may take them.
        """
        for reader in self._readers:
            if not (passing and reader.offer(items)):
                reader.give(items, self.limit, mark)

    def close(self) -> None:
        """Tells each reader that nothing more will come."""
        for reader in self._readers:
            reader.end()
        self._readers.clear()

    def __len__(self) -> int:
        """Returns how many readers there are."""
        return len(self._readers)
