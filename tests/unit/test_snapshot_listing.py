"""Which snapshots a session's log names, and what they survive."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.flow.clock import SystemClock
from holdfast.journal.port import Journal
from holdfast.runtime.opening import open_journal
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores.btrfs import BtrfsSnapshots
from holdfast.sandbox.snapshots.stores.overlay import OverlaySnapshots
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.types import TenantId


def _stores(journal: Journal, folder: Path) -> list[SnapshotStore]:
    tenant = TenantId("t")
    return [
        TreeSnapshots(journal.blobs, tenant),
        OverlaySnapshots(folder, journal.blobs, tenant),
        BtrfsSnapshots(folder, journal.blobs, tenant),
    ]


@pytest.mark.requirement("sandbox:snapshot-fault-class")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory:", ["nothing", "nothing", "nothing"]),
        ("sqlite:///{}/a.db", ["power", "process", "process"]),
        ("sqlite:///{}/a.db?synchronous=normal", ["process", "process", "process"]),
    ],
)
async def test_each_store_says_what_its_snapshots_survive(url: str, expected: list[str], tmp_path: Path) -> None:
    journal = await open_journal(url.format(tmp_path), SystemClock())
    try:
        assert [each.survives for each in _stores(journal, tmp_path / "kept")] == expected
    finally:
        await journal.close()
