"""Walks a path that nobody trusts, without ever leaving the folder it starts in.

Each folder on the way is opened by its name relative to the one before, and the kernel is told not to follow
links: links are read and followed here. So there is no moment between a check and a use in which a link that was
swapped in could lead out. `..` goes back to the folder that was come from, never to what the disk calls the
parent. What comes out is an open folder and a name inside it; whoever uses the name must not follow links either.

Not here: what is done with the place (`workspace.py`). Hard links cannot be told from files and are not refused;
writing replaces the name, so it never writes through one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress

import msgspec

from holdfast.errors import PathEscape, SandboxError

__all__ = ("Place", "check", "is_special", "keep_out", "walk")

_FOLDER = os.O_RDONLY | getattr(os, "O_PATH", 0) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_STAY = getattr(os, "O_NOFOLLOW", 0)
_MAX_LINKS = 40
_MAX_PARTS = 256
_NEXT = "Use a path relative to the workspace, such as 'src/main.py'"


class Place(msgspec.Struct, gc=False):
    """An open folder and a name in it, which may or may not exist; valid while `walk` is open."""

    folder: int
    """Descriptor of the folder; good for `dir_fd=` and nothing else."""
    name: str
    """One component, never a link when links were followed; `.` means the folder itself."""
    path: str
    """Where that is, relative to the workspace, links resolved."""
    missing: tuple[str, ...] = ()
    """Folders on the way that do not exist, topmost first; `name` is then the first of them."""

    def status(self) -> os.stat_result | None:
        """Returns what is there, links not followed; None when nothing is."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None


class _Walk:
    def __init__(self, root: str, path: str, *, follow: bool, make: bool, missing: bool, apart: frozenset[str]) -> None:
        self.root = root
        self.apart = apart
        self.shown = path
        self.follow = follow
        self.make = make
        self.missing = missing
        self.links = 0
        self.names: list[str] = []
        self.folders: list[int] = []
        self.todo: list[str] = []

    def run(self) -> Place:
        self.folders.append(os.open(self.root, _FOLDER))
        self._add(self.shown)
        while self.todo:
            part = self.todo.pop()
            if part == "..":
                self._back()
            elif not self.todo:
                target = self._target(part) if self.follow else None
                if target is None:
                    return self._place(part)
                self._link(target)
            elif not self._enter(part):
                # Nothing exists below a missing folder, so the rest is only names.
                return self._absent(part)
        return self._place(".")

    def close(self) -> None:
        for folder in self.folders:
            os.close(folder)

    def _add(self, path: str) -> None:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if len(parts) + len(self.todo) > _MAX_PARTS:
            raise OSError(errno.ENAMETOOLONG, f"more than {_MAX_PARTS} folders deep", self.shown)
        self.todo.extend(reversed(parts))

    def _place(self, name: str) -> Place:
        names = self.names if name == "." else [*self.names, name]
        keep_out(self.apart, "/".join(names), self.shown)
        return Place(self.folders[-1], name, "/".join(names) or ".")

    def _absent(self, part: str) -> Place:
        names = [*self.names, part]
        keep_out(self.apart, "/".join(names), self.shown)
        missing: list[str] = []
        for name in reversed(self.todo):
            missing.append("/".join(names))
            names.append(name)
        return Place(self.folders[-1], part, "/".join(names), tuple(missing))

    def _back(self) -> None:
        if not self.names:
            raise _leads_out(self.shown)
        self.names.pop()
        os.close(self.folders.pop())

    def _enter(self, part: str) -> bool:
        keep_out(self.apart, "/".join([*self.names, part]), self.shown)
        while True:
            try:
                self.folders.append(os.open(part, _FOLDER | _STAY, dir_fd=self.folders[-1]))
            except FileNotFoundError:
                if ".." in self.todo or not (self.make or self.missing):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.shown) from None
                if self.missing:
                    return False
                with suppress(FileExistsError):  # somebody was faster
                    os.mkdir(part, dir_fd=self.folders[-1])
                continue
            except OSError as error:
                target = self._target(part) if error.errno in (errno.ELOOP, errno.ENOTDIR) else None
                if target is None:
                    raise type(error)(error.errno, error.strerror, self.shown) from None
                self._link(target)
                return True
            self.names.append(part)
            return True

    def _target(self, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=self.folders[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _link(self, target: str) -> None:
        self.links += 1
        if self.links > _MAX_LINKS:
            raise OSError(errno.ELOOP, "too many symbolic links", self.shown)
        if target.startswith("/"):
            if target != self.root and not target.startswith(self.root.rstrip("/") + "/"):
                raise _leads_out(self.shown)
            target = target[len(self.root) :]
            while self.names:
                self._back()
        self._add(target)


@contextmanager
def walk(
    root: str,
    path: str,
    *,
    follow: bool = True,
    make: bool = False,
    missing: bool = False,
    apart: frozenset[str] = frozenset(),
) -> Generator[Place, None, None]:
    """Opens the folder that a path leads to, below `root`, which must be a resolved absolute path.

    With `follow` a link at the end is followed too, to where it points, existing or not. With `make` missing
    folders are made; with `missing` the walk stops at the first missing one and the place names them all. The paths
    in `apart`, relative to `root`, are not walked into or to.

    Raises:
        PathEscape: the path is absolute, empty, not a path, or leads out.
        SandboxError: it leads to what is apart.
        OSError: a folder on the way is missing, is a file, or may not be entered.
    """
    check(root, path)
    steps = _Walk(root, path, follow=follow, make=make, missing=missing, apart=apart)
    try:
        yield steps.run()
    finally:
        steps.close()


def check(root: str, path: str) -> None:
    """Refuses what is no relative path at all.

    Raises:
        PathEscape: says why.
    """
    if not path:
        raise PathEscape(f"The path is empty. {_NEXT}.")
    if "\0" in path:
        raise PathEscape(f"The path {path!r} holds a NUL character. {_NEXT}.")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise PathEscape(f"The path {path!r} holds characters that no file name can have. {_NEXT}.") from None
    if path.startswith("/"):
        inside = path.removeprefix(root.rstrip("/") + "/")
        if inside != path and inside:
            raise PathEscape(f"{path!r} is absolute. Use {inside!r}, relative to the workspace.")
        raise PathEscape(f"{path!r} is absolute and not in the workspace. {_NEXT}.")


def keep_out(apart: frozenset[str], path: str, shown_as: str) -> None:
    """Refuses a path, on which no link is, that is apart or lies in what is.

    Raises:
        SandboxError: says what to do.
    """
    if apart and any(path == each or path.startswith(f"{each}/") for each in apart):
        raise SandboxError(
            f"{shown_as!r} belongs to the store of this runtime, which lies in the workspace, and is neither changed "
            "nor kept: use another path, or keep the store elsewhere (--store, HOLDFAST_STORE)"
        )


def is_special(status: os.stat_result) -> bool:
    """Returns whether this is neither file, folder nor link: reading it could hang or act on a device."""
    mode = status.st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _leads_out(path: str) -> PathEscape:
    return PathEscape(f"{path!r} leads out of the workspace. {_NEXT}.")
