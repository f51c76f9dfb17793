"""The processes that a backend keeps for their owners, and the records of those that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final, final

from holdfast.errors import SandboxError
from holdfast.sandbox.longrunning.process import Asked, Handle, Process
from holdfast.sandbox.longrunning.ring import KEPT

__all__ = ("MOST", "RECORD", "Kept")

MOST: Final = 8
"""Processes that one owner may have running."""
RECORD: Final = 600.0
"""Seconds for which it is known how one ended, and what it printed last."""


@final
class Kept:
    """Processes by their owners and names."""

    def __init__(self, record: float = RECORD) -> None:
        """`record` is how many seconds one that ended is remembered."""
        self._record = record
        self._owned: dict[str, dict[str, Process]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def start(self, asked: Asked, launch: Callable[[Process], Awaitable[Handle]], keep: int = KEPT) -> Process:
        """Has a process started and keeps it; `keep` bounds the bytes of output that are held.

        Raises:
            SandboxError: the owner has one of that name, or as many as it may have.
        """
        owned = {each.asked.name: each for each in self.of(asked.owner)}
        there = owned.get(asked.name)
        if there is not None and there.code is None:
            raise SandboxError(f"a process named {asked.name!r} runs already: stop it, or take another name")
        if sum(each.code is None for each in owned.values()) >= MOST:
            raise SandboxError(f"{MOST} processes run already, which is as many as there may be: stop one")
        process = Process(asked, keep)
        self._owned.setdefault(asked.owner, {})[asked.name] = process  # from here on the name is taken
        try:
            handle = await launch(process)
        except BaseException:
            self._forget(process)
            raise
        process.begin(handle)
        handle.ended.add_done_callback(partial(self._ended, process))
        return process

    def _ended(self, process: Process, _: object) -> None:
        loop = asyncio.get_running_loop()
        self._timers[process.id] = loop.call_later(self._record, self._forget, process)

    def of(self, owner: str) -> Collection[Process]:
        """Returns an owner's processes in the order in which they were started: those that run, and those that ended
        within ten minutes.
        """
        return tuple(self._owned.get(owner, {}).values())

    def find(self, owner: str, name: str) -> Process | None:
        """Returns an owner's process of that name."""
        return next((each for each in self.of(owner) if each.asked.name == name), None)

    async def end(self, owner: str | None = None) -> None:
        """Ends the processes of one owner, or of all: each is asked, and killed after two seconds."""
        owners = list(self._owned) if owner is None else [owner]
        running = [each for name in owners for each in self.of(name) if each.code is None]
        await asyncio.gather(*(each.stop() for each in running), return_exceptions=True)
        for name in owners:
            for each in self.of(name):
                self._forget(each)

    def _forget(self, process: Process) -> None:
        asked = process.asked
        if (timer := self._timers.pop(process.id, None)) is not None:
            timer.cancel()
        if (owned := self._owned.get(asked.owner)) is not None and owned.get(asked.name) is process:
            del owned[asked.name]
            if not owned:
                del self._owned[asked.owner]
