"""Sandboxes between commands: those that idle until their owner's next one, and those that are made before they are
asked for.

    take ── one that idles, one that is ready, or a new one ──> a command ──> give back: it idles, or ends

What a sandbox mounts and whose it is cannot be changed once it is made. So each has one key for its life, and is given
to that key alone: a workspace, an owner, its epoch, and the home folder. One that nobody uses for a while ends.

Not here: how a sandbox is made, and what runs in it.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from holdfast.errors import SandboxError, SandboxesFull
from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.native.guarding import look
from holdfast.sandbox.policy.profile import Pooling
from holdfast.sandbox.protecting.hiding import below

__all__ = ("IDLE", "MOST_READY", "Key", "Pool")

Key = tuple[str, str, int, str]
"""A workspace, an owner, its epoch, and the home folder."""
_Where = tuple[tuple[int, ...], ...]
IDLE = 60.0
"""Seconds after which a sandbox that nobody uses ends."""
MOST_READY = 64
"""Sandboxes that are ready at once, for all keys together; above that, the oldest end."""
_PATIENCE = 20.0
_MOMENT = 0.01
"""Seconds that one may end too early, so that several end together."""


@final
class Pool:
    """Hands out sandboxes for commands and takes them back."""

    def __init__(
        self, pooling: Pooling, make: Callable[[Key], Awaitable[Box]], watched: Sequence[str], *, layered: bool
    ) -> None:
        """`make` makes a new one; `watched` are paths in the workspace that are mounted, so that one made before they
        were replaced is of no use any more; `layered` says that the workspace in there is a layer over the folder.
        """
        self._pooling = pooling
        self._make = make
        self._layered = layered
        self._watched = _with_parents(watched) if layered else tuple(watched)
        self.apart: Mapping[Path, bool] = {}
        """Paths of which nothing is seen in a sandbox, each with whether it is a folder's: they are covered there."""
        self._idle = _Shelf()
        self._ready = _Shelf()
        self._filling: dict[Key, asyncio.Task[None]] = {}
        self._owed: dict[Key, int] = {}
        """How many are still to be made: what ends by itself meanwhile is not made again."""

    async def take(self, key: Key) -> Box:
        """Returns a sandbox for a command, which nobody else has until it is given back.

        Raises:
            SandboxesFull: there are as many as there may be, and none of ours that only waits.
            SandboxError: there is no such folder, or none can be made.
        """
        where, absent = self._look(key[0])
        box = self._idle.take(key, where) if self._pooling.reuse == "owner" else None
        box = box or self._ready.take(key, where)
        if box is None:
            box = await self._new(key, where)
            _, absent = self._look(key[0])  # that took a while
        box.absent = absent
        if self._pooling.ready:
            self._owed[key] = self._pooling.ready - self._ready.count(key)
            if key not in self._filling:
                self._filling[key] = asyncio.create_task(self._fill(key))
        return box

    def give_back(self, key: Key, box: Box) -> None:
        """Lets it idle, or ends it where it is of no use to the next command.

        One that keeps processes (`Box.kept`) stays until `rest`.
        """
        if not box.open:
            return
        if box.kept or (self._pooling.reuse == "owner" and box.changes < 0):  # what lies in a layer is of one command
            self._idle.put(key, box)
        else:
            box.end()

    def rest(self, box: Box) -> None:
        """Is told that a sandbox keeps no process any more: where it lies unused it idles from now on, or ends."""
        if (key := self._idle.key_of(box)) is not None:
            self._idle.remove(box)
            self.give_back(key, box)

    def forget(self, owner: str, epoch: int) -> None:
        """Hands out no sandbox of the owner's lower epochs any more; whoever calls this kills them."""

        def older(key: Key) -> bool:
            return key[1] == owner and key[2] < epoch

        for key in [each for each in self._filling if older(each)]:
            self._filling.pop(key).cancel()
        for shelf in (self._idle, self._ready):
            shelf.forget(older)

    async def close(self) -> None:
        """Forgets all of them, and makes no more; they end with what made them."""
        filling = list(self._filling.values())
        for each in filling:
            each.cancel()
        await asyncio.gather(*filling, return_exceptions=True)
        for shelf in (self._idle, self._ready):
            shelf.forget(lambda _: True)

    async def _new(self, key: Key, where: _Where) -> Box:
        while True:
            try:
                box = await self._make(key)
            except SandboxesFull:
                shelf = self._ready if self._ready.oldest() is not None else self._idle
                if (waiting := shelf.oldest()) is None:
                    raise
                shelf.end(waiting)  # a command that is asked for goes before one that may come
                await asyncio.wait((waiting.gone,), timeout=_PATIENCE)
            else:
                box.where = where
                return box

    async def _fill(self, key: Key) -> None:
        """Makes what is to be ready; where that is not possible, whoever takes the next one is told why."""
        try:
            while self._ready.count(key) < self._pooling.ready and self._owed[key] > 0:
                self._owed[key] -= 1
                where, _ = self._look(key[0])
                box = await self._make(key)
                box.where = where
                self._ready.put(key, box)
                if len(self._ready) > MOST_READY and (oldest := self._ready.oldest()) is not None:
                    self._ready.end(oldest)
        except (SandboxError, OSError):
            pass
        finally:
            if self._filling.get(key) is asyncio.current_task():  # not one that began after this was cancelled
                del self._filling[key]
                self._owed.pop(key, None)

    def _look(self, folder: str) -> tuple[_Where, frozenset[str]]:
        """Returns what tells a folder, and each thing that is to be protected in it, from others at the same paths, and
        the paths at which there is nothing.
        """
        try:
            whole = os.lstat(folder)
        except OSError as error:
            raise SandboxError(f"the workspace {folder!r} cannot be used: {error.strerror}") from error
        found, absent = look(folder, self._watched)
        rights = (whole.st_mode,) if self._layered else ()  # the layer has those of when it was made
        for name in below(folder, self.apart) if self.apart else ():
            with suppress(OSError):
                found.append(os.lstat(f"{folder}/{name}"))
        return (rights, *((each.st_dev, each.st_ino) for each in (whole, *found))), absent


