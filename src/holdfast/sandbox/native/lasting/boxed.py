"""Processes that go on in native sandboxes: in the one in which their owner's commands run, too.

So a command reaches what was started before it. A sandbox that keeps a process serves the same owner's later epochs in
this runtime; whoever else comes with a higher epoch ends it.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import final

from holdfast.sandbox.longrunning.connecting import stream_of
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.native.boxes.box import Box, Command
from holdfast.sandbox.native.boxes.pooling import Key, Pool
from holdfast.sandbox.native.guarding import guard
from holdfast.sandbox.native.lasting.marking import mark
from holdfast.sandbox.native.lasting.starting import given_in, start_in
from holdfast.sandbox.output import Intake
from holdfast.sandbox.processes import LINGER

__all__ = ("KeptBoxes",)

_LOOK = 1.0
"""Seconds between two looks for what a process put where programs outside obey it."""


@final
class KeptBoxes:
    """Which sandboxes keep processes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: dict[tuple[str, str, str], list[tuple[Key, Box, Process]]] = {}
        """By workspace, owner and home folder: the processes, where they are, and by which key that was made."""

    def key(self, key: Key) -> Key:
        """Returns the key under which to ask for a sandbox: that of one that keeps the owner's processes, if any."""
        found = self._kept.get((key[0], key[1], key[3]))
        return found[0][0] if found else key

    def elsewhere(self, key: Key, box: Box) -> tuple[str, ...]:
        """Returns the names of the owner's processes that go on in other sandboxes than this one: what is in here does
        not reach them.
        """
        found = self._kept.get((key[0], key[1], key[3]), ())
        return tuple(process.asked.name for _, where, process in found if where is not box)

    def absent(self, box: Box, folder: str) -> frozenset[str]:
        """Returns the protected paths at which there was nothing before a sandbox was taken, nor, if processes go on in
        the folder, before those: what is there by now they may have put there.
        """
        if not self._kept:
            return box.absent
        others = (each for where, kept in self._kept.items() if where[0] == folder for each in kept)
        return box.absent.union(*(process.absent for _, _, process in others))

    def forget(self, owner: str, epoch: int) -> None:
        """Leads nobody to sandboxes of the owner's lower epochs any more."""
        for each in [each for each, kept in self._kept.items() if each[1] == owner and kept[0][0][2] < epoch]:
            del self._kept[each]

    async def launch(self, key: Key, process: Process, env: Mapping[str, str]) -> BoxedHandle:
        """Starts a process; what it puts where programs outside obey it is taken away while it runs and when it ended.

        Raises:
            SandboxError: there is no sandbox, or it cannot be started there.
            ValueError: it cannot be passed on.
        """
        key = self.key(key)
        folder = key[0]
        box = await self._pool.take(key)
        box.kept += 1
        intake: Intake | None = None
        try:
            process.absent = self.absent(box, folder)
            intake = Intake(process.ring)
            argv = ["bash", "-c", process.asked.command]
            command = await start_in(box, argv, given_in(box, env), folder, intake, keep=True)
        except BaseException:
            box.kept -= 1
            if intake is not None:
                intake.close()
            raise
        finally:
            self._pool.give_back(key, box)
        this = key, box, process
        self._kept.setdefault((folder, key[1], key[3]), []).append(this)
        return BoxedHandle(box, command, intake, process, Path(folder), lambda: self._let_go(this))

    def _let_go(self, this: tuple[Key, Box, Process]) -> None:
        key, box, _ = this
        box.kept -= 1
        where = (key[0], key[1], key[3])
        if (kept := self._kept.get(where)) is not None and this in kept:
            kept.remove(this)
            if not kept:
                del self._kept[where]
        if not box.kept:
            self._pool.rest(box)


@final
class BoxedHandle:
    """A session of processes in a sandbox."""

    def __init__(
        self,
        box: Box,
        command: Command,
        intake: Intake,
        process: Process,
        folder: Path,
        let_go: Callable[[], None],
    ) -> None:
        self._box = box
        self._command = command
        self._let_go = let_go
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """As `Handle` says."""
        self._watching = asyncio.create_task(self._watch(intake, process, folder))

    async def _watch(self, intake: Intake, process: Process, folder: Path) -> None:
        try:
            while not (await asyncio.wait((self._command.ended,), timeout=_LOOK))[0]:
                await _guard(process, folder)
            await asyncio.wait((intake.silent,), timeout=LINGER)
            await _guard(process, folder)
            mark(process.id)
        finally:
            intake.close()
            self._let_go()
            if not self._command.ended.done():  # nobody watches any more
                self._command.signal(signal.SIGKILL)
            if not self.ended.done():
                self.ended.set_result(self._command.ended.result() if self._command.ended.done() else 137)

    def signal(self, what: signal.Signals) -> None:
        """Sends a signal to the process's group."""
        if not self._command.ended.done():
            self._command.signal(what)

    async def dial(self, port: int) -> socket.socket:
        """Returns a stream to a port in the sandbox, which its first process makes and hands out."""
        return stream_of(await self._box.reaching.dial(port))


async def _guard(process: Process, folder: Path) -> None:
    with suppress(OSError):  # the folder is gone
        if taken := await guard(folder, process.absent):
            process.ring.feed(f"\n[removed, because programs outside obey it: {', '.join(taken)}]\n".encode())
