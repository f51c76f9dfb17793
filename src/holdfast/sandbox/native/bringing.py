"""Brings what a command changed, in a layer over the workspace, into the workspace: as a whole, once it has ended.

The layer is hostile: nothing in it is followed, and what has no business in a workspace stays behind: devices,
sockets, the bits that make a program run as its owner, and what is protected. It is looked through before anything is
written, so what is too deep or too much is refused whole; and neither the stack nor descriptors grow with it. Files
arrive under another name and are renamed over what is there, so that a reader sees the old or the new one. Whoever
dies on the way leaves some files new and some old; the snapshot before the command puts them back.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from holdfast.errors import SandboxError
from holdfast.sandbox.kernel.syscalls import open_beneath
from holdfast.sandbox.snapshots.applying import remove
from holdfast.sandbox.snapshots.port import BOUNDS

__all__ = ("bring", "is_changed")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_ONCE = 1 << 24
_LONGEST: Final = 4095
"""Bytes of a path above which no program can open it."""


def bring(
    layer: int, folder: Path, protected: Collection[str], mark: str, most: int, wanted: Callable[[], bool]
) -> int:
    """Does in the folder what the layer says, and returns how many files, links and folders that changed.

    `mark` is the attribute that hides what lies below a folder; a command cannot set the one that counts. `most` bounds
    the bytes that are copied, and `wanted` is asked before each file whether to go on.

    Raises:
        SandboxError: it is too deep, or too much; nothing of it is done.
        OSError: the folder cannot be written, or it is not wanted any more; some of it may be done.
    """
    steps = _Survey(layer, frozenset(protected), mark, most, len(os.fsencode(folder)), wanted).steps()
    target = os.open(folder, _FOLDER)
    try:
        with _Below(layer) as source, _Below(target) as there:
            return _Bringing(source, there, frozenset(protected), wanted).all(steps)
    finally:
        os.close(target)


def is_changed(layer: int) -> bool:
    """Returns whether a layer says anything at all."""
    top = open_beneath(layer, ".", _FOLDER)
    try:
        with os.scandir(top) as found:
            return next(found, None) is not None
    finally:
        os.close(top)


class _Step(NamedTuple):
    """What the layer says of one path."""

    do: Literal["gone", "folder", "left", "file", "link", "pipe"]
    """Whether there is nothing any more, or what there is; a folder that is `left` has got all it holds."""
    path: str
    mode: int = 0
    hides: bool = False
    """Whether a folder hides what was there before."""


class _Survey:
    """Looks through a layer, in which nobody is any more."""

    def __init__(
        self, layer: int, protected: frozenset[str], mark: str, most: int, longest: int, wanted: Callable[[], bool]
    ) -> None:
        self._layer = layer
        self._protected = protected
        self._mark = mark
        self._left = most
        self._above = longest
        """Bytes of the path of the workspace, which is in front of each."""
        self._wanted = wanted

    def steps(self) -> list[_Step]:
        """Returns what it says, folders before what they hold, and then once more.

        Raises:
            SandboxError, OSError: as `bring`.
        """
        steps = list[_Step]()
        todo = [_Step("folder", "")]
        while todo:
            step = todo.pop()
            if step.path:
                steps.append(step)
            if step.do == "folder":
                if step.path:
                    todo.append(step._replace(do="left"))
                todo += reversed(self._in(step.path))
        return steps

    def _in(self, path: str) -> list[_Step]:
        """Returns a step for each name in a folder of the layer."""
        below = open_beneath(self._layer, path or ".", _FOLDER)
        try:
            with os.scandir(below) as found:
                names = sorted(each.name for each in found)
            steps = (self._step(below, name, f"{path}/{name}" if path else name) for name in names)
            return [each for each in steps if each is not None]
        finally:
            os.close(below)

    def _step(self, below: int, name: str, path: str) -> _Step | None:
        _go_on(self._wanted)
        if path in self._protected:
            return None
        status = os.stat(name, dir_fd=below, follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode) & 0o777
        match stat.S_IFMT(status.st_mode):
            case stat.S_IFCHR if status.st_rdev == 0:
                return _Step("gone", path)
            case stat.S_IFDIR:
                self._check_depth(path)
                os.chmod(name, mode | 0o700, dir_fd=below)
                return _Step("folder", path, mode, hides=_is_opaque(below, name, self._mark))
            case stat.S_IFREG:
                self._left -= min(status.st_size, status.st_blocks * 512)
                if self._left < 0:
                    raise SandboxError("it is more than the quota of the disk; change less, or raise `disk`")
                return _Step("file", path)
            case stat.S_IFLNK:
                return _Step("link", path)
            case stat.S_IFIFO:
                return _Step("pipe", path, mode)
            case _:
                return None

    def _check_depth(self, path: str) -> None:
        if path.count("/") >= BOUNDS.depth or self._above + 1 + len(os.fsencode(path)) > _LONGEST:
            raise SandboxError(
                f"{path[:80]!r} and what is below is more than {BOUNDS.depth} folders deep, or too long a "
                "path; make fewer folders inside each other"
            )


class _Below:
    """The folders below one: one of them is open at a time, besides the one they are in."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._path = ""
        self._open = -1

    def __enter__(self) -> _Below:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._open >= 0:
            os.close(self._open)
            self._open = -1

    def folder(self, path: str) -> int:
        """Returns a descriptor of a folder, which is good until the next one is asked for."""
        if not path:
            return self._root
        if path != self._path or self._open < 0:
            self._let_go()
            self._open, self._path = open_beneath(self._root, path, _FOLDER), path
        return self._open


