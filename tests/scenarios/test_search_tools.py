"""The tools that find things, as a model meets them, and the two engines of `grep` side by side."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.searching import finding
from holdfast.tools.builtin.searching.dialect import parse
from holdfast.tools.builtin.searching.finding import Request, find_lines, find_ripgrep
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import CallId, StreamId, ToolResult

GREP = import_module("holdfast.tools.builtin.searching.grep")
RIPGREP = find_ripgrep()
needs_ripgrep = pytest.mark.skipif(RIPGREP is None, reason="needs ripgrep")


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(params=[pytest.param("ripgrep", marks=needs_ripgrep), "alone"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two, in turn."""
    if request.param == "alone":
        monkeypatch.setattr(GREP, "find_ripgrep", lambda: None)
    return request.param


async def use(space: Workspace, name: str, **arguments: Any) -> ToolResult:
    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space)
    result = await made.run(made.parse(json.dumps(arguments).encode()), context)
    assert isinstance(result, ToolResult)
    assert len(result.content) <= made.spec.max_output
    json.dumps([result.content, result.metadata]).encode()
    return result


async def fail(space: Workspace, name: str, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await use(space, name, **arguments)
    return caught.value


def fill(space: Workspace, files: dict[str, str | bytes]) -> None:
    for path, content in files.items():
        (space.root / path).parent.mkdir(parents=True, exist_ok=True)
        (space.root / path).write_bytes(content if isinstance(content, bytes) else content.encode())


# grep


@pytest.mark.usefixtures("engine")
@pytest.mark.requirement("tools:grep-and-list-formats", "tools:search-metadata")
async def test_lines_that_match_come_with_path_and_number_sorted_by_path(space: Workspace) -> None:
    fill(space, {"b.py": "x = 1\ny = 2\nx = 3\n", "a/z.py": "  x = 4", "a.py": "nothing\n", "a/b/c.py": "x\nx = 5\r\n"})
    result = await use(space, "grep", pattern=r"x = \d")
    assert result.content == "a/b/c.py:2:x = 5\na/z.py:1:  x = 4\nb.py:1:x = 1\nb.py:3:x = 3"
    assert result.metadata == {"ui": "search-results", "pattern": r"x = \d", "path": ".", "matchCount": 4}
    below = await use(space, "grep", pattern="^x", path="./a/b/")
    assert below.content == "a/b/c.py:1:x\na/b/c.py:2:x = 5"
    assert (await use(space, "grep", pattern="x", path="a/z.py")).content == "a/z.py:1:  x = 4"


@pytest.mark.usefixtures("engine")
@pytest.mark.requirement("tools:grep-and-list-formats")
async def test_nothing_found_is_said_in_these_words(space: Workspace) -> None:
    fill(space, {"f": "text\n"})
    result = await use(space, "grep", pattern="gone")
    assert (result.content, result.metadata["matchCount"]) == ("No matches found.", 0)
    assert (await use(space, "glob", pattern="*.gone")).content == "No files matched."


@pytest.mark.usefixtures("engine")
async def test_lines_around_a_match_are_shown_once(space: Workspace) -> None:
    fill(space, {"f": "".join(f"line {n}\n" for n in range(1, 21)), "g": "line 5"})
    result = await use(space, "grep", pattern=r"line (5|7|15)$", context_lines=2)
    assert result.content == (
        "f-3-line 3\nf-4-line 4\nf:5:line 5\nf-6-line 6\nf:7:line 7\nf-8-line 8\nf-9-line 9\n--\n"
        "f-13-line 13\nf-14-line 14\nf:15:line 15\nf-16-line 16\nf-17-line 17\n--\ng:1:line 5"
    )
    assert result.metadata["matchCount"] == 4


@pytest.mark.usefixtures("engine")
async def test_a_search_is_narrowed_by_what_files_are_called(space: Workspace) -> None:
    names = ("a.py", "a.ts", "lib/b.py", "lib/node_modules/c.py", "node_modules/d.py", "lib/e.tsx")
    fill(space, dict.fromkeys(names, "hit\n"))

    async def files(**arguments: Any) -> list[str]:
        content = (await use(space, "grep", pattern="hit", **arguments)).content
        return [line.partition(":")[0] for line in content.split("\n")]

    assert await files(include="*.py", exclude="node_modules") == ["a.py", "lib/b.py"]
    assert await files(include="lib/*.py") == ["lib/b.py"]
    assert await files(include="*.{ts,tsx}") == ["a.ts", "lib/e.tsx"]
    assert await files(include="**/c.py", path="lib") == ["lib/node_modules/c.py"]
    assert await files(exclude="{lib,*.ts}") == ["a.py", "node_modules/d.py"]
    assert "Nothing was searched" in str(await fail(space, "grep", pattern="x", include="../*"))


@pytest.mark.usefixtures("engine")
async def test_a_text_is_searched_as_it_stands_or_without_regard_to_case(space: Workspace) -> None:
    fill(space, {"f": "a.b(c)\naxb(c)\nÄrger\n--flag\n-e\n"})
    assert (await use(space, "grep", pattern="a.b(c", literal=True)).content == "f:1:a.b(c)"
    assert (await use(space, "grep", pattern="ärGER", ignore_case=True)).content == "f:3:Ärger"
    assert (await use(space, "grep", pattern="--flag")).content == "f:4:--flag"
    assert (await use(space, "grep", pattern="-e")).content == "f:5:-e"


@pytest.mark.usefixtures("engine")
@pytest.mark.requirement("tools:file-tool-limits")
async def test_what_is_no_text_hidden_or_a_link_is_passed_over(space: Workspace) -> None:
    fill(
        space,
        {
            ".hidden": "hit",
            ".git/config": "hit",
            "binary": b"hit\n" + b"x" * 100_000 + b"\0",
            "latin": b"hit caf\xe9\n",
            "marked": b"\xef\xbb\xbfhit\r\n",
            ".gitignore": "ignored\n",
            "ignored": "hit",
        },
    )
    os.mkfifo(space.root / "fifo")
    (space.root / "link").symlink_to("latin")
    (space.root / "loop").symlink_to(".")
    with (space.root / "huge").open("wb") as file:
        file.write(b"hit\n" * 3)
        file.truncate(1 << 30)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(space.root / "socket"))
        result = await use(space, "grep", pattern="^hit")
        assert result.content == "ignored:1:hit\nlatin:1:hit caf\ufffd\nmarked:1:hit"
    assert (await use(space, "grep", pattern="hit", path=".git")).content == ".git/config:1:hit"
    assert (await use(space, "grep", pattern="hit", path=".hidden")).content == ".hidden:1:hit"
    assert (await use(space, "grep", pattern="hit", path="link")).content == "latin:1:hit caf\ufffd"
    assert "binary file" in str(await fail(space, "grep", pattern="hit", path="binary"))
    assert "1073741824 bytes" in str(await fail(space, "grep", pattern="hit", path="huge"))
    assert "Only regular files" in str(await fail(space, "grep", pattern="hit", path="fifo"))
    for path, words in (("gone", "no file 'gone'"), ("../x", "leads out"), ("/etc", "absolute")):
        error = await fail(space, "grep", pattern="hit", path=path)
        assert words in str(error)
        assert error.metadata == {"ui": "search-results", "pattern": "hit", "path": path, "matchCount": 0}


