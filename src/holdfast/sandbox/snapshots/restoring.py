"""Brings a workspace to how a snapshot has it: surveys, does what is to be done, and surveys again.

So what is restored has been looked at afterwards, and what somebody changed meanwhile is noticed. It does not matter
where a restore was cut off: the next one finds what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.applying import Site
from holdfast.sandbox.snapshots.entries import Entry, Manifest
from holdfast.sandbox.snapshots.port import BOUNDS, Bounds
from holdfast.sandbox.snapshots.storing import Blobs, in_thread
from holdfast.sandbox.snapshots.walking.scanning import Folder, is_leftover
from holdfast.sandbox.snapshots.walking.surveying import Step, Wanted, survey
from holdfast.sandbox.workspace import Workspace
from holdfast.types import Digest, shown

__all__ = ("check_bounds", "load_wanted", "restore_tree")

_PASSES = 5
_WEIGHT = 8 * 1024 * 1024
_COUNT = 256


async def restore_tree(
    workspace: Workspace,
    manifest: Manifest,
    blobs: Blobs,
    seen: Folder | None,
    apart: frozenset[str] = frozenset(),
    *,
    bounds: Bounds = BOUNDS,
    only_add: bool = False,
) -> None:
    """Makes the workspace the tree of the manifest; `seen` is what its last capture found.

    The paths in `apart` are not touched. With `only_add` nothing is removed or replaced: what would be is an error.

    Raises:
        SandboxError: content is missing, the tree is over a bound, something cannot be written, or the files go on
            changing.
    """
    root = str(workspace.root)
    top = Entry(b"", "folder", manifest.mode, digest=manifest.root)
    wanted = await load_wanted(manifest.root, blobs, seen)
    check_bounds(manifest.root, wanted, bounds)
    moved: OSError | None = None
    for _ in range(_PASSES):
        try:
            steps = await in_thread(survey, root, top, wanted, seen, apart)
            if not steps:
                return
            if only_add:
                await in_thread(_check_only_adds, root, steps)
            moved = await _apply(workspace, steps, blobs)
        except OSError as error:
            raise SandboxError(
                f"the workspace {root!r} could not be put back: {error.strerror}"
                f"{f': {shown(str(error.filename))}' if error.filename is not None else ''}. "
                "Mend that and restore again; what is already back stays"
            ) from error
    why = f" ({moved.strerror})" if moved else ""
    raise SandboxError(
        f"the workspace {root!r} goes on changing while it is put back{why}. End what runs in it, then restore again"
    )


async def load_wanted(root: Digest, blobs: Blobs, seen: Folder | None) -> Wanted:
    """Returns what every folder of a tree holds; of folders that are as they were seen, from memory.

    Raises:
        SandboxError: content is missing.
    """
    known = {folder.digest: folder for folder in seen.below()} if seen else {}
    wanted: dict[Digest, tuple[Entry, ...]] = {}
    todo = {root}
    while todo:
        missing = [digest for digest in todo if digest not in known]
        wanted |= {digest: tuple(known[digest].listed()) for digest in todo if digest in known}
        wanted |= zip(missing, await blobs.folders(missing), strict=True)
        todo = {
            entry.digest
            for digest in todo
            for entry in wanted[digest]
            if entry.kind == "folder" and entry.digest not in wanted
        }
    return wanted


def check_bounds(root: Digest, wanted: Wanted, bounds: Bounds) -> None:
    """Refuses a tree that no capture would have kept: a few folders that hold each other are names without end.

    Raises:
        SandboxError: it is over a bound.
    """
    known: dict[Digest, tuple[int, int, int]] = {}  # of each folder, how many names, bytes and folders deep
    todo = [root]
    while todo:
        entries = wanted[todo[-1]]
        below = [entry.digest for entry in entries if entry.kind == "folder"]
        if missing := {digest for digest in below if digest not in known}:
            todo += missing
            continue
        inner = [known[digest] for digest in below]
        files = len(entries) + sum(each[0] for each in inner)
        size = sum(max(0, entry.size) for entry in entries) + sum(each[1] for each in inner)
        depth = max((each[2] + 1 for each in inner), default=0)
        if files > bounds.files or size > bounds.size or depth > bounds.depth:
            raise SandboxError(
                f"the snapshot is larger than any is kept: more than {bounds.files} names, {bounds.size} bytes, or "
                f"{bounds.depth} folders in each other. It is not restored"
            )
        known[todo.pop()] = files, size, depth


def _check_only_adds(root: str, steps: Sequence[Step]) -> None:
    with Site(root, lambda: None) as site:
        for step in steps:
            if step.do != "mode" and not is_leftover(step.name) and site.holds(step):
                raise SandboxError(
                    f"the folder {root!r} holds {shown('/'.join((*step.folder, step.name)))}, which is not in the "
                    "snapshot: a clone needs an empty folder"
                )


async def _apply(workspace: Workspace, steps: Sequence[Step], blobs: Blobs) -> OSError | None:
    """Does the steps in order, files in batches; returns why one was passed over, if one was."""
    async with aclosing(_with_contents(steps, blobs)) as batches:
        with Site(str(workspace.root), workspace.ask_guard) as site:
            async for batch, contents in batches:
                if batch[0].do != "file":
                    await in_thread(_do_all, site, batch)
                elif (entry := batch[0].entry) is not None and entry.pieces:
                    await _write_pieces(site, batch[0], entry, blobs)
                else:
                    await in_thread(_write_all, site, batch, contents)
            return site.moved


async def _with_contents(steps: Sequence[Step], blobs: Blobs) -> AsyncGenerator[tuple[list[Step], list[bytes]], None]:
    """Gives batches of steps, each with the contents of its files; those of the next are read meanwhile."""
    ready: tuple[list[Step], asyncio.Task[list[bytes]]] | None = None
    try:
        for batch in _batches(steps):
            last, ready = ready, (batch, asyncio.create_task(blobs.get_many(_whole(batch))))
            if last is not None:
                yield last[0], await last[1]
        if ready is not None:
            yield ready[0], await ready[1]
    finally:
        if ready is not None:
            ready[1].cancel()
            await asyncio.gather(ready[1], return_exceptions=True)


def _whole(batch: Sequence[Step]) -> list[Digest]:
    """The blobs of files that are written at once."""
    entries = [step.entry for step in batch if step.do == "file" and step.entry is not None]
    return [entry.digest for entry in entries if not entry.pieces]


def _batches(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Gives neighbours together that are done alike; of files, as many as fit into memory."""
    batch: list[Step] = []
    weight = 0
    for step in steps:
        size = step.entry.size if step.do == "file" and step.entry is not None else 0
        large = step.entry is not None and step.entry.pieces
        other = bool(batch) and (batch[0].do == "file") != (step.do == "file")
        if batch and (other or large or weight + size > _WEIGHT or len(batch) >= _COUNT):
            yield batch
            batch, weight = [], 0
        batch.append(step)
        weight += size + (_WEIGHT if large else 0)
    if batch:
        yield batch


def _do_all(site: Site, steps: Sequence[Step]) -> None:
    for step in steps:
        site.do(step)


def _write_all(site: Site, steps: Sequence[Step], contents: Sequence[bytes]) -> None:
    for step, data in zip(steps, contents, strict=True):
        if step.entry is not None and len(data) != step.entry.size:
            raise SandboxError(f"the snapshot says that {shown(step.name)} has another size than it has: it is damaged")
        site.write(step, data)


async def _write_pieces(site: Site, step: Step, entry: Entry, blobs: Blobs) -> None:
    draft = await in_thread(site.draft, step)
    if draft is None:
        return
    try:
        async for piece in blobs.pieces(entry):
            await in_thread(draft.add, piece)
        await in_thread(site.put, draft, step)
    finally:
        draft.close()
