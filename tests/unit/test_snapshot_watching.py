"""What the kernel tells of a workspace saves looking at it, and hides nothing that was done to it."""

from __future__ import annotations

import asyncio
import errno
import gc
import mmap
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.port import Bounds
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.snapshots.walking import looking, scanning, watching
from holdfast.sandbox.snapshots.walking.reading import Row
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells"),
    pytest.mark.requirement("sandbox:watched-workspaces"),
]

FOLDERS = ["a", "a/b", "c", "d"]
NAMES = ["one", "two", "three"]
GENTLE = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workspaces of any size are watched, and what is written counts as settled at once: see `passed`."""
    monkeypatch.setattr(watching, "MANY", 0)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that captures looked at."""
    seen = list[str]()
    differing, still = looking.Looker.differing, looking.still

    def all_of(self: looking.Looker, folder: int, rows: list[Row], picture: object) -> object:
        seen.extend(row[0] for row in rows)
        return differing(self, folder, rows, picture)  # type: ignore[arg-type]

    def one_of(folder: int, row: Row) -> bool:
        seen.append(row[0])
        return still(folder, row)

    monkeypatch.setattr(looking.Looker, "differing", all_of)
    monkeypatch.setattr(scanning, "still", one_of)
    return seen


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    root = tmp_path / "w"
    plant(root)
    return Workspace(root)


def plant(root: Path) -> None:
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        for name in NAMES:
            (root / folder / name).write_bytes(f"{folder}/{name}".encode() * 3)
    passed(root.parent)


def passed(folder: Path) -> None:
    """Returns when what is done from now on has another time than what was done before."""
    probe = folder / "probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    deadline = time.monotonic() + 5
    while probe.stat().st_ctime_ns <= first:
        assert time.monotonic() < deadline
        probe.write_bytes(b"")


async def fresh(space: Workspace) -> str:
    return (await TreeSnapshots(MemoryBlobStore(), LOCAL).capture(space)).manifest


def queues() -> int:
    """How many queues of events this process has open, those of stores that nobody has any more not counted."""
    gc.collect()
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += each.readlink().name.endswith("inotify")
    return found


