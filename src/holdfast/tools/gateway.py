"""The one gateway for effects: every tool call of every kind passes these three functions.

    admit     resolve -> repair -> validate                        no effect, may be done again
    protect   snapshot of what the call may change                 (the last stage of admission, done at its turn)
    perform   run it within its timeout                            the effect
    finish    bound the size                                       what the model gets to read

Stages whose rooms are not built yet (authorisation, hooks, approval, budget, secrets, redaction) are absent; each
gets its place in these lists when it comes, and nowhere else. A refusal is a result the model reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, final

import msgspec

from holdfast.errors import Fenced, HoldfastError, PathEscape
from holdfast.journal.owning import Pen
from holdfast.sandbox import snapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.tools.binding import Output, Tool, ToolContext, ToolFailure
from holdfast.tools.repairing import repair_json
from holdfast.types import (
    Effect,
    SnapshotRef,
    StreamId,
    ToolCall,
    ToolError,
    ToolResult,
    ToolSpec,
    Wait,
    tenant_of,
)

__all__ = ("Admitted", "Gateway", "Refused", "canceled", "refusal", "unknown_outcome")


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A call that must not run, and why, as the model reads it."""

    result: ToolResult


class Admitted(msgspec.Struct, frozen=True):
    """A call that may run."""

    call: ToolCall
    tool: Tool
    arguments: Any
    effect: Effect
    key: str
    """Idempotency key: of this call for ever, whoever runs it."""
    snapshot: SnapshotRef | None = None


@final
class Gateway:
    """The tools of one run, and the place they act in."""

    __slots__ = ("_blobs", "_pen", "_stream", "_tools", "_workspace")

    def __init__(
        self, tools: Iterable[Tool], *, stream: StreamId, workspace: Workspace | None, blobs: BlobStore
    ) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self._stream = stream
        self._workspace = workspace
        self._blobs = blobs
        self._pen: Pen | None = None

    def attach(self, pen: Pen) -> None:
        """Ties every effect to the attempt of that pen: a process that lost its session touches nothing more."""
        self._pen = pen
        if self._workspace is not None:
            self._workspace.guard = partial(_ensure_held, pen, asyncio.get_running_loop())

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of."""
        return tuple(tool.spec for tool in self._tools.values())

    def admit(self, call: ToolCall, name: str, *, cut: bool = False) -> Admitted | Refused:
        """Returns the call ready to run, or why it must not.

        `name` tells the call from every other of its session; `cut` says that the model was stopped by its length
        cap, so that damaged arguments may be half of what it meant.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            return refusal(f"There is no tool {call.name!r}. Tools: {known}.", "unsupported_tool", "tool_unsupported")
        try:
            arguments = _parse(tool, call.arguments, cut=cut)
        except (msgspec.MsgspecError, RecursionError) as error:  # the second: brackets nested by the thousand
            hint = (
                f"Arguments of {call.name!r} do not fit: {error}. Call it again with arguments that match its schema."
            )
            return refusal(hint, "invalid_input", "tool_invalid_input")
        try:
            effect = tool.effect(arguments) if tool.effect else tool.spec.effect
        except Exception as error:  # noqa: BLE001 - boundary: a tool call; this is its author's function, too
            return _raised(call.name, "effect", error)
        return Admitted(call, tool, arguments, effect, f"{self._stream}/{name}")

    async def protect(self, admitted: Admitted) -> Admitted | Refused:
        """Returns the call with a snapshot of the files it may change, where that can be told beforehand."""
        touches = admitted.tool.touches
        if not admitted.effect.workspace or touches is None or self._workspace is None:
            return admitted
        try:
            paths = touches(admitted.arguments)
        except Exception as error:  # noqa: BLE001 - boundary: a tool call, as above
            return _raised(admitted.call.name, "touches", error)
        try:
            snapshot = await snapshots.take(self._workspace, paths, self._blobs, tenant_of(self._stream))
        except PathEscape as error:
            return refusal(str(error), "permission_denied", "tool_permission_denied", denied=True)
        except (HoldfastError, OSError) as error:
            return refusal(
                f"The files could not be saved beforehand: {error}", "execution_failed", "tool_backend_failure"
            )
        return msgspec.structs.replace(admitted, snapshot=snapshot)

    async def restore(self, snapshot: SnapshotRef) -> None:
        """Puts the files of a snapshot back."""
        if self._workspace is not None:
            await snapshots.restore(self._workspace, snapshot, self._blobs, tenant_of(self._stream))

    async def perform(self, admitted: Admitted) -> ToolResult | Wait:
        """Returns what the call came to; its failures come back as results too.

        Raises:
            asyncio.CancelledError: the run wants it to stop.
            Fenced: the session has another owner, and nothing more was done.
        """
        tool, call = admitted.tool, admitted.call
        if self._pen is not None:
            await self._pen.hold()
        context = ToolContext(call_id=call.id, stream=self._stream, key=admitted.key, workspace=self._workspace)
        try:
            if tool.spec.timeout is None:
                return _shaped(await tool.run(admitted.arguments, context))
            return await _timed(tool, tool.spec.timeout, admitted.arguments, context)
        except Fenced:
            raise
        except PathEscape as error:
            return ToolResult(str(error), _failure("permission_denied"))
        except ToolFailure as error:
            return ToolResult(str(error), _failure(str(error.code)), _shown(error.metadata))
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return _broken(call.name, error)  # nobody cancelled the call: something it awaited was cancelled
        except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary: a tool call; whatever its author did wrong, the model reads
            return _broken(call.name, error)

    def finish(self, admitted: Admitted, raw: ToolResult) -> ToolResult:
        """Returns the result as the model reads it: valid text, and no more of it than the tool may give."""
        content, limit = raw.content, admitted.tool.spec.max_output
        if len(content) > limit:
            content = _bounded(content, limit)
        if not content.isascii():
            content = content.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written down
        return raw if content is raw.content else msgspec.structs.replace(raw, content=content)


