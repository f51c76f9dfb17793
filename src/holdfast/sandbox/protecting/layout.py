"""Finds where the protected paths of a workspace really lie.

A list says `.git/hooks`; programs outside go where that leads. So a link on the way is held itself, and so is what it
leads to, as far as that lies in the workspace; of what lies elsewhere nothing can be changed from inside. A `.git` may
be a link, or a file that names another folder, and that folder may share the settings of one more: what is protected of
`.git` is so in each of them. Hooks are also where the repository's settings place them (`core.hooksPath`).

`.git/worktrees` stands for less than all of it: of each work tree that lies outside of the workspace, what says which
repository it belongs to, and its own settings. The rest is written by whoever commits in one.

All of this is looked at from outside, with paths that lead out followed no further. What is found is names without
links on the way, but for a link that is the last of one; a name may be of nothing that exists.

Not here: other repositories below the workspace, what a hook runs in turn, and settings in included files.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Generator, Iterable, Sequence
from functools import lru_cache
from typing import Final

from holdfast.errors import SandboxError

__all__ = ("Layout", "layout_of")

Layout = dict[str, "os.stat_result | None"]
"""What is at each name, relative to the workspace, links not followed; None where there is nothing."""

_GIT: Final = ".git"
_HOOKS, _CONFIG, _WORKTREES, _SHARED = (f"{_GIT}/{each}" for each in ("hooks", "config", "worktrees", "commondir"))
_OF_A_WORKTREE: Final = ("commondir", "gitdir", "config.worktree", "modules")
_POINTER: Final = 4096
"""Bytes of a file that names a folder."""
_SETTINGS: Final = 1 << 16
_HOOKS_PATH: Final = re.compile(rb"^[^#;\n]*?\bhookspath[ \t]*=[ \t]*([^#;\n]+)", re.IGNORECASE | re.MULTILINE)
_LINKS: Final = 40
"""How many links one path may lead through, as the kernel has it."""
_NO_NAMES: Final = ("", ".", "..")
_FOLDERS, _NOTHING, _OTHER = range(3)
"""What a path may be of: folders alone; folders, and then nothing; something else, or what is no plain name."""
_MOST: Final = 1000
"""Work trees a repository may have; each costs some mounts."""


def layout_of(folder: str | os.PathLike[str], paths: Iterable[str]) -> Layout:
    """Returns what has to be held, or watched where there is nothing, so that the paths stay what they are.

    Some looks at names the kernel knows, each of some µs.

    Raises:
        SandboxError: there are more work trees than can be held.
    """
    look = _Look(os.fspath(folder))
    listed = tuple(paths)
    for above, below in _by_folder(listed):
        look.take(above, below)
    if look.status(_GIT) is not None and any(path.startswith(f"{_GIT}/") for path in listed):
        _add_repository(look, listed)
    return look.found


@lru_cache(maxsize=64)
def _by_folder(paths: tuple[str, ...]) -> tuple[tuple[str | None, tuple[str, ...]], ...]:
    """Returns the paths to look at as they are, by what `_above` says of them."""
    found: dict[str | None, list[str]] = {}
    for path in paths:
        if path != _WORKTREES:
            found.setdefault(_above(path), []).append(path)
    return tuple((above, tuple(below)) for above, below in found.items())


def _above(path: str) -> str | None:
    """Returns the path of what stands above a path; None for one whose end is no plain name."""
    above, _, name = path.rpartition("/")
    return None if name in _NO_NAMES else above


class _Look:
    def __init__(self, root: str) -> None:
        self.root = root
        self.found: Layout = {}
        self._seen: Layout = {}
        """What was looked at, by name: each is looked at once."""
        self._ways = {"": _FOLDERS}
        """What stands above a name, by that: the workspace itself is of folders alone."""

    def add(self, paths: Iterable[str]) -> None:
        """Takes down what there is to hold of paths."""
        for path in paths:
            self.take(_above(path), (path,))

    def take(self, above: str | None, paths: Iterable[str]) -> None:
        """Does what `add` does, of paths of all of which `_above` says the same."""
        way = _OTHER if above is None else self._way(above)
        if way == _NOTHING:  # below nothing is nothing
            self.found.update(dict.fromkeys(paths))
            return
        for path in paths:
            status = self.status(path) if way == _FOLDERS else None
            if way == _OTHER or (status is not None and stat.S_ISLNK(status.st_mode)):
                self._follow(path)
            else:
                self.found[path] = status

    def status(self, path: str) -> os.stat_result | None:
        """Returns what is at a name, links not followed; None where there is nothing."""
        if path in self._seen:
            return self._seen[path]
        try:
            status = os.lstat(f"{self.root}/{path}")
        except OSError:
            status = None
        self._seen[path] = status
        return status

    def _way(self, path: str) -> int:
        """Returns whether a path is one of folders alone, or one of folders up to where there is nothing."""
        if (known := self._ways.get(path)) is not None:
            return known
        above, _, name = path.rpartition("/")
        way = _OTHER if name in _NO_NAMES else self._way(above)
        if way == _FOLDERS:
            status = self.status(path)
            if status is None:
                way = _OTHER if path.startswith("/") else _NOTHING  # which may be the workspace's path, and then a name
            elif not stat.S_ISDIR(status.st_mode):
                way = _OTHER
        self._ways[path] = way
        return way

    def _follow(self, path: str) -> str:
        left = self._parts(path, [])
        at: list[str] = []
        links = 0
        while left:
            part = left.pop(0)
            if part == "/":
                at = []
                continue
            if part == "..":
                if not at:
                    return ""  # `_parts` has seen to it that this leads out for good
                at.pop()
                continue
            here = "/".join((*at, part))
            status = self.status(here)
            if status is not None and stat.S_ISLNK(status.st_mode):
                self.found[here] = status
                links += 1
                if links > _LINKS:
                    return ""
                left = [*self._parts(os.readlink(f"{self.root}/{here}"), at), *left]
                continue
            at.append(part)
            if status is None:  # what is below it is not there either
                at += left
                break
        end = "/".join(at)
        if not end or ".." in at:
            return ""
        self.found[end] = self.status(end)
        return end

    def _parts(self, path: str, at: list[str]) -> list[str]:
        """Returns the names of a path that is read in a folder; the first is `/` where they are the workspace's, and
        one that leads out of it is `..` alone.
        """
        parts = [each for each in path.split("/") if each not in ("", ".")]
        depth = len(at)
        for part in parts:
            depth += -1 if part == ".." else 1
            if depth < 0:
                break
        if not path.startswith("/") and depth >= 0:
            return parts
        # Through the outside: what matters is where it ends.
        real = os.path.realpath(os.path.join(self.root, *at, path))
        if not f"{real}/".startswith(f"{self.root}/"):
            return ["/", ".."]
        # By its own names, where it has them, so that links on the way are held.
        named = path if path.startswith(f"{self.root}/") else real
        return ["/", *(each for each in named[len(self.root) :].split("/") if each not in ("", "."))]


def _add_repository(look: _Look, listed: Sequence[str]) -> None:
    rest = [path.removeprefix(f"{_GIT}/") for path in listed if path.startswith(f"{_GIT}/") and path != _WORKTREES]
    others = _others(look)
    for git in others:
        look.add([f"{git}/{each}" for each in rest])
    folders = [_GIT, *others]
    if _HOOKS in listed:
        for git in folders:
            look.add(_hooks_of(look, f"{git}/config"))
    if _WORKTREES in listed:
        for git in folders:
            look.add(_pointers(look, f"{git}/worktrees"))


def _others(look: _Look) -> list[str]:
    """Returns the folders besides `.git` in which git looks for what is in there, as paths from the workspace."""
    found: list[str] = []
    own = f"{look.root}/{_GIT}"
    try:
        status = os.stat(own)
    except OSError:
        return []
    if stat.S_ISREG(status.st_mode):
        found.append(_name(_read(own, _POINTER).removeprefix(b"gitdir:").strip()))
    git = found[0] if found else _GIT
    if shared := _name(_read(os.path.join(look.root, git, "commondir"), _POINTER).rstrip(b"\r\n")):
        found.append(os.path.join(git, shared))
    return [each for each in found if each]


def _hooks_of(look: _Look, config: str) -> tuple[str, ...]:
    path = os.path.join(look.root, config)
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return _hooks_in(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hooks_in(path: str, *_: int) -> tuple[str, ...]:
    """Returns the folders that settings name for hooks, but for the workspace as a whole; the numbers tell one version
    of the file from another.
    """
    named = (_name(each.strip(b" \t\r\"'")) for each in _HOOKS_PATH.findall(_read(path, _SETTINGS)))
    return tuple(each for each in named if os.path.normpath(each) not in (".", "/"))


def _pointers(look: _Look, folder: str) -> Generator[str, None, None]:
    """Yields what is protected of the work trees that lie outside of the workspace."""
    try:
        names = os.listdir(os.path.join(look.root, folder))
    except OSError:
        return
    if len(names) > _MOST:
        raise SandboxError(
            f"{folder!r} has {len(names)} work trees, which is too many: `git worktree prune` takes some"
        )
    for name in names:
        tree = _name(_read(os.path.join(look.root, folder, name, "gitdir"), _POINTER).strip())
        place = os.path.realpath(os.path.join(look.root, folder, name, tree))
        if tree and not f"{place}/".startswith(f"{look.root}/"):
            yield from (f"{folder}/{name}/{each}" for each in _OF_A_WORKTREE)


def _name(said: bytes) -> str:
    """Returns what a file says as a path, empty where that cannot be one."""
    return "" if b"\0" in said else os.fsdecode(said)


def _read(path: str, most: int) -> bytes:
    """Returns the beginning of a file; nothing where there is none, or something that is no file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""  # to open a device may do something
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)
