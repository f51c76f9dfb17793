"""Looks after protected paths that did not exist when a sandbox was made: nothing can be mounted over those.

What a command put there is taken away again when it has ended, before anybody outside can be expected to have obeyed
it. A repository that a command made as a whole keeps its settings, or it would be none; it loses its hooks.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from holdfast.sandbox.kernel.syscalls import open_beneath
from holdfast.sandbox.snapshots.applying import remove
from holdfast.sandbox.snapshots.storing import in_thread

__all__ = ("absent", "guard", "look", "put_away")

_KEPT = frozenset({".git/config"})
"""What a new repository cannot do without."""
_WORK = frozenset({".git/modules", ".git/worktrees"})
"""What holds work of others, too: it is protected where it is, and not removed where it is new."""


def look(folder: Path | str, paths: Collection[str]) -> tuple[list[os.stat_result], frozenset[str]]:
    """Returns what is at the paths, in their alphabetical order, and at which there is nothing.

    Some looks at names the kernel knows, each of some µs; below what is not there nothing is looked at.
    """
    found, missing, gone = list[os.stat_result](), list[str](), "\0"
    for path in sorted(paths):
        if not path.startswith(gone):
            try:
                found.append(os.lstat(f"{folder}/{path}"))
            except OSError:
                gone = f"{path}/"
            else:
                continue
        missing.append(path)
    return found, frozenset(missing)


def absent(folder: Path, protected: Collection[str]) -> frozenset[str]:
    """Returns which of the paths there is nothing at."""
    return look(folder, protected)[1]


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
            if path in _WORK or (new_repository and path in _KEPT):
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
