"""The folder a run works in, and the only way its tools touch files.

Paths come from a model: each is relative, and each is walked by `walking.py`, which does not leave the folder
whatever links do meanwhile. Files are opened without following links and without waiting (a FIFO with no writer
must not hang a call), and only regular files are opened at all.

A write makes the new file beside the old one and renames it over: a reader sees the old or the new bytes, and so
does a process that starts after this one was killed. Nothing is synced to the disk: files are promised to
survive the death of a process, not the loss of power, and the log (which is synced) knows which calls finished.
Mode and, where allowed, owner are kept; extended attributes are not.

This is no isolation: a shell in the folder goes where its user may.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import secrets
import stat
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.protecting.layout import layout_of
from holdfast.sandbox.walking import Place, check, is_special, keep_out, walk

__all__ = ("MAX_FILE", "Entry", "Workspace", "sweep")

MAX_FILE = 64 * 1024 * 1024
"""Bytes a file may have that is taken into memory whole, to be changed or kept."""

_CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_OPEN = (
    os.O_RDONLY | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_TEMPORARY = ".holdfast-"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One name in a folder."""

    name: str
    mode: int
    """As `os.stat` gives it, links not followed."""
    size: int


class Workspace:
    """A folder that no path leads out of."""

    def __init__(
        self,
        root: Path | str,
        *,
        env: Mapping[str, str] | None = None,
        apart: Sequence[Path] = (),
        protected: Sequence[str] = (),
    ) -> None:
        """`apart` are resolved paths of what is neither changed nor kept here, such as our own database. What is
        `protected`, by paths in the folder, is kept and not written, because programs outside the sandbox obey it.
        """
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise SandboxError(f"the workspace {str(self.root)!r} is not a folder: create it, or name another one")
        self.env = dict(env or {})
        """What commands get in their environment on top of the clean one."""
        self._root = str(self.root)
        self.apart = frozenset(
            path.relative_to(self.root).as_posix() for path in apart if path.is_relative_to(self.root)
        )
        """What is apart, relative to the folder; it may be read."""
        self.protected = tuple(protected)
        self.guard: Callable[[], None] | None = None
        """Asked, in the thread that does it, before a file is changed; raises when this process must not any more."""

    def elsewhere(self, root: Path) -> Workspace:
        """Returns another folder as a workspace of the same kind: its commands' environment, and what is protected."""
        return Workspace(root, env=self.env, protected=self.protected)

    def ask_guard(self) -> None:
        """Raises what the guard raises, if there is one and it objects."""
        if self.guard is not None:
            self.guard()

    def refuse_apart(self, path: str) -> None:
        """Refuses a path, on which no link is, that is apart or lies in what is.

        Raises:
            SandboxError: it is.
        """
        keep_out(self.apart, path, path)

    def refuse_protected(self, path: str) -> None:
        """Refuses to write a path at or below, or in the place of a folder above, one that is protected, or that a
        protected one leads to; through links, in any letter case.

        Raises:
            SandboxError: it is one.
            PathEscape, OSError: the path leads out, or nowhere.
        """
        if not self.protected:
            return
        with walk(self._root, path, follow=True, missing=True) as place:
            self._refuse_protected(place.path, path)
        self._refuse_protected(posixpath.normpath(path), path)

    def _refuse_protected(self, found: str, path: str) -> None:
        found = f"{found.casefold()}/"
        for each in {**dict.fromkeys(self.protected), **layout_of(self._root, self.protected)}:
            if found.startswith(f"{each.casefold()}/") or f"{each.casefold()}/".startswith(found):
                raise SandboxError(
                    f"{path!r} is not written: programs outside the sandbox obey {each!r}, which its profile protects "
                    "(workspace: protect). Say what it should hold, and let the person write it"
                )

    @contextmanager
    def reading(self, path: str) -> Generator[IO[bytes], None, None]:
        """Opens a regular file for reading; the file object is not buffered.

        Raises:
            PathEscape: the path leads out.
            SandboxError: it is a device, FIFO or socket.
            OSError: there is no such file, it is a folder, or it may not be read.
        """
        with walk(self._root, path) as place:
            _refuse_special(place.status(), path)
            try:
                descriptor = os.open(place.name, _OPEN, dir_fd=place.folder)
            except OSError as error:
                raise _renamed(error, path) from None
        try:
            status = os.fstat(descriptor)
            _refuse_special(status, path)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        except BaseException:
            os.close(descriptor)
            raise
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield file

    def contents(self, path: str) -> tuple[bytes, os.stat_result]:
        """Returns all of a regular file, and what it was when it was read.

        Raises:
            PathEscape: the path leads out.
            SandboxError: it is no regular file, or has more than `MAX_FILE` bytes.
            OSError: there is no such file, it is a folder, or it may not be read.
        """
        with self.reading(path) as file:
            status = os.fstat(file.fileno())
            pieces: list[bytes] = []
            total = 0
            # The size is only what it was: the file may grow while it is read.
            while status.st_size <= MAX_FILE and total <= MAX_FILE and (piece := file.read(1 << 20)):
                pieces.append(piece)
                total += len(piece)
        if max(total, status.st_size) > MAX_FILE:
            raise SandboxError(
                f"{path!r} has {max(total, status.st_size)} bytes; files over {MAX_FILE} bytes are not read or kept "
                "whole. Change it with a command in bash."
            )
        return b"".join(pieces), status

    def replace(self, path: str, data: bytes, *, mode: int | None = None, seen: os.stat_result | None = None) -> None:
        """Makes the file hold exactly these bytes, all at once; missing folders are made.

        An existing file keeps its mode unless one is given. With `seen` the file must still be the one that
        was looked at.

        Raises:
            PathEscape: the path leads out.
            SandboxError: it is a device, FIFO or socket, or another file than `seen`, or it is apart or protected.
            OSError: it is a folder, write-protected, or the disk is full.
        """
        check(self._root, path)
        self.ask_guard()
        if path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self.refuse_protected(path)
        with walk(self._root, path, make=True, apart=self.apart) as place:
            self._refuse_protected(place.path, path)  # a link may have been put there meanwhile
            status = place.status()
            _refuse_special(status, path)
            if place.name == "." or (status is not None and stat.S_ISDIR(status.st_mode)):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if seen is not None and (status is None or _identity(status) != _identity(seen)):
                raise SandboxError(f"{path!r} was changed by someone else meanwhile. Read it again, then edit it.")
            if mode is None and status is not None and not os.access(place.name, os.W_OK, dir_fd=place.folder):
                raise PermissionError(errno.EACCES, "the file is write-protected", path)
            try:
                _put(place, data, status, mode, self.ask_guard)
            except OSError as error:
                raise _renamed(error, path) from None

    def status(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """Returns what the path names; None when nothing is there."""
        try:
            with walk(self._root, path, follow=follow) as place:
                return place.status()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def listing(self, path: str = ".") -> list[Entry]:
        """Returns what a folder holds, by name.

        Raises:
            PathEscape: the path leads out.
            OSError: there is no such folder, or it is a file.
        """
        entries: list[Entry] = []
        with self.folder(path) as (folder, _), os.scandir(folder) as found:
            for item in found:
                with suppress(FileNotFoundError):  # gone since it was listed
                    status = item.stat(follow_symlinks=False)
                    entries.append(Entry(item.name, status.st_mode, status.st_size))
        return sorted(entries, key=lambda entry: entry.name)

    @contextmanager
    def folder(self, path: str) -> Generator[tuple[int, str], None, None]:
        """Opens a folder for looking through it; yields its descriptor and where it is, relative to the workspace,
        links resolved; that is empty for the workspace itself. `browsing.browse` goes on from there.

        Raises:
            PathEscape: the path leads out.
            OSError: there is no such folder, it is a file, or it may not be read.
        """
        with walk(self._root, path) as place:
            try:
                folder = os.open(place.name, _OPEN | getattr(os, "O_DIRECTORY", 0), dir_fd=place.folder)
            except OSError as error:
                raise _renamed(error, path) from None
            shown = place.path
        try:
            yield folder, "" if shown == "." else shown
        finally:
            os.close(folder)

    @contextmanager
    def at(
        self, path: str, *, follow: bool = False, make: bool = False, missing: bool = False, look: bool = False
    ) -> Generator[Place, None, None]:
        """Opens the place of a path for what the other methods do not do; see `walking.walk`.

        What is apart is refused, unless it is only looked at.
        """
        apart = frozenset[str]() if look else self.apart
        with walk(self._root, path, follow=follow, make=make, missing=missing, apart=apart) as place:
            yield place


def sweep(place: Place) -> None:
    """Removes what writes of this name left behind when their process was killed. Only for the one owner."""
    prefix = _temporary(place.name)
    folder = os.open(".", os.O_RDONLY | _CLOEXEC, dir_fd=place.folder)
    try:
        with os.scandir(folder) as found:
            left = [item.name for item in found if item.name.startswith(prefix)]
        for name in left:
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _put(
    place: Place, data: bytes, status: os.stat_result | None, mode: int | None, ask_guard: Callable[[], None]
) -> None:
    temporary = _temporary(place.name) + secrets.token_hex(6)
    descriptor = os.open(temporary, _CREATE, 0o666, dir_fd=place.folder)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):  # not ours to give: then it becomes ours
                    os.fchown(descriptor, status.st_uid, status.st_gid)
            if mode is None and status is not None:
                mode = stat.S_IMODE(status.st_mode)
            if mode is not None:
                os.fchmod(descriptor, mode)
        # Asked only now: a later owner sweeps the new file away before it looks at the old one.
        ask_guard()
        os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place.folder)
        raise


def _temporary(name: str) -> str:
    return f"{_TEMPORARY}{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}-"


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_special(status: os.stat_result | None, path: str) -> None:
    if status is not None and is_special(status):
        raise SandboxError(f"{path!r} is a device, FIFO or socket. Only regular files can be read or written.")


def _renamed(error: OSError, path: str) -> Exception:
    """The error with the path as it was asked for, never one of our own names."""
    if error.errno == errno.ELOOP:
        return PathEscape(f"{path!r} became a link while it was being opened. Try again, or use another path.")
    return type(error)(error.errno, error.strerror, path)
