"""Whatever a model asks the file tools for, and whatever stands on the disk or changes there meanwhile: nothing outside
of the workspace is opened or changed, nothing of it gets into an answer, and every call ends soon.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.searching.finding import find_ripgrep
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import CallId, StreamId

pytestmark = pytest.mark.requirement("tools:file-tools-stay-inside")

CANARY = "canary-5dc1"
GREP = import_module("holdfast.tools.builtin.searching.grep")
SOON = 10.0
"""Seconds that no call may take, however busy the machine is."""
_OPENED = 0x20 | 0x1 | 0x2 | 0x100 | 0x200 | 0x40 | 0x80
"""Opened, read, changed, made, removed, moved: as `inotify` counts them."""


class Outside:
    """A folder beside the workspace, and a watch over everything that is done in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "folder").mkdir(parents=True)
        for name in ("file", "folder/file", "folder/.hidden", "inside"):
            (root / name).write_text(f"{CANARY} {name}\n")
        self._before = self._seen()
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in (root, root / "folder"):
            assert libc.inotify_add_watch(self._watch, os.fsencode(path), _OPENED) >= 0

    def _seen(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(self.root.rglob("*"))}

    def opened(self) -> bool:
        """Whether anything was done there since it was asked for the last time."""
        with suppress(BlockingIOError):
            return bool(os.read(self._watch, 1 << 16))
        return False

    def unchanged(self) -> bool:
        """Whether everything is as it was; looking counts as opening."""
        same = self._seen() == self._before
        self.opened()
        return same

    def close(self) -> None:
        os.close(self._watch)


@pytest.fixture
def outside(tmp_path: Path) -> Generator[Outside, None, None]:
    if not sys.platform.startswith("linux"):
        pytest.skip("needs inotify")
    made = Outside(tmp_path / "outside")
    yield made
    made.close()


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    (tmp_path / "inner" / "dir").mkdir(parents=True)
    (tmp_path / "inner" / "file").write_text("inside one\ntwo\n")
    (tmp_path / "inner" / "dir" / "file").write_text("inside one\n")
    return Workspace(tmp_path / "inner")


async def answer(space: Workspace, name: str, arguments: dict[str, Any]) -> str:
    """Returns all that a call says, also when it fails, and fails itself when that takes too long."""
    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space)
    start = time.monotonic()
    try:
        result = await made.run(made.parse(json.dumps(arguments).encode()), context)
        said = json.dumps([result.content, result.metadata], ensure_ascii=False)  # type: ignore[union-attr]
    except ToolFailure as error:
        said = json.dumps([str(error), error.code, error.metadata], ensure_ascii=False)
    except ValueError as error:
        said = str(error)  # refused before it ran
    assert time.monotonic() - start < SOON
    assert len(said) < 100_000
    said.encode("utf-8", "surrogatepass")
    return said


def calls(path: str) -> list[tuple[str, dict[str, Any]]]:
    """One call of each tool for this path."""
    return [
        ("read", {"path": path}),
        ("ls", {"path": path}),
        ("glob", {"path": path, "pattern": "**/*"}),
        ("glob", {"pattern": path or "x"}),
        ("edit", {"path": path, "edits": [{"oldText": "one", "newText": "one"}]}),
        ("edit", {"path": path, "edits": [{"oldText": CANARY[:6], "newText": "x", "replaceAll": True}]}),
        ("write", {"path": path + "/new", "content": "x"}),
        ("write", {"path": path, "content": "inside one\n"}),
        ("grep", {"path": path, "pattern": "."}),
    ]


