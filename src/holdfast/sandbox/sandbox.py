"""Where a run acts: its folder, what its commands run in, and how its files are kept."""

from __future__ import annotations

import msgspec

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