def _ensure_held(pen: Pen, loop: asyncio.AbstractEventLoop) -> None:
    """The same for what is done in a thread."""
    if not pen.held:
        asyncio.run_coroutine_threadsafe(pen.hold(), loop).result()


async def _timed(tool: Tool, seconds: float, arguments: Any, context: ToolContext) -> ToolResult | Wait:
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return _shaped(await tool.run(arguments, context))
    except TimeoutError:
        if not scope.expired():
            raise
        text = f"{tool.spec.name!r} did not finish within {seconds:g} s and was stopped."
        return ToolResult(text, _failure("timeout"))


def refusal(text: str, code: str, reason: str, *, denied: bool = False) -> Refused:
    """Returns a refusal in the words the model reads."""
    return Refused(ToolResult(text, ToolError(code, reason, "denied" if denied else "error")))


def canceled(why: str) -> ToolResult:
    """Returns the result of a call that was stopped or never begun."""
    return ToolResult(f"Canceled: {why}.", ToolError("canceled", "tool_execution_canceled"))


def unknown_outcome(name: str) -> ToolResult:
    """Returns the result of a call that may or may not have happened."""
    text = (
        f"Outcome unknown: the process died while {name!r} was running. It was not run again, because doing it twice "
        "might do harm. Check what it did before you decide."
    )
    return ToolResult(text, ToolError("execution_failed", "outcome_unknown"))


def _parse(tool: Tool, text: str, *, cut: bool) -> Any:
    try:
        return tool.parse(text.encode("utf-8", "replace") if text else b"{}")
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        repaired = repair_json(text, cut=cut)
        if repaired is None:
            raise
        return tool.parse(repaired.encode("utf-8", "replace"))


def _failure(code: str) -> ToolError:
    reasons = {
        "timeout": "tool_execution_timeout",
        "invalid_input": "tool_invalid_input",
        "permission_denied": "tool_permission_denied",
        "canceled": "tool_execution_canceled",
    }
    status = "denied" if code == "permission_denied" else "error"
    return ToolError(code, reasons.get(code, "tool_backend_failure"), status, retryable=code == "timeout")


def _raised(name: str, function: str, error: Exception) -> Refused:
    text = f"The {function!r} function of {name!r} failed, so it was not run: {type(error).__name__}: {error}"
    return refusal(text, "execution_failed", "tool_backend_failure")


def _broken(name: str, error: BaseException) -> ToolResult:
    return ToolResult(f"{name!r} failed: {type(error).__name__}: {error}", _failure("execution_failed"))


def _shaped(raw: Output) -> ToolResult | Wait:
    if isinstance(raw, Wait):
        return msgspec.json.decode(msgspec.json.encode(raw), type=Wait)  # what cannot be read again must not be logged
    if not isinstance(raw, ToolResult):
        return ToolResult(_as_text(raw))
    content = _as_text(raw.content)
    if content is raw.content and raw.error is None and raw.metadata == {}:
        return raw
    shaped = msgspec.structs.replace(raw, content=content, metadata=_shown(raw.metadata))
    return msgspec.json.decode(msgspec.json.encode(shaped), type=ToolResult)  # as above


def _shown(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns metadata as the log can hold it; what JSON has no word for is left out, all of it."""
    try:
        return msgspec.json.decode(msgspec.json.encode(metadata, enc_hook=_pydantic), type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError, ValueError, NotImplementedError, RecursionError):
        return {}


def _as_text(raw: object) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, (bytes, bytearray)):
        return f"[{len(raw)} bytes of binary data, not shown: return text, or write a file and return its path]"
    return msgspec.json.encode(raw, enc_hook=_pydantic).decode()


def _pydantic(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"a tool returned {type(value).__name__}, which JSON cannot hold")
    return dump(mode="json")


def _bounded(text: str, limit: int) -> str:
    head, tail = limit * 2 // 3, limit // 3
    left_out = len(text) - head - tail
    note = f"\n[... {left_out} of {len(text)} characters left out; ask for less at a time ...]\n"
    return text[:head] + note + text[len(text) - tail :]
