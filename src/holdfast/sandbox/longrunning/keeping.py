"""The processes that a backend keeps for their owners, and the records of those that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, final

from holdfast.errors import SandboxError
from holdfast.sandbox.longrunning.process import Asked, Handle, Process
from holdfast.sandbox.longrunning.ring import KEPT

__all__ = ("MOST", "RECORD", "Kept")

MOST: Final = 8
"""Processes that one owner may have running."""
RECORD: Final = 600.0
"""Seconds for which it is known how one ended, and what it printed last; of one that a log calls running it is known
until the log knows better, since what is not here any more counts there as lost.
"""
_PATIENCE = 20.0
"""Seconds after which one that is being started and comes to nothing is waited for no more."""


@final
class Kept:
    """Processes by their owners and ids."""

    def __init__(self, record: float = RECORD) -> None:
        """`record` is how many seconds one that ended is remembered."""
        self._record = record
        self._owned: dict[str, dict[str, Process]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._beginning: dict[str, asyncio.Future[None]] = {}
        """Of processes that are being started, by their ids: done when they run or do not."""

    async def start(self, asked: Asked, launch: Callable[[Process], Awaitable[Handle]], keep: int = KEPT) -> Process:
        """Has a process started and keeps it; `keep` bounds the bytes of output that are held.

        Raises:
            SandboxError: the owner has one of that name, or as many as it may have, or its processes were ended
                meanwhile.
        """
        there = self.find(asked.owner, asked.name)
        if there is not None and there.code is None:
            raise SandboxError(f"a process named {asked.name!r} runs already: stop it, or take another name")
        if sum(each.code is None for each in self.of(asked.owner)) >= MOST:
            raise SandboxError(f"{MOST} processes run already, which is as many as there may be: stop one")
        if there is not None and not _awaited(there):
            self._forget(there)
        process = Process(asked, keep)
        self._owned.setdefault(asked.owner, {})[process.id] = process  # from here on the name is taken
        beginning = self._beginning[process.id] = asyncio.get_running_loop().create_future()
        try:
            handle = await launch(process)
            process.begin(handle)
            if process not in self.of(asked.owner):
                await asyncio.shield(asyncio.ensure_future(process.stop()))
                raise SandboxError(f"the process {asked.name!r} was ended before it had started, with all of its owner")
        except BaseException:
            self._forget(process)
            raise
        finally:
            del self._beginning[process.id]
            beginning.set_result(None)
        handle.ended.add_done_callback(partial(self._ended, process))
        return process

    def _ended(self, process: Process, _: object) -> None:
        if self._owned.get(process.asked.owner, {}).get(process.id) is not process:
            return  # its owner's are forgotten already
        loop = asyncio.get_running_loop()
        self._timers[process.id] = loop.call_later(self._record, self._expire, process)

    def _expire(self, process: Process) -> None:
        if _awaited(process):
            self._ended(process, None)
        else:
            self._forget(process)

    def of(self, owner: str) -> Sequence[Process]:
        """Returns an owner's processes in the order in which they were started: those that run, and those that ended
        within ten minutes.
        """
        return tuple(self._owned.get(owner, {}).values())

    def find(self, owner: str, name: str) -> Process | None:
        """Returns an owner's process of that name, the latest if others had it before."""
        return next((each for each in reversed(self.of(owner)) if each.asked.name == name), None)

    async def end(self, owner: str | None = None) -> None:
        """Ends the processes of one owner, or of all: each is asked, and killed after two seconds.

        One that is being started is ended by whoever starts it, and waited for.
        """
        owners = list(self._owned) if owner is None else [owner]
        running = [each for name in owners for each in self.of(name) if each.code is None]
        beginning = [self._beginning[each.id] for each in running if each.id in self._beginning]
        for each in running:
            if each.id in self._beginning:
                self._forget(each)
        stopping = (each.stop() for each in running if each.id not in self._beginning)
        await asyncio.gather(*stopping, return_exceptions=True)
        if beginning:
            await asyncio.wait(beginning, timeout=_PATIENCE)
        for name in owners:
            for each in self.of(name):
                self._forget(each)

    def _forget(self, process: Process) -> None:
        asked = process.asked
        if (timer := self._timers.pop(process.id, None)) is not None:
            timer.cancel()
        if (owned := self._owned.get(asked.owner)) is not None and owned.pop(process.id, None) and not owned:
            del self._owned[asked.owner]


def _awaited(process: Process) -> bool:
    """Whether it ended, and a log still calls it running."""
    return process.noted and process.code is not None and not process.settled
