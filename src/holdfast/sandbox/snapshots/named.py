"""How the files at some paths were: what is kept before a call that changes only those.

A snapshot covers the paths that are named and nothing else: for each its kind, mode and content, or that nothing
was there, and which folders above it did not exist. Links on the way to a named path are followed as a write would
follow them; a link at its end is recorded itself, and so is what it points to. A folder that is named is kept only
as a folder: its contents are not part of the snapshot. Restoring touches nothing that already is as it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.snapshots.applying import Draft
from holdfast.sandbox.snapshots.entries import Entry, decode_chunks, is_name, is_target
from holdfast.sandbox.snapshots.storing import Blobs, in_thread
from holdfast.sandbox.snapshots.walking.reading import Keep, drained, keep_nothing, read_entry
from holdfast.sandbox.walking import Place
from holdfast.sandbox.workspace import Workspace, sweep
from holdfast.types import Digest

__all__ = ("Kept", "decode_kept", "digests_of_kept", "encode_kept", "entry_now", "look_at_paths", "restore_paths")

_MAX_LINKS = 40
_VERSION = 3


class Kept(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What was at a path."""

    path: bytes
    kind: Literal["absent", "file", "link", "folder", "special"]
    mode: int = 0
    size: int = 0
    digest: Digest = Digest("")
    pieces: bool = False
    """Whether the digest is that of a list of pieces."""
    target: bytes = b""
    missing: tuple[bytes, ...] = ()
    """Folders above it that did not exist, topmost first."""

    def entry(self) -> Entry | None:
        """Returns it as a name in a folder; None when nothing was there."""
        if self.kind == "absent":
            return None
        return Entry(b"", self.kind, self.mode, self.size, self.digest, self.pieces, self.target)


class _Manifest(msgspec.Struct, frozen=True, gc=False):
    v: int
    kept: tuple[Kept, ...]


class _Entry1(msgspec.Struct, frozen=True, gc=False):
    """As version 1 had it."""

    path: str
    kind: Literal["absent", "file", "link", "folder", "special"]
    mode: int = 0
    size: int = 0
    digest: Digest = Digest("")
    target: str = ""
    missing: tuple[str, ...] = ()


class _Manifest1(msgspec.Struct, frozen=True, gc=False):
    entries: tuple[_Entry1, ...]


class _Version(msgspec.Struct, frozen=True, gc=False):
    v: int


def encode_kept(kept: Iterable[Kept]) -> bytes:
    """Returns the manifest's blob."""
    return msgspec.json.encode(_Manifest(_VERSION, tuple(kept)))


