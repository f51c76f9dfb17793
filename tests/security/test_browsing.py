"""Going through a tree leads nowhere else, however it is changed at the worst moment."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from holdfast.sandbox.browsing import DEEPEST, browse, open_below, open_regular
from holdfast.sandbox.workspace import Workspace

pytestmark = pytest.mark.requirement("sandbox:browsing-stays-inside")


@contextmanager
def opened(path: Path) -> Generator[int, None, None]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def paths(folder: int) -> list[str]:
    return ["/".join(spot.parts) for spot in browse(folder, enter=lambda _: True)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("work/a/b/c", "work/a.b", "work/a/x", "work/z", "work/.h", "outside/secret"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "work"


def test_everything_is_found_in_the_order_of_the_names(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "link").symlink_to("../outside")
    with socket.socket(socket.AF_UNIX) as listener, opened(tree) as folder:
        listener.bind(str(tree / "socket"))
        assert paths(folder) == [".h", "a/b/c", "a/x", "a.b", "link", "z"]
        kept = browse(folder, enter=lambda parts: parts != ("a", "b"))
        assert ["/".join(spot.parts) for spot in kept] == [".h", "a/x", "a.b", "link", "z"]


def test_a_folder_that_turns_into_a_link_before_it_is_entered_is_not(tree: Path) -> None:
    def enter(parts: tuple[str, ...]) -> bool:
        if parts == ("a", "b"):
            (tree / "a" / "b").rename(tree / "moved")
            (tree / "a" / "b").symlink_to("../../outside")
        return True

    with opened(tree) as folder:
        assert ["/".join(spot.parts) for spot in browse(folder, enter=enter)] == [".h", "a/x", "a.b", "z"]


def test_a_folder_that_is_moved_away_while_it_is_gone_through_is_still_that_folder(tree: Path) -> None:
    with opened(tree) as folder, closing(browse(folder, enter=lambda _: True)) as spots:
        for spot in spots:
            if spot.parts == ("a", "b", "c"):
                (tree / "a").rename(tree / "moved")
                (tree / "a").symlink_to("../outside")
                descriptor, _ = open_regular(spot.folder, "c")
                assert os.read(descriptor, 99) == b"work/a/b/c"
                os.close(descriptor)


def test_what_turns_into_a_link_a_fifo_or_a_folder_before_it_is_opened_is_not(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    for name, target in (("z", "../outside/secret"), (".h", "a.b")):
        (tree / name).unlink()
        (tree / name).symlink_to(target)
    with opened(tree) as folder:
        for name in ("z", ".h", "fifo", "a", "gone"):
            with pytest.raises(OSError, match=r"regular|No such"):
                open_regular(folder, name)
        (tree / "a" / "b").rename(tree / "moved")
        (tree / "a" / "b").symlink_to("../../outside")
        for parts in (("a", "b", "secret"), ("gone", "x"), ("..", "outside", "secret"), ("", "etc"), ("a/../..", "x")):
            expected = r"Not a directory|symbolic links|No such|no name"
            with pytest.raises(OSError, match=expected), open_below(folder, parts):
                pass


def test_the_link_check_holds_between_looking_and_opening(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.stat

    def slow(*args: object, **options: object) -> os.stat_result:
        found = look(*args, **options)  # type: ignore[arg-type]
        (tree / "z").unlink()
        (tree / "z").symlink_to("../outside/secret")
        return found

    with opened(tree) as folder:
        monkeypatch.setattr(os, "stat", slow)
        with pytest.raises(OSError, match="symbolic links"):
            open_regular(folder, "z")


def test_a_deep_tree_has_an_end_and_nothing_stays_open(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    path = "/".join(["d"] * (DEEPEST + 5))
    for depth in (DEEPEST, DEEPEST + 1):
        space.replace("/".join(["d"] * depth + ["f"]), b"x")
    (tmp_path / path).mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with space.folder(".") as (folder, _):
        assert paths(folder) == ["/".join(["d"] * DEEPEST + ["f"])]
        with open_below(folder, ["d"] * DEEPEST + ["f"]) as at:
            os.close(open_regular(at, "f")[0])
        with pytest.raises(OSError, match="deeper"), open_below(folder, ["d"] * (DEEPEST + 1) + ["f"]):
            pass
        with closing(browse(folder, enter=lambda _: True)) as spots:
            next(spots)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
