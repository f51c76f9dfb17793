"""One command in a sandbox that a launcher made, from its start until nothing of it is left: with its output kept, or
on a terminal.

Not here: where the sandbox comes from, and what is done with what the command changed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from holdfast.errors import SandboxError
from holdfast.sandbox.native.client import Box, Command
from holdfast.sandbox.native.lasting.starting import start_in
from holdfast.sandbox.output import Intake, Output
from holdfast.sandbox.policy.profile import Quotas
from holdfast.sandbox.processes import LINGER, Ended

__all__ = ("Running", "Talk", "interact")

_GRACE = 1.0
"""Seconds between the polite signal and the other one."""
Talk = Callable[[int, "asyncio.Future[int]"], Awaitable[None]]
"""What is done with the outer side of a terminal while a program runs on the inner one."""


async def interact(box: Box, command: Command, talk: Talk, limits: Quotas) -> tuple[Ended, bool]:
    """Has `talk` use the terminal of a program until it ends; returns how it ended, and whether by a signal.

    Raises:
        SandboxError: the sandbox gave no terminal.
    """
    begun = time.monotonic()
    try:
        if not os.isatty(command.terminal):
            raise SandboxError("the sandbox gave no terminal; try again")
        talking = asyncio.ensure_future(talk(command.terminal, command.ended))
        try:
            await asyncio.wait((talking,), timeout=limits.wall)
        finally:
            timed_out = not talking.done()
            strays = await asyncio.shield(box.clear())  # whatever it did not end ends now, and its terminal with it
            await asyncio.wait((talking,), timeout=_GRACE)
            talking.cancel()
        await talking
    finally:
        if command.terminal >= 0:
            os.close(command.terminal)
    ended = Ended(
        code=124 if timed_out else command.ended.result(),
        output=Output(1),
        seconds=time.monotonic() - begun,
        timed_out=timed_out,
        held=False,
        strays=strays,
    )
    return ended, command.killed


class Running:
    """One command, from its start until nothing of it is left."""

    def __init__(self, box: Box, output: Output) -> None:
        self._box = box
        self._output = output
        self._intake = Intake(output)
        self.killed = False
        """Whether its leader was ended by a signal."""

    async def through(
        self, argv: Sequence[str], env: Mapping[str, str], folder: Path, seconds: float, *, errors: bool
    ) -> Ended:
        """Runs it in that folder, for so many seconds at most; `errors` says whether they are part of the output."""
        begun, strays = time.monotonic(), 0
        try:
            try:
                command = await start_in(self._box, argv, env, str(folder), self._intake, errors=errors)
            except FileNotFoundError as error:  # as a shell would say it
                self._output.feed(f"{error.strerror}\n".encode())
                return Ended(code=127, output=self._output, seconds=0, timed_out=False, held=False)
            in_time = command.ended.done() or bool((await asyncio.wait((command.ended,), timeout=seconds))[0])
            if not in_time:
                await self._stop(command)
            elif not self._intake.silent.done():
                await asyncio.wait((self._intake.silent,), timeout=LINGER)
            held = in_time and not self._intake.silent.done()
            if not in_time or held or not command.alone:
                strays = await self._box.clear()
                await asyncio.wait((command.ended, self._intake.silent), timeout=_GRACE)
        finally:
            self._intake.close()
        self.killed = command.killed
        return Ended(
            code=command.ended.result() if in_time else 124,
            output=self._output,
            seconds=time.monotonic() - begun,
            timed_out=not in_time,
            held=held,
            strays=strays if in_time else 0,
        )

    async def _stop(self, command: Command) -> None:
        command.signal(signal.SIGTERM)
        await asyncio.wait((command.ended, self._intake.silent), timeout=_GRACE)
