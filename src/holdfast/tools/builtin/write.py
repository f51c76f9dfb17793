"""The tool that makes a file hold a text."""

from __future__ import annotations

from typing import Any

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, refuse_kept, reporting, workspace_of
from holdfast.tools.builtin.languages import language_of
from holdfast.tools.builtin.texts.encodings import UTF8, Encoding, encode, encoding_of
from holdfast.tools.declaring import tool
from holdfast.types import Effect, Governance, ToolResult

__all__ = ("write",)


@tool(
    effect=Effect(workspace=True, outside="none"),
    touches=lambda arguments: (arguments.path,),
    tier="direct",
    reference="builtin:write",
    governance=Governance(operations=("write",)),
)
async def write(path: str, content: str, context: ToolContext) -> ToolResult:
    """Write a file of the workspace, replacing all it held. Missing folders are made. The text is written in UTF-8;
    a file that began with a byte order mark keeps it, and with it its encoding. Not for files in .git or .holdfast.

    Args:
        path: The file, relative to the workspace.
        content: Everything the file shall hold.
        context: Where the call runs.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "file-created", "filePath": path, "language": language_of(path)}
    try:
        content.encode()
    except UnicodeEncodeError:
        reason = "The content holds half a character (a lone surrogate), which no text file can hold. Nothing written."
        raise ToolFailure(reason, code="invalid_input", metadata=metadata) from None
    with reporting(workspace, path, metadata):
        metadata["size"] = await finishing(lambda _: _write(workspace, path, content, metadata))
    return ToolResult(content=f"Wrote {metadata['size']} bytes to {path}", metadata=metadata)


def _write(workspace: Workspace, path: str, content: str, metadata: dict[str, Any]) -> int:
    refuse_kept(workspace, path, metadata)
    encoding = _encoding(workspace, path)
    data = encode(content.removeprefix("\ufeff") if encoding.mark else content, encoding)
    workspace.replace(path, data)
    return len(data)


def _encoding(workspace: Workspace, path: str) -> Encoding:
    """What the file is written in that stands there; whether it may be replaced is found out by doing it."""
    try:
        with workspace.reading(path) as file:
            return encoding_of(file.read(4))
    except OSError:
        return UTF8
