"""Snapshots: what was named is put back, and nothing else is touched."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.snapshots.port import Bounds
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.types import SnapshotRef, TenantId, digest_of

pytestmark = pytest.mark.requirement("sandbox:tree-snapshot-restores")
TENANT = TenantId("local")


async def take(space: Workspace, paths: Iterable[str], blobs: MemoryBlobStore, tenant: TenantId) -> SnapshotRef:
    return await TreeSnapshots(blobs, tenant).capture(space, tuple(paths))


async def restore(space: Workspace, ref: SnapshotRef, blobs: MemoryBlobStore, tenant: TenantId) -> None:
    await TreeSnapshots(blobs, tenant).restore(space, ref)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def blobs() -> MemoryBlobStore:
    return MemoryBlobStore()


def tree(root: Path) -> dict[str, object]:
    """Everything under a folder: kind, mode, content."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (mode, content)
    return found


async def test_content_and_mode_come_back(space: Workspace, blobs: MemoryBlobStore) -> None:
    file = space.root / "f"
    file.write_bytes(b"\0old\xff")
    file.chmod(0o741)
    before = tree(space.root)
    ref = await take(space, ["f"], blobs, TENANT)
    file.write_text("new and longer")
    file.chmod(0o600)
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == before
    assert (ref.store, ref.paths) == ("tree", ("f",))


async def test_a_file_that_was_not_there_is_gone_again_with_the_folders_made_for_it(
    space: Workspace, blobs: MemoryBlobStore
) -> None:
    (space.root / "there").mkdir()
    ref = await take(space, ["there/a/b/new", "top"], blobs, TENANT)
    space.replace("there/a/b/new", b"x")
    space.replace("top", b"x")
    await restore(space, ref, blobs, TENANT)
    assert list(tree(space.root)) == ["there"]


async def test_a_folder_somebody_else_uses_by_now_stays(space: Workspace, blobs: MemoryBlobStore) -> None:
    ref = await take(space, ["a/b/new"], blobs, TENANT)
    space.replace("a/b/new", b"x")
    space.replace("a/other", b"theirs")
    await restore(space, ref, blobs, TENANT)
    assert list(tree(space.root)) == ["a", "a/other"]


async def test_a_removed_file_comes_back_with_its_folder(space: Workspace, blobs: MemoryBlobStore) -> None:
    space.replace("a/b", b"x")
    ref = await take(space, ["a/b"], blobs, TENANT)
    (space.root / "a/b").unlink()
    (space.root / "a").rmdir()
    await restore(space, ref, blobs, TENANT)
    assert space.contents("a/b")[0] == b"x"


async def test_only_named_paths_are_touched(space: Workspace, blobs: MemoryBlobStore) -> None:
    space.replace("f", b"1")
    space.replace("g", b"1")
    ref = await take(space, ["f"], blobs, TENANT)
    space.replace("f", b"2")
    space.replace("g", b"2")
    await restore(space, ref, blobs, TENANT)
    assert (space.contents("f")[0], space.contents("g")[0]) == (b"1", b"2")


async def test_a_file_that_is_as_it_was_is_not_written(space: Workspace, blobs: MemoryBlobStore) -> None:
    space.replace("f", b"1")
    before = (space.root / "f").stat()
    ref = await take(space, ["f"], blobs, TENANT)
    await restore(space, ref, blobs, TENANT)
    after = (space.root / "f").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_links_and_what_they_point_to_come_back(space: Workspace, blobs: MemoryBlobStore) -> None:
    space.replace("real/f", b"1")
    (space.root / "link").symlink_to("middle")
    (space.root / "middle").symlink_to("real/f")
    before = tree(space.root)
    ref = await take(space, ["link"], blobs, TENANT)
    space.replace("link", b"2")
    assert space.contents("real/f")[0] == b"2"
    (space.root / "middle").unlink()
    (space.root / "middle").write_text("3")
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == before


async def test_a_dangling_link_leads_to_the_file_a_write_would_make(space: Workspace, blobs: MemoryBlobStore) -> None:
    (space.root / "link").symlink_to("new/f")
    before = tree(space.root)
    ref = await take(space, ["link"], blobs, TENANT)
    space.replace("link", b"x")
    assert space.contents("new/f")[0] == b"x"
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == before


