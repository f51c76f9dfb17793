"""What a person is shown before a call that needs their word.

Not here: how the answer is typed; the input line does that.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from holdfast.cli.asking.card import ApprovalCard, approval_card
from holdfast.cli.chat.figures import Question
from holdfast.cli.outcomes import arguments_of
from holdfast.engine.turns import asked_about
from holdfast.errors import HoldfastError
from holdfast.sandbox.workspace import Workspace
from holdfast.types import Digest

__all__ = ("question_card",)

_COMPARED = 256 * 1024
"""Bytes of a file that is compared with what it would become."""


def question_card(question: Question, folder: Path | None) -> ApprovalCard:
    """Returns a question as a card: which call, and the command or the change it would make.

    Without a folder, as where that is on another machine, a file that is written over cannot be compared.
    """
    wait = question.wait
    call = asked_about(question.call, wait)
    fields = arguments_of(call) or {}
    path, content = fields.get("path"), fields.get("content")
    if call.name != "write" or not isinstance(path, str) or not isinstance(content, str):
        return approval_card(call, wait)
    now = None if folder is None else _contents(folder, path)
    if now is None:
        said = "writes over a file that is too large to be compared"
        if folder is None:
            said = "what stands in that file now, if it is there, is at the server, and is written over"
        return approval_card(call, msgspec.structs.replace(wait, prompt=said, digest=Digest("")))
    if now:  # as the edit that it comes to, so that what is lost by it is seen
        del fields["content"]
        fields["edits"] = [{"oldText": now, "newText": content}]
        call = msgspec.structs.replace(call, arguments=json.dumps(fields))
        wait = msgspec.structs.replace(wait, prompt="", arguments="")
    return approval_card(call, wait)


def _contents(folder: Path, path: str) -> str | None:
    """Returns what stands in a file: None when it is too large, nothing where there is none that could be shown."""
    try:
        with Workspace(folder).reading(path) as file:
            data = file.read(_COMPARED + 1) or b""
    except (OSError, HoldfastError, ValueError):
        return ""
    return data.decode("utf-8", "replace") if len(data) <= _COMPARED else None