class _Shelf:
    """Sandboxes that nobody uses. Each ends after a while, unless it keeps processes."""

    def __init__(self) -> None:
        self._by_key: dict[Key, list[Box]] = {}
        self._lying: dict[Box, tuple[Key, float]] = {}
        """In the order in which they were put here, with when they end by the event loop's clock."""
        self._looking: asyncio.AbstractEventLoop | None = None
        """Where somebody will look for those whose time has come: one timer for all, however often they are used."""

    def __len__(self) -> int:
        return len(self._lying)

    def count(self, key: Key) -> int:
        return len(self._by_key.get(key, ()))

    def key_of(self, box: Box) -> Key | None:
        found = self._lying.get(box)
        return None if found is None else found[0]

    def oldest(self) -> Box | None:
        return next((each for each in self._lying if not each.kept), None)

    def put(self, key: Key, box: Box) -> None:
        loop = asyncio.get_running_loop()
        until = math.inf if box.kept else loop.time() + IDLE
        self._lying[box] = key, until
        self._by_key.setdefault(key, []).append(box)
        if not box.kept and (self._looking is None or self._looking.is_closed()):
            self._looking = loop
            loop.call_at(until, self._end_idle, loop)

    def take(self, key: Key, where: _Where) -> Box | None:
        """Returns one of a key, first of all one that keeps processes; ends those that are of no use any more."""
        newest_first = reversed(self._by_key.get(key, ()))
        for box in sorted(newest_first, key=lambda each: not each.kept):
            if box.open and box.where == where:
                self.remove(box)
                return box
            if not box.open or not box.kept:
                self.end(box)  # another folder is there by now, or something that is to be protected in it
        return None

    def remove(self, box: Box) -> None:
        key, _ = self._lying.pop(box)
        self._by_key[key].remove(box)
        if not self._by_key[key]:
            del self._by_key[key]

    def end(self, box: Box) -> None:
        self.remove(box)
        box.end()

    def _end_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time() + _MOMENT
        try:
            for box in [each for each, (_, until) in self._lying.items() if until <= now]:
                self.end(box)
        finally:
            following = min([until for _, until in self._lying.values()], default=math.inf)
            self._looking = None if following == math.inf else loop
            if self._looking is not None:
                loop.call_at(following, self._end_idle, loop)

    def forget(self, which: Callable[[Key], bool]) -> None:
        for box in [each for each, (key, _) in self._lying.items() if which(key)]:
            self.remove(box)


def _with_parents(paths: Sequence[str]) -> tuple[str, ...]:
    """Returns the paths and every folder above them: a layer remembers what was not there when it was made."""
    parts = (each.split("/") for each in paths)
    return tuple(sorted({"/".join(each[: depth + 1]) for each in parts for depth in range(len(each))}))
