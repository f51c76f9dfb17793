"""Snapshots as read-only subvolumes of btrfs: keeping costs what the disk has not written yet, space what changed.

The workspace is a subvolume, and the snapshots lie in a folder of the same file system; the manifest that names one is
a blob. A restore makes a writable snapshot of the snapshot beside the workspace and swaps the two. Snapshots of named
paths and those of the store `tree` go through `tree`, which works here as everywhere.

What there is to know:
- It needs btrfs, and root or the mount option `user_subvol_rm_allowed`. `probe` tries it.
- A process that has the workspace as its folder, or a file of it open, stays with the old files when it is restored; no
  call may run meanwhile.
- A subvolume inside the workspace is not part of it, and a workspace that holds one cannot be restored.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar, final

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.applying import temporary_name
from holdfast.sandbox.snapshots.port import BOUNDS, Bounds, SnapshotStore
from holdfast.sandbox.snapshots.stores import subvolumes
from holdfast.sandbox.snapshots.stores.beside import compare_folders
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.snapshots.storing import Blobs, in_thread
from holdfast.sandbox.snapshots.walking.reading import read_beginning
from holdfast.sandbox.snapshots.walking.scanning import is_leftover
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.types import Changes, Digest, FaultClass, SnapshotRef, TenantId

__all__ = ("BtrfsSnapshots", "probe")


P = ParamSpec("P")
T = TypeVar("T")


class _Manifest(msgspec.Struct, frozen=True, gc=False):
    v: int
    snapshot: str
    """Its name in the store's folder."""


