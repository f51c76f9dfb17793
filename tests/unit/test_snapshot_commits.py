"""Chosen changes go from a clone into its source, reviewed, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots import committing
from holdfast.sandbox.snapshots.committing import commit
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL
from holdfast.testing.conformance.snapshots import fingerprint
from holdfast.types import Change, SnapshotRef

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


BARE = {"HEAD": b"ref: refs/heads/main", "objects/k": b"", "refs/k": b"", "config": b"[core]\n\tfsmonitor = sh"}


@pytest.mark.parametrize("place", ["", "docs/", "d/", "DOCS/deep/"])
async def test_a_folder_does_not_become_a_repository_whatever_its_name(place: str, pair: Pair) -> None:
    for name, data in BARE.items():
        pair.clone.replace(place + name, data)
    changed = [change.path for change in await pair.store.changes(pair.clone, pair.base)]
    words = await pair.refused(*changed)
    assert words.count("would become a git repository") >= len(BARE)
    assert await pair.refused(f"{place}config")


async def test_a_repository_does_not_arrive_in_parts(pair: Pair) -> None:
    for name in ("HEAD", "config"):
        pair.clone.replace(f"docs/{name}", BARE[name])
    await pair.commit("docs/HEAD", "docs/config")
    (pair.clone.root / "docs/HEAD").rename(pair.clone.root / "elsewhere")
    for name in ("objects/k", "refs/k"):
        pair.clone.replace(f"docs/{name}", BARE[name])
    await pair.refused("docs/objects/k", "docs/refs/k")
    pair.clone.replace("linked/HEAD", b"ref: refs/heads/main")
    pair.clone.replace("linked/commondir", b"../docs")
    await pair.refused("linked/commondir")


async def test_a_bare_repository_of_the_target_keeps_its_settings_and_takes_objects(tmp_path: Path) -> None:
    for name in ("target", "clone"):
        (tmp_path / name).mkdir()
    target, clone = Workspace(tmp_path / "target"), Workspace(tmp_path / "clone")
    for name, data in BARE.items():
        target.replace(f"x.git/{name}", data)
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    pair = Pair(store, clone, target, await store.capture(target))
    await store.clone(pair.base, clone)
    for name in ("config", "hooks/update", "objects/new", "config2"):
        clone.replace(f"x.git/{name}", b"ours")
    assert "'hooks' of a git repository is protected" in await pair.refused("x.git/hooks/update")
    assert "'config' of a git repository is protected" in await pair.refused("x.git/config")
    assert await pair.commit("x.git/objects/new", "x.git/config2") == ["x.git/objects/new", "x.git/config2"]


@pytest.mark.requirement("sandbox:store-is-kept-out")
async def test_a_store_in_the_target_is_no_place_for_changes(tmp_path: Path, pair: Pair) -> None:
    apart = [pair.target.root / "s.db", pair.target.root / "s.workspaces"]
    target = Workspace(pair.target.root, apart=apart)
    store = TreeSnapshots(MemoryBlobStore(), LOCAL, apart=apart)
    pair = Pair(store, pair.clone, target, await store.capture(target))
    (target.root / "s.db").write_bytes(b"the log")
    (target.root / "s.workspaces").mkdir()
    for name in ("s.db", "s.workspaces/x"):
        pair.clone.replace(name, b"ours")
        assert "belongs to the store" in await pair.refused(name)


@pytest.mark.parametrize("kind", ["file", "new file", "removed", "link", "becomes a folder", "folder"])
async def test_what_somebody_changes_in_the_target_at_the_last_moment_is_not_overwritten(
    kind: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair.clone.root, pair.target.root
    path, spoil = "f", theirs / "f"
    match kind:
        case "file":
            pair.clone.replace("f", b"ours")
        case "removed":
            (ours / "f").unlink()
        case "link":
            (ours / "f").unlink()
            (ours / "f").symlink_to("g")
        case "becomes a folder":
            (ours / "f").unlink()
            (ours / "f").mkdir()
        case "new file":
            path, spoil = "new", theirs / "new"
            pair.clone.replace("new", b"ours")
        case _:
            path, spoil = "new", theirs / "new"
            (ours / "new").mkdir()
    real = committing._write

    def late(source: Workspace, target: Workspace, chosen: Sequence[Change]) -> None:
        spoil.write_text("saved in this second")
        real(source, target, chosen)

    monkeypatch.setattr(committing, "_write", late)
    with pytest.raises(SandboxError, match="changed in the target while it was committed"):
        await pair.commit(path)
    assert spoil.read_text() == "saved in this second"
