"""The tool that replaces pieces of a file.

All edits succeed, in order, or the file stays as it is to the byte. Line ends, byte order mark and mode are kept.
"""

from __future__ import annotations

import codecs
import json
from typing import Annotated, Any

import msgspec

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.differences import near_match, unified_diff
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.declaring import tool
from holdfast.types import Effect, ToolResult

__all__ = ("Edit", "edit")

_QUOTED = 80
"""Characters of a text that an error quotes."""


class Edit(msgspec.Struct, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """One replacement."""

    old_text: Annotated[str, msgspec.Meta(min_length=1, description="The exact text to replace; it must occur once.")]
    new_text: Annotated[str, msgspec.Meta(description="What stands there afterwards.")]


@tool(
    effect=Effect(workspace=True, outside="none"),
    touches=lambda arguments: (arguments.path,),
    reference="builtin:edit",
)
async def edit(path: str, edits: Annotated[list[Edit], msgspec.Meta(min_length=1)], context: ToolContext) -> ToolResult:
    """Replace pieces of a file of the workspace. The edits are made in order, each on the result of the one before;
    every oldText must occur exactly once. If one fails, the file is not changed at all.

    Args:
        path: The file, relative to the workspace.
        edits: The replacements.
        context: Where the call runs.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "diff", "filePath": path, "editCount": len(edits)}
    with reporting(workspace, path, metadata):
        metadata["diff"] = await finishing(lambda _: _edit(workspace, path, edits, metadata))
    return ToolResult(content=f"Applied {len(edits)} edit(s) to {path}", metadata=metadata)


def _edit(workspace: Workspace, path: str, edits: list[Edit], metadata: dict[str, Any]) -> str:
    data, seen = workspace.contents(path)
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    try:
        text = data[len(mark) :].decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"the byte at {error.start + len(mark)} is not"
        raise _failed(f"{path!r} is not UTF-8 text ({where}). Convert it, or change it in bash.", metadata) from None
    # Where every line ends in CRLF, the model may write plain line ends and the file keeps its own.
    windows = "\r\n" in text and text.count("\r\n") == text.count("\n") == text.count("\r")
    before = text.replace("\r\n", "\n") if windows else text
    after = before
    for change in edits:
        old, new = (
            (change.old_text.replace("\r\n", "\n"), change.new_text.replace("\r\n", "\n"))
            if windows
            else (change.old_text, change.new_text)
        )
        after = _replace_once(after, old, new, metadata)
    try:
        result = mark + (after.replace("\n", "\r\n") if windows else after).encode()
    except UnicodeEncodeError:
        raise _failed("newText holds half a character (a lone surrogate). Nothing was changed.", metadata) from None
    workspace.replace(path, result, seen=seen)
    return unified_diff(before, after, path)


def _replace_once(text: str, old: str, new: str, metadata: dict[str, Any]) -> str:
    at = text.find(old)
    if at < 0:
        hint = near_match(text, old)
        raise _failed(f"oldText not found in file: {_quoted(old)}{hint}. Nothing was changed.", metadata)
    again = text.find(old, at + 1)
    if again >= 0:
        lines = f"for example at lines {text.count(chr(10), 0, at) + 1} and {text.count(chr(10), 0, again) + 1}"
        raise _failed(
            f"oldText matches multiple locations: {_quoted(old)} ({lines}); add more of the text around it. "
            "Nothing was changed.",
            metadata,
        )
    return text[:at] + new + text[at + len(old) :]


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= _QUOTED else text[:_QUOTED] + "...", ensure_ascii=False)


def _failed(message: str, metadata: dict[str, Any]) -> ToolFailure:
    return ToolFailure(message, metadata=metadata)
