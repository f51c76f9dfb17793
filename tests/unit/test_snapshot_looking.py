"""What tells a capture that a file was not touched: the same whichever way the machine lets it look."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.snapshots.walking import looking, scanning
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL


def written_again(file: Path) -> None:
    """Other bytes, as many, and the time of writing as it was."""
    times = file.stat()
    file.write_bytes(b"?" * times.st_size)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"?" * file.stat().st_size)
    other.rename(file)


def turned_into_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


CHANGES: list[Callable[[Path], object]] = [
    written_again,
    replaced,
    turned_into_a_folder,
    lambda file: file.chmod(0o600),
    lambda file: file.write_bytes(b"longer than it was"),
    Path.unlink,
]


@pytest.fixture(params=["all at once", "refused", "absent"])
def reads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that captures read, on a machine that lets them look in one of three ways."""
    if request.param != "all at once":
        monkeypatch.setattr(looking, "_statx", None if request.param == "absent" else lambda *_: -1)
    read, names = scanning.read_entry, list[str]()

    def reading(folder: int, name: str, *rest: object) -> object:
        names.append(name)
        return read(folder, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scanning, "read_entry", reading)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)  # all that is written is long settled
    return names


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    for name in ("a", "b", "caf\udce9"):
        (tmp_path / name).write_bytes(name.encode(errors="surrogateescape") * 3)
    (tmp_path / "link").symlink_to("a")
    return Workspace(tmp_path)


@pytest.mark.requirement("sandbox:tree-snapshot-restores")
async def test_a_file_that_was_not_touched_is_not_read_even_after_somebody_read_it(
    space: Workspace, reads: list[str]
) -> None:
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    first = await store.capture(space)
    assert sorted(reads) == ["a", "b", "caf\udce9", "link"]
    reads.clear()
    for number in range(3):
        if number == 1:
            os.utime(space.root / "a", ns=(number, (space.root / "a").stat().st_mtime_ns))
        assert await store.capture(space) == first
    assert reads == ["a"], "only the one whose times somebody set"


@pytest.mark.requirement("sandbox:tree-snapshot-restores")
@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_is_done_to_a_file_is_seen_and_put_back(
    space: Workspace, reads: list[str], change: Callable[[Path], object]
) -> None:
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    before = {path.name: path.read_bytes() for path in space.root.iterdir()}
    first = await store.capture(space)
    assert await store.capture(space) == first
    change(space.root / "b")
    reads.clear()
    assert [each.path for each in await store.changes(space, first)] == ["b"]
    assert await store.capture(space) != first
    assert set(reads) <= {"b"}
    await store.restore(space, first)
    assert {path.name: path.read_bytes() for path in space.root.iterdir()} == before
