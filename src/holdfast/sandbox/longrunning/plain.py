"""A process that goes on without any isolation, in a group of its own and on the leash."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import final

from holdfast.sandbox.longrunning.dialling import begin_dialling
from holdfast.sandbox.longrunning.process import Asked, Process
from holdfast.sandbox.processes import LINGER, Group

__all__ = ("PlainHandle", "launch")


@final
class PlainHandle:
    """A process group of our own user."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """As `Handle` says."""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        try:
            await self._group.ended
            await self._group.falls_silent_within(LINGER)
        finally:  # also where the loop ends: nothing goes on that nobody looks after
            self._group.close()
            if not self.ended.done():
                self.ended.set_result(self._group.code)

    def signal(self, what: signal.Signals) -> None:
        """Sends a signal to the group."""
        if not self.ended.done():
            self._group.signal(what)

    async def dial(self, port: int) -> socket.socket:
        """Returns a socket that is about to be connected to a port of our loopback."""
        return begin_dialling(port)


async def launch(asked: Asked, process: Process, folder: Path, env: Mapping[str, str]) -> PlainHandle:
    """Starts a process as whoever runs us.

    Raises:
        SandboxError: it cannot be started.
        ValueError: it cannot be passed on.
    """
    group = Group(asked.command, folder, env, process.ring)
    try:
        group.begin()
    except BaseException:
        group.close()
        raise
    return PlainHandle(group)
