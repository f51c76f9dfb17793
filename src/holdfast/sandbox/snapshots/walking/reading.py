"""Reads one name of a folder that nobody trusts, as a snapshot keeps it.

A file is opened without following a link and without waiting, is read in pieces, and is read again when it changed
meanwhile; after a few times what was read last is kept. What vanishes is not there. Contents go to whoever keeps
them a piece at a time, so no file is in memory whole unless it is small.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.entries import CHUNK, Entry, encode_chunks, kind_of
from holdfast.sandbox.workspace import Workspace
from holdfast.types import Digest, digest_of, shown

__all__ = ("Keep", "Row", "drained", "holds", "keep_nothing", "read_beginning", "read_entry", "row_of", "settled")

T = TypeVar("T")

_TRIES = 3
_FINE = 50_000_000
"""ns: a change this long after another has another time, where the disk keeps times finer than a second."""
_COARSE = 2_000_000_000
"""ns: the same where it does not."""
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""What opening says when the name is not the file any more that it was."""

Keep = Callable[[bytes], Generator[list[bytes], None, None]]
"""Takes content that is to be stored, and gives it on in batches."""
Row = tuple[str, int, int, int, int, int, int]
"""A name with what tells that it was not touched since: ctime, mtime, inode, size, mode, and how many names it has."""


def keep_nothing(_: bytes) -> Generator[list[bytes], None, None]:
    """Takes content that is only to be looked at."""
    yield from ()


def drained(reading: Generator[list[bytes], None, T]) -> T:
    """Returns the result of a reading, and lets go of what it gives to be stored."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


def row_of(name: str, status: os.stat_result, now: int) -> Row:
    """Returns the row of what was looked at at `now`; one that never matches when it could change unseen."""
    changed = status.st_ctime_ns if settled(status, now) else -1
    return name, changed, status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode, status.st_nlink


def holds(row: Row, now: os.stat_result) -> bool:
    """Returns whether what the row tells of was not touched since."""
    return row[1:] == (now.st_ctime_ns, now.st_mtime_ns, now.st_ino, now.st_size, now.st_mode, now.st_nlink)


def settled(status: os.stat_result, now: int) -> bool:
    """Returns whether a change after `now` cannot leave the times as they are."""
    grain = _FINE if status.st_ctime_ns % 1_000_000_000 else _COARSE
    return status.st_ctime_ns < now - grain


def read_entry(
    folder: int, name: str, shown_as: str, known: Entry | None, room: int, keep: Keep
) -> Generator[list[bytes], None, tuple[Row, Entry] | None]:
    """Returns what a name that is no folder stands for; None when it is gone or is a folder now.

    Content that `known` has already is not kept again. `room` is how many bytes there may be.

    Raises:
        SandboxError: it may not be read, or is larger than the room there is.
    """
    for attempt in range(_TRIES):
        now = time.time_ns()
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        kind, raw = kind_of(status.st_mode), os.fsencode(name)
        if kind == "folder":
            return None
        if kind == "special":
            return row_of(name, status, now), Entry(raw, kind, stat.S_IMODE(status.st_mode))
        try:
            if kind == "link":
                target = os.fsencode(os.readlink(name, dir_fd=folder))
                return row_of(name, status, now), Entry(raw, kind, target=target)
            found = yield from _read_file(folder, name, known, room, keep, last=attempt == _TRIES - 1)
        except OSError as error:
            if error.errno in (*_GONE, errno.EINVAL):  # it became something else: look again
                continue
            raise _unreadable(shown_as, error) from None
        except _NoRoomError as error:
            raise SandboxError(
                f"the workspace is too large to be kept: with {shown(shown_as)} it passes the bound by {error} bytes. "
                "Remove what is not needed, or raise the bound"
            ) from None
        if found is not None:
            return found
    return None


class _NoRoomError(Exception):
    """A file is larger than what may still be kept, by that many bytes."""


def _read_file(
    folder: int, name: str, known: Entry | None, room: int, keep: Keep, *, last: bool
) -> Generator[list[bytes], None, tuple[Row, Entry] | None]:
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    try:
        now = time.time_ns()
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > room:
            raise _NoRoomError(status.st_size - room)
        size, digest, pieces = yield from _read_contents(descriptor, status.st_size, known, room, keep)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (after.st_ctime_ns, after.st_size) != (status.st_ctime_ns, status.st_size) or size != status.st_size:
        if not last:
            return None
        now = 0  # never settled: it is read again the next time
    mode = stat.S_IMODE(status.st_mode)
    return row_of(name, status, now), Entry(os.fsencode(name), "file", mode, size, digest, pieces)


def _read_contents(
    descriptor: int, expected: int, known: Entry | None, room: int, keep: Keep
) -> Generator[list[bytes], None, tuple[int, Digest, bool]]:
    """Returns size and digest, and whether that is of a list of pieces."""
    # A regular file gives less than was asked for only at its end; were that ever not so, the size says it.
    data = os.read(descriptor, min(expected, CHUNK) + 1)
    if len(data) > expected:
        data += _read_up_to(descriptor, CHUNK + 1 - len(data))
    if len(data) <= CHUNK:
        digest = digest_of(data)
        if known is None or known.digest != digest:
            yield from keep(data)
        return len(data), digest, False
    size, digests = 0, list[Digest]()
    while data:
        piece, rest = data[:CHUNK], data[CHUNK:]
        size += len(piece)
        if size > room:
            raise _NoRoomError(size - room)
        digests.append(digest_of(piece))
        yield from keep(piece)
        data = rest + _read_up_to(descriptor, CHUNK - len(rest))
    listed = encode_chunks(digests)
    yield from keep(listed)
    return size, digest_of(listed), True


def _read_up_to(descriptor: int, limit: int) -> bytes:
    """Returns the next `limit` bytes; fewer only at the end."""
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(descriptor, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def read_beginning(workspace: Workspace, path: str, limit: int) -> bytes:
    """Returns the first `limit` bytes of a file as it is now.

    Raises:
        SandboxError: there is no such file, or it cannot be read.
    """
    parts: list[bytes] = []
    try:
        status = workspace.status(path, follow=False)
        if status is None or not stat.S_ISREG(status.st_mode):
            raise SandboxError(f"there is no file {shown(path)}")
        with workspace.reading(path) as file:
            while limit > 0 and (part := file.read(limit)):
                parts.append(part)
                limit -= len(part)
    except OSError as error:
        raise SandboxError(f"{shown(path)} cannot be read: {error.strerror}") from None
    return b"".join(parts)


def _unreadable(path: str, error: OSError) -> SandboxError:
    return SandboxError(
        f"{shown(path)} cannot be read, so the workspace cannot be kept: {error.strerror}. "
        "Give its owner the right to read it, or remove it"
    )