def decode_kept(data: bytes) -> tuple[Kept, ...]:
    """Returns what a manifest holds, of this version or the first.

    Raises:
        SandboxError: it is no manifest of named paths, or of a later version, or names a path that leads out.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).v
        if version == _VERSION:
            return _checked(msgspec.json.decode(data, type=_Manifest).kept)
        if version == 1:
            return _checked(tuple(map(_from_version_1, msgspec.json.decode(data, type=_Manifest1).entries)))
    except msgspec.MsgspecError as error:
        raise SandboxError(f"the snapshot cannot be read: {error}; it is damaged, or no snapshot of paths") from None
    raise SandboxError(f"the snapshot's manifest is of version {version}: use a newer Holdfast to read it")


def look_at_paths(
    workspace: Workspace, paths: Sequence[str], room: int, keep: Keep
) -> Generator[list[bytes], None, list[Kept]]:
    """Gives the contents to be stored, and returns what is at the paths.

    Raises:
        PathEscape: a path leads out of the workspace.
        SandboxError: a file cannot be read, is apart from the workspace, or is larger than the room there is.
    """
    found: dict[bytes, Kept] = {}
    for named in dict.fromkeys(paths):
        path: str | None = named
        for _ in range(_MAX_LINKS):
            if path is None:
                break
            with workspace.at(path, missing=True) as place:
                kept = yield from _record(place, room, keep)
            found[kept.path] = kept
            path = _pointed_to(workspace, kept) if kept.kind == "link" else None
    return list(found.values())


def entry_now(workspace: Workspace, path: str, room: int) -> Entry | None:
    """Returns what is at a path now, links not followed; of a folder, nothing of what it holds."""
    try:
        with workspace.at(path, missing=True, look=True) as place:
            return drained(_record(place, room, keep_nothing)).entry()
    except NotADirectoryError:  # a file is now where a folder was
        return None


async def digests_of_kept(kept: Iterable[Kept], blobs: Blobs) -> AsyncIterator[Digest]:
    """Gives every blob that contents are in."""
    for each in kept:
        if each.kind == "file":
            yield each.digest
        if each.pieces:
            for digest in decode_chunks(await blobs.get(each.digest)):
                yield digest


async def restore_paths(workspace: Workspace, kept: Iterable[Kept], blobs: Blobs) -> None:
    """Puts the paths back; doing it again, or after half of it was done, comes to the same.

    Raises:
        SandboxError: content is missing, a folder with contents is in the way, or a path is apart from the workspace.
        OSError: a file cannot be written.
    """
    kept = tuple(kept)
    for each in kept:
        workspace.refuse_apart(os.fsdecode(each.path))
    for each in kept:
        draft = await in_thread(_put_back, workspace, each)
        if draft is None:
            continue
        try:
            async for piece in blobs.pieces(Entry(b"", "file", 0, each.size, each.digest, each.pieces)):
                await in_thread(draft.add, piece)
            await in_thread(_place, workspace, draft)
        finally:
            draft.close()


def _record(place: Place, room: int, keep: Keep) -> Generator[list[bytes], None, Kept]:
    path = os.fsencode(place.path)
    missing = tuple(os.fsencode(folder) for folder in place.missing)
    status = None if place.missing else place.status()
    if status is not None and stat.S_ISDIR(status.st_mode):
        return Kept(path, "folder", stat.S_IMODE(status.st_mode))
    read = None
    if status is not None:
        read = yield from read_entry(place.folder, place.name, place.path, None, room, keep)
    if read is None:
        return Kept(path, "absent", missing=missing)
    entry = read[1]
    return Kept(path, entry.kind, entry.mode, entry.size, entry.digest, entry.pieces, entry.target)


def _pointed_to(workspace: Workspace, link: Kept) -> str | None:
    """Where a link leads, relative to the workspace; None when it leads out, where no write follows it."""
    root = f"{str(workspace.root).rstrip('/')}/"
    target, path = os.fsdecode(link.target), os.fsdecode(link.path)
    if target.startswith(root):
        to = target[len(root) :]
    else:
        # Of an absolute target the slash stays in front, and the walk refuses it.
        parent = path.rpartition("/")[0]
        to = f"{parent}/{target}" if parent and not target.startswith("/") else target
    try:
        with workspace.at(to, missing=True):
            return to
    except (PathEscape, OSError):
        return None


def _put_back(workspace: Workspace, kept: Kept) -> Draft | None:
    """Puts back what needs no content; of a file that has to be written returns the new one, still empty."""
    path = os.fsdecode(kept.path)
    entry = kept.entry()
    if entry is None:
        _make_absent(workspace, kept)
        return None
    with workspace.at(path, make=True) as place:
        workspace.ask_guard()
        sweep(place)
        if entry.kind == "file" and _unchanged(place, entry):
            return None
        if not _is_kind(place.status(), entry, place):
            _remove(place)
            if entry.kind == "folder":
                os.mkdir(place.name, entry.mode, dir_fd=place.folder)
            elif entry.kind == "link":
                os.symlink(entry.target, os.fsencode(place.name), dir_fd=place.folder)
        return Draft(place.folder, place.name, entry) if entry.kind == "file" else None


def _place(workspace: Workspace, draft: Draft) -> None:
    workspace.ask_guard()
    draft.put()


def _unchanged(place: Place, entry: Entry) -> bool:
    status = place.status()
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    if (stat.S_IMODE(status.st_mode), status.st_size) != (entry.mode, entry.size):
        return False
    try:
        read = drained(read_entry(place.folder, place.name, place.path, None, entry.size, keep_nothing))
    except SandboxError:  # it grew meanwhile, or may not be read
        return False
    return read is not None and read[1].digest == entry.digest


def _make_absent(workspace: Workspace, kept: Kept) -> None:
    with suppress(FileNotFoundError, NotADirectoryError), workspace.at(os.fsdecode(kept.path)) as place:
        workspace.ask_guard()
        sweep(place)
        _remove(place)
    for folder in reversed(kept.missing):
        # A folder that holds something by now was used by somebody else: it stays.
        with suppress(OSError), workspace.at(os.fsdecode(folder)) as place:
            os.rmdir(place.name, dir_fd=place.folder)


def _is_kind(status: os.stat_result | None, entry: Entry, place: Place) -> bool:
    """Whether what is there need not be removed before the entry is put back."""
    if entry.kind == "special":
        return True  # no call of ours makes or replaces one
    if status is None:
        return False
    if entry.kind == "link":
        if not stat.S_ISLNK(status.st_mode):
            return False
        return os.fsencode(os.readlink(place.name, dir_fd=place.folder)) == entry.target
    return stat.S_ISDIR(status.st_mode) if entry.kind == "folder" else stat.S_ISREG(status.st_mode)


def _remove(place: Place) -> None:
    status = place.status()
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(place.name, dir_fd=place.folder)
        return
    try:
        os.rmdir(place.name, dir_fd=place.folder)
    except OSError as error:
        raise SandboxError(
            f"{place.path!r} is a folder with contents now and is not removed: {error.strerror}"
        ) from None


def _checked(kept: tuple[Kept, ...]) -> tuple[Kept, ...]:
    """Refuses what no look at a workspace can have found; a path that a link turns outwards is met when it is walked.

    Raises:
        SandboxError: says which.
    """
    for each in kept:
        for path in (each.path, *each.missing):
            if path != b"." and not all(map(is_name, path.split(b"/"))):
                raise SandboxError(f"the snapshot cannot be read: {path!r} is no path in a workspace; use another one")
        if each.kind == "link" and not is_target(each.target):
            raise SandboxError(f"the snapshot cannot be read: the link {each.path!r} leads nowhere; use another one")
    return kept


def _from_version_1(old: _Entry1) -> Kept:
    return Kept(
        os.fsencode(old.path),
        old.kind,
        old.mode,
        old.size,
        old.digest,
        target=os.fsencode(old.target),
        missing=tuple(map(os.fsencode, old.missing)),
    )
