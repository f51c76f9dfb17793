"""What became of a session's files between two of its events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec

from holdfast.errors import UsageError
from holdfast.journal.port import Journal
from holdfast.runtime.history.branching import layers_at
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.differences import unified
from holdfast.types import Change, Changes, SnapshotRef, StreamId, session_of, tenant_of

__all__ = ("Difference", "difference")


_LIMIT = 200_000
"""Characters of a diff."""


class Difference(msgspec.Struct, frozen=True):
    """What is not as it was."""

    changes: Changes
    """Path by path, sorted."""
    text: str
    """The same as a unified diff, cut where it is very long."""


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