def kept() -> int:
    """How many events the kernel keeps for us."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))


@pytest.fixture
def store() -> TreeSnapshots:
    return TreeSnapshots(MemoryBlobStore(), LOCAL)


async def test_what_nobody_touched_is_not_looked_at(space: Workspace, store: TreeSnapshots, looks: list[str]) -> None:
    first = await store.capture(space)
    assert await store.capture(space) == first
    assert looks == []
    (space.root / "a" / "two").write_bytes(b"?")
    assert await store.capture(space) != first
    assert set(looks) == {"two"}
    looks.clear()
    await store.capture(space)
    assert looks == []


def written_through_a_mapping(root: Path, first: str, _: str) -> None:
    with (root / first).open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = bytes([mapped[0] ^ 1])


def written_when_it_was_closed_already(root: Path, first: str, _: str) -> None:
    file = os.open(root / first, os.O_RDWR)
    mapped = mmap.mmap(file, 0)
    os.close(file)
    mapped[0:1] = bytes([mapped[0] ^ 1])
    mapped.close()


def written_in_place(root: Path, first: str, _: str) -> None:
    with (root / first).open("r+b") as file:
        now = file.read(1) or b"x"
        file.seek(0)
        file.write(bytes([now[0] ^ 1]))


def appended(root: Path, first: str, _: str) -> None:
    with (root / first).open("ab") as file:
        file.write(b"more")


def copied_in_the_kernel(root: Path, first: str, second: str) -> None:
    with (root / first).open("rb") as source, (root / second).open("r+b") as target:
        os.copy_file_range(source.fileno(), target.fileno(), 5)


def given_attributes(root: Path, first: str, _: str) -> None:
    os.setxattr(root / first, "user.mark", os.urandom(4))


def saved_as_editors_do(root: Path, first: str, _: str) -> None:
    draft = root / f"{first}.draft"
    draft.write_bytes(os.urandom(3))
    draft.rename(root / first)


def written_through_a_name_that_is_gone(root: Path, first: str, second: str) -> None:
    os.link(root / first, root / f"{second}.other")
    appended(root, f"{second}.other", "")
    (root / f"{second}.other").unlink()


def written_through_a_name_that_stays(root: Path, first: str, second: str) -> None:
    os.link(root / first, root / f"{second}.stays")
    appended(root, f"{second}.stays", "")


def written_through_a_name_that_stayed(root: Path, _: str, second: str) -> None:
    appended(root, f"{second}.stays", "")


def written_through_a_name_outside(root: Path, _first: str, _second: str) -> None:
    appended(root.parent, "outside", "")


def written_through_a_name_in_a_new_folder(root: Path, first: str, _: str) -> None:
    (root / "new").mkdir()
    os.link(root / first, root / "new" / "other")
    appended(root, "new/other", "")
    (root / "new" / "other").unlink()


def written_through_a_name_that_left(root: Path, first: str, second: str) -> None:
    os.link(root / first, root / f"{second}.other")
    appended(root, f"{second}.other", "")
    (root / f"{second}.other").rename(root.parent / "left")
    (root.parent / "left").unlink()


def written_through_a_name_that_was_covered(root: Path, first: str, second: str) -> None:
    os.link(root / first, root / f"{second}.other")
    appended(root, f"{second}.other", "")
    (root.parent / "cover").write_bytes(b"")
    (root.parent / "cover").rename(root / f"{second}.other")


def written_through_a_name_of_a_killed_write(root: Path, first: str, second: str) -> None:
    other = f"{Path(second).parent}/.holdfast-0123456789ab-0123456789ab"
    os.link(root / first, root / other)
    appended(root, other, "")


def replaced_by_its_like(root: Path, first: str, _: str) -> None:
    folder = (root / first).parent
    folder.rename(root / "was")
    folder.mkdir()
    for name in NAMES[:2]:
        (folder / name).write_bytes(b"new")
    shutil.rmtree(root / "was")


def swapped_for_a_link(root: Path, first: str, second: str) -> None:
    (root / first).unlink()
    (root / first).symlink_to(second)


ACTS: list[Callable[[Path, str, str], object]] = [
    written_through_a_mapping,
    written_when_it_was_closed_already,
    written_in_place,
    appended,
    copied_in_the_kernel,
    given_attributes,
    saved_as_editors_do,
    written_through_a_name_that_is_gone,
    written_through_a_name_that_stays,
    written_through_a_name_that_stayed,
    written_through_a_name_outside,
    written_through_a_name_in_a_new_folder,
    written_through_a_name_that_left,
    written_through_a_name_that_was_covered,
    written_through_a_name_of_a_killed_write,
    replaced_by_its_like,
    swapped_for_a_link,
    lambda root, first, _: os.truncate(root / first, 1),
    lambda root, first, _: (root / first).chmod((root / first).stat().st_mode ^ 0o011),
    lambda root, first, _: os.utime(root / first, (1, 1)),
    lambda root, first, _: (root / first).write_bytes(b""),
    lambda root, first, _: (root / first).unlink(),
    lambda root, first, second: (root / first).rename(root / second),
    lambda root, first, second: (root / first).parent.rename(root / second),
    lambda root, first, _: shutil.rmtree((root / first).parent),
    lambda root, first, _: (root / first).mkdir(parents=True),
    lambda root, first, _: (root / first).parent.chmod(0o711),
]
PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)).map("/".join)
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from(ACTS), PLACES, PLACES), min_size=1, max_size=4), min_size=1, max_size=3
)


@GENTLE
@given(BATCHES)
async def test_whatever_is_done_a_watched_workspace_is_kept_as_one_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[Callable[[Path, str, str], object], str, str]]]
) -> None:
    folder = tmp_path_factory.mktemp("space")
    plant(folder / "w")
    space, store = Workspace(folder / "w"), TreeSnapshots(MemoryBlobStore(), LOCAL)
    await store.capture(space)
    for batch in batches:
        passed(folder)
        for act, first, second in batch:
            with suppress(OSError, ValueError):  # nonsense, such as a file below a file; nothing maps an empty one
                act(space.root, first, second)
        assert (await store.capture(space)).manifest == await fresh(space)
    shutil.rmtree(folder)


@pytest.mark.parametrize("act", ACTS[:17], ids=lambda act: act.__name__)
async def test_each_way_of_writing_is_seen(
    space: Workspace, store: TreeSnapshots, act: Callable[[Path, str, str], object]
) -> None:
    written_through_a_name_that_stays(space.root, "d/one", "d/two")
    os.link(space.root / "c/one", space.root.parent / "outside")
    first = await store.capture(space)
    assert await store.capture(space) == first
    passed(space.root.parent)
    act(space.root, "a/b/one", "d/two" if act is written_through_a_name_that_stayed else "c/three")
    now = await store.capture(space)
    assert now.manifest == await fresh(space)
    assert (now == first) == (act is given_attributes), "it was seen, unless it is of no account"


async def test_what_was_told_counts_until_a_capture_is_kept(space: Workspace) -> None:
    store = TreeSnapshots(MemoryBlobStore(), LOCAL, Bounds(size=1000))
    first = await store.capture(space)
    written_in_place(space.root, "a/b/one", "")
    for _ in range(2):
        assert [change.path for change in await store.changes(space, first)] == ["a/b/one"]
    (space.root / "large").write_bytes(bytes(2000))
    with pytest.raises(SandboxError, match="too large"):
        await store.capture(space)
    (space.root / "large").unlink()
    assert (await store.capture(space)).manifest == await fresh(space) != first.manifest


@pytest.mark.parametrize("between", [False, True])
async def test_when_the_kernel_forgot_what_it_noted_everything_is_looked_at(
    space: Workspace, store: TreeSnapshots, between: bool, looks: list[str]
) -> None:
    first = await store.capture(space)
    one, two = space.root / "c/one", space.root / "c/two"
    for _ in range(kept() // 2 + 1):
        os.utime(one)
        os.utime(two)
    written_in_place(space.root, "a/b/one", "")
    if between:
        assert [change.path for change in await store.changes(space, first)] == ["a/b/one"]
    now = await store.capture(space)
    assert now.manifest == await fresh(space) != first.manifest
    looks.clear()
    assert await store.capture(space) == now
    assert looks == []


async def test_many_new_folders_are_as_one_to_those_that_are_watched(
    space: Workspace, store: TreeSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.capture(space)
    for number in range(50):
        (space.root / f"new-{number}").mkdir()
    doubts, real = list[bool](), watching.Watch.doubt

    def counted(self: watching.Watch) -> bool:
        doubts.append(True)
        return real(self)

    monkeypatch.setattr(watching.Watch, "doubt", counted)
    assert (await store.capture(space)).manifest == await fresh(space) != first.manifest
    assert len(doubts) == 1


async def test_who_writes_as_fast_as_is_heard_does_not_hold_a_capture_up(
    space: Workspace, store: TreeSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.capture(space)
    monkeypatch.setattr(watching, "ENOUGH", 1000)
    written_in_place(space.root, "a/b/one", "")
    real, times = os.read, 0

    def read(descriptor: int, size: int) -> bytes:
        nonlocal times
        if size == watching._ROOM:
            times += 1
            assert times <= 1000
            os.utime(space.root / "c" / ("one" if times % 2 else "two"))
        return real(descriptor, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        now = await store.capture(space)
    assert now.manifest == await fresh(space) != first.manifest
    written_in_place(space.root, "d/one", "")
    assert (await store.capture(space)).manifest == await fresh(space) != now.manifest


@pytest.mark.parametrize("call", ["start", "add", "kind_of_disk"])
async def test_where_there_are_no_more_watches_everything_is_looked_at_as_before(
    space: Workspace, store: TreeSnapshots, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, granted = queues(), 2
    real: Callable[..., int] = getattr(watching._calls, call)

    def refusing(*arguments: int) -> int:
        nonlocal granted
        granted -= call == "add"
        if call != "add" or granted < 0:
            raise OSError(errno.ENOSPC, "no more")
        return real(*arguments)

    monkeypatch.setattr(watching._calls, call, refusing)
    for _ in range(3):
        written_in_place(space.root, "a/b/one", "")
        assert (await store.capture(space)).manifest == await fresh(space)
    assert queues() == before


async def test_a_disk_that_others_write_on_is_not_trusted(
    space: Workspace, store: TreeSnapshots, monkeypatch: pytest.MonkeyPatch, looks: list[str]
) -> None:
    before = queues()
    monkeypatch.setattr(watching._calls, "kind_of_disk", lambda _: 0x6969)
    await store.capture(space)
    await store.capture(space)
    assert queues() == before
    assert len(looks) == 12


async def test_a_workspace_that_is_forgotten_is_watched_no_more(tmp_path: Path) -> None:
    before, spaces, store = queues(), list[Workspace](), TreeSnapshots(MemoryBlobStore(), LOCAL)
    for number in range(6):
        plant(tmp_path / f"{number}")
        spaces.append(Workspace(tmp_path / f"{number}"))
        await store.capture(spaces[-1])
    assert queues() == before + 4
    store.forget(spaces[-1])
    assert queues() == before + 3
    assert (await store.capture(spaces[0])).manifest == await fresh(spaces[0])
    del store
    assert queues() == before


async def test_a_workspace_that_another_took_the_place_of_is_looked_at(space: Workspace, store: TreeSnapshots) -> None:
    await store.capture(space)
    space.root.rename(space.root.parent / "old")
    plant(space.root)
    written_in_place(space.root, "a/b/one", "")
    assert (await store.capture(space)).manifest == await fresh(space)


async def test_a_small_workspace_is_not_watched(
    space: Workspace, store: TreeSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MANY", 17)
    before = queues()
    await store.capture(space)
    assert queues() == before
    (space.root / "d/four").write_bytes(b"")
    for _ in range(2):
        await store.capture(space)
    assert queues() == before + 1
    written_in_place(space.root, "a/b/one", "")
    assert (await store.capture(space)).manifest == await fresh(space)


async def test_a_capture_that_is_cancelled_has_stopped_and_takes_nothing_from_the_next(
    space: Workspace, store: TreeSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.capture(space)
    written_in_place(space.root, "a/b/one", "")
    begun, going, real = threading.Event(), threading.Event(), os.read

    def slow(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        begun.set()
        assert going.wait(5)
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", slow)  # what the kernel told is fetched, and not noted yet
        cancelled = asyncio.ensure_future(store.capture(space))
        assert await asyncio.to_thread(begun.wait, 5)
        cancelled.cancel()
        then = asyncio.ensure_future(store.capture(space))
        for _ in range(10):
            await asyncio.sleep(0)
        going.set()
        assert (await then).manifest == await fresh(space) != first.manifest
        with pytest.raises(asyncio.CancelledError):
            await cancelled


async def test_a_restore_is_seen_by_the_next_capture(space: Workspace, store: TreeSnapshots) -> None:
    first = await store.capture(space)
    appended(space.root, "a/b/one", "")
    assert await store.capture(space) != first
    await store.restore(space, first)
    assert await store.capture(space) == first
