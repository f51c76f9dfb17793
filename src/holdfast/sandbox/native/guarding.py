"""Looks after protected paths that did not exist when a sandbox was made: nothing can be mounted over those.

What a command put there is taken away again when it has ended, before anybody outside can be expected to have obeyed
it. A repository that a command made as a whole keeps its settings, or it would be none; it loses its hooks.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from holdfast.sandbox.kernel.syscalls import open_beneath
from holdfast.sandbox.policy.profile import PROTECTED
from holdfast.sandbox.protecting.layout import layout_of
from holdfast.sandbox.snapshots.applying import remove
from holdfast.sandbox.snapshots.entries import is_name
from holdfast.sandbox.snapshots.storing import in_thread

__all__ = ("absent", "appeared", "guard", "look", "named", "put_away")

_KEPT = frozenset({".git/config"})
"""What a new repository cannot do without."""
_WORK = ("modules", "worktrees")
"""What holds work of others, too, in the folder of a repository: it is protected where it is, and not removed where it
is new.
"""


def look(folder: Path | str, paths: Collection[str]) -> tuple[list[os.stat_result], frozenset[str]]:
    """Returns what is where the paths really lie (`protecting/layout.py`), in the alphabetical order of names, and the
    names at which there is nothing.

    Raises:
        SandboxError: there is too much to hold.
    """
    found = layout_of(folder, paths)
    there = {name: each for name, each in found.items() if each is not None}
    return [there[name] for name in sorted(there)], frozenset(found.keys() - there.keys())


def named(folder: Path | str, paths: Collection[str]) -> frozenset[str]:
    """Returns the names at which the paths really lie."""
    return frozenset(layout_of(folder, paths))


def absent(folder: Path | str, names: Collection[str]) -> frozenset[str]:
    """Returns at which of the names there is nothing; below one at which there is nothing nobody looks."""
    found: set[str] = set()
    for above, below in _downwards(frozenset(names)):
        found.update(below if above in found else [each for each in below if not _is_there(f"{folder}/{each}")])
    return frozenset(found)


@lru_cache(maxsize=64)
def _downwards(names: frozenset[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns the names by the nearest of them that they lie below, empty where they lie below none."""
    found: dict[str, list[str]] = {}
    for each in sorted(names):
        above = each.rpartition("/")[0]
        while above and above not in names:
            above = above.rpartition("/")[0]
        found.setdefault(above, []).append(each)
    return tuple((above, tuple(found[above])) for above in sorted(found))  # what lies below a name comes after it


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except (OSError, ValueError):  # or it cannot be a path
        return False
    return True


async def guard(folder: Path, before: frozenset[str]) -> tuple[str, ...]:
    """Does what `put_away` does, in a thread if there is something to do."""
    return await in_thread(lambda: put_away(folder, before)) if before - absent(folder, before) else ()


def put_away(folder: Path, before: Collection[str]) -> tuple[str, ...]:
    """Removes what appeared at paths of which there was none before a command, and returns which they were.

    Raises:
        OSError: there is no such folder.
    """
    if not set(before) - absent(folder, before):
        return ()
    return _take_away(folder, set(before) - {".git"}, new_repository=".git" in before)


def _take_away(folder: Path, before: Collection[str], *, new_repository: bool) -> tuple[str, ...]:
    """Removes what appeared at those paths, and returns which they were; no link on the way is followed."""
    taken: list[str] = []
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in sorted(before):  # what is told of it does not depend on anything else
            if _is_work(folder, path) or (new_repository and path in _KEPT) or not all(map(is_name, path.split("/"))):
                continue
            above, _, name = path.rpartition("/")
            with suppress(OSError):
                below = open_beneath(root, above, os.O_RDONLY | os.O_DIRECTORY) if above else os.dup(root)
                try:
                    os.stat(name, dir_fd=below, follow_symlinks=False)
                    remove(below, name)
                    taken.append(path)
                finally:
                    os.close(below)
        if new_repository:
            with suppress(OSError):
                if not os.path.isdir(folder / ".git") or os.path.islink(folder / ".git"):
                    remove(root, ".git")  # a file there leads to a repository somewhere else
                    taken.append(".git")
    finally:
        os.close(root)
    return tuple(taken)


def _is_work(folder: Path, path: str) -> bool:
    above, _, name = path.rpartition("/")
    return name in _WORK and (above == ".git" or os.path.lexists(folder / above / "HEAD"))


def appeared(folder: Path | str, paths: Collection[str], guarded: Collection[str]) -> frozenset[str]:
    """Returns those of the paths at which there is something, and that anybody looks after, here or by default: a log
    may name others.

    Raises:
        SandboxError: there is too much to look after.
    """
    ours, wanted = {*guarded, *PROTECTED, ".git"}, frozenset(paths)
    if not wanted <= ours:
        wanted &= ours | named(folder, ours)
    return wanted - absent(folder, wanted)
