"""No path leads out of the workspace, whatever stands on the disk and whoever changes it meanwhile."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.workspace import Workspace

pytestmark = pytest.mark.requirement("sandbox:workspace-confines-paths")

SECRET = "outside"


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace beside a file and a folder it must not reach."""
    (tmp_path / "work" / "deep").mkdir(parents=True)
    (tmp_path / "work" / "inside").write_text("inside")
    (tmp_path / "work2").mkdir()
    (tmp_path / "work2" / "file").write_text(SECRET)
    (tmp_path / "file").write_text(SECRET)
    return Workspace(tmp_path / "work")


def outside(space: Workspace) -> dict[str, str]:
    """Everything beside the workspace."""
    parent = space.root.parent
    return {
        str(path.relative_to(parent)): path.read_text() if path.is_file() else ""
        for path in sorted(parent.rglob("*"))
        if not path.is_relative_to(space.root)
    }


def refuses(space: Workspace, path: str) -> None:
    before = outside(space)
    for action in (lambda: space.contents(path), lambda: space.replace(path, b"x"), lambda: space.listing(path)):
        with pytest.raises(PathEscape) as caught:
            action()
        assert "relative to the workspace" in str(caught.value)
        assert str(space.root.parent) not in str(caught.value).replace(repr(path), "")
    assert outside(space) == before


@pytest.mark.parametrize(
    "path", ["..", "../file", "../work2/file", "deep/../../file", "./../work/inside", "deep/../.."]
)
@pytest.mark.requirement("tools:path-parent-escape")
def test_a_path_that_climbs_out_is_refused(space: Workspace, path: str) -> None:
    refuses(space, path)


@pytest.mark.parametrize(
    "path", ["/", "/etc/passwd", "//etc/passwd", "/proc/self/environ", "", "a\0b", "\0", "a\ud800"]
)
@pytest.mark.requirement("tools:path-absolute")
def test_what_is_no_relative_path_is_refused(space: Workspace, path: str) -> None:
    refuses(space, path)


@pytest.mark.requirement("tools:path-absolute")
def test_an_absolute_path_inside_is_refused_with_the_one_to_use(space: Workspace) -> None:
    with pytest.raises(PathEscape, match="Use 'inside', relative"):
        space.contents(f"{space.root}/inside")
    refuses(space, f"{space.root}2/file")


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"link": "../file"}, "link"),
        ({"link": "/etc/passwd"}, "link"),
        ({"link": "../work2"}, "link/file"),
        ({"link": ".."}, "link/work2/file"),
        ({"link": "../gone"}, "link"),
        ({"link": "../gone"}, "link/new"),
        ({"link": "middle", "middle": "../file"}, "link"),
        ({"link": "middle", "middle": "deep/last", "deep/last": "../../file"}, "link"),
        ({"deep/up": "../.."}, "deep/up/file"),
        ({"link": "deep/../../file"}, "link"),
        ({"link": "../work2/file", "deep/link": "../link"}, "deep/link"),
        ({"link": "../work"}, "link/inside"),
    ],
    ids=str,
)
@pytest.mark.requirement("tools:path-symlink-escape")
def test_a_link_that_leads_out_is_refused_at_any_place(space: Workspace, links: dict[str, str], path: str) -> None:
    for name, target in links.items():
        (space.root / name).symlink_to(target)
    refuses(space, path)


def test_a_link_to_the_workspace_s_sibling_of_a_longer_name_is_refused(space: Workspace) -> None:
    (space.root / "link").symlink_to(f"{space.root}2/file")
    refuses(space, "link")


def test_links_that_stay_inside_are_followed(space: Workspace) -> None:
    (space.root / "relative").symlink_to("deep/../inside")
    (space.root / "absolute").symlink_to(space.root / "inside")
    (space.root / "folder").symlink_to("deep")
    (space.root / "deep" / "up").symlink_to("..")
    (space.root / "chain").symlink_to("folder/up/relative")
    for path in ("relative", "absolute", "folder/up/inside", "chain"):
        assert space.contents(path)[0] == b"inside"
    space.replace("chain", b"changed")
    assert (space.root / "inside").read_text() == "changed"
    assert (space.root / "chain").is_symlink()


