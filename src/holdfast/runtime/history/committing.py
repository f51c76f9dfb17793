"""Bringing back what a fork changed into the folder it was made from, after a look at each path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.engine.events import CODEC, FilesRestored, Forked, Rewound, RunStarted
from holdfast.errors import SandboxError, UsageError
from holdfast.journal.port import Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.sandbox.snapshots.committing import PROTECTED, commit, review
from holdfast.tools.gateway import owner_of
from holdfast.types import Changes, SnapshotRef, StreamId, session_of, tenant_of

__all__ = ("bring_back",)

_PATIENCE = 10.0
"""Seconds that a commit waits for a session that changes the files it goes to."""


async def bring_back(
    journal: Journal,
    sandboxes: Sandboxes,
    stream: StreamId,
    paths: Sequence[str],
    into: str | Path | None,
    *,
    dry_run: bool,
) -> Changes:
    """Makes paths of the folder a fork came from what they are in the fork, and returns what that changed.

    Args:
        journal: The log.
        sandboxes: Where folders are found.
        stream: The fork.
        paths: Which of the changed paths; all of them when there are none.
        into: Another folder than the one it came from.
        dry_run: Whether to check and write nothing.

    Raises:
        UsageError: the session is no fork with files.
        SandboxError: some paths are refused, each with the reason, and nothing was written; or a file changed while
            this went on, and those before it are written.
        WorkspaceBusy: a session is changing the files there; nothing was written.
    """
    origin, folder, base = await _branch(journal, stream)
    target = _whole(into) if into else origin
    if base is None or not target:
        raise UsageError(
            f"session {session_of(stream)!r} is no fork that has a folder: only what a fork changed can be brought back"
        )
    tenant = tenant_of(stream)
    source, to = sandboxes.at(tenant, folder), sandboxes.at(tenant, target)
    changed = await source.snapshots.changes(source.workspace, base)
    guarded = tuple(dict.fromkeys((*PROTECTED, *sandboxes.protected)))
    chosen = list(paths) or [change.path for change in changed]
    if not dry_run:
        async with to.exclusive(owner_of(stream), _PATIENCE):
            return await commit(source.snapshots, source.workspace, to.workspace, base, chosen, guarded)
    wanted, refused = await review(source.snapshots, source.workspace, to.workspace, base, chosen, guarded)
    if refused:
        lines = "".join(f"\n  {refusal.path}: {refusal.why}" for refusal in refused)
        raise SandboxError(f"nothing would be committed, because of {len(refused)} of the paths:{lines}")
    return tuple(wanted)


def _whole(folder: str | Path) -> str:
    return str(Path(folder).expanduser().resolve())


async def _branch(journal: Journal, stream: StreamId) -> tuple[str, str, SnapshotRef | None]:
    """Returns the folder a fork came from, its own, and how both were then."""
    origin, folder, base = "", "", None
    async for event in read_events(journal, stream, CODEC):
        match event.data:
            case Forked() as data:
                # Where a file says that a session worked is no folder of this store.
                foreign = data.foreign or not data.parent
                origin, folder, base = "" if foreign else folder, data.workspace, None
            case FilesRestored(files=SnapshotRef() as files) if base is None:
                base = files
            case RunStarted() as data:
                folder = data.setup.workspace or folder
                if (lineage := data.setup.lineage) is not None and lineage.origin:
                    origin, base = lineage.origin, None
            case Rewound() as data:
                folder = data.workspace or folder
            case _:
                pass
    return origin, folder, base if origin else None
