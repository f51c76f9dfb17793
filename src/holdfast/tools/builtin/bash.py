"""The tool that runs a shell command in the workspace.

It runs in whatever the run's backend makes of it. Without isolation the command does whatever our user may, so its
effect outside the workspace is `unsafe`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.port import Posture
from holdfast.sandbox.processes import Ended
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import workspace_of
from holdfast.tools.declaring import tool
from holdfast.types import Effect, Governance, ToolResult

__all__ = ("KEPT", "bash", "lasted")

KEPT: Final = 4 * 1024 * 1024
"""Bytes of output that are kept, half of them from the beginning."""
_AT_ONCE = 256 * 1024
"""Bytes of output that become text without a thread of their own."""


def _effect(_: Any, posture: Posture) -> Effect:
    """A command reaches whatever nothing keeps it from."""
    return Effect(workspace=True, outside="none" if posture.isolated else "unsafe")


@tool(effect=_effect, reference="builtin:bash", governance=Governance(operations=("read", "write", "delete")))
async def bash(
    command: str,
    context: ToolContext,
    timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 120,  # noqa: ASYNC109 - the model sets it, and the whole group is ended by it
) -> ToolResult:
    """Run a command with bash in the workspace. Returns its output, standard output and standard error in order;
    of an output over 4 MiB the beginning and the end; and below it the exit code and how long it took. There is no
    input and no terminal. Processes that are still running in the background when the command ends are stopped.

    Args:
        command: The command, as for `bash -c`.
        context: Where the call runs.
        timeout: Seconds after which the command and everything it started is stopped; at most 600.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "terminal", "command": command, "cwd": str(workspace.root)}
    run = (context.backend or NoIsolation()).run
    environment = clean_environment(workspace.env)
    try:
        ended = await run(command, folder=workspace.root, env=environment, timeout=timeout, keep=KEPT)
    except SandboxError as error:  # which says whether the command ran
        raise ToolFailure(f"Not done: {error}.", metadata=metadata) from error
    except ValueError as error:
        raise ToolFailure(f"The command was not run: {error}.", code="invalid_input", metadata=metadata) from error
    metadata |= {
        "exitCode": ended.code,
        "duration": round(ended.seconds * 1000),
        "outputBytes": ended.output.total,
        "truncated": ended.output.omitted > 0,
        **({"breach": ended.breach} if ended.breach else {}),
        **({"unbound": list(ended.unbound)} if ended.unbound else {}),
        **({"lost": ended.lost} if ended.lost else {}),
        **({"egress": list(ended.out)} if ended.out else {}),
    }
    small = min(ended.output.total, KEPT) <= _AT_ONCE
    text = ended.output.text() if small else await asyncio.to_thread(ended.output.text)
    return _result(ended, text, timeout, metadata)


def lasted(seconds: float) -> str:
    """Returns how long something took, in words that are the same for everything that is quick."""
    return "under 1 s" if seconds < 1 else f"{seconds:.0f} s"


def _result(ended: Ended, text: str, seconds: float, metadata: dict[str, Any]) -> ToolResult:
    if ended.held or ended.strays:
        text = _below(text, "[processes left in the background were stopped]")
    if ended.taken:
        text = _below(text, f"[removed, because programs outside the sandbox obey it: {', '.join(ended.taken)}]")
    if ended.elsewhere:
        names = ", ".join(ended.elsewhere)
        text = _below(text, f"[not reached from here: {names}; stop and start it again for commands that come after]")
    if ended.out:
        text = _denied(text, ended)
    if ended.lost:
        text = _below(text, f"[nothing of what it changed in the workspace was brought in: {ended.lost}]")
    if ended.breach == "output":
        text = _below(text, f"[{ended.output.total} bytes printed, over the sandbox's quota of output; print less]")
    elif ended.breach is not None:
        note = f"[exit code {ended.code}, stopped at the sandbox's quota of {ended.breach}; use less of it]"
        raise ToolFailure(_below(text, note), code="timeout" if ended.timed_out else "quota", metadata=metadata)
    if ended.timed_out:
        note = f"[exit code {ended.code}, stopped after {seconds:g} s; give a longer timeout, or do less at once]"
        raise ToolFailure(_below(text, note), code="timeout", metadata=metadata)
    text = _below(text, f"[exit code {ended.code}, {lasted(ended.seconds)}]")
    if ended.code or ended.lost:
        code = "quota" if ended.breach or not ended.code else "execution_failed"
        raise ToolFailure(text, code=code, metadata=metadata)
    return ToolResult(content=text, metadata=metadata)


def _denied(text: str, ended: Ended) -> str:
    """Adds what the sandbox's policy let nobody reach, and why."""
    from holdfast.sandbox.egress.answers import denials_of  # noqa: PLC0415 - few commands want out

    for each in denials_of(ended.out):
        text = _below(text, f"[denied by the sandbox: {each}]")
    return text


def _below(text: str, note: str) -> str:
    return f"{text}\n{note}" if text and not text.endswith("\n") else text + note
