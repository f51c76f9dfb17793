"""One command of a call: from what was declared to a process in its room, and from its end to what that means.

It gets the variables it was declared with and no others; secrets are looked up for this one process, and the redactor
knows them before it starts. What it prints is counted as it comes: over the bound it is ended, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from holdfast.errors import HoldfastError, IsolationMissing, SandboxError, SandboxesFull, UsageError
from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.port import reference_of
from holdfast.sandbox.output import Streams
from holdfast.sandbox.processes import Ended
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.transports.commands.rooms import Job, Room
from holdfast.tools.transports.commands.templates import LONGEST, Template, argv_of
from holdfast.tools.transports.port import Errand, Unsent, too_large
from holdfast.types import ToolResult

__all__ = ("Command", "EnvFrom", "Output", "Program", "Ran", "text_of")

Output = Literal["stdout", "stderr", "both"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OURS = "HOLDFAST_"
_SHOWN: Final = 400
"""Characters of the end of its errors that a failure shows."""
_KEPT: Final = 1 << 16
"""Bytes of errors that are kept to be shown."""
_LONG: Final = 86_400.0
"""Seconds of a command whose caller does not bound it."""
_UNKNOWN: Final = (126, 127)
"""Exit codes of a program that is not there, or none: it will not be the next time either."""
_NO_SECRETS: Final = Secrets((), Redactor())


class EnvFrom(msgspec.Struct, frozen=True, kw_only=True):
    """A variable whose value is a secret."""

    name: str
    secret: str
    """Its name: `[namespace/]name[:key]`."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool starts (source: Orloj 1.4).

    Raises:
        UsageError: a part of it means nothing; says which.
    """

    program: str = ""
    """Its name or path; empty for what an image starts by itself."""
    args: tuple[str, ...] = ()
    """Templates of its arguments; see `templates.py`."""
    env: Mapping[str, str] = {}
    env_from: tuple[EnvFrom, ...] = ()
    working_dir: str = "."
    """Relative to the workspace."""

    def __post_init__(self) -> None:
        if self.program.startswith("-") or "\0" in self.program or len(self.program.encode()) >= LONGEST:
            raise UsageError(f"{self.program[:80]!r} is no program: write its name or its path")
        for name in (*self.env, *(each.name for each in self.env_from)):
            if _VARIABLE.fullmatch(name) is None or name.startswith(_OURS):
                raise UsageError(f"{name[:80]!r} is no name of a variable: write letters, digits and underscores")
        if any("\0" in value for value in self.env.values()):
            raise UsageError("a variable holds NUL, which no program can be given")
        if twice := {each.name for each in self.env_from} & set(self.env):
            raise UsageError(f"{min(twice)!r} is set twice: in env and in env_from; leave one of them out")
        for each in self.env_from:
            reference_of(each.secret)
        if self.working_dir.startswith("/") or "\0" in self.working_dir or ".." in self.working_dir.split("/"):
            raise UsageError(f"working_dir {self.working_dir[:80]!r} leads out of the workspace: name a folder in it")
        for each in self.args:
            Template.of(each)


class Ran(msgspec.Struct, frozen=True):
    """How a command ended by itself."""

    ended: Ended
    streams: Streams
    redactor: Redactor

    @property
    def stdout(self) -> bytes:
        """All of its output."""
        return self.ended.output.raw()

    def failure(self, name: str) -> ToolResult | None:
        """Returns what its end comes to where it is none of success."""
        ended = self.ended
        if ended.lost:
            what, again = f"ran, and nothing of what it changed was brought in: {ended.lost}", False
        elif ended.breach is not None:
            what, again = f"was stopped at the sandbox's quota of {ended.breach}", False
        elif ended.code:
            what, again = f"ended with exit code {ended.code}", ended.code not in _UNKNOWN
        else:
            return None
        said = " ".join(self.redactor.clean(self.streams.errors.text()).split())[-_SHOWN:]
        error = fault_of("execution_failed", retryable=again)
        return ToolResult(f"{name!r} {what}{f': {said}' if said else ''}", error, {"exit_code": ended.code})


class _Counter:
    """Ends a command that printed more than is read."""

    def __init__(self, most: int) -> None:
        self._left = most
        self.task: asyncio.Future[Ended] | None = None

    def __call__(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0 and self.task is not None:
            self.task.cancel()

    @property
    def is_over(self) -> bool:
        return self._left < 0


class Program:
    """The command of one tool."""

    def __init__(self, command: Command, room: Room) -> None:
        self.command = command
        self.room = room
        self._templates = tuple(Template.of(each) for each in command.args)

    async def run(self, errand: Errand, given: bytes, output: Output) -> Ran | ToolResult:
        """Returns how the command of a call ended, or that it printed more than is read.

        Raises:
            Unsent: it was not started.
            ToolFailure: it is not known how it ended, or its time was over.
        """
        name, context = errand.request.tool.name, errand.context
        if errand.headers:
            raise Unsent(_told(name, "a command is given no headers: name its secrets in env_from", "invalid_input"))
        try:
            argv = argv_of(self.command.program, self._templates, errand.request.input)
        except ToolFailure as error:
            raise Unsent(_told(name, str(error), error.code)) from None
        secrets = context.secrets or _NO_SECRETS
        hidden = await self._hidden(name, secrets)
        counter = _Counter(errand.most)
        kept = errand.most + 2
        wide = output != "stdout"
        streams = Streams(given, keep=kept if wide else _KEPT, watch=counter if wide else None)
        job = Job(
            argv=argv,
            env=self.command.env,
            hidden=hidden,
            streams=streams,
            folder=self.command.working_dir,
            keep=kept if output != "stderr" else _KEPT,
            watch=counter if output != "stderr" else None,
            seconds=errand.request.runtime.timeout_ms / 1000 or _LONG,
        )
        ended = await self._ended(name, job, context, counter)
        if counter.is_over or ended is None:
            return too_large(name, errand.most)
        if ended.timed_out:
            raise ToolFailure(f"{name!r} was stopped after {ended.seconds:.0f} s, its time in there", code="timeout")
        return Ran(ended, streams, secrets.redactor)

    async def _ended(self, name: str, job: Job, context: ToolContext, counter: _Counter) -> Ended | None:
        counter.task = task = asyncio.ensure_future(self.room.run(job, context))
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if counter.is_over and (current is None or not current.cancelling()):
                return None
            raise
        except ToolFailure as error:
            raise Unsent(_told(name, str(error), error.code)) from None
        except IsolationMissing as error:
            raise Unsent(_told(name, str(error), "isolation_unavailable")) from None
        except SandboxesFull as error:
            raise Unsent(_told(name, str(error), "execution_failed")) from None
        except ValueError as error:
            raise Unsent(_told(name, f"it cannot be started: {error}", "invalid_input")) from None
        except SandboxError as error:
            raise ToolFailure(f"{name!r}: {error}") from error

    async def _hidden(self, name: str, secrets: Secrets) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in self.command.env_from:
            try:
                found[each.name] = await secrets.value(each.secret)
            except HoldfastError as error:
                raise Unsent(_told(name, str(error), "secret_resolution_failed")) from None
            if "\0" in found[each.name]:
                raise Unsent(_told(name, f"the secret {each.secret!r} holds NUL", "secret_resolution_failed"))
        return found


def text_of(data: bytes, redactor: Redactor) -> str:
    """Returns what a command printed as text, without the values of secrets."""
    return redactor.hide(data.decode("utf-8", "replace"))


def _told(name: str, why: str, code: str) -> ToolResult:
    return ToolResult(f"{name!r} was not called: {why}", fault_of(code))