class _Bringing:
    def __init__(self, source: _Below, there: _Below, protected: frozenset[str], wanted: Callable[[], bool]) -> None:
        self._source = source
        self._there = there
        self._protected = protected
        self._wanted = wanted

    def all(self, steps: Collection[_Step]) -> int:
        """Does every step."""
        changed = 0
        for step in steps:
            if step.do == "left":
                _go_on(self._wanted)
                os.fchmod(self._there.folder(step.path), step.mode)
            else:
                changed += self._one(step)
        return changed

    def _one(self, step: _Step) -> int:
        _go_on(self._wanted)
        above, _, name = step.path.rpartition("/")
        target = self._there.folder(above)
        holds = self._holds_protected(target, step.path)
        if step.do == "folder":
            return _make_folder(target, name, empty=step.hides and not holds)
        if holds:
            return 0
        if step.do == "gone":
            with suppress(FileNotFoundError):
                remove(target, name)
            return 1
        _replace(target, name, self._maker(step, above, name, target), self._wanted)
        return 1

    def _maker(self, step: _Step, above: str, name: str, target: int) -> Callable[[str], None]:
        if step.do == "pipe":
            return lambda new: os.mkfifo(new, step.mode, dir_fd=target)
        source = self._source.folder(above)
        if step.do == "link":
            goal = os.readlink(name, dir_fd=source)
            return lambda new: os.symlink(goal, new, dir_fd=target)
        return lambda new: _copy(source, name, target, new)

    def _holds_protected(self, target: int, path: str) -> bool:
        """Whether something that is protected lies in what is there, which is not removed then."""
        return any(each.startswith(f"{path}/") and _exists(target, each, path) for each in self._protected)


def _go_on(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise OSError(errno.ECANCELED, "the sandbox was ended meanwhile")


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


def _replace(target: int, name: str, make: Callable[[str], None], wanted: Callable[[], bool]) -> None:
    """Makes something under another name, which may take long, and gives it this one if it is still wanted then."""
    new = f".holdfast-{secrets.token_hex(6)}"
    try:
        make(new)
        _go_on(wanted)
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
                remove(target, name)
        os.rename(new, name, src_dir_fd=target, dst_dir_fd=target)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=target)
        raise


def _copy(source: int, name: str, target: int, new: str) -> None:
    reading = os.open(name, _READ, dir_fd=source)
    try:
        status = os.fstat(reading)
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


def _is_opaque(above: int, name: str, mark: str) -> bool:
    with suppress(OSError):
        folder = os.open(name, _FOLDER, dir_fd=above)
        try:
            return os.getxattr(folder, mark) == b"y"
        finally:
            os.close(folder)
    return False
