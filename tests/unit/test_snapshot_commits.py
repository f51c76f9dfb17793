"""Chosen changes go from a clone into its source, reviewed, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.committing import commit
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL
from holdfast.testing.conformance.snapshots import fingerprint
from holdfast.types import SnapshotRef

pytestmark = pytest.mark.requirement("sandbox:commit-is-reviewed")


class Pair(msgspec.Struct):
    store: TreeSnapshots
    clone: Workspace
    target: Workspace
    base: SnapshotRef

    async def commit(self, *paths: str) -> list[str]:
        return [c.path for c in await commit(self.store, self.clone, self.target, self.base, paths)]

    async def refused(self, *paths: str) -> str:
        before = fingerprint(self.target.root)
        with pytest.raises(SandboxError, match="nothing was committed") as caught:
            await self.commit(*paths)
        assert fingerprint(self.target.root) == before
        return str(caught.value)


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    for name in ("target", "clone"):
        (tmp_path / name).mkdir()
    target, clone = Workspace(tmp_path / "target"), Workspace(tmp_path / "clone")
    for name in ("f", "g", "d/old", "d/e/deep", ".git/config", "sub/.git/hooks/x"):
        target.replace(name, name.encode())
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    base = await store.capture(target)
    await store.clone(base, clone)
    return Pair(store, clone, target, base)


async def test_chosen_paths_arrive_and_others_do_not(pair: Pair) -> None:
    pair.clone.replace("f", b"changed")
    pair.clone.replace("g", b"not chosen")
    pair.clone.replace("new/deep/file", b"x" * 5_000_000)
    (pair.clone.root / "new/deep/file").chmod(0o755)
    (pair.clone.root / "link").symlink_to("d/old")
    (pair.clone.root / "d/e/deep").unlink()
    (pair.clone.root / "d/e").rmdir()
    (pair.clone.root / "d/old").unlink()
    (pair.clone.root / "d/old").mkdir(mode=0o555)
    chosen = ["f", "new/deep/file", "link", "d/e", "d/e/deep", "d/old"]
    assert sorted(await pair.commit(*chosen)) == sorted(chosen)
    after, wanted = fingerprint(pair.target.root), fingerprint(pair.clone.root)
    wanted[b"g"] = after[b"g"]
    assert after == wanted
    assert await pair.commit(*chosen) == [], "what arrived already is passed over"


async def test_all_conflicts_are_named_and_nothing_is_written(pair: Pair) -> None:
    for name in ("f", "g", "d/old"):
        pair.clone.replace(name, b"ours")
    pair.target.replace("f", b"theirs")
    (pair.target.root / "d/old").unlink()
    pair.target.replace("g", b"ours")
    words = await pair.refused("f", "d/old", "g")
    assert words.count("it changed in the target too") == 2
    assert "\n  g:" not in words, "what is equal already is no conflict"


async def test_what_could_act_later_is_refused(pair: Pair) -> None:
    root = pair.clone.root
    pair.clone.replace(".git/config", b"[core]\nfsmonitor = evil")
    pair.clone.replace(".GIT/Hooks/pre-commit", b"evil")
    pair.clone.replace("sub/.git/hooks/x", b"evil")
    pair.clone.replace("suid", b"x")
    (root / "suid").chmod(0o4755)
    os.mkfifo(root / "pipe")
    (root / "lib").mkdir()
    links = {"out": "/etc/passwd", "up": "../x", "lib/up": "../../x", "trick": "d/../../x", "lib/loop": "../out"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "other").mkdir()
    (root / "other/.git").symlink_to("../lib")
    paths = [".git/config", ".GIT/Hooks/pre-commit", "sub/.git/hooks/x", "suid", "pipe", *links, "other/.git", "none"]
    words = await pair.refused("f", *paths)
    for path in paths:
        assert f"\n  {path}: " in words
    for reason in ("is protected", "setuid", "FIFO", "leads out", "did not change"):
        assert reason in words


async def test_a_folder_that_holds_something_else_by_now_stays(pair: Pair) -> None:
    (pair.clone.root / "d/e/deep").unlink()
    (pair.clone.root / "d/e").rmdir()
    pair.target.replace("d/e/theirs", b"x")
    assert "still holds theirs" in await pair.refused("d/e", "d/e/deep")
    assert "still holds deep" in await pair.refused("d/e")


async def test_a_folder_that_became_a_link_is_not_written_through(pair: Pair, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    pair.clone.replace("d/new", b"x")
    (pair.target.root / "d").rename(pair.target.root / "moved")
    (pair.target.root / "d").symlink_to(outside)
    assert "d is no folder in the target" in await pair.refused("d/new")
    assert list(outside.iterdir()) == []
