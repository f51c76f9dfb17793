"""What a tool call is about and what it came to, in a few words for people.

Results carry a card (`metadata["ui"]`) that says how they want to be shown; unknown cards show their first line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from rich.text import Text

from holdfast.cli.words import one_line, printable
from holdfast.types import ToolCall, ToolResult

__all__ = ("about", "mark_of", "outcome")

_LINES = 12
"""Lines of a diff that are shown."""
_STYLES = {"+": "green", "-": "red"}


def about(call: ToolCall) -> str:
    """Returns what a call wants, on one line."""
    try:
        arguments: Any = json.loads(call.arguments or "{}")
    except ValueError:
        return one_line(call.arguments)
    if not isinstance(arguments, dict):
        return one_line(str(arguments))
    fields = cast("dict[str, Any]", arguments)
    for name in ("command", "path", "url", "pattern"):
        if name in fields:
            return one_line(str(fields[name]))
    return one_line(", ".join(f"{name}={value!r}" for name, value in fields.items()))


def mark_of(result: ToolResult) -> tuple[str, str]:
    """Returns a sign for how a call went, and its colour."""
    if result.error is None:
        return "✓", "green"
    return ("?", "magenta") if result.error.reason == "outcome_unknown" else ("✗", "red")


def outcome(result: ToolResult) -> list[Text]:
    """Returns what a call came to, as a few lines."""
    ui, facts = result.metadata.get("ui"), result.metadata
    if result.error is not None and result.error.reason == "outcome_unknown":
        return [Text("outcome unknown: it was under way when its process died", "magenta")]
    if ui == "terminal" or result.error is not None:
        lines = [line for line in printable(result.content).splitlines() if line.strip()]
        return [Text(line.strip(), "dim" if result.error is None else "red") for line in lines[-2:]]
    if ui == "diff":
        return _diff(str(facts.get("diff", "")))
    if ui == "code" and "lineCount" in facts:
        return [Text(f"{facts['lineCount']} lines", "dim")]
    if ui == "file-created" and "size" in facts:
        return [Text(f"{facts['size']:,} bytes", "dim")]
    first = next((line for line in printable(result.content).splitlines() if line.strip()), "")
    return [Text(first.strip(), "dim")] if first else []


def _diff(diff: str) -> list[Text]:
    """The changed lines with one line of the rest around them."""
    lines = printable(diff).splitlines()[2:]
    changed = {at for at, line in enumerate(lines) if line[:1] in _STYLES}
    shown = list(_around(lines, changed))
    if len(shown) > _LINES:
        more = len(shown) - _LINES + 1
        shown = [*shown[: _LINES - 1], Text(f"… {more} more lines", "dim")]
    return shown


def _around(lines: list[str], changed: set[int]) -> Iterator[Text]:
    last = -1
    for at, line in enumerate(lines):
        near = at in changed or ({at - 1, at + 1} & changed and line.strip() and line[:1] == " ")
        if not near:
            continue
        if last >= 0 and at > last + 1:
            yield Text("⋯", "dim")
        last = at
        yield Text(line.expandtabs(4), _STYLES.get(line[:1], "dim"))
