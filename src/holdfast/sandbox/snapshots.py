"""How files were, kept so that they can be put back: the portable store `tree`.

A snapshot covers the paths that are named and nothing else: for each its kind, mode and content, or that nothing
was there, and which folders above it did not exist. Contents are blobs, the manifest is a blob, so a snapshot
needs no rights, no special disk, and travels with the log. Links on the way to a named path are followed as a
write would follow them; a link at its end is recorded itself, and so is what it points to.

It is taken before a call that changes those paths, and put back when the call did not finish, so that the call
can run again on the files as they were. Restoring touches nothing that already is as it was. A folder that is
named is kept only as a folder: its contents are not part of the snapshot.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.walking import Place
from holdfast.sandbox.workspace import Workspace, sweep
from holdfast.storage.blobs import BlobStore
from holdfast.types import Digest, SnapshotRef, TenantId, digest_of

__all__ = ("restore", "take")

_MAX_LINKS = 40

Kind = Literal["absent", "file", "link", "folder", "special"]


class _Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    path: str
    kind: Kind
    mode: int = 0
    size: int = 0
    digest: Digest = Digest("")
    target: str = ""
    """Where a link points."""
    missing: tuple[str, ...] = ()
    """Folders above it that did not exist, topmost first."""


class _Manifest(msgspec.Struct, frozen=True, gc=False):
    v: int
    entries: tuple[_Entry, ...]


_decoder = msgspec.json.Decoder(_Manifest)


async def take(workspace: Workspace, paths: Iterable[str], blobs: BlobStore, tenant: TenantId) -> SnapshotRef:
    """Records how the paths are; the snapshot is as durable as the blobs once this returns.

    Raises:
        PathEscape: a path leads out of the workspace.
        SandboxError: a file is larger than `workspace.MAX_FILE`.
        OSError: a file cannot be read.
    """
    named = tuple(dict.fromkeys(paths))
    entries: dict[str, _Entry] = {}
    for path in named:
        for entry, data in await asyncio.to_thread(_look, workspace, path):
            if data is not None:
                await blobs.put(tenant, data)
            entries[entry.path] = entry
    manifest = await blobs.put(tenant, msgspec.json.encode(_Manifest(1, tuple(entries.values()))))
    return SnapshotRef("tree", manifest, named)


async def restore(workspace: Workspace, ref: SnapshotRef, blobs: BlobStore, tenant: TenantId) -> None:
    """Puts the paths of the snapshot back; doing it again, or after half of it was done, comes to the same.

    Only for the one owner of the workspace: what a killed write left behind is removed as well.

    Raises:
        SandboxError: the snapshot is of another kind, or lost, or a folder with contents is in the way.
        OSError: a file cannot be written.
    """
    if ref.store != "tree":
        raise SandboxError(f"snapshot store {ref.store!r} is not known: this version restores 'tree' only")
    manifest = _decoder.decode(await _blob(blobs, tenant, ref.manifest))
    for entry in manifest.entries:
        if entry.kind != "file":
            await asyncio.to_thread(_put_back, workspace, entry, None)
        elif not await asyncio.to_thread(_unchanged, workspace, entry):
            data = await _blob(blobs, tenant, entry.digest)
            await asyncio.to_thread(_put_back, workspace, entry, data)


async def _blob(blobs: BlobStore, tenant: TenantId, digest: Digest) -> bytes:
    try:
        return await blobs.get(tenant, digest)
    except KeyError:
        raise SandboxError(f"the snapshot's content {digest!r} is not in the store: it cannot be restored") from None


def _look(workspace: Workspace, path: str) -> list[tuple[_Entry, bytes | None]]:
    found: list[tuple[_Entry, bytes | None]] = []
    while len(found) < _MAX_LINKS:
        with workspace.at(path, missing=True) as place:
            entry, data = _record(workspace, place)
        found.append((entry, data))
        further = _pointed_to(workspace, entry) if entry.kind == "link" else None
        if further is None:
            break
        path = further
    return found


def _pointed_to(workspace: Workspace, link: _Entry) -> str | None:
    """Where a link leads, relative to the workspace; None when it leads out, where no write follows it."""
    root = f"{str(workspace.root).rstrip('/')}/"
    if link.target.startswith(root):
        path = link.target[len(root) :]
    else:
        # Of an absolute target the slash stays in front, and the walk refuses it.
        parent = link.path.rpartition("/")[0]
        path = f"{parent}/{link.target}" if parent and not link.target.startswith("/") else link.target
    try:
        with workspace.at(path, missing=True):
            return path
    except (PathEscape, OSError):
        return None


def _record(workspace: Workspace, place: Place) -> tuple[_Entry, bytes | None]:
    status = None if place.missing else place.status()
    if status is None:
        return _Entry(place.path, "absent", missing=place.missing), None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(place.name, dir_fd=place.folder)
        return _Entry(place.path, "link", target=target), None
    if stat.S_ISDIR(status.st_mode):
        return _Entry(place.path, "folder", mode=mode), None
    if not stat.S_ISREG(status.st_mode):
        return _Entry(place.path, "special", mode=mode), None
    data, _ = workspace.contents(place.path)
    return _Entry(place.path, "file", mode, len(data), digest_of(data)), data


def _unchanged(workspace: Workspace, entry: _Entry) -> bool:
    status = workspace.status(entry.path, follow=False)
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    workspace.ask_guard()
    with workspace.at(entry.path) as place:
        sweep(place)
    if (stat.S_IMODE(status.st_mode), status.st_size) != (entry.mode, entry.size):
        return False
    return digest_of(workspace.contents(entry.path)[0]) == entry.digest


def _put_back(workspace: Workspace, entry: _Entry, data: bytes | None) -> None:
    if entry.kind == "absent":
        _make_absent(workspace, entry)
        return
    with workspace.at(entry.path, make=True) as place:
        workspace.ask_guard()
        sweep(place)
        if not _is_kind(place.status(), entry, place):
            _remove(place)
            if entry.kind == "folder":
                os.mkdir(place.name, entry.mode, dir_fd=place.folder)
            elif entry.kind == "link":
                os.symlink(entry.target, place.name, dir_fd=place.folder)
    if data is not None:
        workspace.replace(entry.path, data, mode=entry.mode)


def _make_absent(workspace: Workspace, entry: _Entry) -> None:
    with suppress(FileNotFoundError, NotADirectoryError), workspace.at(entry.path) as place:
        workspace.ask_guard()
        sweep(place)
        _remove(place)
    for folder in reversed(entry.missing):
        # A folder that holds something by now was used by somebody else: it stays.
        with suppress(OSError), workspace.at(folder) as place:
            os.rmdir(place.name, dir_fd=place.folder)


def _is_kind(status: os.stat_result | None, entry: _Entry, place: Place) -> bool:
    """Whether what is there need not be removed before the entry is put back."""
    if entry.kind == "special":
        return True  # no call of ours makes or replaces one
    if status is None:
        return False
    if entry.kind == "link":
        return stat.S_ISLNK(status.st_mode) and os.readlink(place.name, dir_fd=place.folder) == entry.target
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
