"""Finds the repository a folder of the workspace belongs to, and refuses one that reaches out of the workspace.

Git writes where the files of its own folder lead: through a link that stands for a log or for the last commit message
it would write anywhere. So no link in there may lead out, and neither may a `.git` file, the shared folder of a work
tree, or borrowed objects. What another process changes after this look is not seen.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import PathEscape, SandboxError

__all__ = ("Repository", "find_repository", "inside")

_POINTER: Final = 4096
"""Bytes of a file that names another folder."""
_DEPTH: Final = 32


class Repository(msgspec.Struct, frozen=True):
    """Where a repository is."""

    space: Path
    """The workspace."""
    folder: Path
    """Where git is started: paths are relative to it."""
    tree: Path
    """The top of the files it keeps."""
    git: Path
    """Its own folder."""


def find_repository(space: Path, folder: str) -> Repository:
    """Returns the repository that a folder, relative to the workspace, belongs to; only the workspace is looked at.

    Raises:
        PathEscape: the folder, or something of the repository, leads out of the workspace.
        SandboxError: there is no such folder, or no repository.
    """
    start = Path(os.path.realpath(space / folder))
    if not inside(space, start):
        raise PathEscape(f"{folder!r} leads out of the workspace; name a folder in it")
    if not start.is_dir():
        raise SandboxError(f"there is no folder {folder!r} in the workspace; name another one")
    for tree in (start, *start.parents):
        if not inside(space, tree):
            break
        if os.path.lexists(tree / ".git"):
            own = _own_folder(space, tree)
            for place in (own, _shared_folder(space, own)):
                _refuse_ways_out(space, place)
            return Repository(space, start, tree, own)
    raise SandboxError(f"{folder!r} is in no git repository of the workspace; make one with `git init` in bash")


def inside(space: Path, path: Path) -> bool:
    """Whether a path, with its links followed, is in the workspace."""
    return Path(os.path.realpath(path)).is_relative_to(space)


def _own_folder(space: Path, tree: Path) -> Path:
    path = tree / ".git"
    if path.is_file():
        pointer = _pointer(path).removeprefix("gitdir:").strip()
        path = tree / pointer
    return _checked(space, path, "its .git")


def _shared_folder(space: Path, own: Path) -> Path:
    """Of a second work tree: where the objects and the configuration of the first one are."""
    path = own / "commondir"
    return _checked(space, own / _pointer(path).strip(), "its shared folder") if path.is_file() else own


def _pointer(path: Path) -> str:
    with path.open("rb") as file:
        return os.fsdecode(file.read(_POINTER))


def _checked(space: Path, path: Path, what: str) -> Path:
    if not inside(space, path):
        raise PathEscape(
            f"the repository is not used: {what} leads out of the workspace. Use git in bash if you trust it"
        )
    if not path.is_dir():
        raise SandboxError(f"the repository is not used: {what} is no folder; look at it with `ls` in bash")
    return Path(os.path.realpath(path))


def _refuse_ways_out(space: Path, own: Path) -> None:
    for path in _links(own, _DEPTH):
        if not inside(space, path):
            name = path.relative_to(own)
            raise PathEscape(
                f"the repository is not used: the link {str(name)!r} in its .git leads out of the workspace. Use git "
                "in bash if you trust it"
            )
    for line in _lines(own / "objects" / "info" / "alternates"):
        if not inside(space, own / "objects" / line):
            raise PathEscape(
                "the repository is not used: it borrows objects from outside the workspace (objects/info/alternates). "
                "Use git in bash if you trust it"
            )


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line for line in path.read_text("utf-8", "surrogateescape").splitlines() if line and line[0] != "#"]


def _links(folder: Path, depth: int, *, objects: bool = False) -> Generator[Path, None, None]:
    """Yields the links in a folder and those below it, but for single objects: git only reads or replaces these."""
    if not depth:
        raise SandboxError("the repository is not used: the folders in its .git are nested too deep")
    with os.scandir(folder) as found:
        for item in found:
            if item.is_symlink():
                yield Path(item.path)
            elif item.is_dir() and not (objects and len(item.name) == 2):
                yield from _links(Path(item.path), depth - 1, objects=item.name == "objects")
