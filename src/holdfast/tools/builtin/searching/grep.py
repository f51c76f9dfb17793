"""The tool that finds lines in files.

Which lines match is decided in one place, `scanner.py`, whether ripgrep is installed or not: ripgrep only makes it
faster. The lines are in the order of their paths, name by name. Files that `.gitignore` names are searched too, so
that the answer does not depend on a repository around the folder; `exclude` leaves out what is not wanted.
"""

from __future__ import annotations

import stat
import threading
from typing import Annotated, Any

import msgspec

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.builtin.searching.dialect import parse, parse_literal
from holdfast.tools.builtin.searching.finding import LARGEST, Lines, Request, find_lines, find_ripgrep
from holdfast.tools.builtin.searching.wildcards import Wildcards
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult

__all__ = ("grep",)

_SECONDS = 20.0
"""How long a search may take."""
_ROOM = 48_000
"""Characters that are shown altogether: with the notes less than what the model gets to read of a result."""


@tool(effect="none", tier="direct", reference="builtin:grep")
async def grep(  # noqa: PLR0913 - what a search can be narrowed by
    pattern: Annotated[str, msgspec.Meta(min_length=1)],
    context: ToolContext,
    path: str = ".",
    *,
    literal: bool = False,
    ignore_case: bool = False,
    include: str = "",
    exclude: str = "",
    context_lines: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0,
    max_results: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100,
) -> ToolResult:
    """Find the lines that match a regular expression, in one file or in all files below a folder. Returns
    `path:line:text` for each, sorted by path, and `path-line-text` for the lines around it. Hidden files, binary
    files, links and files over 64 MiB are passed over. A pattern is matched within one line; there is no lookaround
    and there are no backreferences. Of long lines 500 characters are shown.

    Args:
        pattern: The regular expression.
        context: Where the call runs.
        path: The file or folder, relative to the workspace.
        literal: Whether the pattern is no regular expression but the very text to find.
        ignore_case: Whether upper and lower case are the same.
        include: Only files like this, such as `*.py` (at any depth), `src/**` or `*.{ts,tsx}`.
        exclude: No files and folders like this, such as `node_modules` or `*.min.js`.
        context_lines: How many lines to show before and after each match.
        max_results: How many matching lines to show.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {"ui": "search-results", "pattern": pattern, "path": path, "matchCount": 0}
    try:
        node = parse_literal(pattern, fold=ignore_case) if literal else parse(pattern, fold=ignore_case)
        for wildcards in filter(None, (include, exclude)):
            Wildcards(wildcards)
    except ValueError as error:
        raise ToolFailure(f"Nothing was searched: {error}.", code="invalid_input", metadata=metadata) from None
    request = Request(node=node, include=include, exclude=exclude, limit=max_results, near=context_lines, room=_ROOM)
    with reporting(workspace, path, metadata):
        ripgrep = None if context.confined else find_ripgrep()  # it would read what is hostile outside the sandbox
        found = await finishing(lambda stop: _search(workspace, path, request, stop, metadata, ripgrep))
    metadata["matchCount"] = found.count
    return ToolResult(content=_told(found), metadata=metadata)


def _told(found: Lines) -> str:
    if not found.count:
        return "No matches found."
    if not found.more:
        return found.text
    return f"{found.text}\n[the first {found.count} matching line(s); there are more: narrow the pattern or the path]"


def _search(
    workspace: Workspace,
    path: str,
    request: Request,
    stop: threading.Event,
    metadata: dict[str, Any],
    ripgrep: str | None,
) -> Lines:
    single = workspace.status(path)
    if single is None or stat.S_ISDIR(single.st_mode):
        with workspace.folder(path) as (folder, shown):
            request = msgspec.structs.replace(request, prefix=shown)
            return _found(folder, request, stop, metadata, ripgrep)
    with workspace.reading(path) as file:
        size = file.seek(0, 2)
    if size > LARGEST:
        raise ToolFailure(
            f"{path!r} has {size} bytes; files over {LARGEST} bytes are not searched. Use `grep` in bash.",
            metadata=metadata,
        )
    with workspace.at(path, follow=True, look=True) as place:
        above, _, _ = place.path.rpartition("/")
        with workspace.folder(above or ".") as (folder, shown):
            request = msgspec.structs.replace(request, prefix=shown, single=place.name, include="", exclude="")
            found = _found(folder, request, stop, metadata, ripgrep)
    if found.binary:
        raise ToolFailure(f"{path!r} is a binary file and is not searched. Use `grep -a` in bash.", metadata=metadata)
    return found


def _found(
    folder: int, request: Request, stop: threading.Event, metadata: dict[str, Any], ripgrep: str | None
) -> Lines:
    try:
        found = find_lines(folder, request, ripgrep=ripgrep, seconds=_SECONDS, stop=stop)
    except TimeoutError:
        raise ToolFailure(
            f"The search took longer than {_SECONDS:g} seconds and was stopped. Search a smaller folder, or use a "
            "simpler pattern: repetitions within repetitions, such as (a+)+, take very long.",
            code="timeout",
            metadata=metadata,
        ) from None
    return found or Lines(text="", count=0, more=False, binary=False)
