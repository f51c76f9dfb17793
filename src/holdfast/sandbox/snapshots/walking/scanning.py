"""Walks a whole workspace and says what it holds, at the cost of what changed since it was walked last.

Theory of operation. A walk goes from folder to folder by open descriptors and never follows a link: a folder that
becomes a link meanwhile is not entered. What comes out is a tree of `Folder`, which remembers for each name the
inode, size, times and mode it was read at. The next walk gives that tree in. A folder whose own times are the same
has the same names, so it is not listed; a file whose row is the same was not touched, so it is not read; a folder in
which nothing differs is the very same object again, and so is its digest.

Times are only as fine as the clock of the kernel. A file that changed so shortly before it was read that it could
change again within the same tick gets a row that matches nothing, and is read the next time. What is not seen is a
process that writes through a mapping of the file it made before the walk, and a disk that does not keep times; a
call that runs must have ended.

In a workspace of many names the kernel tells of each folder what in it was touched (see `watching.py`). Of a folder
that has the same times only that is looked at; it is opened all the same. What the kernel does not tell before the
file is let go of: what a process writes through a mapping, and what the kernel itself writes for a loop device. What
it does not tell at all: what is written through a name outside the workspace that a file here was given since it was
looked at, through a name that the file has no more, or by a handle without a name, as a server of NFS does; what is
written in a folder here that is the upper one of an overlay; and a mount over a single file.

A walk that finds something new first goes through everything without reading a file, so a tree that is over a bound is
refused at the cost of looking at it, and nothing of it is stored. Then it goes again to where something is new.

Not here: where contents go. The walk is a generator: it gives batches of bytes to be stored and goes on when it is
asked to, so it can run in a thread, one step at a time, while the last batch is being written.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Generator, Iterable, Iterator, Set
from contextlib import suppress

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.entries import Entry, encode_folder
from holdfast.sandbox.snapshots.port import Bounds
from holdfast.sandbox.snapshots.storing import Batch
from holdfast.sandbox.snapshots.walking.looking import Looker, Picture, still
from holdfast.sandbox.snapshots.walking.reading import Keep, Row, holds, keep_nothing, read_entry, settled
from holdfast.sandbox.snapshots.walking.watching import Watch
from holdfast.types import Digest, digest_of, shown

__all__ = ("Folder", "Scan", "is_leftover", "open_folder", "signature_of")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LEFTOVER = re.compile(r"\.holdfast-[0-9a-f]{12}-[0-9a-f]{12}").fullmatch

Batches = Generator[list[bytes], None, None]


def is_leftover(name: str) -> bool:
    """Returns whether a name is one of a write that is going on or was killed; it belongs to no snapshot."""
    return name.startswith(".holdfast-") and _LEFTOVER(name) is not None


def signature_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Returns what stays the same as long as a folder has the same names and mode."""
    return status.st_ctime_ns, status.st_mtime_ns, status.st_ino, status.st_mode


def open_folder(name: str, parent: int | None = None) -> int:
    """Returns a descriptor of a folder that is no link."""
    return os.open(name, _FOLDER, dir_fd=parent)


