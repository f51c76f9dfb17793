"""The functions of a tool's author, called so that nothing they do breaks a run.

Each tool brings up to four: one that does the work, one that says what a call changes, one that names the files it
touches, and one that asks whether it happened. Whatever they raise or return becomes a result the model reads, or a
refusal. What is let through is a lost lease, a cancellation that somebody outside wanted, and the wait of a call that
one of their calls has to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from holdfast.errors import Fenced, PathEscape
from holdfast.flow.interrupting import cancellations
from holdfast.sandbox.port import Posture
from holdfast.tools.binding import Suspended, Tool, ToolContext, ToolFailure
from holdfast.tools.repairing import repair_json
from holdfast.tools.results import Refused, broken, failure, refusal, shaped, shown
from holdfast.tools.schema.coercing import coerced
from holdfast.types import Effect, ToolResult, Wait

__all__ = ("ask", "effect_of", "may_have_acted", "parse", "paths_of", "run")

_CHECK_SECONDS = 60.0
"""Seconds within which a tool without a timeout has to say whether a call has happened."""
_SCHEMA = 1_500
"""Characters of a schema that is said again to a model whose arguments did not fit it."""


def parse(tool: Tool, text: str, *, cut: bool) -> tuple[Any, str] | Refused:
    """Returns the arguments as the tool's function takes them, and the JSON they were read from where that is not what
    was written, empty where it is; a `Refused` when they do not fit.

    Damage is mended, and strings are read as the numbers, truth values or nulls that the schema wants, where it can
    mean only one thing, and only of what does not fit as it is. `cut` says that it may be half of what was meant.
    """
    try:
        return _decoded(tool, text, cut=cut)
    except (msgspec.MsgspecError, RecursionError) as error:  # the second: brackets nested by the thousand
        name = tool.spec.name
        hint = f"Arguments of {name!r} do not fit: {error}. Call it again with arguments that match its schema"
        return refusal(hint + _schema_of(tool), "invalid_input", "tool_invalid_input")


def effect_of(tool: Tool, arguments: Any, posture: Posture) -> Effect | Refused:
    """Returns what a call with these arguments changes."""
    if tool.effect is None:
        return tool.spec.effect
    try:
        effect = tool.effect(arguments, posture)
        if not isinstance(effect, Effect):  # pyright: ignore[reportUnnecessaryIsInstance] - its author's word
            raise TypeError(f"it returned {effect!r}, which is no Effect")
    except Exception as error:  # noqa: BLE001 - boundary: a tool call; this is its author's function, too
        return _raised(tool.spec.name, "effect", error)
    return effect


def paths_of(tool: Tool, arguments: Any) -> tuple[str, ...] | Refused | None:
    """Returns the paths a call with these arguments may change; None when that cannot be told beforehand."""
    if tool.touches is None:
        return None
    try:
        return _some_paths(tool.touches(arguments))
    except Exception as error:  # noqa: BLE001 - boundary: a tool call, as above
        return _raised(tool.spec.name, "touches", error)


async def run(tool: Tool, arguments: Any, context: ToolContext) -> ToolResult | Wait:
    """Returns what a call came to.

    Raises:
        asyncio.CancelledError: the run wants it to stop.
        Fenced: the session has another owner.
    """
    before = cancellations()
    try:
        if tool.spec.timeout is None:
            return shaped(await tool.run(arguments, context))
        return await _timed(tool, tool.spec.timeout, arguments, context)
    except Suspended as suspended:
        return suspended.wait
    except Fenced:
        raise
    except asyncio.CancelledError as error:
        if cancellations() > before:
            raise
        return broken(tool.spec.name, error)  # nobody cancelled the call: something it awaited was cancelled
    except (Exception, SystemExit, BaseExceptionGroup) as error:  # noqa: BLE001 - boundary: a tool call; whatever its author did wrong, the model reads
        return _failed(tool.spec.name, error)


async def ask(tool: Tool, arguments: Any, context: ToolContext) -> ToolResult | None:
    """Returns what a checkable call came to; None when it did not happen.

    Raises:
        LookupError: nobody can tell; says why.
    """
    check = tool.check
    if check is None:
        raise LookupError("the tool has nobody to ask")
    before = cancellations()
    try:
        async with asyncio.timeout(tool.spec.timeout or _CHECK_SECONDS):
            found = await check(arguments, context)
        result = None if found is None else shaped(found)
    except Fenced:
        raise
    except asyncio.CancelledError as error:
        if cancellations() > before:
            raise
        raise LookupError(f"{type(error).__name__}: {error}") from error
    except (Exception, SystemExit) as error:
        raise LookupError(f"{type(error).__name__}: {error}") from error
    if isinstance(result, Wait):
        raise LookupError("it wants to wait")
    return result


def may_have_acted(outcome: ToolResult) -> bool:
    """Returns whether a call that failed may have taken effect all the same; what it refused itself has not."""
    return outcome.error is not None and outcome.error.code in ("execution_failed", "timeout")


def _failed(name: str, error: BaseException) -> ToolResult | Wait:
    match error:
        case PathEscape():
            return ToolResult(str(error), failure("permission_denied"))
        case ToolFailure():
            return ToolResult(str(error), failure(str(error.code)), shown(error.metadata))
        case BaseExceptionGroup():
            if (wait := _suspended(error)) is not None:
                return wait
            if not isinstance(error, Exception):
                raise error
        case _:
            pass
    return broken(name, error)


def _suspended(errors: BaseExceptionGroup[BaseException]) -> Wait | None:
    """Returns what a group of tasks of a tool was left for, if it was left because one of its calls waits."""
    while (inner := errors.subgroup(Suspended)) is not None:
        for error in inner.exceptions:
            if isinstance(error, Suspended):
                return error.wait
        errors = inner.exceptions[0]  # pyright: ignore[reportAssignmentType] - a group holds groups or leaves
    return None


def _some_paths(given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"it returned {given!r}, which is no tuple of paths")
    paths: list[str] = []
    for path in cast("Iterable[object]", given):
        if not isinstance(path, str):
            raise TypeError(f"it returned {path!r} as a path, which is no text")
        path.encode()
        paths.append(path)
    return tuple(paths)


async def _timed(tool: Tool, seconds: float, arguments: Any, context: ToolContext) -> ToolResult | Wait:
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return shaped(await tool.run(arguments, context))
    except TimeoutError:
        if not scope.expired():
            raise
        text = f"{tool.spec.name!r} did not finish within {seconds:g} s and was stopped."
        return ToolResult(text, failure("timeout"))


def _schema_of(tool: Tool) -> str:
    """Returns the schema of a tool's arguments behind a colon, or nothing of a long one, which the model has anyway."""
    schema = msgspec.json.encode(tool.spec.parameters).decode()
    return f": {schema}" if len(schema) <= _SCHEMA else "."


def _decoded(tool: Tool, text: str, *, cut: bool) -> tuple[Any, str]:
    try:
        return tool.parse(text.encode("utf-8", "replace") if text else b"{}"), ""
    except msgspec.DecodeError as error:  # also what does not fit; damage may stand behind that
        return _read_again(tool, text, error, cut=cut)


def _read_again(tool: Tool, text: str, error: msgspec.DecodeError, *, cut: bool) -> tuple[Any, str]:
    """Returns the same, of arguments that cannot be taken as they are.

    Raises:
        msgspec.DecodeError: there is no one thing that they can mean.
    """
    if (mended := repair_json(text, cut=cut)) is None:
        raise error
    data = mended.encode("utf-8", "replace")
    if mended is not text:
        try:
            return tool.parse(data), data.decode()
        except msgspec.ValidationError as unfit:
            error = unfit
    if (read := coerced(tool.spec.parameters, data)) is None:
        raise error
    return tool.parse(read), read.decode()


def _raised(name: str, function: str, error: Exception) -> Refused:
    text = f"The {function!r} function of {name!r} failed, so it was not run: {type(error).__name__}: {error}"
    return refusal(text, "execution_failed", "tool_backend_failure")
