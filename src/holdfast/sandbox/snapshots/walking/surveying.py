"""Says what has to be done so that a workspace is as a snapshot has it.

The walk is led by the snapshot: what it does not hold is to be removed and is not looked into, so it costs nothing
however large it is. A file is read only when its size is right and nothing else tells whether it is the same; the
tree of the last capture tells it of every file that was not touched since. Links are not followed.

Nothing is changed here. What changes while the walk goes on is found by the next one: whoever restores walks again
until there is nothing left to do.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Literal

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.entries import Entry, kind_of
from holdfast.sandbox.snapshots.walking.looking import Looker
from holdfast.sandbox.snapshots.walking.reading import Row, drained, holds, keep_nothing, read_entry
from holdfast.sandbox.snapshots.walking.scanning import Folder, open_folder, signature_of
from holdfast.types import Digest

__all__ = ("GIVEN", "Step", "Wanted", "survey")

GIVEN = 0o1777
"""The permission bits that are ever given: never setuid, never setgid."""

Wanted = Mapping[Digest, tuple[Entry, ...]]
"""What the folders of a snapshot hold, by the digests of their blobs."""


class Step(msgspec.Struct, frozen=True):
    """One thing to do."""

    do: Literal["remove", "folder", "link", "file", "mode"]
    folder: tuple[str, ...]
    """The folder it is done in, as the names that lead there."""
    name: str
    """Of the thing itself; empty for the workspace."""
    entry: Entry | None = None
    """What is to be there; None when nothing is."""


def survey(
    root: str,
    top: Entry,
    wanted: Wanted,
    seen: Folder | None,
    apart: frozenset[str] = frozenset(),
) -> list[Step]:
    """Returns the steps, in an order in which they can be done; none when everything is as it should be.

    `top` stands for the workspace itself; the paths in `apart` are not touched, whatever the snapshot has there.

    Raises:
        OSError: the workspace cannot be read.
    """
    walk = _Survey(wanted, apart)
    folder = open_folder(root)
    try:
        if not _same_mode(os.fstat(folder).st_mode, top.mode):
            walk.modes.append(Step("mode", (), "", top))
        walk.compare(folder, (), top.digest, seen)
    finally:
        os.close(folder)
    # Files come after the folders they are in, and all together: so many are read at once. A folder gets its mode when
    # everything in it is done: it may be one that nobody can write in.
    return [*sorted(walk.steps, key=lambda step: step.do == "file"), *reversed(walk.modes)]


class _Survey:
    def __init__(self, wanted: Wanted, apart: frozenset[str]) -> None:
        self._wanted = wanted
        self._apart = apart
        self._looker = Looker()
        self._above_apart = {"/".join(parts[:n]) for parts in (p.split("/") for p in apart) for n in range(len(parts))}
        self.steps: list[Step] = []
        self.modes: list[Step] = []

    def compare(self, folder: int, path: tuple[str, ...], digest: Digest, seen: Folder | None) -> None:
        entries = self._wanted[digest]
        if seen is not None and seen.digest == digest and seen.signature == signature_of(os.fstat(folder)):
            self._compare_known(folder, path, entries, seen)
            return
        rows = {row[0]: row for row in seen.rows} if seen else {}
        found = {item.name: item for item in _listed(folder)}
        names = {os.fsdecode(entry.name) for entry in entries}
        for name in found:
            if name not in names:
                self._remove(path, name)
        for entry in entries:
            name = os.fsdecode(entry.name)
            if self._apart and "/".join((*path, name)) in self._apart:
                continue
            if entry.kind == "folder":
                self._compare_folder(folder, path, name, entry, seen)
            elif name not in found:
                self._make(path, name, entry)
            else:
                self._compare_entry(folder, path, name, entry, _known(rows.get(name), seen, found[name]))

    def _remove(self, path: tuple[str, ...], name: str) -> None:
        where = "/".join((*path, name))
        if where not in self._apart and where not in self._above_apart:
            self.steps.append(Step("remove", path, name))

    def _compare_known(self, folder: int, path: tuple[str, ...], entries: tuple[Entry, ...], seen: Folder) -> None:
        """Compares a folder that has the names it should have."""
        self.steps.extend(Step("remove", path, name) for name in seen.leftovers)
        found, seen.picture = self._looker.differing(folder, seen.rows, seen.picture)
        dirty = set(found)
        for entry in entries:
            if entry.kind == "folder":
                self._compare_folder(folder, path, os.fsdecode(entry.name), entry, seen)
            elif dirty and (name := os.fsdecode(entry.name)) in dirty:
                self._compare_entry(folder, path, name, entry, None)

    def _compare_folder(self, parent: int, path: tuple[str, ...], name: str, entry: Entry, seen: Folder | None) -> None:
        below = (*path, name)
        try:
            folder = open_folder(name, parent)
        except OSError as error:
            if error.errno == errno.EACCES:  # nobody may enter it: take that back first, and look again
                self.steps.append(Step("mode", path, name, msgspec.structs.replace(entry, mode=0o700)))
                return
            self._make(path, name, entry)
            self._make_below(below, entry)
            return
        try:
            if not _same_mode(os.fstat(folder).st_mode, entry.mode):
                self.modes.append(Step("mode", path, name, entry))
            self.compare(folder, below, entry.digest, seen.folders.get(name) if seen else None)
        finally:
            os.close(folder)

    def _compare_entry(self, folder: int, path: tuple[str, ...], name: str, entry: Entry, known: Entry | None) -> None:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            self._make(path, name, entry)
            return
        if entry.kind == "special":
            if kind_of(status.st_mode) != "special":
                self._remove(path, name)  # nobody can make the special file again, but this came later
        elif kind_of(status.st_mode) == entry.kind == "link":
            if _target(folder, name) != entry.target:
                self._make(path, name, entry)
        elif kind_of(status.st_mode) != entry.kind or not self._same_content(folder, name, entry, status, known):
            self._make(path, name, entry)
        elif not _same_mode(status.st_mode, entry.mode):
            # Another name of the same file may be outside the workspace: it keeps its mode, and ours becomes a copy.
            self.steps.append(Step("mode" if status.st_nlink == 1 else "file", path, name, entry))

    def _same_content(self, folder: int, name: str, entry: Entry, status: os.stat_result, known: Entry | None) -> bool:
        if status.st_size != entry.size:
            return False
        if known is None:
            try:
                read = drained(read_entry(folder, name, name, None, entry.size, keep_nothing))
            except SandboxError:  # it grew, or may not be read: then it is written anew
                return False
            if read is None:
                return False
            known = read[1]
        return (known.digest, known.size) == (entry.digest, entry.size)

    def _make(self, path: tuple[str, ...], name: str, entry: Entry) -> None:
        if entry.kind in ("file", "link", "folder"):
            self.steps.append(Step(entry.kind, path, name, entry))
        if entry.kind == "folder":
            self.modes.append(Step("mode", path, name, entry))

    def _make_below(self, path: tuple[str, ...], folder: Entry) -> None:
        for entry in self._wanted[folder.digest]:
            name = os.fsdecode(entry.name)
            self._make(path, name, entry)
            if entry.kind == "folder":
                self._make_below((*path, name), entry)


def _listed(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return list(found)


def _known(row: Row | None, seen: Folder | None, item: os.DirEntry[str]) -> Entry | None:
    """What the last capture knows of a name that was not touched since."""
    if row is None or seen is None:
        return None
    try:
        status = item.stat(follow_symlinks=False)
    except OSError:
        return None
    return seen.entries[item.name] if holds(row, status) else None


def _same_mode(now: int, wanted: int) -> bool:
    """Whether a mode need not be changed: it is the one that was, or what would be given in its place."""
    return stat.S_IMODE(now) in (wanted, wanted & GIVEN)


def _target(folder: int, name: str) -> bytes | None:
    try:
        return os.fsencode(os.readlink(name, dir_fd=folder))
    except OSError:
        return None
