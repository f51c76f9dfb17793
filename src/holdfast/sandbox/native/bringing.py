"""Brings what a command changed, in a layer over the workspace, into the workspace: as a whole, once it has ended.

The layer is hostile: nothing in it is followed, and what has no business in a workspace stays behind: devices,
sockets, the bits that make a program run as its owner, and what is protected. Files arrive under another name and are
renamed over what is there, so that a reader sees the old or the new one. Whoever dies on the way leaves some files
new and some old; the snapshot before the command puts them back.
"""

from __future__ import annotations

import errno
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
_AT_ONCE = 1 << 24


def bring(
    layer: int, folder: Path, protected: Collection[str], mark: str, most: int, wanted: Callable[[], bool]
) -> int:
    """Does in the folder what the layer says, and returns how many files, links and folders that changed.

    `mark` is the attribute that hides what lies below a folder; a command cannot set the one that counts. `most` bounds
    the bytes that are copied, and `wanted` is asked before each file whether to go on.

    Raises:
        OSError: the folder cannot be written, or it is too much, or it is not wanted any more; some of it may be done.
    """
    target = os.open(folder, _FOLDER)
    try:
        return _Bringing(frozenset(protected), mark, most, wanted).folder(layer, target, "")
    finally:
        os.close(target)


class _Bringing:
    def __init__(self, protected: frozenset[str], mark: str, most: int, wanted: Callable[[], bool]) -> None:
        self._protected = protected
        self._mark = mark
        self._left = most
        self._wanted = wanted

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
        if not self._wanted():
            raise OSError(errno.ECANCELED, "the sandbox was ended meanwhile")
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISCHR(mode) and status.st_rdev == 0:
            return self._gone(target, name, path)
        if stat.S_ISDIR(mode):
            return self._one_folder(source, target, name, path, stat.S_IMODE(mode) & 0o777)
        if self._holds_protected(target, path):
            return 0
        if stat.S_ISREG(mode):
            self._left -= min(status.st_size, status.st_blocks * 512)
            if self._left < 0:
                raise OSError(errno.EDQUOT, "it is more than the quota of the disk")
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
        if self._holds_protected(target, path):
            return 0
        with suppress(FileNotFoundError):
            remove(target, name)
        return 1

    def _holds_protected(self, target: int, path: str) -> bool:
        """Whether something that is protected lies in what is there, which is not removed then."""
        return any(each.startswith(f"{path}/") and _exists(target, each, path) for each in self._protected)

    def _one_folder(self, source: int, target: int, name: str, path: str, mode: int) -> int:
        os.chmod(name, mode | 0o700, dir_fd=source)  # nobody else is in there any more
        below = os.open(name, _FOLDER, dir_fd=source)
        try:
            hides = _is_opaque(below, self._mark) and not self._holds_protected(target, path)
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
            _copy_data(reading, writing, status.st_size)
            os.fchmod(writing, stat.S_IMODE(status.st_mode) & 0o777)
            os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_data(reading: int, writing: int, size: int) -> None:
    """Copies what there is of a file, and leaves its holes."""
    os.ftruncate(writing, size)
    at = 0
    while at < size:
        try:
            begin = os.lseek(reading, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        at = os.lseek(reading, begin, os.SEEK_HOLE)
        os.lseek(writing, begin, os.SEEK_SET)
        _copy_range(reading, writing, begin, at - begin)


def _copy_range(reading: int, writing: int, begin: int, length: int) -> None:
    while length > 0 and (sent := os.sendfile(writing, reading, begin, min(length, _AT_ONCE))):
        begin, length = begin + sent, length - sent


def _is_opaque(folder: int, mark: str) -> bool:
    with suppress(OSError):
        return os.getxattr(folder, mark) == b"y"
    return False
