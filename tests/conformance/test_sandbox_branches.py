"""`Sandbox.fork`: many folders from one state, all live at once, and none left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sandboxing import names

from holdfast.errors import SandboxError
from holdfast.flow.clock import SystemClock
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores import overlay
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.types import TenantId

pytestmark = pytest.mark.requirement("sandbox:fork-many")
MANY = 100


def _tree(_: Path) -> SnapshotStore:
    return TreeSnapshots(MemoryBlobStore(SystemClock()), TenantId("t"))


def _overlay(kept: Path) -> SnapshotStore:
    if (reason := overlay.probe(kept)) is not None:
        pytest.skip(reason)
    return overlay.OverlaySnapshots(kept, MemoryBlobStore(SystemClock()), TenantId("t"))


@pytest.fixture(params=[_tree, _overlay], ids=["tree", "overlay"])
def make(request: pytest.FixtureRequest) -> Callable[[Path], SnapshotStore]:
    return request.param


async def _made(tmp_path: Path, make: Callable[[Path], SnapshotStore]) -> tuple[Sandbox, Path]:
    base, place = tmp_path / "base", tmp_path / "branches"
    (base / "folder").mkdir(parents=True)
    (base / "folder" / "file").write_text("shared")
    (base / "gone").write_text("x")
    store = make(tmp_path / "kept")
    return Sandbox(Workspace(base, protected=(".envrc",)), NoIsolation(), store), place


def _mounted(folder: Path) -> bool:
    return sys.platform == "linux" and f" {folder}/" in Path("/proc/self/mountinfo").read_text("utf-8")


async def test_a_hundred_branches_live_at_once_each_with_files_of_its_own(
    tmp_path: Path, make: Callable[[Path], SnapshotStore]
) -> None:
    sandbox, place = await _made(tmp_path, make)
    async with sandbox.fork(MANY, place) as branches:
        assert len({each.workspace.root for each in branches}) == MANY
        for number, each in enumerate(branches):
            each.workspace.replace("folder/file", str(number).encode())
            (each.workspace.root / "gone").unlink()
        found = [(each.workspace.root / "folder" / "file").read_text() for each in branches]
        assert found == [str(number) for number in range(MANY)]
        assert (sandbox.workspace.root / "folder" / "file").read_text() == "shared"
        assert (sandbox.workspace.root / "gone").exists()
        with pytest.raises(SandboxError, match="protects"):
            branches[0].workspace.replace(".envrc", b"x")
    assert (names(place), _mounted(place)) == ([], False)
    await sandbox.snapshots.release(sandbox.workspace)


async def test_where_one_cannot_be_made_none_is_left(tmp_path: Path, make: Callable[[Path], SnapshotStore]) -> None:
    sandbox, place = await _made(tmp_path, make)
    (place / "branch-3").mkdir(parents=True)
    with pytest.raises(SandboxError, match="branch-3"):
        async with sandbox.fork(5, place):
            raise AssertionError("it must not begin")
    assert (names(place), _mounted(place)) == (["branch-3"], False)
    await sandbox.snapshots.release(sandbox.workspace)
