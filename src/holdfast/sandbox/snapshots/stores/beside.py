"""Compares two folders as they lie on disk, for stores in which a file that was not touched shows the same times.

Both are walked at once, by open folders, and no link is followed. A file is read only when inode, size, mode or a
time differs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.comparing import change_between
from holdfast.sandbox.snapshots.entries import Entry
from holdfast.sandbox.snapshots.port import Bounds
from holdfast.sandbox.snapshots.walking.reading import drained, keep_nothing, read_entry
from holdfast.sandbox.snapshots.walking.scanning import is_leftover, open_folder
from holdfast.types import Change, Changes, shown

__all__ = ("compare_folders",)


def compare_folders(before: str, after: str, bounds: Bounds) -> Changes:
    """Returns what differs between two folders, sorted by path.

    Raises:
        SandboxError: there is more than the bounds allow, or something cannot be read.
        OSError: one of them cannot be entered.
    """
    left, right = open_folder(before), open_folder(after)
    walk = _Walk(bounds)
    try:
        found = list(walk.compare(left, right, "", 0))
    finally:
        os.close(left)
        os.close(right)
    return tuple(sorted(found, key=lambda change: os.fsencode(change.path)))


class _Walk:
    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._files = 0

    def compare(self, left: int | None, right: int | None, path: str, depth: int) -> Iterator[Change]:
        if depth > self._bounds.depth:
            raise SandboxError(f"{shown(path)} is more than {self._bounds.depth} folders deep: it cannot be compared")
        olds, news = _statuses(left), _statuses(right)
        self._files += len(news)
        if self._files > self._bounds.files:
            raise SandboxError(f"there are more than {self._bounds.files} files: they cannot be compared")
        for name in {*olds, *news}:
            old, new = olds.get(name), news.get(name)
            below = f"{path}{name}"
            if not _same(old, new):
                one, other = self._entry(left, name, below, old), self._entry(right, name, below, new)
                if (change := change_between(below, one, other)) is not None:
                    yield change
            if _is_folder(old) or _is_folder(new):
                yield from self._enter(
                    left if _is_folder(old) else None, right if _is_folder(new) else None, name, f"{below}/", depth
                )

    def _enter(self, left: int | None, right: int | None, name: str, path: str, depth: int) -> Iterator[Change]:
        one = open_folder(name, left) if left is not None else None
        try:
            other = open_folder(name, right) if right is not None else None
            try:
                yield from self.compare(one, other, path, depth + 1)
            finally:
                if other is not None:
                    os.close(other)
        finally:
            if one is not None:
                os.close(one)

    def _entry(self, folder: int | None, name: str, path: str, status: os.stat_result | None) -> Entry | None:
        if folder is None or status is None:
            return None
        if _is_folder(status):
            return Entry(b"", "folder", stat.S_IMODE(status.st_mode))
        read = drained(read_entry(folder, name, path, None, self._bounds.size, keep_nothing))
        return read[1] if read else None


def _statuses(folder: int | None) -> dict[str, os.stat_result]:
    if folder is None:
        return {}
    with os.scandir(folder) as found:
        return {item.name: item.stat(follow_symlinks=False) for item in found if not is_leftover(item.name)}


def _is_folder(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _same(old: os.stat_result | None, new: os.stat_result | None) -> bool:
    if old is None or new is None:
        return False
    return (old.st_ino, old.st_size, old.st_mode, old.st_mtime_ns, old.st_ctime_ns) == (
        new.st_ino,
        new.st_size,
        new.st_mode,
        new.st_mtime_ns,
        new.st_ctime_ns,
    )
