"""The tool for processes that go on after the call: servers, watchers, long builds.

They run where `bash` runs, so that a command reaches a server on its own loopback. They belong to the session: its
next run finds them, and they end with the runtime that started them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from time import monotonic
from typing import Annotated, Any, Final, Literal

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.longrunning.process import Process, asked_by
from holdfast.sandbox.longrunning.ring import Hides
from holdfast.sandbox.port import Backend, Posture
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.bash import lasted
from holdfast.tools.builtin.files import workspace_of
from holdfast.tools.declaring import tool
from holdfast.types import Effect, Governance, ToolResult

__all__ = ("process",)

_READ: Final = 64 * 1024
"""Bytes of output that one call gives."""
_FIRST: Final = 1.0
"""Seconds in which a process that was just started may print or fail."""
_SHOWN: Final = 100
"""Characters of a command in a list."""


def _effect(arguments: Any, posture: Posture) -> Effect:
    """What is started or asked to end does what it likes; the rest only looks."""
    if arguments.action in ("read", "list"):
        return Effect(outside="none")
    return Effect(workspace=True, outside="none" if posture.isolated else "unsafe")


@tool(effect=_effect, reference="builtin:process", governance=Governance(operations=("read", "write", "delete")))
async def process(
    action: Literal["start", "read", "list", "stop"],
    context: ToolContext,
    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{0,32}$")] = "",
    command: str = "",
    since: Annotated[int, msgspec.Meta(ge=0)] = 0,
    wait: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0,
) -> ToolResult:
    """Start a process that goes on after the call, such as a server, and look after it. It runs where bash runs, so
    bash reaches a server at localhost. At most 8 run at once. There is no input and no terminal.

    Args:
        action: `start` a process under a name, `read` what it printed, `list` all of them, or `stop` one.
        context: Where the call runs.
        name: What the process is called: lower case letters, digits and dashes. For all but list.
        command: Of start: the command, as for `bash -c`.
        since: Of read: the place in the output to read from, as the last read or start said it.
        wait: Of read: seconds to wait for more output than that, or for the end; at most 60.
    """
    workspace = workspace_of(context)
    backend = context.backend or NoIsolation()
    metadata: dict[str, Any] = {"ui": "terminal", "command": f"process {action} {name}".rstrip(), "action": action}
    owner = asked_by(workspace.env, "", "", "").owner
    if action == "list":
        return _listed(backend.processes.of(owner), metadata)
    if not name:
        raise ToolFailure(f"To {action} a process, give its name.", code="invalid_input", metadata=metadata)
    if action == "start":
        return await _start(backend, workspace, context, name, command, metadata)
    found = backend.processes.find(owner, name)
    if found is None:
        known = ", ".join(each.asked.name for each in backend.processes.of(owner)) or "none"
        raise ToolFailure(f"There is no process {name!r}. Processes: {known}.", metadata=metadata)
    if action == "stop":
        try:
            await found.stop()
        except SandboxError as error:
            raise ToolFailure(f"{error}.", metadata=metadata) from error
    elif wait:
        with suppress(TimeoutError):
            await asyncio.wait_for(_more(found, since, _hides(context)), wait)
    return _said(found, since, metadata, context)


async def _start(
    backend: Backend, workspace: Workspace, context: ToolContext, name: str, command: str, metadata: dict[str, Any]
) -> ToolResult:
    if not command.strip():
        raise ToolFailure("To start a process, give its command.", code="invalid_input", metadata=metadata)
    metadata["command"] = command
    environment, folder = clean_environment(workspace.env), workspace.root
    try:
        started = await backend.start(command, name=name, folder=folder, env=environment, call=context.call_id)
    except SandboxError as error:
        raise ToolFailure(f"It was not started: {error}.", metadata=metadata) from error
    except ValueError as error:
        raise ToolFailure(f"It was not started: {error}.", code="invalid_input", metadata=metadata) from error
    with suppress(TimeoutError):
        await asyncio.wait_for(started.ring.more(0), _FIRST)
    return _said(started, 0, metadata, context)


def _hides(context: ToolContext) -> Hides | None:
    """Returns who knows secrets: one may be printed in two pieces, which nobody who sees one of them can find."""
    return None if context.secrets is None or not context.secrets.redactor.knows else context.secrets.redactor


async def _more(found: Process, since: int, hides: Hides | None) -> None:
    """Returns when there is more to read from a place on, or nothing more will come."""
    await found.ring.more(since)
    while hides is not None and not found.ring.closed and found.read(since, _READ, hides).next <= since:
        await found.ring.more(found.ring.total)


def _said(found: Process, since: int, metadata: dict[str, Any], context: ToolContext) -> ToolResult:
    piece = found.read(since, _READ, _hides(context))
    text = f"[{piece.lost} bytes before this are left out]\n{piece.text}" if piece.lost else piece.text
    text += "" if not text or text.endswith("\n") else "\n"
    metadata |= {"process": found.asked.name, "running": found.code is None, "next": piece.next}
    if found.code is not None:
        metadata["exitCode"] = found.code
    return ToolResult(content=f"{text}[{_state(found)}; read on from {piece.next}]", metadata=metadata)


def _state(found: Process) -> str:
    if found.code is None or found.until is None:
        return f"running for {lasted(monotonic() - found.since)}"
    return f"ended with exit code {found.code} after {lasted(found.until - found.since)}"


def _listed(processes: Collection[Process], metadata: dict[str, Any]) -> ToolResult:
    lines = [f"{each.asked.name}: {_state(each)}: {_short(each.asked.command)}" for each in processes]
    return ToolResult(content="\n".join(lines) or "There are no processes.", metadata=metadata)


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
