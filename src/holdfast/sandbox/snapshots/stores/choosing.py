"""Chooses the fastest store of snapshots that a machine allows."""

from __future__ import annotations

from pathlib import Path

from holdfast.sandbox.snapshots.port import BOUNDS, Bounds, SnapshotStore
from holdfast.sandbox.snapshots.stores import btrfs, overlay
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.storage.blobs import BlobStore
from holdfast.types import TenantId

__all__ = ("choose", "reasons")


def choose(folder: Path, blobs: BlobStore, tenant: TenantId, bounds: Bounds = BOUNDS) -> SnapshotStore:
    """Returns the first of `overlay`, `btrfs` and `tree` that works with what it holds in `folder`.

    Only for workspaces that nobody else lives in, such as clones: the first two put a mount, or another subvolume, in
    the place of the folder.
    """
    if overlay.probe(folder / "overlay") is None:
        return overlay.OverlaySnapshots(folder / "overlay", blobs, tenant, bounds)
    if btrfs.probe(folder / "btrfs") is None:
        return btrfs.BtrfsSnapshots(folder / "btrfs", blobs, tenant, bounds)
    return TreeSnapshots(blobs, tenant, bounds)


def reasons(folder: Path) -> dict[str, str | None]:
    """Returns why each store cannot be used with a folder; None for one that can."""
    return {
        "overlay": overlay.probe(folder / "overlay"),
        "btrfs": btrfs.probe(folder / "btrfs"),
        "tree": None,
    }