def test_a_dangling_link_inside_is_written_through(space: Workspace) -> None:
    (space.root / "link").symlink_to("deep/new")
    space.replace("link", b"x")
    assert (space.root / "deep/new").read_text() == "x"


def test_links_in_a_circle_end(space: Workspace) -> None:
    (space.root / "a").symlink_to("b")
    (space.root / "b").symlink_to("a")
    (space.root / "self").symlink_to("self/self")
    for path in ("a", "self", "a/x"):
        with pytest.raises(OSError, match=r"(too many symbolic links|deep)"):
            space.contents(path)


def test_devices_fifos_and_sockets_are_refused_without_hanging(space: Workspace) -> None:
    os.mkfifo(space.root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(space.root / "socket"))
        names = ["fifo", "socket"]
        with suppress(PermissionError):  # only root makes devices
            os.mknod(space.root / "zero", 0o20666, os.makedev(1, 5))
            names.append("zero")
        for name in names:
            for action in (space.contents, lambda path: space.replace(path, b"x")):
                with pytest.raises(SandboxError, match="Only regular files"):
                    action(name)
    (space.root / "endless").symlink_to("/dev/zero")
    refuses(space, "endless")


def test_a_replaced_hard_link_leaves_the_file_outside_alone(space: Workspace) -> None:
    (space.root / "shared").hardlink_to(space.root.parent / "file")
    before = outside(space)
    space.replace("shared", b"changed")
    assert outside(space) == before


def racing(swap: Callable[[], None], use: Callable[[], None], *, rounds: int) -> None:
    """Uses a path again and again while another thread swaps what it leads over."""
    over = threading.Event()
    failed: list[BaseException] = []

    def keep_swapping() -> None:
        try:
            while not over.is_set():
                swap()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    thread = threading.Thread(target=keep_swapping)
    thread.start()
    try:
        for _ in range(rounds):
            with suppress(PathEscape, FileNotFoundError, NotADirectoryError, SandboxError):
                use()
    finally:
        over.set()
        thread.join(5)
    assert not failed


def test_a_folder_that_turns_into_a_link_in_between_does_not_lead_out(space: Workspace) -> None:
    (space.root / "real").mkdir()
    (space.root / "real" / "file").write_text("inside")
    (space.root / "bad").symlink_to("../work2")
    before = outside(space)
    here = space.root / "here"

    real, bad = space.root / "real", space.root / "bad"
    number = itertools.count()

    def swap() -> None:
        for path in (real, bad):
            # A write may have made a folder of this name while there was none.
            while True:
                try:
                    path.rename(here)
                    break
                except OSError:
                    here.rename(space.root / f"made{next(number)}")
            here.rename(path)

    seen: set[bytes] = set()

    def use() -> None:
        seen.add(space.contents("here/file")[0])

    racing(swap, use, rounds=3000)
    racing(swap, lambda: space.replace("here/file", b"inside"), rounds=1000)
    assert SECRET.encode() not in seen
    assert outside(space) == before


def test_a_file_that_turns_into_a_link_in_between_does_not_lead_out(space: Workspace) -> None:
    before = outside(space)
    here, other = space.root / "here", space.root / "other"

    def swap() -> None:
        other.write_text("inside")
        other.rename(here)
        other.symlink_to("../file")
        other.rename(here)

    seen: set[bytes] = set()

    def use() -> None:
        seen.add(space.contents("here")[0])

    racing(swap, use, rounds=3000)
    racing(swap, lambda: space.replace("here", b"inside"), rounds=1000)
    assert SECRET.encode() not in seen
    assert outside(space) == before


PART = st.sampled_from(["..", ".", "", "deep", "up", "out", "inside", "gone", "loop", "top"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(PART, max_size=8))
def test_no_mixture_of_parts_and_links_reaches_outside(space: Workspace, parts: list[str]) -> None:
    for name, target in (("up", ".."), ("out", "../work2"), ("loop", "deep/up"), ("deep/up", ".."), ("top", "/")):
        with suppress(FileExistsError):
            (space.root / name).symlink_to(target)
    before = outside(space)
    path = "/".join(parts)
    with suppress(PathEscape, OSError):
        assert space.contents(path)[0] in (b"inside", b"x")
    with suppress(PathEscape, OSError):
        space.replace(path + "/leaf", b"x")
    assert outside(space) == before
