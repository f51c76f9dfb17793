"""The tool that runs a shell command in the workspace.

It is not isolated yet: the command does whatever our user may, so its effect outside the workspace is `unsafe`,
and a process that leaves the command's group (`setsid`) outlives it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.processes import Ended, run_command
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import workspace_of
from holdfast.tools.declaring import tool
from holdfast.types import Effect, ToolResult

__all__ = ("bash",)

_KEEP = 48_000
"""Bytes of output that are kept: with the notes less than what the model gets to read of a result."""


@tool(effect=Effect(workspace=True, outside="unsafe"), reference="builtin:bash")
async def bash(
    command: str,
    context: ToolContext,
    timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 120,  # noqa: ASYNC109 - the model sets it, and the whole group is ended by it
) -> ToolResult:
    """Run a command with bash in the workspace. Returns its output, standard output and standard error in order;
    of a long output the beginning and the end. There is no input and no terminal. Processes that are still running
    in the background when the command ends are stopped.

    Args:
        command: The command, as for `bash -c`.
        context: Where the call runs.
        timeout: Seconds after which the command and everything it started is stopped; at most 600.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "terminal", "command": command, "cwd": str(workspace.root)}
    environment = clean_environment(workspace.env)
    try:
        ended = await run_command(command, folder=workspace.root, env=environment, timeout=timeout, keep=_KEEP)
    except SandboxError as error:
        raise ToolFailure(f"The command was not run: {error}.", metadata=metadata) from error
    except ValueError as error:
        raise ToolFailure(f"The command was not run: {error}.", code="invalid_input", metadata=metadata) from error
    metadata |= {"exitCode": ended.code, "duration": round(ended.seconds * 1000)}
    return _result(ended, timeout, metadata)


def _result(ended: Ended, seconds: float, metadata: dict[str, Any]) -> ToolResult:
    text = ended.output.text()
    if ended.held:
        text = _below(text, "[processes left in the background were stopped]")
    if ended.timed_out:
        note = f"[stopped after {seconds:g} seconds; give a longer timeout, or do less at once]"
        raise ToolFailure(_below(text, note), code="timeout", metadata=metadata)
    if ended.code:
        raise ToolFailure(_below(text, f"exit code {ended.code}"), metadata=metadata)
    return ToolResult(content=text, metadata=metadata)


def _below(text: str, note: str) -> str:
    return f"{text}\n{note}" if text and not text.endswith("\n") else text + note