def probe(folder: Path) -> str | None:
    """Returns why snapshots cannot be kept in a folder; None when they can. It tries, and leaves nothing behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
    except OSError as error:
        return f"the folder {str(folder)!r} cannot be written: {error.strerror}"
    try:
        subvolumes.create(trial / "one")
        subvolumes.snapshot(trial / "one", trial / "two", read_only=True)
    except OSError as error:
        return f"the folder {str(folder)!r} is not on btrfs, or subvolumes cannot be made there: {error.strerror}"
    else:
        return _clean(trial)
    finally:
        _clean(trial)


def _clean(trial: Path) -> str | None:
    try:
        for name in ("two", "one"):
            with suppress(FileNotFoundError):
                subvolumes.destroy(trial / name)
    except OSError as error:
        return f"subvolumes cannot be removed: {error.strerror}. Be root, or mount with user_subvol_rm_allowed"
    with suppress(OSError):
        trial.rmdir()
    return None


@final
class BtrfsSnapshots(SnapshotStore):
    """Snapshots as subvolumes in a folder of this machine."""

    name = "btrfs"

    def __init__(self, folder: Path, blobs: BlobStore, tenant: TenantId, bounds: Bounds = BOUNDS) -> None:
        self._folder = folder.resolve()
        self._blobs = Blobs(blobs, tenant)
        self._bounds = bounds
        self._tree = TreeSnapshots(blobs, tenant, bounds)
        self._lock = asyncio.Lock()

    @property
    def survives(self) -> FaultClass:
        """No more than that a process is killed: what files hold is not synced."""
        return "nothing" if self._blobs.survives == "nothing" else "process"

    async def capture(self, workspace: Workspace, paths: Sequence[str] | None = None) -> SnapshotRef:
        """Makes a snapshot, or keeps what is at the paths; see the port."""
        if paths is not None:
            return await self._tree.capture(workspace, paths)
        async with self._lock:
            name = await in_thread(_tried, self._capture, workspace.root)
            manifest = await self._blobs.put(msgspec.json.encode(_Manifest(1, name)))
        return SnapshotRef(self.name, manifest, whole=True)

    async def restore(self, workspace: Workspace, ref: SnapshotRef) -> None:
        """Puts a copy of the snapshot in the workspace's place; see the port."""
        if ref.store == self._tree.name:
            await self._tree.restore(workspace, ref)
            return
        source = await self._found(ref)
        async with self._lock:
            workspace.ask_guard()
            await in_thread(_tried, _replace, source, workspace.root)

    async def clone(self, ref: SnapshotRef, target: Workspace) -> None:
        """Puts a copy of the snapshot in the place of an empty folder; see the port."""
        if ref.store == self._tree.name:
            await self._tree.clone(ref, target)
            return
        source = await self._found(ref)
        async with self._lock:
            await in_thread(_tried, self._clone, source, target.root)

    async def changes(self, workspace: Workspace, before: SnapshotRef, after: SnapshotRef | None = None) -> Changes:
        """Returns what differs; see the port."""
        trees = [ref for ref in (before, after) if ref is not None and ref.store == self._tree.name]
        if trees:
            if after is not None and len(trees) == 1:
                raise SandboxError("snapshots of the stores 'btrfs' and 'tree' are not compared with each other")
            return await self._tree.changes(workspace, before, after)
        old = await self._found(before)
        new = workspace.root if after is None else await self._found(after)
        return await asyncio.to_thread(compare_folders, str(old), str(new), self._bounds)

    async def read(self, workspace: Workspace, ref: SnapshotRef | None, path: str, limit: int) -> bytes:
        """Returns the beginning of a file; see the port."""
        if ref is None or ref.store == self._tree.name:
            return await self._tree.read(workspace, ref, path, limit)
        source = await self._found(ref)
        return await asyncio.to_thread(read_beginning, Workspace(source), path, limit)

    async def digests(self, ref: SnapshotRef) -> AsyncIterator[Digest]:
        """Gives the manifest's digest: the rest is in a subvolume; see the port."""
        if ref.store == self._tree.name:
            async for digest in self._tree.digests(ref):
                yield digest
            return
        await self._name(ref)
        yield ref.manifest

    async def release(self, workspace: Workspace) -> None:
        """Does nothing: the folder is as any other; see the port."""

    async def drop(self, ref: SnapshotRef) -> None:
        """Removes the subvolume; see the port."""
        if ref.store == self.name:
            name = await self._name(ref)
            async with self._lock:
                await in_thread(_tried, subvolumes.destroy, self._folder / name)

    async def _name(self, ref: SnapshotRef) -> str:
        if ref.store != self.name:
            raise SandboxError(f"snapshot store {ref.store!r} is not known here: this is 'btrfs'")
        try:
            return msgspec.json.decode(await self._blobs.get(ref.manifest), type=_Manifest).snapshot
        except msgspec.MsgspecError as error:
            raise SandboxError(f"the snapshot cannot be read: {error}") from None

    async def _found(self, ref: SnapshotRef) -> Path:
        place = self._folder / await self._name(ref)
        if not await asyncio.to_thread(place.is_dir):
            raise SandboxError(f"the snapshot's subvolume {place.name!r} is not in the store: it cannot be restored")
        return place

    def _capture(self, root: Path) -> str:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(root)
        if not subvolumes.is_subvolume(root):
            _make_subvolume(root)
        name = secrets.token_hex(12)
        subvolumes.snapshot(root, self._folder / name, read_only=True)
        return name

    def _clone(self, source: Path, root: Path) -> None:
        _sweep(root)
        if subvolumes.is_subvolume(root) and compare_folders(str(source), str(root), self._bounds) == ():
            return
        if any(root.iterdir()):
            raise SandboxError(f"the folder {str(root)!r} is not empty: a clone needs an empty folder")
        _replace(source, root)


def _tried(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return call(*args, **kwargs)
    except OSError as error:
        raise SandboxError(
            f"btrfs refused: {error.strerror} ({error.filename}). `holdfast doctor` says what this machine lacks"
        ) from error


def _replace(source: Path, root: Path) -> None:
    """Puts a writable copy of a snapshot where the workspace is, in one step."""
    _sweep(root)
    new = root.with_name(temporary_name(root.name))
    subvolumes.snapshot(source, new, read_only=False)
    subvolumes.exchange(new, root)
    _remove(new)


def _make_subvolume(root: Path) -> None:
    """Makes an empty folder a subvolume."""
    if any(root.iterdir()):
        raise SandboxError(
            f"the workspace {str(root)!r} is no subvolume: make one with `btrfs subvolume create` and move the files in"
        )
    new = root.with_name(temporary_name(root.name))
    subvolumes.create(new)
    new.chmod(root.stat().st_mode & 0o7777)
    subvolumes.exchange(new, root)
    _remove(new)


def _sweep(root: Path) -> None:
    """Removes what a restore that was killed left beside the workspace."""
    mine = temporary_name(root.name)[:-12]
    for each in os.listdir(root.parent):  # noqa: PTH208 - names are all that is needed
        if is_leftover(each) and each.startswith(mine):
            _remove(root.parent / each)


def _remove(place: Path) -> None:
    if subvolumes.is_subvolume(place):
        subvolumes.destroy(place)
    else:
        place.rmdir()
