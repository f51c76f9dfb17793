"""Snapshots as layers of an overlay: keeping and putting back cost the same however large the workspace is.

The workspace becomes a mount: its files as they were, never written to, and above them layers that hold what changed.
A capture freezes the upper layer and mounts a fresh one over it; a restore mounts the layers of the snapshot under a
fresh one. Layers lie in a folder of the store, the manifest that lists them is a blob. Snapshots of named paths and
those of the store `tree` go through `tree`, which works here as everywhere.

What there is to know:
- It needs the right to mount: root, or a user namespace of one's own. `probe` tries it.
- No process may have the workspace as its folder, or a file of it open, while a store works on it: it is unmounted and
  mounted anew, and a busy one is refused. A shell that stood in the folder before it became a mount sees the files
  below it. So this is for folders that nobody else lives in.
- Mounts are `volatile`: nothing waits for the disk. After the machine went down the upper layer is frozen as it is
  found, and what was written to it shortly before may be missing; frozen layers of earlier boots may be too.
- A folder that lies in a frozen layer cannot be renamed by one system call (`EXDEV`); `mv` copies it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar, final

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.port import BOUNDS, Bounds, SnapshotStore
from holdfast.sandbox.snapshots.stores.beside import compare_folders
from holdfast.sandbox.snapshots.stores.stack import Layers, Stack, why_not
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.snapshots.storing import Blobs, in_thread
from holdfast.sandbox.snapshots.walking.reading import read_beginning
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.types import Changes, Digest, FaultClass, SnapshotRef, TenantId

__all__ = ("OverlaySnapshots", "probe")

P = ParamSpec("P")
T = TypeVar("T")


def probe(folder: Path) -> str | None:
    """Returns why layers cannot be kept in a folder; None when they can. It tries, and leaves nothing behind."""
    return why_not(folder)


@final
class OverlaySnapshots(SnapshotStore):
    """Snapshots as layers in a folder of this machine."""

    name = "overlay"

    def __init__(self, folder: Path, blobs: BlobStore, tenant: TenantId, bounds: Bounds = BOUNDS) -> None:
        self._stack = Stack(folder.resolve())
        self._blobs = Blobs(blobs, tenant)
        self._bounds = bounds
        self._tree = TreeSnapshots(blobs, tenant, bounds)

    @property
    def survives(self) -> FaultClass:
        """No more than that a process is killed: nothing waits for the disk."""
        return "nothing" if self._blobs.survives == "nothing" else "process"

    async def capture(self, workspace: Workspace, paths: Sequence[str] | None = None) -> SnapshotRef:
        """Freezes what changed, or keeps what is at the paths; see the port."""
        if paths is not None:
            await self._locked(self._stack.attach, str(workspace.root))
            return await self._tree.capture(workspace, paths)
        layers = await self._locked(self._stack.freeze, str(workspace.root))
        manifest = await self._blobs.put(msgspec.json.encode(layers))
        await self._locked(self._stack.remember, manifest, layers)
        return SnapshotRef(self.name, manifest, whole=True)

    async def restore(self, workspace: Workspace, ref: SnapshotRef) -> None:
        """Makes the workspace the layers of the snapshot; see the port."""
        if ref.store == self._tree.name:
            await self._locked(self._stack.attach, str(workspace.root))
            await self._tree.restore(workspace, ref)
            return
        layers = await self._layers(ref)
        workspace.ask_guard()
        await self._locked(self._stack.reset, str(workspace.root), layers)

    async def clone(self, ref: SnapshotRef, target: Workspace) -> None:
        """Makes an empty folder a workspace of the same layers; see the port."""
        if ref.store == self._tree.name:
            await self._tree.clone(ref, target)
            return
        layers = await self._layers(ref)
        await self._locked(self._stack.start, str(target.root), layers)

    async def changes(self, workspace: Workspace, before: SnapshotRef, after: SnapshotRef | None = None) -> Changes:
        """Returns what differs; see the port."""
        trees = [ref for ref in (before, after) if ref is not None and ref.store == self._tree.name]
        if trees:
            if after is not None and len(trees) == 1:
                raise SandboxError("snapshots of the stores 'overlay' and 'tree' are not compared with each other")
            return await self._tree.changes(workspace, before, after)
        old = await self._layers(before)
        new = await self._layers(after) if after is not None else None
        return await in_thread(self._compare, str(workspace.root), old, new)

    async def read(self, workspace: Workspace, ref: SnapshotRef | None, path: str, limit: int) -> bytes:
        """Returns the beginning of a file; see the port."""
        if ref is None or ref.store == self._tree.name:
            return await self._tree.read(workspace, ref, path, limit)
        layers = await self._layers(ref)
        return await in_thread(self._read, str(workspace.root), layers, path, limit)

    async def digests(self, ref: SnapshotRef) -> AsyncIterator[Digest]:
        """Gives the manifest's digest: the rest is in layers; see the port."""
        if ref.store == self._tree.name:
            async for digest in self._tree.digests(ref):
                yield digest
            return
        await self._layers(ref)
        yield ref.manifest

    async def drop(self, ref: SnapshotRef) -> None:
        """Removes the layers that nothing else is made of; see the port."""
        if ref.store == self.name:
            await self._locked(self._stack.forget, ref.manifest)

    async def release(self, workspace: Workspace) -> None:
        """Takes the mount away: the folder is what it was before it became a workspace.

        Raises:
            SandboxError: something still uses it.
        """
        await self._locked(self._stack.release, str(workspace.root))

    async def _layers(self, ref: SnapshotRef) -> Layers:
        if ref.store != self.name:
            raise SandboxError(f"snapshot store {ref.store!r} is not known here: this is 'overlay'")
        try:
            return msgspec.json.decode(await self._blobs.get(ref.manifest), type=Layers)
        except msgspec.MsgspecError as error:
            raise SandboxError(f"the snapshot cannot be read: {error}") from None

    async def _locked(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await in_thread(self._with_lock, lambda: call(*args, **kwargs))

    def _with_lock(self, call: Callable[[], T]) -> T:
        with self._stack.locked():
            return call()

    def _compare(self, root: str, old: Layers, new: Layers | None) -> Changes:
        self._with_lock(lambda: self._stack.attach(root))
        with self._stack.view(old, root) as before:
            if new is None:
                return compare_folders(before, root, self._bounds)
            with self._stack.view(new, root) as after:
                return compare_folders(before, after, self._bounds)

    def _read(self, root: str, layers: Layers, path: str, limit: int) -> bytes:
        self._with_lock(lambda: self._stack.attach(root))
        with self._stack.view(layers, root) as place:
            return read_beginning(Workspace(place), path, limit)
