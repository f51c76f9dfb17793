"""What a tool call is about and how it went, in a few words on one line.

The card below a call is drawn by `rendering/cards.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from rich.text import Text

from holdfast.cli.hiding.masking import masked, masked_data
from holdfast.cli.words import count, one_line, printable
from holdfast.engine.events import ToolFinished
from holdfast.types import ToolCall, ToolResult

__all__ = (
    "MARKS",
    "about",
    "argument",
    "arguments_of",
    "closing",
    "diff_of",
    "gist",
    "mark_of",
    "shown_arguments",
    "undone",
)

MARKS = {"completed": ("✓", "green"), "limited": ("■", "yellow"), "aborted": ("■", "yellow"), "failed": ("✗", "red")}
"""How a run ended, as a sign and its colour."""


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """Returns a call's arguments; None when they are no JSON object."""
    try:
        arguments: Any = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else None


def shown_arguments(call: ToolCall) -> dict[str, Any] | None:
    """Returns a call's arguments as they are shown: with a mark in the place of what looks like a secret."""
    fields = arguments_of(call)
    return None if fields is None else masked_data(fields)


def argument(call: ToolCall, name: str) -> str:
    """Returns an argument's words as they are shown; empty when it has none."""
    value = (shown_arguments(call) or {}).get(name)
    return value if isinstance(value, str) else ""


def about(call: ToolCall) -> str:
    """Returns what a call wants, on one line."""
    fields = shown_arguments(call)
    if fields is None:
        return one_line(masked(call.arguments))
    if "pattern" in fields:
        place = str(fields.get("path") or ".")
        return one_line(str(fields["pattern"]) + ("" if place == "." else f"  in {place}"))
    for name in ("command", "path", "url"):
        if name in fields:
            return one_line(str(fields[name]))
    if isinstance(fields.get("action"), str):  # what stands behind it belongs to it: of git, what is added or pushed
        rest = " ".join(f"{name}={value!r}" for name, value in fields.items() if name != "action")
        return one_line(f"{fields['action']} {rest}")
    return one_line(", ".join(f"{name}={value!r}" for name, value in fields.items()))


def mark_of(result: ToolResult) -> tuple[str, str]:
    """Returns a sign for how a call went, and its colour."""
    if result.error is None:
        return "✓", "green"
    if result.error.reason == "outcome_unknown":
        return "?", "magenta"
    return ("⊘", "yellow") if result.error.status == "denied" else ("✗", "red")


def again(*, saved: bool) -> str:
    """Returns what is said of a call that a crash cut off and that runs again; of files only where some were saved."""
    return "runs again, its files put back" if saved else "runs again"


def undone(finished: ToolFinished) -> str:
    """Returns what is said beside the time a call took whose files were put back; otherwise nothing."""
    return " · rolled back" if finished.rolled_back else ""


def diff_of(result: ToolResult) -> str:
    """Returns the diff that a call brought back; empty when it is none, as of a tool that only may bring one."""
    diff = result.metadata.get("diff")
    return diff if isinstance(diff, str) and (diff.startswith("@@") or "\n@@" in diff) else ""


def closing(status: str, reason: str, figures: Sequence[str], *, named: bool = True) -> Text:
    """Returns the line that says how a run ended; `named` is whether it says so where all is well."""
    mark, style = MARKS[status]
    line = Text.assemble((mark, style))
    if named or status != "completed":
        line.append(" ").append(status, "bold" if named else style)
    if reason and status in ("limited", "aborted"):
        line.append(f" ({one_line(reason, 80)})")
    return line.append(f"  {' · '.join(figures)}", "dim")


def gist(result: ToolResult) -> str:
    """Returns what a call came to, on one line; empty where one line cannot say it."""
    ui, facts, content = result.metadata.get("ui"), result.metadata, masked(result.content)
    if result.error is not None and result.error.reason == "outcome_unknown":
        return "outcome unknown: it was under way when its process died"
    lines = [line.strip() for line in printable(content).splitlines() if line.strip()]
    if ui == "terminal" or result.error is not None:
        return one_line(lines[-1], 160) if lines else ""
    if diff_of(result):
        return ""
    if ui == "code" and "lineCount" in facts:
        return count(facts["lineCount"], "line")
    if ui == "file-created" and "size" in facts:
        return f"{facts['size']:,} bytes"
    return one_line(lines[0], 160) if lines else ""
