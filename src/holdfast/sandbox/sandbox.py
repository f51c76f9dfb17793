"""Where a run acts: its folder, what its commands run in, and how its files are kept."""

from __future__ import annotations

import msgspec

from holdfast.sandbox.locking import Exclusive
from holdfast.sandbox.port import Backend
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.workspace import Workspace

__all__ = ("Sandbox",)


class Sandbox(msgspec.Struct, frozen=True):
    """One workspace and everything that is done to it."""

    workspace: Workspace
    backend: Backend
    snapshots: SnapshotStore
    store: str = ""
    """Tells the sessions of this log from those of others on this machine, which may have the same names."""
    tenant: str = ""
    """Tells them from those of other tenants in the log."""

    def exclusive(self, owner: str, wait: float) -> Exclusive:
        """Returns the right to change the workspace's files, for an `async with` block: nobody else has it meanwhile,
        in this process or another of this user.

        Args:
            owner: Who asks, in words that somebody is told who finds it taken, such as `session 'a'`; the same owner
                of this log and tenant may enter again while it is inside.
            wait: Seconds after which entering raises `WorkspaceBusy`; with 0 it is tried once.
        """
        return Exclusive(str(self.workspace.root), f"{self.store}{self.tenant}", owner, wait)