@pytest.mark.usefixtures("engine")
@pytest.mark.requirement("tools:file-tool-limits")
async def test_the_answer_is_bounded_in_lines_in_width_and_altogether(space: Workspace) -> None:
    fill(space, {"many": "hit\n" * 150, "wide": "x" * 5000 + "needle" + "y" * 5000 + "\n" + "z" * 600})
    result = await use(space, "grep", pattern="hit")
    assert result.metadata["matchCount"] == 100
    assert result.content.endswith(
        "many:100:hit\n[the first 100 matching line(s); there are more: narrow the pattern or the path]"
    )
    assert (await use(space, "grep", pattern="hit", max_results=150)).content.endswith("many:150:hit")
    wide = (await use(space, "grep", pattern="needle")).content
    assert wide == "wide:1:[...]" + "x" * 100 + "needle" + "y" * 394 + "[...]"
    assert (await use(space, "grep", pattern="zzz")).content == "wide:2:" + "z" * 500 + "[...]"
    fill(space, {f"d/{n}": ("w" * 400 + "\n") * 30 for n in range(20)})
    all_of_it = await use(space, "grep", pattern="w", path="d", max_results=1000)
    assert all_of_it.metadata["matchCount"] == all_of_it.content.count("\n") < 130


@pytest.mark.usefixtures("engine")
@pytest.mark.requirement("tools:grep-bounded-in-time")
async def test_a_pattern_that_takes_for_ever_is_ended(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GREP, "_SECONDS", 0.5)
    fill(space, {"f": "a" * 60 + "b\n" + "c\n"})
    start = time.monotonic()
    error = await fail(space, "grep", pattern="(a+)+$|c")
    assert error.code == "timeout"
    assert "repetitions within repetitions" in str(error)
    assert time.monotonic() - start < 5
    assert not helpers()


@pytest.mark.usefixtures("engine")
@pytest.mark.requirement("tools:grep-bounded-in-time")
async def test_a_cancelled_search_leaves_nothing_running_while_others_go_on(space: Workspace) -> None:
    fill(space, {"f": "a" * 60 + "b\n" + "c\n"})
    running = asyncio.create_task(use(space, "grep", pattern="(a+)+$|c"))
    async with asyncio.timeout(5):
        while not helpers():  # noqa: ASYNC110 - another process comes up
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await running
    assert not helpers()


