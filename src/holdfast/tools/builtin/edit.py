"""The tool that replaces pieces of a file.

All edits succeed, in order, or the file stays as it is to the byte. Encoding, byte order mark, line ends and mode
are kept, and so is every byte that was not edited, also where the file is no valid text.
"""

from __future__ import annotations

import json
import threading
from itertools import islice
from typing import Annotated, Any

import msgspec

from holdfast.sandbox.workspace import MAX_FILE, Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.differences import near_match, unified_diff
from holdfast.tools.builtin.files import finishing, refuse_kept, reporting, workspace_of
from holdfast.tools.builtin.texts.encodings import decode, encode
from holdfast.tools.builtin.texts.replacing import LineEnds, count_places, places_in, put
from holdfast.tools.declaring import tool
from holdfast.types import Effect, Governance, ToolResult

__all__ = ("Edit", "edit")

_QUOTED = 80
"""Characters of a text that an error quotes."""


class Edit(msgspec.Struct, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """One replacement."""

    old_text: Annotated[str, msgspec.Meta(min_length=1, description="The exact text to replace; it must occur once.")]
    new_text: Annotated[str, msgspec.Meta(description="What stands there afterwards.")]
    replace_all: Annotated[
        bool, msgspec.Meta(description="Replace every occurrence; there may then be any number but none.")
    ] = False


@tool(
    effect=Effect(workspace=True, outside="none"),
    touches=lambda arguments: (arguments.path,),
    tier="direct",
    reference="builtin:edit",
    governance=Governance(operations=("write",)),
)
async def edit(path: str, edits: Annotated[list[Edit], msgspec.Meta(min_length=1)], context: ToolContext) -> ToolResult:
    """Replace pieces of a file of the workspace. The edits are made in order, each on the result of the one before;
    every oldText must occur exactly once, unless replaceAll is set. If one fails, the file is not changed at all.
    Not for files in .git or .holdfast. Line ends may be written as plain line feeds; the file keeps its own.

    Args:
        path: The file, relative to the workspace.
        edits: The replacements.
        context: Where the call runs.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "diff", "filePath": path, "editCount": len(edits)}
    for name, text in ((name, getattr(each, name)) for each in edits for name in ("old_text", "new_text")):
        try:
            text.encode()
        except UnicodeEncodeError:
            reason = f"{name.replace('_t', 'T')} holds half a character (a lone surrogate). Nothing was changed."
            raise ToolFailure(reason, code="invalid_input", metadata=metadata) from None
    with reporting(workspace, path, metadata):
        metadata["diff"] = await finishing(lambda stop: _edit(workspace, path, edits, metadata, stop))
    return ToolResult(content=f"Applied {len(edits)} edit(s) to {path}", metadata=metadata)


def _edit(workspace: Workspace, path: str, edits: list[Edit], metadata: dict[str, Any], stop: threading.Event) -> str:
    refuse_kept(workspace, path, metadata)
    data, seen = workspace.contents(path)
    try:
        text, encoding = decode(data)
    except UnicodeDecodeError as error:
        reason = f"{path!r} begins like {error.encoding} text but is none. Change it with a command in bash."
        raise _failed(reason, metadata) from None
    ends = LineEnds(text)
    before = after = ends.plain(text)
    for change in edits:
        after = _changed(after, ends, change, metadata, stop)
    if stop.is_set():
        raise _failed("The call was stopped. Nothing was changed.", metadata)
    workspace.replace(path, encode(ends.own(after), encoding), seen=seen)
    return unified_diff(before, after, path)


def _changed(text: str, ends: LineEnds, change: Edit, metadata: dict[str, Any], stop: threading.Event) -> str:
    old, new = ends.plain(change.old_text), ends.plain(change.new_text)
    if change.replace_all:
        count = count_places(text, old)
        if len(text) + count * (len(new) - len(old)) > MAX_FILE:
            raise _failed(f"The file would get longer than {MAX_FILE} characters. Nothing was changed.", metadata)
        if count:
            return put(text, places_in(text, old), new, stop)
    places = list(islice(places_in(text, old, overlap=True), 2))
    if not places:
        reason = f"oldText not found in file: {_quoted(old)}{near_match(text, old)}. Nothing was changed."
        raise _failed(reason, metadata)
    if len(places) > 1:
        first, second = (text.count("\n", 0, start) + 1 for start, _ in places)
        raise _failed(
            f"oldText matches multiple locations: {_quoted(old)} (for example at lines {first} and {second}); add more "
            "of the text around it, or set replaceAll. Nothing was changed.",
            metadata,
        )
    if len(text) + len(new) - len(old) > MAX_FILE:
        raise _failed(f"The file would get longer than {MAX_FILE} characters. Nothing was changed.", metadata)
    return put(text, places, new, stop)


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= _QUOTED else text[:_QUOTED] + "...", ensure_ascii=False)


def _failed(message: str, metadata: dict[str, Any]) -> ToolFailure:
    return ToolFailure(message, metadata=metadata)
