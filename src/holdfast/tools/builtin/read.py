"""The tool that shows a file's lines.

However large the file is, only what is shown is kept in memory. The text is exactly what the file holds, without
line numbers, so that a piece of it can be given to `edit`; notes on what is not shown stand below, in brackets.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

import msgspec

from holdfast.sandbox.workspace import MAX_FILE, Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.builtin.languages import language_of
from holdfast.tools.builtin.texts.images import ENOUGH, describe_image
from holdfast.tools.builtin.texts.paging import LINES, Page, page_of, render_page
from holdfast.tools.builtin.texts.stored import PREFIX, load_stored, pages_of
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult

__all__ = ("read",)


@tool(effect="none", tier="direct", reference="builtin:read")
async def read(
    path: str,
    context: ToolContext,
    offset: Annotated[int, msgspec.Meta(ge=1)] = 1,
    limit: Annotated[int, msgspec.Meta(ge=1)] = LINES,
) -> ToolResult:
    """Read a text file of the workspace. Returns its lines as they are, without line numbers. At most 2000 lines,
    2000 characters of a line and 48000 characters altogether are shown at once; read on with offset.

    Args:
        path: The file, relative to the workspace; or `blob:...`, as an earlier result named its whole output.
        context: Where the call runs.
        offset: The first line to show, counted from 1.
        limit: How many lines to show.
    """
    metadata: dict[str, Any] = {
        "ui": "code",
        "filePath": path,
        "offset": offset,
        "limit": limit,
        "language": language_of(path),
    }
    if path.startswith(PREFIX):
        data = await load_stored(path, context)
        page = await finishing(lambda stop: page_of(pages_of(data, stop), offset=offset, limit=limit, stop=stop))
        assert page is not None  # it is text
    else:
        workspace = workspace_of(context)
        page = await finishing(lambda stop: _read(workspace, path, offset, limit, stop, metadata))
    metadata["lineCount"] = len(page.lines)
    return ToolResult(content=render_page(page, offset), metadata=metadata)


def _read(
    workspace: Workspace, path: str, offset: int, limit: int, stop: threading.Event, metadata: dict[str, Any]
) -> Page:
    with reporting(workspace, path, metadata), workspace.reading(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        page = page_of(file, offset=offset, limit=limit, stop=stop, most=max(size, MAX_FILE))
        if page is not None:
            return page
        file.seek(0)
        image = describe_image(file.read(ENOUGH))
    if image:
        what, step = f"a {image}, {size} bytes,", "Pictures are read with a command in bash, or given with the prompt."
    else:
        what, step = f"a binary file of {size} bytes", "Look at it with a command in bash, such as `file` or `xxd`."
    raise ToolFailure(f"{path!r} is {what} and is not shown. {step}", metadata=metadata)
