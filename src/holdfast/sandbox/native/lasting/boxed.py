"""Processes that go on in native sandboxes: in the one in which their owner's commands run, too.

So a command reaches what was started before it. A sandbox that keeps a process serves the same owner's later epochs in
this runtime; whoever else comes with a higher epoch ends it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import final

from holdfast.sandbox.environment import CALL
from holdfast.sandbox.longrunning.connecting import stream_of
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.native.client import Box, Command
from holdfast.sandbox.native.outlet import environment
from holdfast.sandbox.native.pooling import Key, Pool
from holdfast.sandbox.native.slots import FIRST_UID
from holdfast.sandbox.output import Intake

__all__ = ("KeptBoxes",)

_LINGER = 0.25
"""Seconds the output may stay open after the process has ended."""
_Guard = Callable[[], Awaitable[tuple[str, ...]]]


@final
class KeptBoxes:
    """Which sandboxes keep processes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._keys: dict[tuple[str, str, str], list[Key]] = {}
        """By workspace, owner and home folder: the key under which a sandbox was made, once for each process in it."""

    def key(self, key: Key) -> Key:
        """Returns the key under which to ask for a sandbox: that of one that keeps the owner's processes, if any."""
        found = self._keys.get((key[0], key[1], key[3]))
        return found[0] if found else key

    def forget(self, owner: str, epoch: int) -> None:
        """Leads nobody to sandboxes of the owner's lower epochs any more."""
        for each in [each for each, keys in self._keys.items() if each[1] == owner and keys[0][2] < epoch]:
            del self._keys[each]

    async def launch(
        self, key: Key, process: Process, env: Mapping[str, str], guarding: Callable[[], Awaitable[_Guard]]
    ) -> BoxedHandle:
        """Starts a process; `guarding` is asked before it starts, and what it returned once it has ended.

        Raises:
            SandboxError: there is no sandbox, or it cannot be started there.
            ValueError: it cannot be passed on.
        """
        key = self.key(key)
        box = await self._pool.take(key)
        box.kept += 1
        intake = Intake(process.ring)
        try:
            guard = await guarding()
            command = await _start(box, intake, process.asked.command, key[0], env)
        except BaseException:
            box.kept -= 1
            intake.close()
            raise
        finally:
            self._pool.give_back(key, box)
        self._keys.setdefault((key[0], key[1], key[3]), []).append(key)
        return BoxedHandle(box, command, intake, process, guard, lambda: self._let_go(key, box))

    def _let_go(self, key: Key, box: Box) -> None:
        box.kept -= 1
        where = (key[0], key[1], key[3])
        if (keys := self._keys.get(where)) is not None and key in keys:
            keys.remove(key)
            if not keys:
                del self._keys[where]
        if not box.kept:
            self._pool.rest(box)


async def _start(box: Box, intake: Intake, line: str, folder: str, env: Mapping[str, str]) -> Command:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:  # so that programs may open /dev/stdout and /dev/stderr
            os.fchown(intake.writing, FIRST_UID + box.place, -1)
        outside = {} if box.outlet is None else {**environment(), **box.outlet.placeholders}
        given = {**env, **outside, CALL: "sandbox"}
        descriptors = [nothing, intake.writing, intake.writing]
        return await box.start(["bash", "-c", line], given, folder, descriptors, keep=True)
    finally:
        intake.started()
        intake.begin()
        os.close(nothing)


@final
class BoxedHandle:
    """A session of processes in a sandbox."""

    def __init__(
        self,
        box: Box,
        command: Command,
        intake: Intake,
        process: Process,
        guard: _Guard,
        let_go: Callable[[], None],
    ) -> None:
        self._box = box
        self._command = command
        self._let_go = let_go
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """As `Handle` says."""
        self._watching = asyncio.create_task(self._watch(intake, process, guard))

    async def _watch(self, intake: Intake, process: Process, guard: _Guard) -> None:
        try:
            await asyncio.wait((self._command.ended,))
            await asyncio.wait((intake.silent,), timeout=_LINGER)
            if taken := await guard():
                process.ring.feed(f"\n[removed, because programs outside obey it: {', '.join(taken)}]\n".encode())
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
