"""One function over many items at once: every item gets its outcome, and the outcomes keep the items' order.

Above it stand those who start children or ask several models. It is not a pool: it belongs to the one who awaits it
and leaves nothing running behind. `lane.py` is for jobs of many users that outlive who submitted them.

Invariants: a limit is never exceeded, and never left unused while an item that may start waits; a key at its limit
holds up its own items only; there are no more tasks than items that run.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from heapq import heappop, heappush
from itertools import repeat
from typing import Generic, TypeVar, cast

import msgspec

from holdfast.errors import UsageError

__all__ = ("Outcome", "fan_out")

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """What became of one item."""

    index: int
    """The item's place in the input, from 0."""
    value: T | None = None
    """What the function returned; None when there is an error."""
    error: BaseException | None = None
    """What it raised; an `asyncio.CancelledError` when it was cancelled, also before it started."""
    started: bool = True
    """False when the function was never called for this item, so that it cannot have had an effect."""

    def result(self) -> T:
        """Returns the value.

        Raises:
            BaseException: the item's error, if it has one.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


async def fan_out(
    call: Callable[[I], Awaitable[T]],
    items: Iterable[I],
    *,
    at_once: int = 0,
    key: Callable[[I], Hashable] | None = None,
    per_key: int = 0,
    into: list[Outcome[T]] | None = None,
) -> list[Outcome[T]]:
    """Returns what `call` came to for each item, in the order of the items, however it ended for the others.

    At most `at_once` items run at a time, and at most `per_key` of those for which `key` returns the same; 0 is no
    limit. Of those that may start, the first in the input starts first. `key` is asked for all of them beforehand,
    and what it raises goes to the caller.

    An item's failure is its outcome and nobody else's, and so is a cancellation that comes from within it. Only what
    is not an `Exception` (`KeyboardInterrupt`, `SystemExit`) ends it all: the rest is cancelled as below, and it is
    raised again.

    When the caller is cancelled, nothing more starts, what runs is cancelled once and awaited however long its
    clean-up takes, and the cancellation goes on. A caller who has to know how far it got gives a list as `into`: all
    outcomes are added to it in any case, and those of items that never started say so.

    Raises:
        UsageError: a limit is negative, or `per_key` has no `key`; nothing was started.
    """
    if min(at_once, per_key) < 0:
        raise UsageError(f"at_once is {at_once!r} and per_key {per_key!r}: give positive limits, or 0 for none")
    if per_key and key is None:
        raise UsageError("per_key limits items with the same key: give a function as key as well, or use at_once")
    every = list(items)
    line = _Line(repeat(None, len(every)) if key is None else map(key, every), per_key)
    outcomes: list[Outcome[T]] = [] if into is None else into
    fan = _Fan(call, every, at_once, line)
    try:
        await fan.run()
    finally:
        outcomes += fan.outcomes()
    return outcomes


class _Fan(Generic[I, T]):
    """One fan-out while it runs."""

    def __init__(self, call: Callable[[I], Awaitable[T]], items: list[I], at_once: int, line: _Line) -> None:
        self._call = call
        self._items = items
        self._at_once = at_once or len(items)
        self._line = line
        self._started = bytearray(len(items))
        self._outcomes: list[Outcome[T] | None] = [None] * len(items)
        self._running: dict[asyncio.Task[T], int] = {}
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fatal: BaseException | None = None

    async def run(self) -> None:
        """Returns when nothing runs or waits any more."""
        self._fill()
        try:
            await outlast(self._over, self._stop)
        finally:
            if self._fatal is not None:
                raise self._fatal

    def outcomes(self) -> list[Outcome[T]]:
        return [
            outcome or Outcome(index, None, asyncio.CancelledError("not started"), started=False)
            for index, outcome in enumerate(self._outcomes)
        ]

    def _fill(self) -> None:
        while len(self._running) < self._at_once and (index := self._line.enter()) is not None:
            task = asyncio.create_task(self._one(index))
            self._running[task] = index
            task.add_done_callback(self._ended)
        if not self._running and not self._over.done():
            self._over.set_result(None)

    async def _one(self, index: int) -> T:
        self._started[index] = True
        return await self._call(self._items[index])

    def _ended(self, task: asyncio.Task[T]) -> None:
        index = self._running.pop(task)
        started = bool(self._started[index])
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled
        value = None if error is not None else task.result()
        self._outcomes[index] = Outcome(index, value, error, started)
        if error is not None and not isinstance(error, Exception | asyncio.CancelledError):
            self._fatal = self._fatal or error
            self._stop()
        self._line.leave(index)
        self._fill()

    def _stop(self) -> None:
        self._line.close()
        for task in self._running:
            task.cancel()


class _Line:
    """Who may start next: the first, in the order of the input, whose key is below its limit."""

    def __init__(self, keys: Iterable[Hashable], per_key: int) -> None:
        self._keys = list(keys)
        self._per_key = per_key or len(self._keys)
        self._busy: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[int]] = {}
        for index, key in enumerate(self._keys):
            self._waiting.setdefault(key, deque()).append(index)
        # One entry for each key that may start something; no two have the same index, so keys are never compared.
        self._ready = [(waiting[0], key) for key, waiting in self._waiting.items()]

    def enter(self) -> int | None:
        """Returns whose turn it is, and counts it as running; None when nobody may start now."""
        if not self._ready:
            return None
        index, key = heappop(self._ready)
        self._waiting[key].popleft()
        self._busy[key] += 1
        if self._busy[key] < self._per_key:
            self._offer(key)
        return index

    def leave(self, index: int) -> None:
        key = self._keys[index]
        if self._busy[key] == self._per_key:
            self._offer(key)
        self._busy[key] -= 1

    def close(self) -> None:
        """Lets nobody start any more."""
        self._waiting.clear()
        self._ready.clear()

    def _offer(self, key: Hashable) -> None:
        if waiting := self._waiting.get(key):
            heappush(self._ready, (waiting[0], key))


async def outlast(over: asyncio.Future[T], stop: Callable[[], None]) -> None:
    """Waits until it is over; a cancellation calls `stop`, and goes on when it is over, not before.

    Those that come after the first change nothing: what was told to stop is left to its clean-up.
    """
    cancelled: tuple[object, ...] | None = None
    while not over.done():
        try:
            await asyncio.wait((over,))
        except asyncio.CancelledError as error:
            if cancelled is None:
                cancelled = error.args
                stop()
    if cancelled is not None:
        raise asyncio.CancelledError(*cancelled)
