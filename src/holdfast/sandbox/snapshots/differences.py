"""Shows what changed as a unified diff that a person or a model reads: bounded, and printable whatever files hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.workspace import Workspace
from holdfast.types import Change, Changes, FileState, SnapshotRef, shown

__all__ = ("LIMIT", "unified")

LIMIT = 64 * 1024
"""Characters of a diff, unless another bound is given."""

_WHOLE = 1024 * 1024
"""Bytes of a file that is compared line by line; of a larger one only the size is said."""
_LINES = 10_000
"""Lines of both files together: comparing takes time that grows faster than they do."""
_SMALL = 4096
"""Bytes of both files together that are compared sooner than a thread is there for it."""
_WIDTH = 2000
"""Characters of a line that are shown."""
_CONTEXT = 3


async def unified(
    store: SnapshotStore,
    workspace: Workspace,
    changes: Changes,
    before: SnapshotRef,
    after: SnapshotRef | None = None,
    *,
    limit: int = LIMIT,
) -> str:
    """Returns the diff of what `changes` says between two snapshots, or between one and the files as they are.

    It has `limit` characters at most; what does not fit is counted in its last line. Each change begins with a line
    that says what it is; only files of text show more than that.

    Raises:
        SandboxError: a snapshot is of another store, or lost.
    """
    parts: list[str] = []
    room = limit
    for done, change in enumerate(changes):
        text = "".join(_header(change))
        if len(text) <= room and _has_lines(change):
            text += await _lines(store, workspace, change, before, after)
        if len(text) > room:
            parts.append(_cut(text, room, len(changes) - done))
            break
        parts.append(text)
        room -= len(text)
    return "".join(parts)


def _cut(text: str, room: int, left: int) -> str:
    last = f"... cut here: {left} changed {'path is' if left == 1 else 'paths are'} not shown, or not in full\n"
    kept = text[: max(0, room - len(last))]
    return kept[: kept.rfind("\n") + 1] + last[: max(0, room)]


def _header(change: Change) -> Iterator[str]:
    name = shown(change.path)
    old, new = change.before, change.after
    yield f"{change.kind} {name}{_what(old, new)}\n"


def _what(old: FileState | None, new: FileState | None) -> str:
    if old is not None and new is not None:
        if old.kind != new.kind:
            return f": {_named(old)} became {_named(new)}"
        if old.kind == "link":
            return f": {_named(old)} became {_named(new)}"
        mode = f", mode {old.mode:04o} became {new.mode:04o}" if old.mode != new.mode else ""
        size = f" ({old.size} to {new.size} bytes)" if old.digest != new.digest else ""
        return f"{size}{mode}"
    state = old or new
    return f": {_named(state)}" if state else ""


def _named(state: FileState) -> str:
    if state.kind == "file":
        return f"file of {state.size} bytes, mode {state.mode:04o}"
    if state.kind == "link":
        return f"link to {shown(state.target)}"
    return {"folder": "folder", "special": "special file"}[state.kind]


def _has_lines(change: Change) -> bool:
    states = [state for state in (change.before, change.after) if state is not None and state.kind == "file"]
    return change.kind != "mode" and any(state.size for state in states)


async def _lines(
    store: SnapshotStore, workspace: Workspace, change: Change, before: SnapshotRef, after: SnapshotRef | None
) -> str:
    if max(state.size for state in (change.before, change.after) if state is not None) > _WHOLE:
        return "  (too large to be compared line by line)\n"
    old = await _content(store, workspace, change.before, before, change.path)
    try:
        new = await _content(store, workspace, change.after, after, change.path)
    except SandboxError:
        if after is not None:
            raise
        return "  (it is gone or cannot be read now)\n"
    if _is_binary(old) or _is_binary(new):
        return "  (binary)\n"
    if len(old) + len(new) <= _SMALL:
        return _compare(change, old, new)
    return await asyncio.to_thread(_compare, change, old, new)


async def _content(
    store: SnapshotStore, workspace: Workspace, state: FileState | None, ref: SnapshotRef | None, path: str
) -> bytes:
    if state is None or state.kind != "file" or not state.size:
        return b""
    return await store.read(workspace, ref, path, _WHOLE)


def _is_binary(data: bytes) -> bool:
    return b"\0" in data[:8192]


def _compare(change: Change, old: bytes, new: bytes) -> str:
    name = shown(change.path)
    left, right = _split(old), _split(new)
    if len(left) + len(right) > _LINES:
        return "  (too many lines to be compared)\n"
    first = f"a/{name}" if change.before is not None and change.before.kind == "file" else "/dev/null"
    second = f"b/{name}" if change.after is not None and change.after.kind == "file" else "/dev/null"
    from difflib import unified_diff  # noqa: PLC0415 - with the first difference that is shown

    return "".join(_printable(unified_diff(left, right, first, second, n=_CONTEXT)))


def _split(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _printable(lines: Iterable[str]) -> Iterator[str]:
    """Lines that do nothing to a terminal; what is no line end but only looks like one is escaped."""
    for line in lines:
        text, end = line.rstrip("\r\n"), line[len(line.rstrip("\r\n")) :]
        if len(text) > _WIDTH:
            text = f"{text[:_WIDTH]}... ({len(text) - _WIDTH} more characters)"
        if not text.replace("\t", "").isprintable():
            text = "".join(letter if letter.isprintable() or letter == "\t" else _escaped(letter) for letter in text)
        yield text + ("\\r\n" if "\r" in end else "\n")
        if not end:
            yield "\\ No newline at end of file\n"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
