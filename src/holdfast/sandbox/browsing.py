"""Goes through all there is below an open folder, without ever leaving it.

Each folder is opened by its name relative to the one it was found in, and the kernel is told not to follow links;
links are named and never entered. So nothing that is swapped in meanwhile leads out. What comes out is in the order
of the names, folder by folder, so that two walks over the same files agree.

Needs nothing but the standard library: a helper process runs it too. Not here: paths that somebody asked for
(`walking.py`), and what is done with what is found.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal, NamedTuple

__all__ = ("DEEPEST", "Spot", "browse", "open_below", "open_regular")

DEEPEST = 100
"""Folders below the first that are entered one in another: each of them is an open file."""

_CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_STAY = os.O_RDONLY | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FOLDER = _STAY | getattr(os, "O_DIRECTORY", 0)
_FILE = _STAY | getattr(os, "O_NOCTTY", 0)

Kind = Literal["file", "link", "folder"]


class Spot(NamedTuple):
    """Something that was found; `folder` is open only until the next one is asked for."""

    parts: tuple[str, ...]
    """The names from the first folder down to this one."""
    folder: int
    """Descriptor of the folder it is in."""
    kind: Kind


def browse(folder: int, *, enter: Callable[[tuple[str, ...]], bool]) -> Generator[Spot, None, None]:
    """Yields the files and links below a folder that is open for reading; devices, FIFOs and sockets are passed over.

    `enter` is asked for each folder whether to go into it. What vanishes or may not be read is passed over. Close
    the generator to let go of the folders that are open.
    """
    stack: list[tuple[int, tuple[str, ...], list[tuple[str, Kind]]]] = [(os.dup(folder), (), _entries(folder))]
    try:
        while stack:
            at, above, left = stack[-1]
            if not left:
                os.close(stack.pop()[0])
                continue
            name, kind = left.pop()
            parts = (*above, name)
            if kind != "folder":
                yield Spot(parts, at, kind)
            elif len(stack) <= DEEPEST and enter(parts):
                with suppress(OSError):
                    below = os.open(name, _FOLDER, dir_fd=at)
                    stack.append((below, parts, []))
                    stack[-1][2].extend(_entries(below))
    finally:
        for at, _, _ in stack:
            os.close(at)


@contextmanager
def open_below(folder: int, parts: Sequence[str]) -> Generator[int, None, None]:
    """Opens the folder that a file named by `browse` is in.

    Raises:
        OSError: something on the way is no folder any more, or it was not named by `browse`.
    """
    if len(parts) > DEEPEST + 1:
        raise NotADirectoryError("deeper than what is browsed")
    if any(part in ("", ".", "..") or "/" in part for part in parts):
        raise NotADirectoryError("no name that a folder holds")
    at = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


def open_regular(folder: int, name: str) -> tuple[int, os.stat_result]:
    """Opens a file of a folder for reading, without following a link and without waiting.

    Raises:
        OSError: it is no regular file, is gone, or may not be read.
    """
    # Looked at before too: opening some devices acts on them.
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError("not a regular file")
    descriptor = os.open(name, _FILE, dir_fd=folder)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor, status


def _entries(folder: int) -> list[tuple[str, Kind]]:
    """What is in a folder, last name first."""
    found: list[tuple[str, Kind]] = []
    with os.scandir(folder) as items:
        for item in items:
            with suppress(OSError):  # gone since it was listed
                if item.is_dir(follow_symlinks=False):
                    found.append((item.name, "folder"))
                elif item.is_file(follow_symlinks=False):
                    found.append((item.name, "file"))
                elif item.is_symlink():
                    found.append((item.name, "link"))
    found.sort(reverse=True)
    return found
