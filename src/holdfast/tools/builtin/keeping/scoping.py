"""What the tools that keep things have in common: where they keep them, and what may be a key."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import msgspec

from holdfast.tools.binding import Tool, ToolContext, ToolFailure
from holdfast.tools.keeping.kept import LONGEST_KEY, Kept, scope_named
from holdfast.tools.keeping.port import Caps, Change

__all__ = ("check_key", "kept_of", "refused", "scoped")


def kept_of(context: ToolContext) -> Kept:
    """Returns what the call may keep.

    Raises:
        ToolFailure: the call is not part of a run.
    """
    if context.kept is None:
        raise ToolFailure("values and files are kept only in a run: give the tool to an agent")
    return cast("Kept", context.kept())


def scoped(tool: Tool, scope: str) -> Tool:
    """Returns a tool that keeps things elsewhere, which another process finds by its reference.

    Raises:
        UsageError: there is no such scope.
    """
    wanted = scope_named(scope)
    spec = msgspec.structs.replace(tool.spec, reference=f"builtin:{tool.spec.name}?{wanted}")

    def run(arguments: Any, context: ToolContext) -> Awaitable[Any]:
        if (kept := context.kept) is not None:
            context = msgspec.structs.replace(context, kept=lambda: kept().within(wanted))
        return tool.run(arguments, context)

    return msgspec.structs.replace(tool, spec=spec, run=run)


def check_key(key: str, what: str = "key") -> None:
    """Returns when something may be a key.

    Raises:
        ToolFailure: it may not.
    """
    if not key.strip() or len(key) > LONGEST_KEY or not key.isprintable():
        raise ToolFailure(f"a {what} has 1 to {LONGEST_KEY} printable characters", code="invalid_input")


def refused(change: Change, caps: Caps, what: str) -> ToolFailure:
    """Returns why something was not kept, as the model reads it."""
    match change.done:
        case "other version":
            now = f"version {change.version}" if change.version else "nothing"
            text = f"Not written: there is {now} now. Read it, and decide again."
        case "too many":
            text = f"Not written: there are {caps.count} {what} already, as many as may be. Delete some."
        case _:
            text = f"Not written: all {what} together may have {caps.total} bytes. Delete some."
    return ToolFailure(text, code="invalid_input")
