"""The tool that finds files by their names."""

from __future__ import annotations

import stat
import threading
import time
from contextlib import closing
from typing import Annotated, Any

import msgspec

from holdfast.errors import PathEscape
from holdfast.sandbox.browsing import Spot, browse
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.builtin.searching.wildcards import States, Wildcards
from holdfast.tools.builtin.texts.showing import shown_path
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult

__all__ = ("glob",)

_MOST = 1000
"""Paths that are shown."""
_ROOM = 48_000
"""Characters that are shown altogether."""
_SECONDS = 20.0


@tool(effect="none", tier="direct", reference="builtin:glob")
async def glob(
    pattern: Annotated[str, msgspec.Meta(min_length=1)], context: ToolContext, path: str = "."
) -> ToolResult:
    """Find files by a pattern. Returns one path a line, relative to the workspace and sorted; at most 1000.
    `*` and `?` stand for characters of a name, `**` for any number of folders, `{a,b}` for one or the other:
    `**/*.py` finds the Python files at every depth, `*.py` only those in the folder itself. Hidden names are found
    only when the pattern writes their dot.

    Args:
        pattern: The pattern, relative to `path`.
        context: Where the call runs.
        path: The folder to look in, relative to the workspace.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "file-tree", "pattern": pattern, "path": path, "count": 0}
    try:
        wildcards = Wildcards(pattern)
    except ValueError as error:
        raise ToolFailure(f"Nothing was searched: {error}.", code="invalid_input", metadata=metadata) from None
    with reporting(workspace, path, metadata):
        try:
            found, more = await finishing(lambda stop: _find(workspace, path, wildcards, stop))
        except TimeoutError:
            message = f"The search took longer than {_SECONDS:g} seconds and was stopped. Search a smaller folder."
            raise ToolFailure(message, code="timeout", metadata=metadata) from None
    metadata["count"] = len(found)
    if not found:
        return ToolResult(content="No files matched.", metadata=metadata)
    note = [f"[the first {len(found)} files; there are more: narrow the pattern or the path]"] if more else []
    return ToolResult(content="\n".join([*found, *note]), metadata=metadata)


def _find(workspace: Workspace, path: str, wildcards: Wildcards, stop: threading.Event) -> tuple[list[str], bool]:
    until = time.monotonic() + _SECONDS
    reached: dict[tuple[str, ...], States] = {(): wildcards.start()}
    found: list[str] = []
    room = _ROOM

    def enter(parts: tuple[str, ...]) -> bool:
        if time.monotonic() > until:
            raise TimeoutError
        reached[parts] = wildcards.step(reached[parts[:-1]], parts[-1])
        return bool(reached[parts]) and not stop.is_set()

    with workspace.folder(path) as (folder, prefix), closing(browse(folder, enter=enter)) as spots:
        for spot in spots:
            if stop.is_set():
                break
            if not wildcards.ends(wildcards.step(reached[spot.parts[:-1]], spot.parts[-1])):
                continue
            real = "/".join((prefix, *spot.parts) if prefix else spot.parts)
            if not _is_file(workspace, spot, real):
                continue
            shown = shown_path(real)
            room -= len(shown) + 1
            if len(found) == _MOST or room < 0:
                return found, True
            found.append(shown)
    return found, False


def _is_file(workspace: Workspace, spot: Spot, path: str) -> bool:
    """Whether it is a file, or a link to one in the workspace."""
    if spot.kind == "file":
        return True
    try:
        status = workspace.status(path)
    except (PathEscape, OSError):
        return False
    return status is not None and stat.S_ISREG(status.st_mode)
