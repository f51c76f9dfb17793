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
from holdfast.sandbox.native.boxes.box import Box, Command
from holdfast.sandbox.native.lasting.starting import start_in
from holdfast.sandbox.output import Intake, Output, Streams
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

    def __init__(self, box: Box, output: Output, streams: Streams | None = None) -> None:
        self._box = box
        self._output = output
        self._streams = streams
        self._intake = Intake(output)
        self._silent: tuple[asyncio.Future[None], ...] = (self._intake.silent,)
        self._errors: Intake | None = None
        """Where its errors come in, where they are apart."""
        self.killed = False
        """Whether its leader was ended by a signal."""

    async def through(
        self, argv: Sequence[str], env: Mapping[str, str], folder: Path, seconds: float, *, errors: bool
    ) -> Ended:
        """Runs it in that folder, for so many seconds at most; `errors` says whether they are part of the output."""
        begun, strays = time.monotonic(), 0
        try:
            try:
                if self._streams is None:
                    command = await start_in(self._box, argv, env, str(folder), self._intake, errors=errors)
                else:
                    command = await self._start(self._streams, argv, env, folder, errors=errors)
            except FileNotFoundError as error:  # as a shell would say it
                said = self._output if self._streams is None else self._streams.errors
                said.feed(f"{error.strerror}\n".encode())
                return Ended(code=127, output=self._output, seconds=0, timed_out=False, held=False)
            in_time = command.ended.done() or bool((await asyncio.wait((command.ended,), timeout=seconds))[0])
            if not in_time:
                await self._stop(command)
            elif not self._is_silent:
                await asyncio.wait(self._silent, timeout=LINGER)
            held = in_time and not self._is_silent
            if not in_time or held or not command.alone:
                strays = await self._box.clear()
                await asyncio.wait((command.ended, *self._silent), timeout=_GRACE)
        finally:
            self._intake.close()
            if self._errors is not None:
                self._errors.close()
        self.killed = command.killed
        return Ended(
            code=command.ended.result() if in_time else 124,
            output=self._output,
            seconds=time.monotonic() - begun,
            timed_out=not in_time,
            held=held,
            strays=strays if in_time else 0,
        )

    @property
    def _is_silent(self) -> bool:
        return self._intake.silent.done() and (self._errors is None or self._errors.silent.done())

    async def _start(
        self, streams: Streams, argv: Sequence[str], env: Mapping[str, str], folder: Path, *, errors: bool
    ) -> Command:
        """Starts it with an input, and with its errors apart."""
        self._errors = apart = Intake(streams.errors)
        self._silent += (apart.silent,)
        given = streams.opened()
        try:
            besides = (given, apart)
            return await start_in(self._box, argv, env, str(folder), self._intake, errors=errors, besides=besides)
        finally:
            os.close(given)

    async def _stop(self, command: Command) -> None:
        command.signal(signal.SIGTERM)
        await asyncio.wait((command.ended, *self._silent), timeout=_GRACE)
