"""What commands in sandboxes do to a workspace is seen by a snapshot that only looks where something was told."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from tests.sandboxing import sandboxes

from holdfast.sandbox.policy.profile import Profile, Tree
from holdfast.sandbox.snapshots.stores import overlay
from holdfast.sandbox.snapshots.stores.mounting import mount_overlay, unmount
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.snapshots.walking import looking, watching
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL
from holdfast.types import SnapshotRef

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells"),
    pytest.mark.requirement("sandbox:watched-workspaces"),
]


@pytest.fixture
async def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, TreeSnapshots, SnapshotRef]:
    """A workspace that is watched, its store, and a snapshot; nothing in it is looked at but what is told."""
    root = tmp_path / "work"
    (root / "folder").mkdir(parents=True)
    for name in ("one", "two", "folder/one", "folder/two"):
        (root / name).write_text(name)
    monkeypatch.setattr(watching, "MANY", 0)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)
    store, space = TreeSnapshots(MemoryBlobStore(), LOCAL), Workspace(root)
    ref = await store.capture(space)

    def nowhere(*_: object) -> None:
        raise AssertionError("a whole folder was looked at")

    monkeypatch.setattr(looking.Looker, "differing", nowhere)
    assert await store.capture(space) == ref
    return space, store, ref


async def changed(kept: tuple[Workspace, TreeSnapshots, SnapshotRef]) -> list[str]:
    space, store, before = kept
    now = await store.capture(space)
    read = await TreeSnapshots(MemoryBlobStore(), LOCAL).capture(space)
    assert now.manifest == read.manifest
    return [change.path for change in await store.changes(space, before, now)]


WRITES = "printf x | dd of=folder/one conv=notrunc 2>/dev/null"


@pytest.mark.parametrize("apply", ["at-once", "when-ended"])
async def test_what_a_command_writes_in_its_sandbox_is_seen(
    kept: tuple[Workspace, TreeSnapshots, SnapshotRef], apply: str
) -> None:
    profile = Profile(workspace=Tree(apply=apply))  # pyright: ignore[reportArgumentType]
    async with sandboxes(kept[0].root, profile) as place:
        await place.says(WRITES)
        assert await changed(kept) == ["folder/one"]


async def test_what_a_command_wrote_before_it_was_killed_is_seen(
    kept: tuple[Workspace, TreeSnapshots, SnapshotRef],
) -> None:
    mapping = (
        "import mmap,time; f=open('folder/two','r+b'); m=mmap.mmap(f.fileno(),0); f.close(); m[0]=120; time.sleep(60)"
    )
    async with sandboxes(kept[0].root) as place:
        ended = await place.run(f'{WRITES}; exec /usr/bin/python3 -c "{mapping}"', seconds=2)
        assert ended.code != 0
        assert await changed(kept) == ["folder/one", "folder/two"]


async def test_what_is_written_in_a_layer_over_the_workspace_is_not_taken_for_its_own(
    kept: tuple[Workspace, TreeSnapshots, SnapshotRef], tmp_path: Path
) -> None:
    if os.geteuid() != 0 or overlay.probe(tmp_path / "probe") is not None:
        pytest.skip("layers cannot be mounted here")
    for name in ("upper", "working", "seen"):
        (tmp_path / name).mkdir()
    over = tmp_path / "seen"
    mount_overlay("watched", str(over), [str(kept[0].root)], str(tmp_path / "upper"), str(tmp_path / "working"), "")
    try:
        (over / "folder/one").write_text("over it")
        (over / "two").unlink()
        assert await changed(kept) == []
        (kept[0].root / "folder" / "two").write_text("below it")
        assert await changed(kept) == ["folder/two"]
    finally:
        unmount(str(over))