def helpers() -> list[int]:
    """Processes of ours that search."""
    found = list[int]()
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue  # the thread ended meanwhile
        for child in children:
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if b"searching.scanner" in command or b"--files-with-matches" in command:
                found.append(int(child))
    return found


@needs_ripgrep
def test_ripgrep_is_asked_and_its_failure_changes_nothing(space: Workspace, tmp_path_factory: Any) -> None:
    fill(space, {"f": "hit\n"})
    log = tmp_path_factory.mktemp("bin") / "log"
    script = log.parent / "rg"

    def search(body: str) -> str:
        script.write_text(f"#!/bin/sh\necho asked >> {log}\n{body}\n")
        script.chmod(0o755)
        with space.folder(".") as (folder, _):
            request = Request(node=parse("hit", fold=False), limit=10, room=1000)
            found = find_lines(folder, request, ripgrep=str(script), seconds=10, stop=threading.Event())
        assert found is not None
        return found.text

    assert search(f'exec {RIPGREP} "$@"') == "f:1:hit"
    # Names nothing: so it is ripgrep that says where to look.
    assert search("exit 1") == ""
    for body in ("echo unknown flag >&2; exit 2", "kill -9 $$", "exit 3"):
        assert search(body) == "f:1:hit"
    assert log.read_text() == "asked\n" * 5
    # What it names is only a hint: neither links nor what does not match nor other places get into the answer.
    (space.root / "link").symlink_to("f")
    assert search(r"printf './f\0./link\0../f\0/etc/passwd\0./f/f\0./gone\0\0'") == "f:1:hit"


NAMES = st.sampled_from(["a", "b", "c.py", "d.ts", ".dot", "sub", "sub2", "é", "x y"])
PIECES = st.sampled_from(
    ["foo", "bar", "Foo", "b", "a.b", " ", "\n", "\n", "\r\n", "é", "x" * 600, "\t", "(", "foo(", "\ufeff", "1", "_"]
)
CONTENT = st.one_of(
    st.lists(PIECES, max_size=14).map(lambda each: "".join(each).encode()),
    st.lists(PIECES, max_size=6).map(lambda each: "".join(each).encode() + b"\xff\nfoo"),
    st.lists(PIECES, max_size=6).map(lambda each: "".join(each).encode() + b"\0foo"),
)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), CONTENT, max_size=8)
PATTERNS = st.sampled_from(
    [
        *("foo", "^foo", "foo$", "^$", "b?", r"\bfoo\b", "[^a-z]", "foo|bar", "(?:foo|b)+", r"\s$", r"\w{3}", "é", "."),
        *("a.b", r"\(", "^[[:upper:]]", r"^\W", r"o\B", "x{10,}", "1_?"),
    ]
)
GLOBS = st.sampled_from(["", "", "*.py", "sub", "sub/**", "*.{py,ts}", "**/b", ".dot", "[!a]", "sub*/*"])


@needs_ripgrep
@pytest.mark.requirement("tools:grep-engines-agree")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    TREES,
    PATTERNS,
    st.fixed_dictionaries(
        {
            "include": GLOBS,
            "exclude": GLOBS,
            "near": st.sampled_from([0, 0, 1, 3]),
            "limit": st.sampled_from([1, 3, 100]),
            "room": st.sampled_from([48_000, 300]),
        }
    ),
    st.booleans(),
)
def test_both_engines_give_the_same_answer_over_any_tree(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes], pattern: str, options: dict[str, Any], fold: bool
) -> None:
    space = Workspace(tmp_path_factory.mktemp("tree"))
    for path, data in tree.items():
        try:
            fill(space, {path: data})
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            continue
    request = Request(node=parse(pattern, fold=fold), **options)
    with space.folder(".") as (folder, _):
        answers = [
            find_lines(folder, request, ripgrep=ripgrep, seconds=20, stop=threading.Event())
            for ripgrep in (RIPGREP, None)
        ]
    assert answers[0] == answers[1]
    assert answers[0] is not None