HOSTILE = [
    *(
        "..",
        "../outside",
        "../outside/file",
        "dir/../../outside/file",
        "./../outside",
        "dir/../..",
        "../inner/../outside",
    ),
    *(
        "/",
        "{outside}",
        "{outside}/file",
        "//{outside}/file",
        "{root}/../outside/file",
        "/proc/self/root{outside}/file",
    ),
    *("/proc/self/environ", "/proc/self/fd/0", "/dev/stdin", "/dev/zero", "/dev/tty", "~", "~root/.profile", "$HOME"),
    *("", "\0", "../outside/file\0", "file\0/../../outside/file", "a" * 300, "a/" * 3000, "../" * 500 + "etc/passwd"),
    *(
        "\uff0e\uff0e/outside/file",
        "..\u2215outside\u2215file",
        "%2e%2e/outside/file",
        "..\\outside\\file",
        "..;/outside",
    ),
    *("...", ".../file", ".. /outside/file", "../Outside/FILE", "out", "out/file", "out/folder", "deep", "deep/file"),
    *(
        "up/up/up/outside/file",
        "dangling",
        "dangling/new",
        "absolute",
        "absolute/file",
        "proc",
        "proc/root",
        "self",
        "tty",
    ),
    *(
        "fifo",
        "socket",
        "zero",
        "file/",
        "file/x",
        "dir/up/../../outside/file",
        "\ud800",
        "bad\ufffd",
        "-",
        "--help",
        "-f",
    ),
]


def furnish(space: Workspace, outside: Path) -> None:
    """Puts everything into the workspace that could lead out of it or make somebody wait."""
    links = {
        "out": "../outside",
        "deep": "dir/there",
        "dir/there": "../../outside/folder",
        "up": ".",
        "dir/up": "..",
        "dangling": "../outside/new",
        "absolute": str(outside),
        "proc": "/proc/self",
        "self": "self",
        "tty": "/dev/tty",
        "looped": "looped/looped",
        "secret.txt": "../outside/file",
    }
    for name, target in links.items():
        (space.root / name).symlink_to(target)
    os.mkfifo(space.root / "fifo")
    os.mkfifo(space.root / "dir" / "fifo")
    with suppress(PermissionError):  # only root makes devices
        os.mknod(space.root / "zero", 0o20666, os.makedev(1, 5))
    Path(os.fsdecode(os.fsencode(space.root) + b"/bad\xff")).write_bytes(b"inside \xff\n")


@contextmanager
def listening(space: Workspace) -> Generator[None, None, None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(space.root / "socket"))
        yield


@pytest.mark.requirement("tools:path-case-tricks")
async def test_no_path_leads_any_tool_out(space: Workspace, outside: Outside) -> None:
    furnish(space, outside.root)
    (outside.root / "file").read_text()
    assert outside.opened(), "the watch sees nothing"
    with listening(space):
        for path in HOSTILE:
            shown = path.replace("{outside}", str(outside.root)).replace("{root}", str(space.root))
            for name, arguments in calls(shown):
                said = await answer(space, name, arguments)
                assert CANARY not in said, (name, shown)
                assert not outside.opened(), (name, shown)
    assert outside.unchanged()


@pytest.mark.parametrize("ripgrep", [True, False])
async def test_no_search_of_everything_leads_out(
    space: Workspace, outside: Outside, monkeypatch: pytest.MonkeyPatch, ripgrep: bool
) -> None:
    if not ripgrep:
        monkeypatch.setattr(GREP, "find_ripgrep", lambda: None)
    elif find_ripgrep() is None:
        pytest.skip("needs ripgrep")
    furnish(space, outside.root)
    with listening(space):
        for name, arguments in (
            ("grep", {"pattern": CANARY}),
            ("grep", {"pattern": ".", "max_results": 1000}),
            ("grep", {"pattern": ".", "include": "**/there/**"}),
            ("glob", {"pattern": "**"}),
            ("glob", {"pattern": "{out,deep,absolute,proc}/**"}),
            ("glob", {"pattern": "dir/there/*"}),
            ("ls", {}),
        ):
            said = await answer(space, name, arguments)
            assert f"{CANARY} " not in said
            assert not outside.opened(), (name, arguments)
    assert outside.unchanged()


