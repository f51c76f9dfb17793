"""The card above a question: which call it is, and the command, the change or the address that is to be allowed."""

from __future__ import annotations

import json
from typing import Any, cast, final

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from holdfast.cli.hiding.masking import masked
from holdfast.cli.outcomes import arguments_of, shown_arguments
from holdfast.cli.rendering.diffs import between
from holdfast.cli.rendering.extracts import Extract, extract, extract_lines
from holdfast.cli.words import one_line, printable
from holdfast.engine.turns import asked_about, own
from holdfast.safety.redacting import MARK
from holdfast.types import ToolCall, Wait

__all__ = ("ApprovalCard", "approval_card")

_COMPARED = 200_000
"""Letters of all edits of a call that are compared line by line."""
_HIDDEN = Text("Not all of it is shown: the answer has to be given twice.", "bold red")
_MASKED = Text("What is masked stands in the log: holdfast runs show SESSION -o jsonl", "dim")


@final
class ApprovalCard:
    """What a person has to know to say yes or no."""

    def __init__(self, name: str, lines: list[Text], *, whole: bool, masks: bool = False) -> None:
        self.whole = whole
        """Whether everything that is to be allowed stands on it."""
        self._name = name
        self._lines = [*lines, *([_MASKED] if masks else []), *([] if whole else [_HIDDEN])]

    def __rich__(self) -> Panel:
        return Panel(
            Group(*self._lines),
            title=Text.assemble(("allow ", ""), (self._name, "bold"), "?"),
            title_align="left",
            border_style="yellow",
            padding=(0, 1),
        )


def approval_card(call: ToolCall, wait: Wait, *, whole: bool = False) -> ApprovalCard:
    """Returns a question's card; `whole` is all of the call, however long it is."""
    call, name = asked_about(call, wait), one_line(wait.subject or call.name, 60)
    if not own(wait):  # another call makes it: what it is stands in the question, in short
        lines = [*extract(masked(wait.prompt)).lines, Text(f"called by {one_line(call.name, 60)}", "dim")]
        return ApprovalCard(name, lines, whole="characters …]" not in wait.prompt and MARK not in wait.prompt)
    masks = shown_arguments(call) != arguments_of(call) or masked(call.arguments) != call.arguments
    if whole:
        return ApprovalCard(name, _unabridged(call), whole=True, masks=masks)
    said_below = wait.digest or not wait.prompt  # what the runtime asks about by itself is the call
    parts = [*([] if said_below else [extract(masked(wait.prompt), "dim")]), *_body(call)]
    lines = [line for part in parts for line in part.lines]
    return ApprovalCard(name, lines, whole=not masks and all(part.whole for part in parts), masks=masks)


def _unabridged(call: ToolCall) -> list[Text]:
    fields = shown_arguments(call)
    if fields is None:
        return [Text(line) for line in printable(masked(call.arguments)).splitlines()]
    lines: list[Text] = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        first, *rest = printable(text).splitlines() or [""]
        lines.append(Text.assemble((f"{one_line(name, 60)}: ", "dim"), first))
        lines += [Text(f"  {line}") for line in rest]
    return lines or [Text("no arguments", "dim")]


def _body(call: ToolCall) -> list[Extract]:
    fields = shown_arguments(call)
    if fields is None:
        return [extract(masked(call.arguments))]
    rest = dict(fields)
    parts = [*_head(call, rest)]
    if parts and isinstance(rest.get("edits"), list):
        parts.append(_edits(cast("list[object]", rest.pop("edits"))))
    if parts and isinstance(rest.get("content"), str):
        found = extract(rest.pop("content"), "green")
        parts.append(found._replace(lines=[Text.assemble(("+", "green"), line) for line in found.lines]))
    if rest or not parts:
        parts.append(extract(json.dumps(rest, indent=2, ensure_ascii=False), "dim" if parts else ""))
    return parts


def _head(call: ToolCall, rest: dict[str, Any]) -> list[Extract]:
    """Takes what a call is about out of its arguments."""
    signs = {"command": ("$ ", ""), "url": ("GET " if call.name == "fetch" else "", "bold")}
    signs |= {"action": (f"{one_line(call.name, 60)} ", ""), "path": ("", "bold")}
    for name, (sign, style) in signs.items():
        if isinstance(value := rest.get(name), str) and value:
            del rest[name]
            found = extract(value, style)
            found.lines[0] = Text.assemble((sign, "green"), found.lines[0])
            return [found]
    return []


def _edits(edits: list[object]) -> Extract:
    lines: list[Text] = []
    room = _COMPARED
    for edit in edits:
        if not isinstance(edit, dict):
            continue
        given = cast("dict[str, Any]", edit)
        old, new = (str(given.get(key, "")) for key in ("oldText", "newText"))
        room -= len(old) + len(new)
        lines += [Text("⋯", "dim")] if lines else []
        lines += between(old, new, closely=room > 0)
        others = {name: value for name, value in given.items() if name not in ("oldText", "newText")}
        lines += [Text(json.dumps(others, ensure_ascii=False), "dim")] if others else []
    return extract_lines(lines or [Text("no line is another", "dim")])
