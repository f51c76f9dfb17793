"""Finds the repository a folder of the workspace belongs to, and refuses one that reaches out of the workspace.

Git writes where the files of its own folder lead: through a link that stands for a log or for the last commit message
it would write anywhere, also to what programs outside obey in the workspace itself. So there is no link in there but
those that git makes or never follows here: a `HEAD` that is one to a branch, and hooks, which may be kept among the
files. A `.git`, also one that is a link or a file, and the shared folder of a work tree do not lead out. Objects are
borrowed from nobody: who lends may borrow in turn.

What another process changes after this look is not seen; `bounding.py` is for that.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import PathEscape, SandboxError

__all__ = ("Repository", "find_repository", "inside", "refuse_outside")

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
    shared: Path
    """The folder with what it shares with other work trees of it; its own one, where there are none."""


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
            shared = _shared_folder(space, own)
            for place in {own, shared}:
                _refuse_ways_out(space, place)
            return Repository(space, start, tree, own, shared)
    raise SandboxError(f"{folder!r} is in no git repository of the workspace; make one with `git init` in bash")


def inside(space: Path, path: Path) -> bool:
    """Whether a path, with its links followed, is in the workspace."""
    return Path(os.path.realpath(path)).is_relative_to(space)


def refuse_outside(repository: Repository, paths: Iterable[str]) -> None:
    """Refuses paths that do not lie among the repository's files.

    A link at the end of one is fine: git takes it as a link, and does not follow it.

    Raises:
        PathEscape: one of them leads out, by its name or through a link to another folder.
    """
    for path in paths:
        named = Path(os.path.normpath(repository.folder / path))
        real = Path(os.path.realpath(named.parent)) / named.name
        if not (
            named.is_relative_to(repository.tree) and (named == repository.tree or real.is_relative_to(repository.tree))
        ):
            raise PathEscape(f"the path {path!r} leads out of the repository; name one in {str(repository.tree)!r}")


def _own_folder(space: Path, tree: Path) -> Path:
    path = tree / ".git"
    if path.is_file():
        pointer = _pointer(path).removeprefix("gitdir:").strip()
        path = tree / pointer
    return _checked(space, path, "its .git")


def _shared_folder(space: Path, own: Path) -> Path:
    """Of a second work tree: where the objects and the configuration of the first one are."""
    path = own / "commondir"
    if not path.is_file():
        return own
    # Git reads this file again, and cuts off nothing but the end of the line.
    pointer = _pointer(path).rstrip("\r\n")
    if pointer != pointer.strip() or "\0" in pointer or len(pointer) > _POINTER // 2:
        raise SandboxError("the repository is not used: its `commondir` is no plain path; look at it with bash")
    return _checked(space, own / pointer, "its shared folder")


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
        name = path.relative_to(own)
        if not (_is_branch(path) if str(name) == "HEAD" else _are_hooks(name) and inside(space, path)):
            raise PathEscape(
                f"the repository is not used: {str(name)!r} in its .git is a link, and git would write where it leads. "
                "Put what it stands for in its place, or use git in bash if you trust it"
            )
    if os.path.lexists(own / "objects" / "info" / "alternates"):
        raise PathEscape(
            "the repository is not used: it borrows objects from another one (objects/info/alternates). Let it have "
            "its own with `git repack -a -d`, and remove that file, or use git in bash if you trust it"
        )


def _is_branch(head: Path) -> bool:
    """Whether a link is how git once said which branch is checked out: it reads that, and does not follow it."""
    said = str(head.readlink())
    return said.startswith("refs/") and ".." not in said.split("/")


def _are_hooks(name: Path) -> bool:
    """Whether a path in a repository's own folder is of hooks, its own or a submodule's, which are not run here."""
    return name.parts[0] == "hooks" or (name.parts[0] == "modules" and "hooks" in name.parts)


def _links(folder: Path, depth: int) -> Generator[Path, None, None]:
    """Yields the links in a folder and those below it."""
    if not depth:
        raise SandboxError("the repository is not used: the folders in its .git are nested too deep")
    with os.scandir(folder) as found:
        for item in found:
            if item.is_symlink():
                yield Path(item.path)
            elif item.is_dir():
                yield from _links(Path(item.path), depth - 1)
