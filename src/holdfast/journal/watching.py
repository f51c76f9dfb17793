"""Hears of changes for everybody who follows sessions that this process does not drive, as one.

Hints come once for a stream, however many follow it, and wake them; what they read then, they read together: the same
records after the same event are fetched and decoded once. Hints may be late, and are never the truth: so the heads of
the streams that are followed are looked at in turn as well, a bounded number in a second, however many there are. What
an idle follower costs is its place in a list.

Nothing here is told of deltas: they never leave the process that drives a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import final

from holdfast.errors import HoldfastError
from holdfast.journal.port import Head, Journal
from holdfast.types import Event, StreamId

__all__ = ("Found", "Place", "Watched", "watched")

_EVERY = 0.5
"""Seconds between two looks at heads."""
_LOOKS = 32
"""Heads of one look: of so many streams each is looked at each time, of more in turn."""

Found = tuple[list[Event], Head | None]
"""Events that came, and where none did, the head as it is."""
_Mark = tuple[int, int, int, bool, str]


@final
class Watched:
    """One stream that somebody follows."""

    __slots__ = ("_reads", "_waiting", "hint", "mark", "places", "version")

    def __init__(self) -> None:
        self.version = 0
        """Differs whenever something may have changed."""
        self.places = 0
        """How many follow it."""
        self.mark: _Mark | None = None
        """What its head said when it was looked at."""
        self.hint: Callable[[], None] | None = None
        """How to stop its hints."""
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._reads: dict[tuple[int, int], asyncio.Task[Found]] = {}

    def wake(self) -> None:
        """Wakes all who wait: something may have changed."""
        self.version += 1
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def changed(self, version: int) -> None:
        """Returns when something may have changed since that version."""
        if self.version != version:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    async def read(self, after: int, fetch: Callable[[], asyncio.Task[Found]]) -> Found:
        """Returns what `fetch` does: together with all who want the same, and have heard no later hint."""
        key = (after, self.version)
        task = self._reads.get(key)
        if task is None:
            task = self._reads[key] = fetch()
            task.add_done_callback(lambda _: self._reads.pop(key))
        return await asyncio.shield(task)


@final
class Place:
    """One follower's place at a stream that is watched."""

    __slots__ = ("_leave", "_stream", "watched")

    def __init__(self, watched: Watched, stream: StreamId, leave: Callable[[StreamId], None]) -> None:
        self.watched = watched
        self._stream = stream
        self._leave = leave

    def leave(self) -> None:
        """Follows it no longer."""
        self._leave(self._stream)


@final
class _Watching:
    """All streams of one store that somebody in this event loop follows."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.loop = asyncio.get_running_loop()
        self._streams: dict[StreamId, Watched] = {}
        self._next = 0
        """Where the next look begins."""
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    def join(self, stream: StreamId) -> Place:
        """Takes a place at a stream."""
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = Watched()
            found.hint = self._journal.listen(stream, found.wake)
        found.places += 1
        if self._timer is None:
            self._timer = self.loop.call_later(_EVERY, self._look)
        return Place(found, stream, self._leave)

    def _leave(self, stream: StreamId) -> None:
        found = self._streams[stream]
        found.places -= 1
        if found.places:
            return
        del self._streams[stream]
        if found.hint is not None:
            found.hint()
        if not self._streams:
            self._rest()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if _all.get(self._journal) is self:
            del _all[self._journal]

    def _look(self) -> None:
        self._looking = self.loop.create_task(self._compare())

    async def _compare(self) -> None:
        """Looks at some heads, and wakes those who follow a stream that changed without a hint."""
        streams = list(self._streams)
        first = 0 if len(streams) <= _LOOKS or self._next >= len(streams) else self._next
        self._next = first + _LOOKS
        for stream in streams[first : self._next]:
            with suppress(HoldfastError):  # whoever follows it reads, and is told
                mark = _mark(await self._journal.head(stream))
                found = self._streams.get(stream)
                if found is not None and found.mark != mark:
                    found.mark = mark
                    found.wake()
        self._looking = None
        self._timer = self.loop.call_later(_EVERY, self._look) if self._streams else None


def _mark(head: Head | None) -> _Mark:
    if head is None:
        return (-1, -1, -1, False, "")
    return (head.seq, head.epoch, head.inbox_seq, head.owner is None, head.state)


_all: dict[Journal, _Watching] = {}
"""By journal, as long as anybody follows anything in it."""


def watched(journal: Journal, stream: StreamId) -> Place:
    """Takes a place at a stream, shared with all who follow it over this journal in this event loop."""
    found = _all.get(journal)
    if found is None or found.loop is not asyncio.get_running_loop():
        found = _all[journal] = _Watching(journal)
    return found.join(stream)
