"""A tool that is a program: its arguments are filled in from templates, and what it prints is the result.

No shell reads anything. The program runs in its room (`commands/rooms.py`), with the variables it is declared with and
no others; an exit code other than 0 is a failure that may be tried again, with the end of its errors.
"""

from __future__ import annotations

import copy
from typing import final

import msgspec

from holdfast.errors import UsageError
from holdfast.tools.transports.commands.engines import EngineRoom
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.rooms import Room, RunRoom
from holdfast.tools.transports.commands.running import Command, Output, Program, text_of
from holdfast.tools.transports.port import Errand, Transport
from holdfast.types import ToolResult

__all__ = ("Cli",)


@final
class Cli(Transport):
    """Starts a program for each call."""

    kind = "cli"

    def __init__(
        self,
        command: Command,
        *,
        image: str = "",
        resources: Resources | None = None,
        stdin_from_input: bool = False,
        output: Output = "stdout",
    ) -> None:
        """An `image` is run by podman or docker, within the `resources`; without one the program runs in the sandbox of
        the run. With `stdin_from_input` it reads the arguments as JSON; with `output` both the result is an object.

        Raises:
            UsageError: there is no such output, or no program.
        """
        if output not in ("stdout", "stderr", "both"):
            raise UsageError(f"there is no output {output!r}: write stdout, stderr or both")
        if not command.program:
            raise UsageError("a tool of the kind cli names its program: command")
        self.place = command.program
        self.secrets = tuple([each.secret for each in command.env_from])
        self.image = image
        self.resources = resources
        self._command = command
        self._program = Program(command, EngineRoom(image, resources or Resources()) if image else RunRoom())
        self._reads = stdin_from_input
        self._output: Output = output

    def within(self, room: Room) -> Cli:
        """Returns the same program in another room."""
        twin = copy.copy(self)
        twin._program = Program(self._command, room)
        return twin

    async def send(self, errand: Errand) -> ToolResult:
        """Returns what the program printed, or how it failed."""
        given = errand.request.input_raw.encode("utf-8", "surrogatepass") if self._reads else b""
        ran = await self._program.run(errand, given, self._output)
        if isinstance(ran, ToolResult):
            return ran
        if (failed := ran.failure(errand.request.tool.name)) is not None:
            return failed
        out, errors = text_of(ran.stdout, ran.redactor), text_of(ran.streams.errors.raw(), ran.redactor)
        if self._output == "both":
            return ToolResult(msgspec.json.encode({"stdout": out, "stderr": errors}).decode())
        return ToolResult(out if self._output == "stdout" else errors)

    async def close(self) -> None:
        """Ends what its room keeps ready."""
        await self._program.room.close()
