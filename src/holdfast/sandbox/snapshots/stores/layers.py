"""Frozen layers of an overlay on disk: merging many into one, and asking whether one is empty."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ("is_empty", "merge")


def is_empty(layer: str) -> bool:
    """Returns whether a layer changes nothing in what is below it."""
    with os.scandir(layer) as found:
        return next(found, None) is None


def merge(layers: Sequence[str], target: str, space: str) -> None:
    """Makes an empty folder the one layer that does what these do, the topmost first.

    Files are shared by hard links: a frozen layer is never written to. `space` is where the kernel keeps its marks,
    `trusted` or `user`.
    """
    _Merge(f"{space}.overlay.opaque").folder(layers, target, below=True)


class _Merge:
    def __init__(self, mark: str) -> None:
        self._mark = mark

    def folder(self, sources: Sequence[str], target: str, *, below: bool) -> None:
        """Fills one folder; `below` says whether the base shows through where no layer has anything."""
        chain: list[str] = []
        for source in sources:
            chain.append(source)
            if self._is_opaque(source):
                below = False
                break
        names: dict[str, list[os.DirEntry[str]]] = {}
        for source in chain:
            with os.scandir(source) as found:
                for item in found:
                    names.setdefault(item.name, []).append(item)
        for name, items in names.items():
            self._name(items, f"{target}/{name}", below=below)
        _copy_owner_and_mode(chain[0], target)
        if not below:
            os.setxattr(target, self._mark, b"y")

    def _name(self, items: Sequence[os.DirEntry[str]], target: str, *, below: bool) -> None:
        top = items[0]
        status = top.stat(follow_symlinks=False)
        if _is_whiteout(status):
            if below:
                os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
        elif stat.S_ISDIR(status.st_mode):
            folders: list[str] = []
            for item in items:
                if not item.is_dir(follow_symlinks=False):
                    below = False  # what was there is hidden, and what is below it too
                    break
                folders.append(item.path)
            Path(target).mkdir()
            self.folder(folders, target, below=below)
        else:
            os.link(top.path, target, follow_symlinks=False)

    def _is_opaque(self, folder: str) -> bool:
        with suppress(OSError):
            return os.getxattr(folder, self._mark) == b"y"
        return False


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(0, 0)


def _copy_owner_and_mode(source: str, target: str) -> None:
    status = Path(source).lstat()
    with suppress(PermissionError):
        os.chown(target, status.st_uid, status.st_gid)
    Path(target).chmod(stat.S_IMODE(status.st_mode))
