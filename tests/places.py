"""Sandboxes for tests: a folder, no isolation, and snapshots in a store."""

from __future__ import annotations

from pathlib import Path

from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.types import TenantId

__all__ = ("sandbox_at",)


def sandbox_at(folder: Path, blobs: BlobStore) -> Sandbox:
    """Returns the sandbox of a folder, whose snapshots are in these blobs."""
    return Sandbox(Workspace(folder), NoIsolation(), TreeSnapshots(blobs, TenantId("local")))
