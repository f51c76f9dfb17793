"""The portable store: everything in blobs, so it needs no rights and no special disk, and travels with the log.

An unchanged folder costs nothing to keep and an unchanged file is not read: the tree of the last capture of each
workspace stays in memory, and a walk compares with it (see `walking/scanning.py`); of a large one the kernel tells what
was touched, and only that is looked at. What is in memory was stored, and is touched now and then so that no collection
takes it before a reference is written down; should it be gone all the same, it is stored again. After a restart the
first capture reads every file once more.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import final

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots import named
from holdfast.sandbox.snapshots.comparing import Listing, Names, Opened, change_between, compare_trees, look_up
from holdfast.sandbox.snapshots.entries import (
    Entry,
    Manifest,
    decode_chunks,
    decode_manifest,
    encode_manifest,
)
from holdfast.sandbox.snapshots.port import BOUNDS, Bounds, SnapshotStore
from holdfast.sandbox.snapshots.restoring import check_bounds, load_wanted, restore_tree
from holdfast.sandbox.snapshots.storing import Batch, Blobs, in_thread
from holdfast.sandbox.snapshots.walking.reading import drained, read_beginning
from holdfast.sandbox.snapshots.walking.scanning import Folder, Scan
from holdfast.sandbox.snapshots.walking.watching import Watch
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import REFRESH, BlobStore
from holdfast.types import Change, Changes, Digest, FaultClass, SnapshotRef, TenantId, shown

__all__ = ("TreeSnapshots",)

_REMEMBERED = 4
"""Workspaces whose last tree stays in memory; one of 10,000 files takes some 5 MB."""


class _Seen:
    """What the last capture of a workspace found; all of it is in the blobs of its snapshot."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.tree: Folder | None = None
        self.watch = Watch()
        self.lasting = False
        """Whether something goes on that may write what the kernel tells nobody of before it is over."""
        self.manifest = Digest("")
        self.touched_at = 0
        """When all of it was last put or touched, µs by the blobs' clock."""

    def suspect(self) -> None:
        """Has all be looked at, if what was told is not all that may have happened."""
        if self.lasting:
            self.watch.doubt()


