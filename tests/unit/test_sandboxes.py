"""Folders that sandboxes make: where forks may lie, what is left of them, and filling them with files."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
from pathlib import Path

import pytest

from holdfast.errors import SandboxError, UsageError, WorkspaceBusy
from holdfast.runtime.sandboxes import Sandboxes, fill
from holdfast.sandbox.snapshots.walking.scanning import open_folder
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.types import SessionId, TenantId

US = TenantId("us")
SESSION = SessionId("s")


@pytest.fixture
def boxes(tmp_path: Path) -> Sandboxes:
    data = tmp_path / "data.workspaces"
    return Sandboxes(MemoryBlobStore(), data, (data,))


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


@pytest.mark.parametrize("wanted", ["ws/fork", "ws", "."])
def test_a_fork_lies_neither_in_its_parents_folder_nor_around_it(wanted: str, tmp_path: Path, boxes: Sandboxes) -> None:
    with pytest.raises(UsageError, match="name a folder beside it"):
        boxes.place(US, SESSION, tmp_path / wanted, parent=str(tmp_path / "ws"))
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_the_data_folder_may_lie_in_the_workspace_and_a_rewind_there_spares_the_forks(
    tmp_path: Path, boxes: Sandboxes
) -> None:
    assert boxes.place(US, SESSION, None, parent=str(tmp_path)).is_relative_to(tmp_path)
    assert boxes.place(US, SESSION, tmp_path / "beside", parent=str(tmp_path / "ws")) == tmp_path / "beside"


def test_a_folder_that_holds_something_is_refused_and_no_listing_stays_open(tmp_path: Path, boxes: Sandboxes) -> None:
    with pytest.raises(UsageError, match="not empty"):
        boxes.place(US, SESSION, folder(tmp_path / "full", a="", b="", c=""))
    gc.collect()  # an open listing would warn here, and warnings are errors


def test_a_tenant_of_dots_gets_a_folder_in_the_data_folder(tmp_path: Path, boxes: Sandboxes) -> None:
    for name in ("..", "."):
        place = boxes.place(TenantId(name), SESSION, None)
        assert place.parent.parent == tmp_path / "data.workspaces"


async def test_folders_of_a_log_in_memory_go_with_it_whatever_their_rights(tmp_path: Path) -> None:
    boxes = Sandboxes(MemoryBlobStore(), None)
    place = boxes.place(US, SESSION, None, parent="/tmp")
    assert place.parent.parent.stat().st_mode & 0o777 == 0o700
    folder(place / "closed", f="").chmod(0o555)
    await boxes.close()
    assert not place.parent.parent.exists()
    await boxes.close()


async def test_folders_of_a_log_on_disk_stay(boxes: Sandboxes) -> None:
    place = boxes.place(US, SESSION, None)
    await boxes.close()
    assert place.is_dir()


async def test_what_a_killed_comparison_left_is_removed_by_the_next_and_one_that_goes_on_is_not(
    tmp_path: Path, boxes: Sandboxes
) -> None:
    data = folder(tmp_path / "data.workspaces")
    left, used = folder(data / ".compare-left" / "closed", f=""), folder(data / ".compare-used")
    left.chmod(0o555)
    mark = open_folder(str(used))
    fcntl.flock(mark, fcntl.LOCK_EX)
    try:
        box = boxes.at(US, folder(tmp_path / "ws", a="1"))
        whole = await box.snapshots.capture(box.workspace)
        async with boxes.copy(box, (whole,), US) as there, boxes.copy(box, (whole,), US) as other:
            assert not left.exists()
            assert (there.workspace.root / "a").read_text() == (other.workspace.root / "a").read_text() == "1"
            folder(there.workspace.root / "closed", f="").chmod(0o555)
        assert list(data.iterdir()) == [used]
    finally:
        os.close(mark)


async def test_filling_a_folder_again_after_any_cut_comes_to_the_same(tmp_path: Path, boxes: Sandboxes) -> None:
    source = boxes.at(US, folder(tmp_path / "ws", a="old", c="same"))
    layer = await source.snapshots.capture(source.workspace, ["a", "gone/deep"])
    folder(tmp_path / "ws", a="newer", b="b")
    folder(tmp_path / "ws/gone", deep="x")
    whole = await source.snapshots.capture(source.workspace)
    target = boxes.at(US, folder(tmp_path / "fork"))
    for _ in range(2):
        await fill(source, target, (whole, layer))
        assert {p.name: p.read_text() for p in target.workspace.root.iterdir()} == {"a": "old", "b": "b", "c": "same"}
    (target.workspace.root / "b").unlink()  # cut off before that
    await fill(source, target, (whole, layer))
    assert (target.workspace.root / "b").read_text() == "b"


async def test_filling_a_folder_that_somebody_works_in_is_refused_and_changes_nothing(
    tmp_path: Path, boxes: Sandboxes
) -> None:
    source = boxes.at(US, folder(tmp_path / "ws", a="old"))
    layer = await source.snapshots.capture(source.workspace, ["a"])
    folder(tmp_path / "ws", a="newer")
    whole = await source.snapshots.capture(source.workspace)
    target = boxes.at(US, folder(tmp_path / "fork", theirs="work"))
    with pytest.raises(SandboxError, match="holds theirs"):
        await fill(source, target, (whole, layer))
    assert [p.name for p in target.workspace.root.iterdir()] == ["theirs"]


async def test_a_comparison_that_is_cancelled_leaves_nothing(tmp_path: Path, boxes: Sandboxes) -> None:
    box = boxes.at(US, folder(tmp_path / "ws", a="1"))
    whole = await box.snapshots.capture(box.workspace)
    begun = asyncio.Event()

    async def compare() -> None:
        async with boxes.copy(box, (whole,), US):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(compare())
    await asyncio.wait_for(begun.wait(), 5)
    task.cancel()
    await asyncio.wait([task])
    assert list((tmp_path / "data.workspaces").iterdir()) == []


@pytest.mark.requirement("sandbox:store-is-kept-out")
def test_a_sandbox_keeps_tools_out_of_the_data_folder_that_lies_in_its_workspace(
    tmp_path: Path, boxes: Sandboxes
) -> None:
    with pytest.raises(SandboxError, match="keep the store elsewhere"):
        boxes.at(US, tmp_path).workspace.replace("data.workspaces/us/session-s/f", b"oops")
    boxes.at(US, boxes.place(US, SESSION, None)).workspace.replace("f", b"a fork's own")


@pytest.mark.requirement("sandbox:one-writer-for-a-workspace")
async def test_sessions_of_two_tenants_are_two_owners_whatever_their_names(tmp_path: Path, boxes: Sandboxes) -> None:
    async with boxes.at(US, tmp_path).exclusive("session 's'", 0):
        async with boxes.at(US, tmp_path).exclusive("session 's'", 0):
            pass
        with pytest.raises(WorkspaceBusy):
            await boxes.at(TenantId("them"), tmp_path).exclusive("session 's'", 0).__aenter__()