class Folder:
    """What a folder held when it was walked."""

    __slots__ = (
        "digest",
        "entries",
        "files",
        "folders",
        "leftovers",
        "mode",
        "own",
        "picture",
        "rows",
        "shared",
        "signature",
        "size",
        "watch",
    )

    def __init__(
        self, signature: tuple[int, int, int, int] | None, mode: int, rows: list[Row], entries: dict[str, Entry]
    ) -> None:
        self.signature = signature
        """What tells that it has the same names; None when that cannot be told."""
        self.mode = mode
        self.rows = rows
        """Of what is no folder."""
        self.picture: Picture | None = None
        """How the rows looked, once they have been looked at again."""
        self.entries = entries
        """What is no folder."""
        self.folders: dict[str, Folder] = {}
        self.leftovers: list[str] = []
        """Names of writes that were killed, or are going on."""
        self.watch = 0
        """By which it is told that nobody touched it; 0 when it is not."""
        self.shared = False
        """Whether something in it may have a name elsewhere, too, through which it is changed."""
        self.digest = Digest("")
        self.own: tuple[int, int] = (0, 0)
        """How many names are in it, and bytes in its files; not what is below."""
        self.files = 0
        """How many names there are in it and below."""
        self.size = 0
        """Bytes in files, in it and below."""

    def listed(self) -> list[Entry]:
        """Returns everything in it."""
        folders = [Entry(os.fsencode(n), "folder", f.mode, digest=f.digest) for n, f in self.folders.items()]
        return [*self.entries.values(), *folders]

    def below(self) -> Iterator[Folder]:
        """Gives it, and every folder below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.below()


class Scan:
    """One walk; `run` it once."""

    def __init__(
        self, root: str, seen: Folder | None, watch: Watch, bounds: Bounds, apart: frozenset[str], *, keep: bool
    ) -> None:
        """`seen` is what the last walk that was kept found, and `watch` was there then."""
        self._root = root
        self._seen = seen
        self._watch = watch
        self._bounds = bounds
        self._apart = apart
        self._batch = Batch()
        self._keep: Keep = self._batch.keep if keep else keep_nothing
        self._looker = Looker()
        self._weighing = False
        self._linked = False
        """Whether a name came that is one of several of its file."""
        self._files = 0
        self._size = 0

    def run(self) -> Generator[list[bytes], None, Folder]:
        """Gives what is to be stored, in batches, and returns the tree: the one it was given when nothing changed.

        Raises:
            SandboxError: the tree is over a bound, or something cannot be read.
        """
        return (yield from self._batch.closing(self._run()))

    def _run(self) -> Generator[list[bytes], None, Folder]:
        root = open_folder(self._root)
        try:
            self._watch.begin(root, self._seen.files if self._seen else 0)
            self._weighing = True
            weighed = yield from self._walk(root, self._seen, None, "", 0)
            if self._linked and self._watch.doubt():
                self._files, self._size = 0, 0
                weighed = yield from self._walk(root, self._seen, None, "", 0)
            if weighed is self._seen:
                return weighed
            if self._seen is None:
                self._watch.begin(root, self._files)
            self._weighing, self._files, self._size = False, 0, 0
            return (yield from self._walk(root, self._seen, weighed, "", 0))
        finally:
            os.close(root)

    def _walk(
        self, folder: int, seen: Folder | None, weighed: Folder | None, path: str, depth: int
    ) -> Generator[list[bytes], None, Folder]:
        """Walks a folder; `weighed` is what the walk before this one came to, which read no file."""
        if depth > self._bounds.depth:
            raise self._over(f"{shown(path)} is more than {self._bounds.depth} folders deep")
        now = time.time_ns()
        status = os.fstat(folder)
        signature = signature_of(status)
        old = seen or _EMPTY
        watch, rows, dirty, names, leftovers = self._look(folder, seen, status, path)
        folders: dict[str, Folder] = {}
        for name in names:
            known, new = old.folders.get(name), weighed.folders.get(name) if weighed else None
            if known is not None and known is new:
                self._count(known.files, known.size)
                folders[name] = known
                continue
            child = yield from self._enter(folder, name, known, new, f"{path}{name}/", depth)
            if child is None:
                dirty.append(name)
            else:
                folders[name] = child
        if seen is not None and seen.signature == signature and not dirty and _same(folders, seen.folders):
            self._count(*seen.own)
            seen.watch = watch
            return seen
        found = Folder(
            signature if settled(status, now) else None,
            stat.S_IMODE(status.st_mode),
            rows,
            {row[0]: old.entries[row[0]] for row in rows},
        )
        found.folders, found.leftovers, found.watch = folders, leftovers, watch
        found.own = (len(rows) + len(folders), sum(entry.size for entry in found.entries.values()))
        self._count(*found.own)
        if self._weighing:
            self._weigh(folder, dirty)
            return found
        for name in dirty:
            yield from self._read(folder, name, old, found, path)
        yield from self._close(found, old.digest)
        return found

    def _look(
        self, folder: int, seen: Folder | None, status: os.stat_result, path: str
    ) -> tuple[int, list[Row], list[str], Iterable[str], list[str]]:
        """Returns the watch, the rows that still hold, the names to be read, the names of folders, and leftovers."""
        if seen is not None and seen.signature == signature_of(status):
            touched = None if seen.shared else self._watch.touched(seen.watch)
            if touched and not touched <= {*(row[0] for row in seen.rows), *seen.folders}:
                touched = None  # it may be the same name in other letters, where the disk makes no difference
            watch = self._watch.add(folder, status.st_dev) if touched is None else seen.watch
            rows, dirty = self._differing(folder, seen, touched)
            return watch, rows, dirty, seen.folders, seen.leftovers
        watch = self._watch.add(folder, status.st_dev)
        rows, dirty, names, leftovers = _listing(folder, seen or _EMPTY, path, self._apart)
        self._linked |= bool(leftovers)
        return watch, rows, dirty, names, leftovers

    def _differing(self, folder: int, seen: Folder, touched: Set[str] | None) -> tuple[list[Row], list[str]]:
        if touched is None:
            dirty, seen.picture = self._looker.differing(folder, seen.rows, seen.picture)
        else:
            dirty = [row[0] for row in seen.rows if row[0] in touched and not still(folder, row)] if touched else []
        if not dirty:
            return seen.rows, dirty
        gone = set(dirty)
        return [row for row in seen.rows if row[0] not in gone], dirty

    def _enter(
        self, parent: int, name: str, seen: Folder | None, weighed: Folder | None, path: str, depth: int
    ) -> Generator[list[bytes], None, Folder | None]:
        try:
            folder = open_folder(name, parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise SandboxError(
                f"the folder {shown(path)} cannot be read, so the workspace cannot be kept: {error.strerror}. "
                "Give its owner the right to read it, or remove it"
            ) from None
        try:
            return (yield from self._walk(folder, seen, weighed, path, depth + 1))
        finally:
            os.close(folder)

    def _weigh(self, folder: int, names: Iterable[str]) -> None:
        """Counts what would have to be read."""
        for name in names:
            with suppress(OSError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                self._count(1, status.st_size if stat.S_ISREG(status.st_mode) else 0)
                self._linked |= status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)

    def _read(self, folder: int, name: str, old: Folder, found: Folder, path: str) -> Batches:
        room = self._bounds.size - self._size
        read = yield from read_entry(folder, name, path + name, old.entries.get(name), room, self._keep)
        if read is not None:
            row, entry = read
            found.rows.append(row)
            found.entries[name] = entry
            found.own = (found.own[0] + 1, found.own[1] + entry.size)
            self._count(1, entry.size)
            return
        # It vanished, or a folder took its place since it was listed; then the next walk lists this one again.
        found.signature = None

    def _close(self, found: Folder, old: Digest) -> Batches:
        data = encode_folder(found.listed())
        found.digest = digest_of(data)
        found.shared = bool(found.leftovers) or any(row[-1] > 1 for row in found.rows)
        found.files = found.own[0] + sum(child.files for child in found.folders.values())
        found.size = found.own[1] + sum(child.size for child in found.folders.values())
        if found.digest != old:
            yield from self._keep(data)

    def _count(self, files: int, size: int) -> None:
        self._files += files
        self._size += size
        if self._files > self._bounds.files:
            raise self._over(f"it holds more than {self._bounds.files} files and folders")
        if self._size > self._bounds.size:
            raise self._over(f"its files have more than {self._bounds.size} bytes")

    def _over(self, what: str) -> SandboxError:
        return SandboxError(
            f"the workspace {self._root!r} is too large to be kept: {what}. Work in a smaller folder, remove what is "
            "not needed, or raise the bound"
        )


_EMPTY = Folder(None, 0, [], {})


def _same(folders: dict[str, Folder], seen: dict[str, Folder]) -> bool:
    return len(folders) == len(seen) and all(folder is seen[name] for name, folder in folders.items())


def _listing(
    folder: int, old: Folder, path: str, apart: frozenset[str]
) -> tuple[list[Row], list[str], list[str], list[str]]:
    """Returns the rows that still hold, the names to be read, the names of folders, and leftovers."""
    known = {row[0]: row for row in old.rows}
    rows: list[Row] = []
    dirty: list[str] = []
    folders: list[str] = []
    leftovers: list[str] = []
    with os.scandir(folder) as found:
        for item in found:
            name = item.name
            if apart and f"{path}{name}" in apart:
                continue
            if item.is_dir(follow_symlinks=False) and not is_leftover(name):
                folders.append(name)
            elif (row := known.get(name)) is not None and _untouched(row, item):
                rows.append(row)
            else:
                (leftovers if is_leftover(name) else dirty).append(name)
    return rows, dirty, folders, leftovers


def _untouched(row: Row, item: os.DirEntry[str]) -> bool:
    try:
        status = item.stat(follow_symlinks=False)
    except OSError:
        return False
    return holds(row, status)
