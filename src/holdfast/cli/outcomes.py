"""What a tool call is about and how it went, in a few words on one line.

The card below a call is drawn by `rendering/cards.py`.
"""

from __future__ import annotations

import json
from typing import Any, cast

from holdfast.cli.words import one_line, printable
from holdfast.types import ToolCall, ToolResult

__all__ = ("about", "argument", "arguments_of", "gist", "mark_of")


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """Returns a call's arguments; None when they are no JSON object."""
    try:
        arguments: Any = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else None


def argument(call: ToolCall, name: str) -> str:
    """Returns an argument's words; empty when it has none."""
    value = (arguments_of(call) or {}).get(name)
    return value if isinstance(value, str) else ""


def about(call: ToolCall) -> str:
    """Returns what a call wants, on one line."""
    fields = arguments_of(call)
    if fields is None:
        return one_line(call.arguments)
    for name in ("command", "path", "url", "pattern"):
        if name in fields:
            return one_line(str(fields[name]))
    return one_line(", ".join(f"{name}={value!r}" for name, value in fields.items()))


def mark_of(result: ToolResult) -> tuple[str, str]:
    """Returns a sign for how a call went, and its colour."""
    if result.error is None:
        return "✓", "green"
    if result.error.reason == "outcome_unknown":
        return "?", "magenta"
    return ("⊘", "yellow") if result.error.status == "denied" else ("✗", "red")


def gist(result: ToolResult) -> str:
    """Returns what a call came to, on one line; empty where one line cannot say it."""
    ui, facts = result.metadata.get("ui"), result.metadata
    if result.error is not None and result.error.reason == "outcome_unknown":
        return "outcome unknown: it was under way when its process died"
    lines = [line.strip() for line in printable(result.content).splitlines() if line.strip()]
    if ui == "terminal" or result.error is not None:
        return one_line(lines[-1], 160) if lines else ""
    if ui == "diff":
        return ""
    if ui == "code" and "lineCount" in facts:
        return f"{facts['lineCount']} lines"
    if ui == "file-created" and "size" in facts:
        return f"{facts['size']:,} bytes"
    return one_line(lines[0], 160) if lines else ""
