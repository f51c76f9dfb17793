"""What a person is shown before a call that needs their word, and the words a run understands as an answer.

Not here: how the answer is typed; the input line does that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import msgspec
from rich.console import RenderableType

from holdfast.cli.asking.approving import approval_card
from holdfast.cli.chat.figures import Question
from holdfast.errors import HoldfastError
from holdfast.sandbox.workspace import Workspace
from holdfast.types import ToolCall

__all__ = ("ALWAYS", "DENY", "ONCE", "question_card")

ONCE, ALWAYS, DENY = "once", "always", "deny"
"""The answers a run understands; a reason may stand behind the last one and a colon."""

_COMPARED = 256 * 1024
"""Bytes of a file that is compared with what it would become."""


def question_card(question: Question, folder: Path) -> RenderableType:
    """Returns a question as a card: which call, and the command or the change it would make."""
    wait, call = question.wait, question.call
    if wait.prompt.startswith(f"{call.name} "):  # the call itself, which the card has
        wait = msgspec.structs.replace(wait, prompt="")
    return approval_card(_as_change(call, folder), wait)


def _as_change(call: ToolCall, folder: Path) -> ToolCall:
    """Returns a call that writes over a file as the edit that it comes to, so that what is lost by it is seen."""
    try:
        given: Any = json.loads(call.arguments or "{}")
    except ValueError:
        return call
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    path, content = fields.get("path"), fields.get("content")
    if call.name != "write" or not isinstance(path, str) or not isinstance(content, str):
        return call
    now = _contents(folder, path)
    if not now:
        return call
    edits = [{"oldText": now, "newText": content}]
    return msgspec.structs.replace(call, arguments=json.dumps({"path": path, "edits": edits}))


def _contents(folder: Path, path: str) -> str:
    """Returns what stands in a file; nothing where there is none, or none that could be shown."""
    try:
        with Workspace(folder).reading(path) as file:
            data = file.read(_COMPARED) or b""
    except (OSError, HoldfastError, ValueError):
        return ""
    return data.decode("utf-8", "replace")
