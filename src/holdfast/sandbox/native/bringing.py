"""Brings what a command changed, in a layer over the workspace, into the workspace: as a whole, once it has ended.

The layer is hostile: nothing in it is followed, and what has no business in a workspace stays behind: devices,
sockets, the bits that make a program run as its owner, and what is protected. Files arrive under another name and are
renamed over what is there, so that a reader sees the old or the new one. Whoever dies on the way leaves some files
new and some old; the snapshot before the command puts them back.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from holdfast.sandbox.snapshots.applying import remove

__all__ = ("bring",)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_AT_ONCE = 1 << 24


def bring(layer: int, folder: Path, protected: Collection[str]) -> int:
    """Does in the folder what the layer says, and returns how many files, links and folders that changed.

    Raises:
        OSError: the folder cannot be written; some of it may be.
    """
    target = os.open(folder, _FOLDER)
    try:
        return _Bringing(frozenset(protected)).folder(layer, target, "")
    finally:
        os.close(target)


class _Bringing:
    def __init__(self, protected: frozenset[str]) -> None:
        self._protected = protected

    def folder(self, source: int, target: int, path: str) -> int:
        """Goes through one folder of the layer."""
        changed = 0
        with os.scandir(source) as found:
            names = sorted(each.name for each in found)
        for name in names:
            where = f"{path}/{name}" if path else name
            if where not in self._protected:
                changed += self._one(source, target, name, where)
        return changed

    def _one(self, source: int, target: int, name: str, path: str) -> int:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISCHR(mode) and status.st_rdev == 0:
            return self._gone(target, name, path)
        if stat.S_ISDIR(mode):
            return self._one_folder(source, target, name, path, stat.S_IMODE(mode) & 0o777)
        if stat.S_ISREG(mode):
            _replace(target, name, lambda new: _copy(source, name, target, new, status))
        elif stat.S_ISLNK(mode):
            goal = os.readlink(name, dir_fd=source)
            _replace(target, name, lambda new: os.symlink(goal, new, dir_fd=target))
        elif stat.S_ISFIFO(mode):
            _replace(target, name, lambda new: os.mkfifo(new, stat.S_IMODE(mode) & 0o777, dir_fd=target))
        else:
            return 0
        return 1

    def _gone(self, target: int, name: str, path: str) -> int:
        if any(each.startswith(f"{path}/") for each in self._protected if _exists(target, each, path)):
            return 0  # what is protected lies in it, so it could not be removed
        with suppress(FileNotFoundError):
            remove(target, name)
        return 1

    def _one_folder(self, source: int, target: int, name: str, path: str, mode: int) -> int:
        below = os.open(name, _FOLDER, dir_fd=source)
        try:
            hides = _is_opaque(below)
            changed = _make_folder(target, name, empty=hides)
            there = os.open(name, _FOLDER, dir_fd=target)
            try:
                changed += self.folder(below, there, path)
                os.fchmod(there, mode)
            finally:
                os.close(there)
            return changed
        finally:
            os.close(below)


def _exists(target: int, protected: str, path: str) -> bool:
    """Whether something protected is there, seen from the folder in which the path's last name is."""
    with suppress(OSError):
        os.stat(protected[path.rfind("/") + 1 :], dir_fd=target, follow_symlinks=False)
        return True
    return False


def _make_folder(target: int, name: str, *, empty: bool) -> int:
    with suppress(FileNotFoundError):
        held = os.stat(name, dir_fd=target, follow_symlinks=False)
        if stat.S_ISDIR(held.st_mode) and not empty:
            return 0
        remove(target, name)
    os.mkdir(name, 0o700, dir_fd=target)
    return 1


def _replace(target: int, name: str, make: Callable[[str], None]) -> None:
    """Makes something under another name, and gives it this one."""
    new = f".holdfast-{secrets.token_hex(6)}"
    make(new)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
                remove(target, name)
        os.rename(new, name, src_dir_fd=target, dst_dir_fd=target)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=target)
        raise


def _copy(source: int, name: str, target: int, new: str, status: os.stat_result) -> None:
    reading = os.open(name, _READ, dir_fd=source)
    try:
        writing = os.open(new, _WRITE, 0o600, dir_fd=target)
        try:
            while os.sendfile(writing, reading, None, _AT_ONCE):
                pass
            os.fchmod(writing, stat.S_IMODE(status.st_mode) & 0o777)
            os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _is_opaque(folder: int) -> bool:
    for mark in _OPAQUE:
        with suppress(OSError):
            if os.getxattr(folder, mark) == b"y":
                return True
    return False
