"""What became of a session's files between two of its events, and which snapshots of them there are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from holdfast.engine.events import CODEC
from holdfast.engine.keeping.layers import folder_of
from holdfast.engine.keeping.snapshots import Kept, snapshots_in
from holdfast.errors import SandboxError, UsageError
from holdfast.journal.port import Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.history.branching import layers_at
from holdfast.runtime.history.reports import Difference, Snapshot
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.differences import unified
from holdfast.types import Change, SnapshotRef, StreamId, session_of, tenant_of

__all__ = ("difference", "snapshots")

_LIMIT = 200_000
"""Characters of a diff."""


async def snapshots(journal: Journal, sandboxes: Sandboxes, stream: StreamId, last: int) -> list[Snapshot]:
    """Returns the newest snapshots of a session's files that its log names, oldest first."""
    events = [event async for event in read_events(journal, stream, CODEC)]
    keepers, folder = sandboxes.keepers(tenant_of(stream)), folder_of(events)
    sandbox = None
    if folder:
        with suppress(SandboxError):  # the folder is gone; its snapshots are not
            sandbox = sandboxes.at(tenant_of(stream), folder)
    named = snapshots_in(events)
    before: SnapshotRef | None = next((each.snapshot for each in reversed(named[:-last]) if each.snapshot.whole), None)
    found: list[Snapshot] = []
    for kept in named[-last:]:
        keeper = keepers.get(kept.snapshot.store)
        found.append(
            Snapshot(
                event=kept.event,
                turn=kept.turn,
                at=kept.at,
                occasion=kept.occasion,
                tool=kept.tool,
                store=kept.snapshot.store,
                survives=None if keeper is None else keeper.survives,
                paths=kept.snapshot.paths,
                changed=await _changed(sandbox, before, kept),
            )
        )
        before = kept.snapshot if kept.snapshot.whole else before
    return found


async def _changed(sandbox: Sandbox | None, before: SnapshotRef | None, kept: Kept) -> int | None:
    if sandbox is None or before is None or not kept.snapshot.whole:
        return None
    if before == kept.snapshot:
        return 0
    try:
        return len(await sandbox.snapshots.changes(sandbox.workspace, before, kept.snapshot))
    except SandboxError:
        return None


async def difference(
    journal: Journal, sandboxes: Sandboxes, stream: StreamId, since: int, until: int | None
) -> Difference:
    """Returns what differs between two moments of a session; None is now.

    Raises:
        UsageError: the session has no workspace.
        SandboxError: the files of one of them are not known, or no longer kept.
    """
    tenant = tenant_of(stream)
    before = await layers_at(journal, stream, since)
    after = None if until is None else await layers_at(journal, stream, until)
    if not before.workspace:
        raise UsageError(f"session {session_of(stream)!r} has no workspace, so none of its files can have changed")
    sandbox = sandboxes.at(tenant, before.workspace)
    async with AsyncExitStack() as scratch:
        if after is not None and after.snapshots:  # files as they were then, in a folder of their own for a while
            snapshots = after.snapshots
            if not after.whole:
                snapshots = (await sandbox.snapshots.capture(sandbox.workspace), *snapshots)
            later = await scratch.enter_async_context(sandboxes.copy(sandbox, snapshots, tenant))
        else:
            later = sandbox
        return await _compare(later, before.snapshots)


async def _compare(sandbox: Sandbox, before: Sequence[SnapshotRef]) -> Difference:
    """Compares layers, of which each lies over those before it, with the files as they are."""
    found: dict[str, tuple[Change, SnapshotRef]] = {}
    for layer in before:
        for path in layer.paths:
            found.pop(path, None)
        for change in await sandbox.snapshots.changes(sandbox.workspace, layer):
            found[change.path] = (change, layer)
    changes = tuple(found[path][0] for path in sorted(found))
    texts: list[str] = []
    room = _LIMIT
    for number, change in enumerate(changes):
        if room <= 0:
            texts.append(f"... {len(changes) - number} more changed\n")
            break
        layer = found[change.path][1]
        texts.append(await unified(sandbox.snapshots, sandbox.workspace, (change,), layer, limit=room))
        room -= len(texts[-1])
    return Difference(changes, "".join(texts))