@needs_ripgrep
@pytest.mark.requirement("tools:grep-engines-agree")
@pytest.mark.usefixtures("engine")
async def test_over_a_real_tree_the_answer_is_ripgrep_s_own(space: Workspace) -> None:
    package = Path(finding.__file__).parents[3]
    real = Workspace(package)
    for pattern, more in ((r"^def \w+\(", ()), (r"raise \w+Error", ("--context=2",)), ("TODO", ()), (r"^\s*$", ())):
        assert RIPGREP is not None
        asked = subprocess.run(  # noqa: ASYNC221 - nothing else runs
            [RIPGREP, "--no-config", "--no-ignore", "--sort=path", "-n", "--no-heading", *more, "--", pattern],
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = asked.stdout.splitlines()[:60]
        result = await use(real, "grep", pattern=pattern, context_lines=2 if more else 0, max_results=60)
        assert result.content.split("\n")[: len(lines)] == lines or not lines


# glob


@pytest.mark.requirement("tools:glob-double-star", "tools:search-metadata")
async def test_a_double_star_finds_files_at_every_depth(space: Workspace) -> None:
    fill(space, dict.fromkeys(("a.py", "x/b.py", "x/y/c.py", "x/d.ts", ".v/e.py", "x/.f.py"), ""))
    result = await use(space, "glob", pattern="**/*.py")
    assert result.content == "a.py\nx/b.py\nx/y/c.py"
    assert result.metadata == {"ui": "file-tree", "pattern": "**/*.py", "path": ".", "count": 3}
    assert (await use(space, "glob", pattern="*.{py,ts}", path="x")).content == "x/b.py\nx/d.ts"
    assert (await use(space, "glob", pattern="**/.*/*")).content == ".v/e.py"
    assert (await use(space, "glob", pattern="x/**")).content == "x/b.py\nx/d.ts\nx/y/c.py"
    assert (await use(space, "glob", pattern="x")).content == "No files matched."
    assert "leads upwards" in str(await fail(space, "glob", pattern="../*"))
    assert "is a file" in str(await fail(space, "glob", pattern="*", path="a.py"))


@pytest.mark.requirement("tools:file-tool-limits")
async def test_many_files_are_bounded_with_a_note(space: Workspace) -> None:
    fill(space, {f"{n:04}": "" for n in range(1001)})
    result = await use(space, "glob", pattern="*")
    assert result.metadata["count"] == 1000
    assert result.content.startswith("0000\n0001\n")
    assert result.content.endswith("0999\n[the first 1000 files; there are more: narrow the pattern or the path]")
    listed = await use(space, "ls")
    assert listed.metadata["entryCount"] == 1001
    assert listed.content.endswith("0999\n[1000 of 1001 entries shown; find the others with `glob`]")
    (space.root / "1000").unlink()
    assert (await use(space, "glob", pattern="*")).content.endswith("\n0999")


async def test_links_are_files_only_where_they_lead_to_files_here(space: Workspace) -> None:
    fill(space, {"real/f": "x"})
    for name, target in (("good", "real/f"), ("gone", "nothing"), ("out", "/etc/passwd"), ("folder", "real")):
        (space.root / name).symlink_to(target)
    os.mkfifo(space.root / "fifo")
    assert (await use(space, "glob", pattern="**")).content == "good\nreal/f"


# ls


@pytest.mark.requirement("tools:grep-and-list-formats", "tools:search-metadata")
async def test_a_listing_shows_mode_size_and_name(space: Workspace) -> None:
    fill(space, {"file.txt": "12345", "folder/x": "", ".hidden": ""})
    (space.root / "file.txt").chmod(0o640)
    (space.root / "folder").chmod(0o755)
    (space.root / ".hidden").chmod(0o600)
    (space.root / "link").symlink_to("file.txt")
    size = (space.root / "folder").stat().st_size
    result = await use(space, "ls")
    assert result.content == (
        f"-rw-------        0 .hidden\n-rw-r-----        5 file.txt\ndrwxr-xr-x {size:>8} folder/\n"
        "lrwxrwxrwx        8 link -> file.txt"
    )
    assert result.metadata == {"ui": "file-tree", "path": ".", "entryCount": 4}
    assert (await use(space, "ls", path="folder")).content.endswith(" x")
    (space.root / "empty").mkdir()
    assert (await use(space, "ls", path="empty")).content == "The folder is empty."
    assert "Look at it with `read`" in str(await fail(space, "ls", path="file.txt"))
    assert "no file 'gone'" in str(await fail(space, "ls", path="gone"))


@pytest.mark.usefixtures("engine")
async def test_names_that_are_no_text_are_shown_on_one_line_each(space: Workspace) -> None:
    fill(space, {os.fsdecode(name): "hit\n" for name in (b"bad\xff", b"two\nlines", b"\xed\xa0\x80", b"bell\x07")})
    shown = ["bad\ufffd", "bell\u2407", "two\u240alines", "\ufffd\ufffd\ufffd"]
    assert (await use(space, "glob", pattern="**")).content.split("\n") == shown
    assert (await use(space, "grep", pattern="hit")).content.split("\n") == [f"{name}:1:hit" for name in shown]
    assert [line[20:] for line in (await use(space, "ls")).content.split("\n")] == shown