PARTS = st.sampled_from(
    [
        *("..", ".", "", "dir", "file", "out", "up", "deep", "there", "absolute", "dangling", "fifo", "new"),
        *("DIR", "File", "\uff0e\uff0e", "~", "proc", "self", "looped", "outside", "a" * 260, "\0", "..\\"),
    ]
)
PATHS = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "", "", "/", "./", "{outside}/", "{root}/"]),
    st.lists(PARTS, max_size=6),
    st.sampled_from(["", "", "/"]),
)
DEEDS = st.one_of(
    st.tuples(st.just("call"), PATHS, st.integers(0, 7)),
    st.tuples(
        st.just("link"), PATHS, st.sampled_from(["..", "../outside", "../../outside/file", "/", "dir", "{outside}"])
    ),
    st.tuples(st.just("rename"), PATHS, PATHS),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(DEEDS, max_size=12))
def test_no_sequence_of_calls_and_of_changes_leads_out(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, str, Any]]
) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    outside = Outside(base / "outside")
    (base / "inner" / "dir").mkdir(parents=True)
    space = Workspace(base / "inner")
    (space.root / "file").write_text("inside one\n")
    furnish(space, outside.root)

    def named(path: str) -> str:
        return path.replace("{outside}", str(outside.root)).replace("{root}", str(space.root))

    async def play() -> None:
        for kind, path, more in deeds:
            if kind == "call":
                name, arguments = calls(named(path))[more]
                said = await answer(space, name, arguments)
                assert CANARY not in said, (name, arguments)
                assert not outside.opened(), (name, arguments)
                continue
            with suppress(OSError, ValueError):  # somebody else in the workspace, who stays in it
                inside = [part for part in path.split("/") if part not in ("", ".", "..", "{outside}", "{root}")]
                place = space.root / "/".join(inside[:1])
                if kind == "link":
                    place.unlink(missing_ok=True)
                    place.symlink_to(named(more))
                else:
                    place.rename(space.root / (more.strip("./").partition("/")[0] or "moved"))
        assert outside.unchanged()

    try:
        asyncio.run(play())
    finally:
        outside.close()


