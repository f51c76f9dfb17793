"""Every store of snapshots passes the one kit.

The stores that need mounts run where the machine allows them; in CI as root that they do not is an error.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores import btrfs, choosing, overlay, subvolumes
from holdfast.sandbox.snapshots.stores.btrfs import BtrfsSnapshots
from holdfast.sandbox.snapshots.stores.overlay import OverlaySnapshots
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.snapshots.walking import watching
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance import snapshots as kit
from holdfast.testing.conformance.checking import LOCAL


class TreeStage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Workspace] = []
        self.blobs: BlobStore = MemoryBlobStore()
        self.store: SnapshotStore = self.open()
        self.workspace = self.empty()

    def open(self) -> SnapshotStore:
        return TreeSnapshots(self.blobs, LOCAL)

    async def again(self) -> SnapshotStore:
        return self.open()

    def empty(self) -> Workspace:
        root = self.folder / f"w{len(self.made)}"
        self.make(root)
        self.made.append(Workspace(root))
        return self.made[-1]

    def make(self, root: Path) -> None:
        root.mkdir()


class OverlayStage(TreeStage):
    def open(self) -> OverlaySnapshots:
        return OverlaySnapshots(self.folder / "layers", self.blobs, LOCAL)


class BtrfsStage(TreeStage):
    def open(self) -> SnapshotStore:
        return BtrfsSnapshots(self.folder / "snapshots", self.blobs, LOCAL)

    def make(self, root: Path) -> None:
        if self.made:
            root.mkdir()  # a clone may go into any folder
        else:
            subvolumes.create(root)


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text("utf-8")


def cannot(reason: str) -> None:
    """Skips, but not where everything is meant to be there."""
    if os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(f"this machine is to run every store: {reason}")
    pytest.skip(reason)


@pytest.mark.requirement("sandbox:tree-snapshot-restores")
@pytest.mark.parametrize("watched_from", [0, watching.MANY])
@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
async def test_tree(check: kit.Check, watched_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MANY", watched_from)
    await check(TreeStage(tmp_path))


@pytest.fixture
async def overlays(tmp_path: Path) -> AsyncIterator[OverlayStage]:
    if (reason := overlay.probe(tmp_path / "probe")) is not None:
        cannot(reason)
    stage = OverlayStage(tmp_path)
    yield stage
    for workspace in stage.made:
        await stage.open().release(workspace)
    assert str(tmp_path) not in mounts()


@pytest.mark.requirement("sandbox:overlay-snapshots")
@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
async def test_overlay(check: kit.Check, overlays: OverlayStage) -> None:
    await check(overlays)


def run(*words: str | Path) -> str | None:
    """Runs a command; returns what it complained of when it failed."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return f"{words[0]} is not installed"
    return None if done.returncode == 0 else f"{words[0]}: {done.stderr.strip()}"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs of its own, in a file."""
    folder = tmp_path_factory.mktemp("btrfs")
    image, place = folder / "image", folder / "disk"
    with image.open("wb") as file:
        file.truncate(512 * 1024 * 1024)
    place.mkdir()
    if (reason := run("mkfs.btrfs", "-q", image) or run("mount", "-o", "loop", image, place)) is not None:
        cannot(reason)
    yield place
    assert run("umount", place) is None
    image.unlink()


@pytest.fixture
def volume(disk: Path, tmp_path: Path) -> BtrfsStage:
    folder = disk / tmp_path.name
    folder.mkdir()
    if (reason := btrfs.probe(folder)) is not None:
        cannot(reason)
    assert list(folder.iterdir()) == []
    return BtrfsStage(folder)


@pytest.mark.requirement("sandbox:btrfs-snapshots")
@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
async def test_btrfs(check: kit.Check, volume: BtrfsStage) -> None:
    await check(volume)


async def test_a_folder_where_nothing_can_be_mounted_gets_the_store_that_needs_nothing(
    tmp_path: Path,
) -> None:
    blobs = MemoryBlobStore()
    seen = choosing.reasons(tmp_path)
    assert seen["tree"] is None
    first = next(name for name, reason in seen.items() if reason is None)
    assert choosing.choose(tmp_path, blobs, LOCAL).name == first
    (tmp_path / "file").write_bytes(b"")
    assert choosing.choose(tmp_path / "file", blobs, LOCAL).name == "tree"
    assert all(choosing.reasons(tmp_path / "file")[name] for name in ("overlay", "btrfs"))
    assert str(tmp_path) not in mounts()
