"""Snapshots of whole trees: whatever is done to the files, they come back, and what differs is known."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.differences import unified
from holdfast.sandbox.snapshots.port import Bounds
from holdfast.sandbox.snapshots.stores.mounting import bind, unmount
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import REFRESH, Marks
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import LOCAL
from holdfast.testing.conformance.snapshots import fingerprint
from holdfast.types import Change, Digest, SnapshotRef, TenantId, digest_of

NAMES = st.sampled_from(["a", "b", "c", "A", ".x", "caf\udce9", "n\nl"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
KINDS = ["write", "write", "append", "mkdir", "link", "remove", "chmod", "fifo", "rename"]
ACTIONS = st.lists(st.tuples(st.sampled_from(KINDS), PATHS, PATHS, st.binary(max_size=6)), max_size=14)
GENTLE = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def act(root: Path, actions: list[tuple[str, str, str, bytes]]) -> None:
    for kind, first, second, data in actions:
        try:
            one(root / first, root / second, kind, data)
        except OSError:
            continue  # nonsense, such as a folder below a file


def one(path: Path, other: Path, kind: str, data: bytes) -> None:
    match kind:
        case "remove" if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        case "remove":
            path.unlink()
        case "chmod" if not path.is_symlink():
            path.chmod(0o700 | (len(data) & 0o7))
        case "rename":
            path.rename(other)
        case "mkdir":
            path.mkdir(parents=True)
        case "link":
            path.symlink_to(os.fsdecode(data.replace(b"\0", b"")) or ".")
        case "fifo":
            os.mkfifo(path)
        case _ if not path.is_symlink() and not path.is_fifo():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if kind == "append" else "wb") as file:
                file.write(data)
        case _:
            pass


def naive(before: dict[bytes, tuple[object, ...]], after: dict[bytes, tuple[object, ...]]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for name in {*before, *after} - {b"."}:
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            found[name] = "added" if old is None else "removed"
        elif old != new:
            same = old[:1] + old[2:] == new[:1] + new[2:]
            found[name] = "type" if old[0] != new[0] else "mode" if same and old[0] != "link" else "modified"
    return found


@pytest.mark.requirement("sandbox:tree-snapshot-restores", "sandbox:changes-and-diff")
@GENTLE
@given(ACTIONS, ACTIONS, ACTIONS)
async def test_whatever_is_done_to_a_tree_is_known_and_undone(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[str, str, str, bytes]],
    then: list[tuple[str, str, str, bytes]],
    last: list[tuple[str, str, str, bytes]],
) -> None:
    space = Workspace(tmp_path_factory.mktemp("space"))
    blobs = MemoryBlobStore()
    store = TreeSnapshots(blobs, LOCAL)
    refs: list[SnapshotRef] = []
    states: list[dict[bytes, tuple[object, ...]]] = []
    for actions in (first, then):
        act(space.root, actions)
        refs.append(await store.capture(space))
        states.append(fingerprint(space.root))
    changes = await store.changes(space, *refs)
    assert {os.fsencode(change.path): change.kind for change in changes} == naive(*states)
    act(space.root, last)
    now = await store.changes(space, refs[0])
    assert {os.fsencode(change.path): change.kind for change in now} == naive(states[0], fingerprint(space.root))
    (await unified(store, space, now, refs[0])).encode("utf-8")
    for number in (0, 1, 0):
        await (store if number else TreeSnapshots(blobs, LOCAL)).restore(space, refs[number])
        assert without_special(fingerprint(space.root)) == without_special(states[number])


def without_special(state: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """What a restore promises: special files are left alone, so one that is gone does not come back."""
    return {name: each for name, each in state.items() if each[0] != "special"}


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    (tmp_path / "w").mkdir()
    return Workspace(tmp_path / "w")


@pytest.fixture
def store() -> TreeSnapshots:
    return TreeSnapshots(MemoryBlobStore(), LOCAL)


@pytest.mark.requirement("sandbox:snapshot-bounds")
@pytest.mark.parametrize(
    ("bounds", "words"), [(Bounds(files=5), "more than 5 files"), (Bounds(size=9), "bytes"), (Bounds(depth=2), "deep")]
)
async def test_a_tree_over_a_bound_is_refused_with_what_to_do(space: Workspace, bounds: Bounds, words: str) -> None:
    for number in range(3):
        space.replace(f"d{number}/e/f/g", b"1234")
    store = TreeSnapshots(MemoryBlobStore(), LOCAL, bounds)
    with pytest.raises(SandboxError, match=words) as caught:
        await store.capture(space)
    assert "raise the bound" in str(caught.value)


@pytest.mark.requirement("sandbox:snapshot-bounds")
async def test_a_tree_that_grew_far_over_the_bounds_can_still_be_put_back(space: Workspace) -> None:
    space.replace("keep", b"1")
    store = TreeSnapshots(MemoryBlobStore(), LOCAL, Bounds(files=4, size=100, depth=3))
    before = fingerprint(space.root)
    ref = await store.capture(space)
    folder = os.open(space.root, os.O_RDONLY)
    for _ in range(600):  # deeper than a path may be long, and than functions may call each other
        os.mkdir("d" * 20, dir_fd=folder)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    with (space.root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    await store.restore(space, ref)
    assert fingerprint(space.root) == before


async def test_setuid_bits_are_noted_and_never_given(space: Workspace, store: TreeSnapshots) -> None:
    space.replace("f", b"1")
    (space.root / "f").chmod(0o4755)
    ref = await store.capture(space)
    await store.restore(space, ref)
    assert stat.S_IMODE((space.root / "f").stat().st_mode) == 0o4755, "what is as it was is left as it is"
    space.replace("f", b"2")
    changes = await store.changes(space, ref)
    assert [(c.path, c.kind, c.before and c.before.mode) for c in changes] == [("f", "modified", 0o4755)]
    (space.root / "f").unlink()
    await store.restore(space, ref)
    assert stat.S_IMODE((space.root / "f").stat().st_mode) == 0o755
    (space.root / "f").chmod(0o4711)
    await store.restore(space, ref)
    assert stat.S_IMODE((space.root / "f").stat().st_mode) == 0o755


async def test_what_is_apart_is_in_no_snapshot_and_is_never_touched(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    blobs = MemoryBlobStore()
    store = TreeSnapshots(blobs, LOCAL, apart=[tmp_path / "data" / "own.db"])
    ref = await store.capture(space)
    space.replace("data/own.db", b"log")
    space.replace("data/new", b"x")
    await store.restore(space, ref)
    assert (tmp_path / "data/own.db").read_bytes() == b"log"
    full = await store.capture(space)
    assert not await blobs.has(LOCAL, digest_of(b"log"))
    space.replace("data/own.db", b"longer log")
    await store.restore(space, full)
    assert (tmp_path / "data/own.db").read_bytes() == b"longer log"


async def test_blobs_that_a_collection_took_are_stored_again(space: Workspace) -> None:
    clock = FakeClock()
    blobs = MemoryBlobStore(clock)
    store = TreeSnapshots(blobs, LOCAL)
    space.replace("d/f", b"1")
    first = await store.capture(space)
    await clock.advance(48 * 3600)
    assert (await blobs.collect(LOCAL, Marks(), before=clock.now() - 2 * REFRESH)).removed == 4
    assert await store.capture(space) == first
    space.replace("d/f", b"2")
    await store.restore(space, first)
    assert space.contents("d/f")[0] == b"1"


async def test_what_an_unchanged_tree_needs_is_kept_from_a_collection(space: Workspace) -> None:
    clock = FakeClock()
    blobs = MemoryBlobStore(clock)
    store = TreeSnapshots(blobs, LOCAL)
    space.replace("d/large", bytes(5_000_000))
    await store.capture(space)
    await clock.advance(48 * 3600)
    ref = await store.capture(space)
    assert (await blobs.collect(LOCAL, Marks(), before=clock.now() - 2 * REFRESH)).removed == 0
    space.replace("d/large", b"")
    await store.restore(space, ref)
    assert space.contents("d/large")[0] == bytes(5_000_000)


async def test_only_what_changed_is_stored(space: Workspace) -> None:
    blobs = MemoryBlobStore()
    store = TreeSnapshots(blobs, LOCAL)
    for number in range(50):
        space.replace(f"d{number}/f", b"%d" % number)
    await store.capture(space)
    held = (await blobs.usage(LOCAL)).blobs
    space.replace("d7/f", b"new")
    await store.capture(space)
    assert (await blobs.usage(LOCAL)).blobs - held == 4, "the file, its folder, the root and the manifest"


async def test_a_name_of_a_write_that_was_killed_belongs_to_no_snapshot(space: Workspace, store: TreeSnapshots) -> None:
    space.replace("d/f", b"1")
    left = space.root / "d" / ".holdfast-0123456789ab-0123456789ab"
    ref = await store.capture(space)
    before = fingerprint(space.root)
    left.write_bytes(b"half")
    assert await store.changes(space, ref) == ()
    again = await store.capture(space)
    await store.restore(space, again)
    assert fingerprint(space.root) == before


@pytest.mark.requirement("sandbox:changes-and-diff")
async def test_a_diff_reads_like_one(space: Workspace, store: TreeSnapshots) -> None:
    space.replace("a.py", b"one\ntwo\nthree\n")
    space.replace("gone", b"last words")
    space.replace("same", b"same")
    (space.root / "run").write_bytes(b"x")
    (space.root / "run").chmod(0o644)
    ref = await store.capture(space)
    space.replace("a.py", b"one\n2\x1b[31m\nthree\n")
    (space.root / "gone").unlink()
    (space.root / "run").chmod(0o755)
    space.replace("bytes", b"\0\1")
    (space.root / "odd\nname").symlink_to("/etc/\x1bpasswd")
    text = await unified(store, space, await store.changes(space, ref), ref)
    assert text == (
        "modified a.py (14 to 17 bytes)\n"
        "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\\x1b[31m\n three\n"
        "added bytes: file of 2 bytes, mode 0644\n  (binary)\n"
        "removed gone: file of 10 bytes, mode 0644\n"
        "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-last words\n\\ No newline at end of file\n"
        'added "odd\\nname": link to "/etc/\\x1bpasswd"\n'
        "mode run, mode 0644 became 0755\n"
    )


@pytest.mark.requirement("sandbox:changes-and-diff")
@pytest.mark.parametrize("limit", [0, 50, 200, 1000])
async def test_a_long_diff_is_cut_and_says_so(space: Workspace, store: TreeSnapshots, limit: int) -> None:
    ref = await store.capture(space)
    for number in range(40):
        space.replace(f"f{number}", b"line\n" * 100)
    text = await unified(store, space, await store.changes(space, ref), ref, limit=limit)
    assert len(text) <= limit
    if limit >= 100:
        assert text.splitlines()[-1].startswith("... cut here: ")


async def test_two_captures_at_once_come_to_the_same(space: Workspace, store: TreeSnapshots) -> None:
    for number in range(200):
        space.replace(f"d{number % 9}/f{number}", b"%d" % number)
    refs = await asyncio.gather(*(store.capture(space) for _ in range(4)))
    assert len(set(refs)) == 1
    changes: tuple[Change, ...] = await store.changes(space, refs[0])
    assert changes == ()


@pytest.mark.requirement("sandbox:snapshot-bounds")
@pytest.mark.parametrize("deep", [False, True])
async def test_a_tree_over_a_bound_is_refused_before_a_file_is_read_and_nothing_is_stored(
    deep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = MemoryBlobStore()
    store = TreeSnapshots(blobs, LOCAL, Bounds(size=1000, depth=3))
    (tmp_path / "f").write_text("x")
    await store.capture(Workspace(tmp_path))
    for number in range(4):
        (tmp_path / f"{number}").write_bytes(bytes([number]) * (10 if deep else 300))
    if deep:
        (tmp_path / "z/z/z/z").mkdir(parents=True)
    held = dict(blobs._blobs[LOCAL])

    def nothing(*_: object) -> bytes:
        raise AssertionError("a file was read")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", nothing)
        for _ in range(2):
            with pytest.raises(SandboxError, match="too large to be kept"):
                await store.capture(Workspace(tmp_path))
    assert dict(blobs._blobs[LOCAL]) == held
    for number in range(4):
        (tmp_path / f"{number}").unlink()
    shutil.rmtree(tmp_path / "z", ignore_errors=True)
    assert (await store.capture(Workspace(tmp_path))).whole


async def test_a_capture_after_a_half_done_collection_stores_everything_again(tmp_path: Path) -> None:
    clock = FakeClock()
    blobs = MemoryBlobStore(clock)
    store = TreeSnapshots(blobs, LOCAL)
    (tmp_path / "w/sub").mkdir(parents=True)
    (tmp_path / "w/sub/f").write_text("x")
    space = Workspace(tmp_path / "w")
    ref = await store.capture(space)
    folders = [digest async for digest in store.digests(ref)]
    for lost in folders[1:]:
        await clock.advance(REFRESH / 1e6 + 1)
        del blobs._blobs[LOCAL][lost]  # the collection was stopped after this one, and before the manifest
        again = await store.capture(space)
        (tmp_path / "c").mkdir()
        await store.clone(again, Workspace(tmp_path / "c"))
        assert fingerprint(tmp_path / "c") == fingerprint(tmp_path / "w")
        shutil.rmtree(tmp_path / "c")


@pytest.mark.requirement("sandbox:changes-and-diff")
@pytest.mark.parametrize("named", [False, True])
async def test_the_work_for_a_diff_grows_as_the_number_of_changed_files(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, asked = MemoryBlobStore(), 0
    store, space = TreeSnapshots(blobs, LOCAL), Workspace(tmp_path)
    names = [f"d/f{number:04}" for number in range(300)]
    for name in names:
        space.replace(name, b"old")
    ref = await store.capture(space, names if named else None)
    for name in names:
        space.replace(name, b"new")
    real = blobs.get_many

    async def counted(tenant: TenantId, digests: Sequence[Digest]) -> list[bytes]:
        nonlocal asked
        found = await real(tenant, digests)
        asked += sum(map(len, found))
        return found

    monkeypatch.setattr(blobs, "get_many", counted)
    changes = await store.changes(space, ref)
    text = await unified(store, space, changes, ref, limit=10**6)
    assert (len(changes), text.count("+new")) == (300, 300)
    everything = sum(map(len, await real(LOCAL, list(blobs._blobs[LOCAL]))))
    assert asked < 4 * everything, "listings are read once, not once for each file"


@pytest.mark.requirement("sandbox:snapshots-stay-inside")
async def test_a_restore_does_not_remove_what_is_mounted_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "outside/deep/f").write_text("not ours")
    store, space = TreeSnapshots(MemoryBlobStore(), LOCAL), Workspace(tmp_path / "w")
    ref = await store.capture(space)
    (tmp_path / "w/a/mounted").mkdir(parents=True)
    try:
        bind(str(tmp_path / "outside"), str(tmp_path / "w/a/mounted"))
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    try:
        with pytest.raises(SandboxError, match="mounted there: unmount it first"):
            await store.restore(space, ref)
        assert (tmp_path / "outside/deep/f").read_text() == "not ours"
    finally:
        unmount(str(tmp_path / "w/a/mounted"))
    await store.restore(space, ref)
    assert list((tmp_path / "w").iterdir()) == []


@pytest.mark.requirement("sandbox:store-is-kept-out")
async def test_a_store_in_the_workspace_is_neither_kept_nor_put_back_by_its_name(tmp_path: Path) -> None:
    blobs, space = MemoryBlobStore(), Workspace(tmp_path)
    space.replace("s.db", b"old")
    space.replace("f", b"old")
    (tmp_path / "to").symlink_to("s.db")
    ref = await TreeSnapshots(blobs, LOCAL).capture(space, ["f", "s.db"])  # as an older version did
    space.replace("s.db", b"new")
    space.replace("f", b"new")
    store = TreeSnapshots(blobs, LOCAL, apart=[tmp_path / "s.db"])
    for path in ("s.db", "to"):
        with pytest.raises(SandboxError, match="belongs to the store"):
            await store.capture(space, [path])
    with pytest.raises(SandboxError, match="belongs to the store"):
        await store.restore(space, ref)
    assert (tmp_path / "s.db").read_bytes() == (tmp_path / "f").read_bytes() == b"new", "nothing was done"
    assert [change.path for change in await store.changes(space, ref)] == ["f", "s.db"], "it may be looked at"
