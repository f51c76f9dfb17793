"""The tool that makes a file hold a text."""

from __future__ import annotations

from typing import Any

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.builtin.languages import language_of
from holdfast.tools.declaring import tool
from holdfast.types import Effect, ToolResult

__all__ = ("write",)


@tool(
    effect=Effect(workspace=True, outside="none"),
    touches=lambda arguments: (arguments.path,),
    reference="builtin:write",
)
async def write(path: str, content: str, context: ToolContext) -> ToolResult:
    """Write a file of the workspace, replacing all it held. Missing folders are made.

    Args:
        path: The file, relative to the workspace.
        content: Everything the file shall hold.
        context: Where the call runs.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "file-created", "filePath": path, "language": language_of(path)}
    try:
        data = content.encode()
    except UnicodeEncodeError:
        reason = "The content holds half a character (a lone surrogate), which no text file can hold. Nothing written."
        raise ToolFailure(reason, code="invalid_input", metadata=metadata) from None
    metadata["size"] = len(data)
    with reporting(workspace, path, metadata):
        await finishing(lambda _: workspace.replace(path, data))
    return ToolResult(content=f"Wrote {len(data)} bytes to {path}", metadata=metadata)