@final
class TreeSnapshots(SnapshotStore):
    """Snapshots as blobs of one tenant."""

    name = "tree"

    def __init__(self, blobs: BlobStore, tenant: TenantId, bounds: Bounds = BOUNDS, apart: Sequence[Path] = ()) -> None:
        """`apart` are files and folders that belong to no snapshot and are never touched, such as our own database."""
        self._blobs = Blobs(blobs, tenant)
        self._bounds = bounds
        self._apart = tuple(Path(path).resolve() for path in apart)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._opened = Opened()

    @property
    def survives(self) -> FaultClass:
        """What its blobs do: all of it is there."""
        return self._blobs.survives

    async def capture(self, workspace: Workspace, paths: Sequence[str] | None = None) -> SnapshotRef:
        """Keeps the whole tree, or only what is at the paths; see the port."""
        self._opened.clear()
        if paths is not None:
            return await self._capture_paths(workspace, paths)
        seen = self._of(workspace)
        async with seen.lock:
            await self._refresh(seen)
            seen.suspect()
            tree = await self._blobs.store(self._scan(workspace, seen, keep=True).run())
            if tree is not seen.tree:
                manifest = Manifest(root=tree.digest, mode=tree.mode, files=tree.files, size=tree.size)
                seen.manifest = await self._blobs.put(encode_manifest(manifest))
                seen.tree = tree
            seen.watch.settle({folder.watch for folder in tree.below()})
            return SnapshotRef(self.name, seen.manifest, whole=True)

    async def restore(self, workspace: Workspace, ref: SnapshotRef) -> None:
        """Makes the tree, or the paths of the snapshot, as they were; see the port."""
        data = await self._manifest(ref)
        if not ref.whole:
            await named.restore_paths(self._guarded(workspace), named.decode_kept(data), self._blobs)
            return
        seen = self._of(workspace)
        async with seen.lock:
            await restore_tree(
                workspace, decode_manifest(data), self._blobs, seen.tree, self._apart_in(workspace), bounds=self._bounds
            )

    async def clone(self, ref: SnapshotRef, target: Workspace) -> None:
        """Makes an empty folder the tree; see the port."""
        if not ref.whole:
            raise SandboxError("a snapshot of some paths cannot be cloned: take one of the whole workspace")
        manifest = decode_manifest(await self._manifest(ref))
        await restore_tree(target, manifest, self._blobs, None, bounds=self._bounds, only_add=True)

    async def changes(self, workspace: Workspace, before: SnapshotRef, after: SnapshotRef | None = None) -> Changes:
        """Returns what differs; see the port."""
        if not before.whole or not (after is None or after.whole):
            return await self._changes_of_paths(workspace, before, after)
        old = _root(await self._manifest(before))
        if after is None:
            root, listing = await self._now(workspace)
        else:
            root, listing = _root(await self._manifest(after)), self._folder
        return await compare_trees(old, root, self._folder, listing)

    async def read(self, workspace: Workspace, ref: SnapshotRef | None, path: str, limit: int) -> bytes:
        """Returns the beginning of a file; see the port."""
        if ref is None:
            return await asyncio.to_thread(read_beginning, workspace, path, limit)
        entry = await self._entry(ref, path)
        if entry is None or entry.kind != "file":
            raise SandboxError(f"the snapshot has no file {shown(path)}")
        data = b""
        async for piece in self._blobs.pieces(entry):
            data += piece
            if len(data) >= limit:
                break
        return data[:limit]

    async def digests(self, ref: SnapshotRef) -> AsyncIterator[Digest]:
        """Gives every blob that must be kept for the snapshot; see the port."""
        data = await self._manifest(ref)
        yield ref.manifest
        if not ref.whole:
            async for digest in named.digests_of_kept(named.decode_kept(data), self._blobs):
                yield digest
            return
        todo, done = [decode_manifest(data).root], set[Digest]()
        while todo:
            folder = todo.pop()
            done.add(folder)
            yield folder
            for entry in await self._folder(folder):
                if entry.kind == "folder" and entry.digest not in done:
                    todo.append(entry.digest)
                elif entry.kind == "file":
                    yield entry.digest
                    if entry.pieces:
                        for digest in decode_chunks(await self._blobs.get(entry.digest)):
                            yield digest

    async def check(self, ref: SnapshotRef) -> None:
        """Ends quietly when the tree is within the bounds; see the port."""
        if ref.whole:
            root = decode_manifest(await self._manifest(ref)).root
            check_bounds(root, await load_wanted(root, self._blobs, None), self._bounds)

    async def release(self, workspace: Workspace) -> None:
        """Does nothing: the folder is as any other; see the port."""

    async def drop(self, ref: SnapshotRef) -> None:
        """Does nothing: everything is in blobs."""

    def doubt(self, workspace: Workspace, *, lasting: bool) -> None:
        """Says whether more may be written than the kernel tells of; see the port."""
        self._of(workspace).lasting = lasting

    def forget(self, workspace: Workspace) -> None:
        """Lets go of what is remembered of a workspace; the next capture reads everything."""
        self._seen.pop(str(workspace.root), None)

    async def _refresh(self, seen: _Seen) -> None:
        """Sees to it that what is in memory is in blobs, and stays there for some hours."""
        now = await self._blobs.now()
        if seen.tree is None:
            seen.touched_at = now
        elif not await self._blobs.has(seen.manifest):
            seen.tree, seen.touched_at = None, now
        elif now - seen.touched_at > REFRESH:
            if not await self._is_kept(SnapshotRef(self.name, seen.manifest, whole=True)):
                seen.tree = None
            seen.touched_at = now

    async def _is_kept(self, ref: SnapshotRef) -> bool:
        """Touches all of a snapshot; returns whether all of it is there."""
        try:
            return not await self._blobs.touch({digest async for digest in self.digests(ref)})
        except SandboxError:  # a collection that was stopped took a folder of it, or was just there
            return False

    async def _capture_paths(self, workspace: Workspace, paths: Sequence[str]) -> SnapshotRef:
        batch = Batch()
        reading = named.look_at_paths(self._guarded(workspace), paths, self._bounds.size, batch.keep)
        kept = await self._blobs.store(batch.closing(reading))
        manifest = await self._blobs.put(named.encode_kept(kept))
        return SnapshotRef(self.name, manifest, tuple(dict.fromkeys(paths)))

    async def _changes_of_paths(self, workspace: Workspace, before: SnapshotRef, after: SnapshotRef | None) -> Changes:
        refs = [ref for ref in (before, after) if ref is not None and not ref.whole]
        paths = {os.fsdecode(name) for ref in refs for name in await self._paths(ref)}
        now: Names = {}
        if after is None:
            now = await asyncio.to_thread(_entries_now, workspace, paths, self._bounds.size)
        found: list[Change] = []
        for path in sorted(paths, key=os.fsencode):
            other = now[os.fsencode(path)] if after is None else await self._entry(after, path)
            if (change := change_between(path, await self._entry(before, path), other)) is not None:
                found.append(change)
        return tuple(found)

    async def _entry(self, ref: SnapshotRef, path: str) -> Entry | None:
        """What the snapshot has at a path; None when nothing, or when it does not cover it."""
        paths = await self._paths(ref)
        if (root := paths.get(b"")) is not None:
            return await look_up(root, path, self._folder, self._opened)
        return paths.get(os.fsencode(path))

    async def _paths(self, ref: SnapshotRef) -> Names:
        """What a snapshot of some paths has at each; of a whole one the root, which has no name."""

        async def load(_: Digest) -> Names:
            data = await self._manifest(ref)
            return {b"": _root(data)} if ref.whole else {k.path: k.entry() for k in named.decode_kept(data)}

        return await self._opened.names(ref.manifest, load)

    async def _now(self, workspace: Workspace) -> tuple[Entry, Listing]:
        """The files as they are, which nothing is stored of."""
        seen = self._of(workspace)
        async with seen.lock:
            seen.suspect()
            tree = await in_thread(drained, self._scan(workspace, seen, keep=False).run())
        folders = {folder.digest: folder for folder in tree.below()}

        async def listing(digest: Digest) -> Iterable[Entry]:
            return folders[digest].listed()

        return Entry(b"", "folder", tree.mode, digest=tree.digest), listing

    def _scan(self, workspace: Workspace, seen: _Seen, *, keep: bool) -> Scan:
        return Scan(str(workspace.root), seen.tree, seen.watch, self._bounds, self._apart_in(workspace), keep=keep)

    def _apart_in(self, workspace: Workspace) -> frozenset[str]:
        inside = [path for path in self._apart if path.is_relative_to(workspace.root)]
        return frozenset(path.relative_to(workspace.root).as_posix() for path in inside)

    def _guarded(self, workspace: Workspace) -> Workspace:
        """The workspace with what is apart kept out of it."""
        if self._apart_in(workspace) <= workspace.apart:
            return workspace
        guarded = Workspace(workspace.root, env=workspace.env, apart=self._apart)
        guarded.guard = workspace.guard
        return guarded

    async def _folder(self, digest: Digest) -> Iterable[Entry]:
        return await self._blobs.folder(digest)

    async def _manifest(self, ref: SnapshotRef) -> bytes:
        if ref.store != self.name:
            raise SandboxError(f"snapshot store {ref.store!r} is not known: this version restores 'tree' only")
        return await self._blobs.get(ref.manifest)

    def _of(self, workspace: Workspace) -> _Seen:
        key = str(workspace.root)
        if key not in self._seen:
            self._seen[key] = _Seen()
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return self._seen[key]


def _root(manifest: bytes) -> Entry:
    read = decode_manifest(manifest)
    return Entry(b"", "folder", read.mode, digest=read.root)


def _entries_now(workspace: Workspace, paths: Iterable[str], room: int) -> Names:
    return {os.fsencode(path): named.entry_now(workspace, path, room) for path in paths}