@contextmanager
def meanwhile(work: Callable[[], None]) -> Generator[None, None, None]:
    """Does something again and again in another thread."""
    over = threading.Event()
    failed: list[BaseException] = []

    def keep_on() -> None:
        try:
            while not over.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    thread = threading.Thread(target=keep_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
    assert not failed


def swapping(root: Path) -> Callable[[], None]:
    """Returns what makes `here` by turns a folder and a link to another one outside, and so with `file`."""
    (root / "bad").symlink_to("../outside/folder")
    for name in ("", *map(str, range(20))):
        (root / "real" / name).mkdir()
        (root / "real" / name / "file").write_text("inside one\n")
    made = itertools.count()

    def swap() -> None:
        for path in (root / "real", root / "bad"):
            while True:
                try:
                    path.rename(root / "here")
                    break
                except OSError:  # a write made a folder of this name meanwhile
                    (root / "here").rename(root / f"made{next(made)}")
            (root / "here").rename(path)
        (root / "swapped").symlink_to("../outside/file")
        (root / "swapped").rename(root / "file")
        (root / "plain").write_text("inside one\n")
        (root / "plain").rename(root / "file")

    return swap


@pytest.mark.parametrize("ripgrep", [True, False])
async def test_no_link_that_is_swapped_in_meanwhile_leads_out(
    space: Workspace, outside: Outside, monkeypatch: pytest.MonkeyPatch, ripgrep: bool
) -> None:
    if not ripgrep:
        monkeypatch.setattr(GREP, "find_ripgrep", lambda: None)
    elif find_ripgrep() is None:
        pytest.skip("needs ripgrep")
    swap = swapping(space.root)
    heard = set[str]()

    async def hear(name: str, arguments: dict[str, Any]) -> None:
        said = await answer(space, name, arguments)
        assert CANARY not in said, (name, arguments)
        heard.add(name + said[2:8])

    with meanwhile(swap):
        for path in ("here", "here/file", "file") * 40:
            for name, arguments in calls(path)[:-1]:
                await hear(name, arguments)
        for _ in range(12):
            await hear("grep", {"pattern": "canary|inside"})
            await hear("grep", {"pattern": ".", "path": "here"})
    # Where ripgrep runs it may have looked, but nobody hears of what it saw.
    assert ripgrep or not outside.opened()
    assert outside.unchanged()
    assert len(heard) > 8, "the race was never won or never lost"


async def test_a_hard_link_is_replaced_and_never_written_through(space: Workspace, outside: Outside) -> None:
    # What a hard link holds is the workspace's as well: it is read, and nothing tells it from a file.
    for name in ("one", "two"):
        (space.root / name).hardlink_to(outside.root / "file")
    outside.opened()
    assert "Applied" in await answer(
        space, "edit", {"path": "one", "edits": [{"oldText": "canary", "newText": "x", "replaceAll": True}]}
    )
    assert "Wrote" in await answer(space, "write", {"path": "two", "content": "x"})
    assert (space.root / "two").read_text() == "x"
    assert outside.unchanged()


async def test_a_file_that_grows_while_it_is_read_has_an_end(space: Workspace) -> None:
    path = space.root / "grows"
    path.write_text("line\n")
    with path.open("ab", buffering=0) as file:

        def grow() -> None:
            if os.fstat(file.fileno()).st_size < 256 << 20:
                file.write(b"line\n" * 20_000)

        with meanwhile(grow):
            for arguments in ({"offset": 10**12}, {"limit": 1}, {"offset": 20_000}):
                await answer(space, "read", {"path": "grows", **arguments})
            await answer(space, "grep", {"pattern": "never"})
            edits = [{"oldText": "never", "newText": ""}]
            await answer(space, "edit", {"path": "grows", "edits": edits})


@pytest.mark.requirement("tools:path-case-tricks")
async def test_a_name_in_another_case_or_another_normal_form_is_the_file_it_reaches(
    space: Workspace, outside: Outside
) -> None:
    (space.root / "Lück").symlink_to("../outside/file")
    for name in ("Lück", "lück", "LÜCK", unicodedata.normalize("NFD", "Lück"), "L\u00fcck\u200b", "\ufb01le", "FILE"):
        exists = (space.root / name).exists()
        for tool, arguments in calls(name)[:-1]:
            said = await answer(space, tool, arguments)
            assert CANARY not in said
            assert exists or tool in ("write", "glob") or "There is no file" in said, said
        if not exists:
            (space.root / name / "new").unlink()
            (space.root / name).rmdir()
    for start in (str(space.root).upper(), str(space.root.parent).upper() + "/work"):
        assert "permission_denied" in await answer(space, "read", {"path": f"{start}/file"})
    assert not outside.opened()
    assert outside.unchanged()


MEASURED = """
import asyncio, json, resource, sys
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import CallId, StreamId

async def use(name, **arguments):
    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=Workspace(sys.argv[1]))
    try:
        return (await made.run(made.parse(json.dumps(arguments).encode()), context)).content
    except ToolFailure as error:
        return str(error)

async def main():
    (await use("ls")), (await use("read", path="small"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = [
        await use("read", path="huge"),
        await use("read", path="huge", offset=2),
        await use("read", path="huge", offset=10**9),
        await use("edit", path="huge", edits=[{"oldText": "first", "newText": "x"}]),
        await use("grep", pattern="first"),
        await use("grep", pattern="first", path="huge"),
        await use("ls"),
    ]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps([grown, helpers, said]))

asyncio.run(main())
"""


@pytest.mark.requirement("tools:read-bounded")
def test_files_of_a_gigabyte_are_never_taken_into_memory(space: Workspace) -> None:
    (space.root / "small").write_text("x\n")
    with (space.root / "huge").open("wb") as file:
        file.write(b"first\n" * 2000)
        file.truncate(1 << 30)
    asked = subprocess.run(
        [sys.executable, "-c", MEASURED, str(space.root)], capture_output=True, text=True, check=True, timeout=60
    )
    grown, helpers, said = json.loads(asked.stdout)
    assert grown < 16 * 1024, f"{grown} KiB more"
    assert helpers < 100 * 1024, f"{helpers} KiB in a helper"
    assert "not read or kept whole" in said[3]
    assert said[4] == "No matches found."
    assert "1073741824 bytes" in said[5]
    assert "1073741824 huge" in said[6]
