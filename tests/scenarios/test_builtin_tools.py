"""The built-in tools, as a model meets them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import until

from holdfast.sandbox.port import Posture
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.differences import near_match, unified_diff
from holdfast.tools.builtin.languages import language_of
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import CallId, Effect, StreamId, ToolResult


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


async def use(space: Workspace | None, name: str, **arguments: Any) -> ToolResult:
    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space)
    result = await made.run(made.parse(json.dumps(arguments).encode()), context)
    assert isinstance(result, ToolResult)
    assert len(result.content) <= made.spec.max_output
    return result


async def fail(space: Workspace | None, name: str, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await use(space, name, **arguments)
    assert len(str(caught.value)) <= BUILTIN[name].spec.max_output
    return caught.value


@pytest.mark.requirement("tools:effect-of-builtins")
def test_each_builtin_declares_what_it_changes() -> None:
    expected = {
        "read": Effect(False, "none"),
        "grep": Effect(False, "none"),
        "glob": Effect(False, "none"),
        "ls": Effect(False, "none"),
        "write": Effect(True, "none"),
        "edit": Effect(True, "none"),
    }
    assert {name: BUILTIN[name].spec.effect for name in expected} == expected
    for name, arguments in (("write", {"content": ""}), ("edit", {"edits": [{"oldText": "a", "newText": "b"}]})):
        touches, parse = BUILTIN[name].touches, BUILTIN[name].parse
        assert touches is not None
        assert touches(parse(json.dumps({"path": "a/b", **arguments}).encode())) == ("a/b",)
    judge = BUILTIN["bash"].effect
    assert judge is not None
    assert judge(None, Posture("none")) == Effect(True, "unsafe")
    assert judge(None, Posture("walls", ("all",), isolated=True)) == Effect(True, "none")
    assert BUILTIN["bash"].touches is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read", {"path": "f"}),
        ("write", {"path": "f", "content": ""}),
        ("edit", {"path": "f", "edits": [{"oldText": "a", "newText": ""}]}),
        ("grep", {"pattern": "a"}),
        ("glob", {"pattern": "*"}),
        ("ls", {}),
        ("bash", {"command": "true"}),
    ],
)
async def test_without_a_workspace_nothing_is_touched(name: str, arguments: dict[str, Any]) -> None:
    assert "no workspace" in str(await fail(None, name, **arguments))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("read", '{"path": "f", "offset": 0}'),
        ("read", '{"path": "f", "limit": 0}'),
        ("edit", '{"path": "f", "edits": []}'),
        ("edit", '{"path": "f", "edits": [{"oldText": "", "newText": "x"}]}'),
        ("edit", '{"path": "f", "edits": [{"old_text": "a", "newText": "x"}]}'),
        ("bash", '{"command": "true", "timeout": 601}'),
        ("bash", '{"command": "true", "timeout": 0}'),
        ("write", '{"path": "f"}'),
        ("grep", '{"pattern": ""}'),
        ("grep", '{"pattern": "a", "context_lines": 11}'),
        ("grep", '{"pattern": "a", "max_results": 0}'),
        ("glob", '{"pattern": ""}'),
    ],
)
def test_arguments_outside_the_bounds_are_refused_before_anything_runs(name: str, text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        BUILTIN[name].parse(text.encode())


# read


@pytest.mark.requirement("tools:read-slice")
async def test_reading_gives_the_lines_that_were_asked_for(space: Workspace) -> None:
    (space.root / "f.py").write_text("one\ntwo\nthree\nfour\n")
    assert (await use(space, "read", path="f.py")).content == "one\ntwo\nthree\nfour\n"
    part = await use(space, "read", path="f.py", offset=2, limit=2)
    assert part.content == (
        "two\nthree\n[lines 2 to 3 shown; there are more: read on with offset=4]"
    )  # fmt: skip
    assert (await use(space, "read", path="f.py", offset=4)).content == "four\n"
    assert (await use(space, "read", path="f.py", offset=5)).content == ""
    assert (await use(space, "read", path="f.py", offset=10**15)).content == ""


@pytest.mark.requirement("tools:builtin-metadata")
async def test_reading_tells_the_screen_what_it_shows(space: Workspace) -> None:
    (space.root / "f.py").write_text("one\ntwo")
    assert (await use(space, "read", path="f.py", offset=2)).metadata == {
        "ui": "code",
        "filePath": "f.py",
        "offset": 2,
        "limit": 2000,
        "language": "python",
        "lineCount": 1,
    }


async def test_long_lines_and_long_files_are_cut_with_a_note(space: Workspace) -> None:
    (space.root / "wide").write_text("é" * 5000 + "\nnext\n")
    wide = (await use(space, "read", path="wide")).content
    assert wide == "é" * 2000 + "\nnext\n[1 long line(s) cut to at most 2000 characters]"
    (space.root / "many").write_text("x\n" * 2500)
    assert (await use(space, "read", path="many")).content.endswith("read on with offset=2001]")
    (space.root / "both").write_text(("y" * 1999 + "\n") * 100)
    both = (await use(space, "read", path="both")).content
    assert both.endswith("[lines 1 to 24 shown; there are more: read on with offset=25]")


async def test_reading_page_by_page_gives_every_line_once(space: Workspace) -> None:
    lines = [f"{n} " + "z" * (n * 37 % 1900) for n in range(500)]
    (space.root / "f").write_text("\n".join(lines))
    offset, seen = 1, list[str]()
    while True:
        result = await use(space, "read", path="f", offset=offset)
        count = result.metadata["lineCount"]
        if not count:
            break
        seen += result.content.split("\n")[:count]
        offset += count
    assert seen == lines


@pytest.mark.requirement("tools:read-bounded")
async def test_a_huge_file_is_not_loaded(space: Workspace) -> None:
    with (space.root / "sparse").open("wb") as file:
        file.write(b"first\n")
        file.seek(8192)
        file.write(b"\n")
        file.truncate(1 << 30)
    with (space.root / "text").open("wb") as file:
        file.write(b"x" * 70_000_000 + b"\n" + b"short\n" * 2_000_000)
    import tracemalloc

    tracemalloc.start()
    try:
        assert "binary file of 1073741824 bytes" in str(await fail(space, "read", path="sparse"))
        result = await use(space, "read", path="text", offset=2_000_000)
        assert result.content == "short\nshort\n"
        assert (await use(space, "read", path="text", limit=1)).metadata["lineCount"] == 1
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"", ""),
        (b"\n", "\n"),
        (b"\xef\xbb\xbfmarked\r\n", "marked\r\n"),
        ("\ufeffwide \N{GRINNING FACE}\n".encode("utf-16-le"), "wide \N{GRINNING FACE}\n"),
        ("\ufeffwide\n".encode("utf-16-be"), "wide\n"),
        ("\ufeffwider\n".encode("utf-32-le"), "wider\n"),
        (b"caf\xe9", "caf\ufffd\n[not valid UTF-8: bytes that could not be decoded are shown as \ufffd]"),
        ("shown \ufffd".encode(), "shown \ufffd"),
    ],
)
async def test_text_of_every_kind_is_shown(space: Workspace, data: bytes, content: str) -> None:
    (space.root / "f").write_bytes(data)
    assert (await use(space, "read", path="f")).content == content


@pytest.mark.parametrize("data", [b"\x7fELF\2\1\1\0\0", "utf-16".encode("utf-16-le"), b"text\n" * 5000 + b"\0"])
async def test_a_binary_file_is_named_with_its_size_and_not_shown(space: Workspace, data: bytes) -> None:
    (space.root / "f").write_bytes(data)
    error = await fail(space, "read", path="f", offset=5000 if len(data) > 1000 else 1)
    assert f"binary file of {len(data)} bytes" in str(error)
    assert "bash" in str(error)


@pytest.mark.requirement("tools:read-missing")
async def test_what_cannot_be_read_is_named_with_what_to_do(space: Workspace) -> None:
    (space.root / "src").mkdir()
    (space.root / "src/main.py").write_text("")
    os.mkfifo(space.root / "fifo")
    for path, code, words in (
        ("src/mian.py", "execution_failed", "'main.py'"),
        ("src/zzz", "execution_failed", "no such name"),
        ("gone/f", "execution_failed", "no folder 'gone'"),
        ("src", "execution_failed", "is a folder"),
        ("src/main.py/x", "execution_failed", "not a folder"),
        ("fifo", "execution_failed", "Only regular files"),
        ("../x", "permission_denied", "leads out of the workspace"),
        ("/etc/passwd", "permission_denied", "absolute"),
    ):
        error = await fail(space, "read", path=path)
        assert (error.code, words in str(error), path in str(error)) == (code, True, True), str(error)
        assert error.metadata["ui"] == "code"


# write


@pytest.mark.requirement("tools:write-creates-parents", "tools:builtin-metadata")
async def test_writing_makes_folders_and_counts_bytes(space: Workspace) -> None:
    result = await use(space, "write", path="a/b/f.ts", content="é\n")
    assert result.content == "Wrote 3 bytes to a/b/f.ts"
    assert result.metadata == {"ui": "file-created", "filePath": "a/b/f.ts", "size": 3, "language": "typescript"}
    assert (space.root / "a/b/f.ts").read_bytes() == "é\n".encode()


@pytest.mark.requirement("tools:write-atomic")
async def test_a_kill_in_mid_write_leaves_the_old_file_or_the_new_one(space: Workspace) -> None:
    old, new = b"old" * 1_000_000, b"new!" * 1_000_000
    code = (
        "import sys\nfrom holdfast.sandbox.workspace import Workspace\nspace = Workspace(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while True:\n    space.replace('f', b'old' * 1000000)\n    space.replace('f', b'new!' * 1000000)\n"
    )
    for _ in range(5):
        command = [sys.executable, "-c", code, str(space.root)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220 - nothing else runs
        assert writer.stdout is not None
        with writer.stdout:
            writer.stdout.readline()
            await until((space.root / "f").exists)
            writer.kill()
            writer.wait()
        assert (space.root / "f").read_bytes() in (old, new)


async def test_what_cannot_be_written_is_refused_and_changes_nothing(space: Workspace) -> None:
    (space.root / "d").mkdir()
    for path, code in (("d", "execution_failed"), ("d/", "execution_failed"), ("../x", "permission_denied")):
        error = await fail(space, "write", path=path, content="x")
        assert error.code == code
        assert error.metadata["ui"] == "file-created"
    assert [path.name for path in space.root.iterdir()] == ["d"]


def test_a_write_protected_file_stays(space: Workspace) -> None:
    (space.root / "f").write_text("old")
    (space.root / "f").chmod(0o444)
    # Root may write everything, unless it gives that right away.
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("root cannot be kept from writing without setpriv")
    code = (
        "import sys\nfrom holdfast.sandbox.workspace import Workspace\n"
        "try:\n    Workspace(sys.argv[1]).replace('f', b'new')\nexcept PermissionError as error:\n    print(error)\n"
    )
    command = [*drop, sys.executable, "-c", code, str(space.root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert "write-protected: 'f'" in ended.stdout
    assert (space.root / "f").read_text() == "old"


# edit


def change(old: str, new: str) -> dict[str, str]:
    return {"oldText": old, "newText": new}


@pytest.mark.requirement("tools:edit-several", "tools:builtin-metadata")
async def test_edits_are_made_in_order_on_one_text(space: Workspace) -> None:
    (space.root / "f.py").write_text("a = 1\nb = 2\n")
    (space.root / "f.py").chmod(0o755)
    result = await use(space, "edit", path="f.py", edits=[change("a = 1", "c = 3"), change("c = 3\n", "c = 4\n")])
    assert result.content == "Applied 2 edit(s) to f.py"
    assert (space.root / "f.py").read_text() == "c = 4\nb = 2\n"
    assert (space.root / "f.py").stat().st_mode & 0o777 == 0o755
    assert result.metadata == {
        "ui": "diff",
        "filePath": "f.py",
        "editCount": 2,
        "diff": "--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,2 @@\n-a = 1\n+c = 4\n b = 2\n",
    }


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([change("gone", "x")], 'oldText not found in file: "gone"'),
        ([change("two", "x")], 'oldText matches multiple locations: "two" (for example at lines 2 and 3)'),
        ([change("one", "1"), change("one", "x")], 'oldText not found in file: "one"'),
        ([change("one", "two two"), change("x" * 100, "")], '"' + "x" * 80 + '..."'),
        ([change("aa", "b")], "matches multiple locations"),
        ([change("  three", "x")], "would match but for white space"),
        ([change("the fourth lane", "x")], "the nearest is line 5: 'the fourth line'"),
    ],
)
@pytest.mark.requirement("tools:edit-exactly-once", "tools:edit-several")
async def test_an_edit_that_does_not_fit_once_leaves_the_file_as_it_is(
    space: Workspace, edits: list[dict[str, str]], words: str
) -> None:
    data = b"one\ntwo\ntwo\n\tthree\nthe fourth line\naaa\n"
    (space.root / "f").write_bytes(data)
    before = (space.root / "f").stat()
    error = await fail(space, "edit", path="f", edits=edits)
    assert words in str(error)
    assert (space.root / "f").read_bytes() == data
    assert (space.root / "f").stat().st_mtime_ns == before.st_mtime_ns
    assert error.metadata == {"ui": "diff", "filePath": "f", "editCount": len(edits)}


@pytest.mark.parametrize(
    ("data", "old", "new", "result"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny", b"x\r\ny\r\nc\r\n"),
        (b"a\r\nb\r\n", "a\r\nb", "x\r\ny", b"x\r\ny\r\n"),
        (b"a\r\nb\nc\n", "b\nc", "x\ny", b"a\r\nx\ny\n"),
        (b"\xef\xbb\xbfa", "a", "b", b"\xef\xbb\xbfb"),
        (b"no end", "end", "more", b"no more"),
        ("é😀\u2028x".encode(), "\u2028", "", "é😀x".encode()),
        (b"a\x0cb\x1dc\n", "b", "B", b"a\x0cB\x1dc\n"),
    ],
)
async def test_line_ends_and_marks_are_kept(space: Workspace, data: bytes, old: str, new: str, result: bytes) -> None:
    (space.root / "f").write_bytes(data)
    await use(space, "edit", path="f", edits=[change(old, new)])
    assert (space.root / "f").read_bytes() == result


async def test_a_large_rewrite_gives_a_bounded_diff_soon(space: Workspace) -> None:
    (space.root / "f").write_text("start\n" + "same\n" * 50_000 + "other\n" * 50_000 + "end\n")
    result = await use(space, "edit", path="f", edits=[change("start\n", "begin\n"), change("\nend\n", "\nstop\n")])
    assert len(result.metadata["diff"]) < 21_000
    assert "more characters of diff" in result.metadata["diff"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\nc\n", "a\nB\nc\n"),
        ("a\nb\n", "a\nb"),
        ("", "a\n"),
        ("a\n", ""),
        ("x\n" * 30, "x\n" * 10 + "y\n" + "x\n" * 20),
        ("\n".join(map(str, range(50))), "\n".join("!" if n in (3, 25, 49) else str(n) for n in range(50))),
        ("\n".join(map(str, range(3000))), "\n".join(str(n + n % 2) for n in range(3000))),
    ],
)
def test_a_diff_turns_one_text_into_the_other(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "f").write_text(before)
    diff = unified_diff(before, after, "f")
    if "more characters" in diff:
        return
    subprocess.run(["patch", "-p1", "--quiet"], input=diff.encode(), cwd=tmp_path, check=True, timeout=5)
    # An empty file is a removed one to patch.
    assert ((tmp_path / "f").read_text() if (tmp_path / "f").exists() else "") == after


def test_an_unchanged_text_has_no_diff_and_nothing_near_gives_no_hint() -> None:
    assert unified_diff("a\n", "a\n", "f") == ""
    assert near_match("alpha\nbeta\n", "zzzzzzzzzz") == ""
    assert near_match("", "x") == ""


@pytest.mark.parametrize(
    ("path", "language"),
    [("a/b.py", "python"), ("x.tsx", "typescript"), ("Dockerfile", "dockerfile"), ("README", ""), ("a.b/c", "")],
)
def test_a_file_s_name_tells_its_language(path: str, language: str) -> None:
    assert language_of(path) == language
