"""The workspace: reading, replacing, listing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import SandboxError
from holdfast.sandbox import workspace as module
from holdfast.sandbox.output import Output
from holdfast.sandbox.workspace import Workspace


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_workspace_is_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="create it"):
        Workspace(tmp_path / "missing")


def test_a_new_file_gets_its_folders_and_the_usual_mode(space: Workspace) -> None:
    space.replace("a/b/c.txt", b"new")
    mask = os.umask(0)
    os.umask(mask)
    assert (space.root / "a/b/c.txt").read_bytes() == b"new"
    assert stat.S_IMODE((space.root / "a/b/c.txt").stat().st_mode) == 0o666 & ~mask


def test_a_replaced_file_keeps_its_mode(space: Workspace) -> None:
    file = space.root / "run.sh"
    file.write_text("old")
    file.chmod(0o751)
    space.replace("run.sh", b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o751


def test_another_name_of_the_same_file_keeps_its_content(space: Workspace) -> None:
    (space.root / "one").write_text("old")
    (space.root / "two").hardlink_to(space.root / "one")
    space.replace("one", b"new")
    assert (space.root / "two").read_text() == "old"


@pytest.mark.requirement("tools:write-atomic")
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space.root / "f").write_text("old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", ".holdfast-secret")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left") as caught:
        space.replace("f", b"new")
    assert caught.value.filename == "f"
    assert [path.name for path in space.root.iterdir()] == ["f"]
    assert (space.root / "f").read_text() == "old"


def test_a_file_that_changed_since_it_was_looked_at_is_not_replaced(space: Workspace) -> None:
    (space.root / "f").write_text("old")
    _, seen = space.contents("f")
    (space.root / "f").write_text("changed")
    with pytest.raises(SandboxError, match="Read it again"):
        space.replace("f", b"new", seen=seen)
    assert (space.root / "f").read_text() == "changed"


@pytest.mark.parametrize("path", ["folder", "folder/", ".", "folder/.."])
def test_a_folder_is_not_replaced_by_a_file(space: Workspace, path: str) -> None:
    (space.root / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        space.replace(path, b"x")
    with pytest.raises(IsADirectoryError), space.reading(path):
        pass


def test_a_path_through_a_file_is_refused(space: Workspace) -> None:
    (space.root / "f").write_text("x")
    with pytest.raises(NotADirectoryError):
        space.replace("f/g", b"x")


def test_a_missing_file_is_named_as_it_was_asked_for(space: Workspace) -> None:
    for path in ("gone", "gone/deep", "./gone"):
        with pytest.raises(FileNotFoundError) as caught, space.reading(path):
            pass
        assert caught.value.filename == path


def test_going_up_inside_is_allowed_and_through_what_is_missing_is_not(space: Workspace) -> None:
    (space.root / "a").mkdir()
    (space.root / "f").write_text("x")
    assert space.contents("a/../f")[0] == b"x"
    with pytest.raises(FileNotFoundError):
        space.replace("missing/../g", b"x")
    assert not (space.root / "missing").exists()


def test_names_are_bytes_to_the_system(space: Workspace) -> None:
    for name in ("ümlaut", "日本", " space ", "-dash", "new\nline", "a\\b", "x" * 255):
        space.replace(name, name.encode())
        assert space.contents(name)[0] == name.encode()
    assert [entry.name for entry in space.listing()] == sorted(path.name for path in space.root.iterdir())


def test_a_path_that_is_too_long_is_refused(space: Workspace) -> None:
    for path in ("x" * 256, "d/" * 300 + "f"):
        with pytest.raises(OSError, match=r"(too long|deep)"):
            space.replace(path, b"")


def test_a_listing_tells_links_from_what_they_point_to(space: Workspace) -> None:
    (space.root / "b").mkdir()
    (space.root / "a").symlink_to("/etc/passwd")
    entries = space.listing()
    assert [entry.name for entry in entries] == ["a", "b"]
    assert stat.S_ISLNK(entries[0].mode)
    assert stat.S_ISDIR(entries[1].mode)
    with pytest.raises(NotADirectoryError):
        space.replace("f", b"")
        space.listing("f")


def test_a_file_that_is_too_large_to_take_whole_is_not_loaded(space: Workspace) -> None:
    with (space.root / "big").open("wb") as file:
        file.truncate(module.MAX_FILE + 1)
    with pytest.raises(SandboxError, match="files over 67108864 bytes"):
        space.contents("big")


def test_no_descriptor_is_left_open(space: Workspace) -> None:
    (space.root / "loop").symlink_to("loop")
    (space.root / "deep").mkdir()
    (space.root / "out").symlink_to("..")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for path in ("deep/a/b", "loop", "out/x", "deep/../../x", "gone/x"):
        for action in (lambda p: space.replace(p, b"x"), space.contents, space.listing, space.status):
            try:
                action(path)
            except (OSError, SandboxError):
                continue
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_output_keeps_both_ends_and_counts_the_rest() -> None:
    output = Output(20)
    for _ in range(1000):
        output.feed(b"0123456789abcde")
    assert (output.total, output.omitted) == (15000, 14980)
    assert output.text() == "0123456789\n[... 14980 of 15000 bytes left out ...]\n56789abcde"


def test_output_is_never_cut_inside_a_character() -> None:
    for size in range(20, 60):
        output = Output(20)
        output.feed("é😀".encode() * size)
        assert "\ufffd" not in output.text()


def test_output_shows_what_is_no_text_without_acting_on_it() -> None:
    output = Output(100)
    output.feed(b"a\r\nb\rc\td\x00\x1b[2J\x07\xff\xc2\x9bm")
    assert output.text() == "a\nb\nc\td␀␛[2J␇\ufffd\ufffdm"


@pytest.mark.requirement("sandbox:store-is-kept-out")
@pytest.mark.parametrize(
    "path", ["s.db", "./s.db", "d/../s.db", "to", "d/up", "s.workspaces/x", "in/x", "s.workspaces"]
)
def test_what_is_apart_is_not_written_to_by_any_way_and_may_be_read(path: str, tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("the log")
    (tmp_path / "s.workspaces").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "to").symlink_to("s.db")
    (tmp_path / "in").symlink_to(tmp_path / "s.workspaces")
    (tmp_path / "d/up").symlink_to("../s.db")
    space = Workspace(tmp_path, apart=[tmp_path / "s.db", tmp_path / "s.workspaces", tmp_path.parent / "other"])
    with pytest.raises(
        SandboxError, match=r"belongs to the store of this runtime.* use another path, or keep the store"
    ):
        space.replace(path, b"oops")
    with pytest.raises(SandboxError, match="belongs to the store"), space.at(path, make=True, follow=True):
        pass
    assert space.contents("s.db")[0] == b"the log"
    assert list((tmp_path / "s.workspaces").iterdir()) == []
    space.replace("s.db2", b"another name")


@pytest.mark.requirement("sandbox:store-is-kept-out")
def test_a_workspace_that_lies_in_what_is_apart_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "fork").mkdir()
    Workspace(tmp_path / "fork", apart=[tmp_path]).replace("f", b"new")
    assert (tmp_path / "fork/f").read_bytes() == b"new"