async def test_a_link_that_leads_out_is_kept_as_a_link_and_not_followed(
    space: Workspace, blobs: MemoryBlobStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "f"
    outside.write_text("theirs")
    (space.root / "link").symlink_to(outside)
    ref = await take(space, ["link"], blobs, TENANT)
    assert not await blobs.has(TENANT, digest_of(b"theirs"))
    (space.root / "link").unlink()
    await restore(space, ref, blobs, TENANT)
    assert (space.root / "link").readlink() == outside
    with pytest.raises(PathEscape):
        await take(space, ["../x"], blobs, TENANT)


async def test_a_folder_and_a_fifo_are_recorded_as_such(space: Workspace, blobs: MemoryBlobStore) -> None:
    (space.root / "d").mkdir(mode=0o700)
    os.mkfifo(space.root / "p")
    before = tree(space.root)
    ref = await take(space, ["d", "p", "."], blobs, TENANT)
    (space.root / "d").rmdir()
    (space.root / "d").write_text("x")
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == before


async def test_a_folder_with_contents_is_not_removed(space: Workspace, blobs: MemoryBlobStore) -> None:
    ref = await take(space, ["f"], blobs, TENANT)
    space.replace("f/theirs", b"x")
    with pytest.raises(SandboxError, match="contents"):
        await restore(space, ref, blobs, TENANT)
    assert space.contents("f/theirs")[0] == b"x"


async def test_restoring_twice_is_restoring_once(space: Workspace, blobs: MemoryBlobStore) -> None:
    space.replace("f", b"1")
    ref = await take(space, ["f", "g/h"], blobs, TENANT)
    space.replace("f", b"2")
    space.replace("g/h", b"2")
    await restore(space, ref, blobs, TENANT)
    once = tree(space.root)
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == once


async def test_what_a_killed_write_left_behind_is_removed(space: Workspace, blobs: MemoryBlobStore) -> None:
    space.replace("f", b"1")
    before = tree(space.root)
    ref = await take(space, ["f", "new"], blobs, TENANT)
    for name in ("f", "new"):
        left = f".holdfast-{hashlib.sha256(name.encode()).hexdigest()[:12]}-0123456789ab"
        (space.root / left).write_text("half")
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == before


async def test_a_file_over_the_bound_is_refused_by_name(space: Workspace, blobs: MemoryBlobStore) -> None:
    with (space.root / "big").open("wb") as file:
        file.truncate(1001)
    with pytest.raises(SandboxError, match="with big it passes the bound by 1 bytes"):
        await TreeSnapshots(blobs, TENANT, Bounds(size=1000)).capture(space, ["big"])


async def test_a_large_file_is_kept_in_pieces(space: Workspace, blobs: MemoryBlobStore) -> None:
    data = bytes(range(256)) * 40_000
    space.replace("big", data)
    ref = await take(space, ["big"], blobs, TENANT)
    sizes = [len(await blobs.get(TENANT, d)) async for d in TreeSnapshots(blobs, TENANT).digests(ref)]
    assert max(sizes) == 4 * 1024 * 1024
    space.replace("big", b"")
    await restore(space, ref, blobs, TENANT)
    assert space.contents("big")[0] == data


async def test_a_manifest_of_the_first_version_is_still_restored(space: Workspace, blobs: MemoryBlobStore) -> None:
    digest = await blobs.put(TENANT, b"old")
    manifest = await blobs.put(
        TENANT,
        b'{"v":1,"entries":[{"path":"f","kind":"file","mode":384,"size":3,"digest":"%s"},'
        b'{"path":"d/n","kind":"absent","missing":["d"]},{"path":"l","kind":"link","target":"f"}]}' % digest.encode(),
    )
    space.replace("d/n", b"new")
    await restore(space, SnapshotRef("tree", manifest, ("f", "d/n", "l")), blobs, TENANT)
    assert (space.root / "l").read_bytes() == b"old"
    assert sorted(tree(space.root)) == ["f", "l"]


async def test_a_lost_or_foreign_snapshot_is_refused(space: Workspace, blobs: MemoryBlobStore) -> None:
    ref = await take(space, ["f"], blobs, TENANT)
    with pytest.raises(SandboxError, match="not in the store"):
        await restore(space, ref, blobs, TenantId("other"))
    with pytest.raises(SandboxError, match="'zfs'"):
        await restore(space, SnapshotRef("zfs", ref.manifest), blobs, TENANT)


NAMES = st.sampled_from(["a", "b", "d/a", "d/e/a", "link", "deep"])
ACTIONS = st.lists(st.tuples(st.sampled_from(["write", "remove", "chmod"]), NAMES, st.binary(max_size=4)), max_size=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ACTIONS, ACTIONS)
async def test_whatever_writes_did_to_named_paths_is_undone(
    tmp_path_factory: pytest.TempPathFactory, first: list[tuple[str, str, bytes]], then: list[tuple[str, str, bytes]]
) -> None:
    space, blobs = Workspace(tmp_path_factory.mktemp("space")), MemoryBlobStore()
    (space.root / "link").symlink_to("d/a")
    (space.root / "deep").symlink_to("link")
    act(space, first)
    before = tree(space.root)
    ref = await take(space, {name for _, name, _ in then}, blobs, TENANT)
    act(space, then)
    await restore(space, ref, blobs, TENANT)
    assert tree(space.root) == before


def act(space: Workspace, actions: list[tuple[str, str, bytes]]) -> None:
    for kind, name, data in actions:
        path = space.root / name
        if kind == "write":
            space.replace(name, data)
        elif kind == "remove" and path.exists():
            path.unlink()
        elif kind == "chmod" and path.exists():
            path.chmod(0o600 | (len(data) & 0o7))
            assert stat.S_ISREG(path.stat().st_mode)
