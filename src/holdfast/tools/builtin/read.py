"""The tool that shows a file's lines.

However large the file is, only what is shown is kept in memory. The text is exactly what the file holds, without
line numbers, so that a piece of it can be given to `edit`; notes on what is not shown stand below, in brackets.
"""

from __future__ import annotations

import threading
from typing import IO, Annotated, Any

import msgspec

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import finishing, reporting, workspace_of
from holdfast.tools.builtin.languages import language_of
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult

__all__ = ("read",)

_LINES = 2000
"""Lines that are shown when no limit is given."""
_WIDTH = 2000
"""Characters of a line that are shown."""
_TOTAL = 48_000
"""Characters that are shown altogether: with the notes less than what the model gets to read of a result."""
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"


class _Page(msgspec.Struct):
    lines: list[bytes]
    """Each with its end, cut to `_WIDTH` characters at the latest."""
    more: bool
    """Whether the file goes on."""
    cut: int
    """How many lines are not shown whole."""


@tool(effect="none", reference="builtin:read")
async def read(
    path: str,
    context: ToolContext,
    offset: Annotated[int, msgspec.Meta(ge=1)] = 1,
    limit: Annotated[int, msgspec.Meta(ge=1)] = _LINES,
) -> ToolResult:
    """Read a text file of the workspace. Returns its lines as they are, without line numbers. At most 2000 lines,
    2000 characters of a line and 48000 characters altogether are shown at once; read on with offset.

    Args:
        path: The file, relative to the workspace.
        context: Where the call runs.
        offset: The first line to show, counted from 1.
        limit: How many lines to show.
    """
    workspace = workspace_of(context)
    metadata: dict[str, Any] = {
        "ui": "code",
        "filePath": path,
        "offset": offset,
        "limit": limit,
        "language": language_of(path),
    }
    page = await finishing(lambda stop: _read(workspace, path, offset, limit, stop, metadata))
    metadata["lineCount"] = len(page.lines)
    raw = b"".join(page.lines)
    text = raw.decode("utf-8", "replace")
    return ToolResult(content=text + _notes(page, offset, text, raw), metadata=metadata)


def _read(
    workspace: Workspace, path: str, offset: int, limit: int, stop: threading.Event, metadata: dict[str, Any]
) -> _Page:
    with reporting(workspace, path, metadata), workspace.reading(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        lines = _Lines(file, stop)
        page = None if lines.binary() else _page(lines, offset, limit)
    if page is None or any(b"\0" in line for line in page.lines):
        raise ToolFailure(
            f"{path!r} is a binary file of {size} bytes and is not shown. Look at it with a command in bash, such as "
            "`file` or `xxd`.",
            metadata=metadata,
        )
    return page


def _page(lines: _Lines, offset: int, limit: int) -> _Page:
    lines.skip(offset - 1)
    page = _Page([], more=False, cut=0)
    room = _TOTAL
    while len(page.lines) < limit:
        line, whole = lines.next()
        room -= len(line.decode("utf-8", "replace"))
        if not line:
            return page
        if room < 0:
            # Shown whole with the next call, rather than in part now.
            page.more = True
            return page
        page.lines.append(line)
        page.cut += not whole
    page.more = lines.more()
    return page


class _Lines:
    """A file's lines, one after another, without ever holding a whole long one."""

    def __init__(self, file: IO[bytes], stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self._buffer = self._load().removeprefix(_BOM)

    def binary(self) -> bool:
        """Whether the beginning is no text."""
        return b"\0" in self._buffer[:8192]

    def skip(self, count: int) -> None:
        """Passes over lines without keeping them."""
        while count and self._buffer:
            there = self._buffer.count(b"\n")
            if there < count:
                count -= there
                self._buffer = self._load()
                continue
            at = -1
            for _ in range(count):
                at = self._buffer.index(b"\n", at + 1)
            self._buffer = self._buffer[at + 1 :]
            return

    def next(self) -> tuple[bytes, bool]:
        """Returns the next line, or its first `_WIDTH` characters and a line end, and whether that is all of it;
        an empty one at the end of the file.
        """
        # A character has at most four bytes, so this much always holds one character more than is shown.
        enough = 4 * _WIDTH + 4
        while b"\n" not in self._buffer and len(self._buffer) < enough:
            more = self._load()
            if not more:
                break
            self._buffer += more
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        line = self._buffer[:end]
        text = line[:enough].decode("utf-8", "replace")
        if len(text.rstrip("\r\n")) <= _WIDTH:
            self._buffer = self._buffer[end:]
            return line, True
        self._pass_line()
        return text[:_WIDTH].encode() + b"\n", False

    def more(self) -> bool:
        """Whether the file goes on."""
        self._buffer = self._buffer or self._load()
        return bool(self._buffer)

    def _pass_line(self) -> None:
        while b"\n" not in self._buffer:
            self._buffer = self._load()
            if not self._buffer:
                return
        self._buffer = self._buffer[self._buffer.index(b"\n") + 1 :]

    def _load(self) -> bytes:
        return b"" if self._stop.is_set() else self._file.read(_CHUNK)


def _notes(page: _Page, offset: int, text: str, raw: bytes) -> str:
    notes: list[str] = []
    if page.cut:
        notes.append(f"[{page.cut} long line(s) cut to at most {_WIDTH} characters]")
    if page.more:
        following = offset + len(page.lines)
        notes.append(f"[lines {offset} to {following - 1} shown; there are more: read on with offset={following}]")
    if "\ufffd" in text and "\ufffd".encode() not in raw:
        notes.append("[not valid UTF-8: bytes that could not be decoded are shown as \ufffd]")
    if not notes:
        return ""
    return ("" if text.endswith("\n") else "\n") + "\n".join(notes)
