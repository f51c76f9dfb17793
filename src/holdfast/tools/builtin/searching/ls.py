"""The tool that lists a folder."""

from __future__ import annotations

import heapq
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.builtin.texts.showing import shown_path
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult

__all__ = ("ls",)

_MOST = 1000
"""Entries that are shown."""
_ROOM = 48_000
"""Characters that are shown altogether."""


@tool(effect="none", tier="direct", reference="builtin:ls")
async def ls(context: ToolContext, path: str = ".") -> ToolResult:
    """List what a folder holds, hidden names too, by name: mode, size in bytes, name. Folders end in `/`, links
    show where they point. At most 1000 entries are shown.

    Args:
        context: Where the call runs.
        path: The folder, relative to the workspace.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "file-tree", "path": path, "entryCount": 0}
    status = None
    with reporting(workspace, path, metadata):
        status = await finishing(lambda _: workspace.status(path))
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise ToolFailure(f"{path!r} is a file, not a folder. Look at it with `read`.", metadata=metadata)
        lines, total = await finishing(lambda stop: _list(workspace, path, stop))
    metadata["entryCount"] = total
    if total > len(lines):
        lines.append(f"[{len(lines)} of {total} entries shown; find the others with `glob`]")
    return ToolResult(content="\n".join(lines) or "The folder is empty.", metadata=metadata)


def _list(workspace: Workspace, path: str, stop: threading.Event) -> tuple[list[str], int]:
    total = 0

    def names(found: Iterator[os.DirEntry[str]]) -> Iterator[str]:
        nonlocal total
        for item in found:
            if stop.is_set():
                return
            total += 1
            yield item.name

    lines: list[str] = []
    room = _ROOM
    with workspace.folder(path) as (folder, _):
        with os.scandir(folder) as found:
            # However many there are, only those that are shown are held.
            first = heapq.nsmallest(_MOST, names(found))
        for name in first:
            line = _line(folder, name)
            if line is None:
                total -= 1
                continue
            room -= len(line) + 1
            if room < 0:
                break
            lines.append(line)
    return lines, total


def _line(folder: int, name: str) -> str | None:
    """One entry; None when it is gone."""
    with suppress(OSError):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        shown = shown_path(name)
        if stat.S_ISDIR(status.st_mode):
            shown += "/"
        elif stat.S_ISLNK(status.st_mode):
            shown += " -> " + shown_path(os.readlink(name, dir_fd=folder))
        return f"{stat.filemode(status.st_mode)} {status.st_size:>8} {shown}"
    return None
