"""`holdfast runs fork|rewind|diff`: a session goes back with its files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, shell

from holdfast.cli.history.branching import _only  # pyright: ignore[reportPrivateUsage] - what cuts a diff
from holdfast.cli.rendering.diffs import tally
from holdfast.testing import Turn
from holdfast.testing.scripts import Call
from holdfast.types import Change

TURNS = [
    Turn(text="A new file.", calls=[Call(name="write", arguments={"path": "b/c.txt", "content": "new\n"})]),
    Turn(
        text="A change.",
        calls=[Call(name="edit", arguments={"path": "a.py", "edits": [{"oldText": "two", "newText": "three"}]})],
    ),
    Turn(text="Done."),
]


@pytest.fixture
def sh(tmp_path: Path) -> Generator[Shell]:
    """A session `one` that wrote a file and changed another in `work`."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("one\ntwo\n")
    with shell(tmp_path, TURNS) as sh:
        assert sh.run("run", "Go", "-s", "one", "-w", "work").returncode == 0
        yield sh


def finished(sh: Shell, tool: int) -> int:
    """Returns the event with which a call ended."""
    shown = [json.loads(line) for line in sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()]
    return [event["seq"] for event in shown if event["type"] == "tool.finished"][tool]


@pytest.mark.requirement("cli:runs-fork")
def test_a_fork_has_the_log_and_the_files_of_that_event_and_leaves_the_session_alone(sh: Shell) -> None:
    at = str(finished(sh, 0))
    done = sh.run("runs", "fork", "one", "--at", at, "--as", "two", "-w", "copy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"⑂ two  from one at event {at}"
    assert (sh.home / "copy" / "a.py").read_text() == "one\ntwo\n"
    assert (sh.home / "copy" / "b" / "c.txt").read_text() == "new\n"
    assert (sh.home / "work" / "a.py").read_text() == "one\nthree\n"
    assert "session.forked" in sh.run("runs", "show", "two").stdout
    data = json.loads(sh.run("runs", "fork", "one", "-o", "json").stdout)
    assert (data["parent"], data["at"]) == ("one", None)
    assert (Path(data["workspace"]) / "a.py").read_text() == "one\nthree\n"


@pytest.mark.requirement("cli:runs-commit")
def test_what_a_fork_changed_is_listed_and_brought_back_when_that_is_said(sh: Shell) -> None:
    assert sh.run("runs", "fork", "one", "--as", "two", "-w", "copy").returncode == 0
    (sh.home / "copy" / "a.py").write_text("four\n")
    (sh.home / "copy" / "new").write_text("x")
    asked = sh.run("runs", "commit", "two")
    assert asked.returncode == 2
    assert asked.stdout.splitlines() == ["  ~ a.py", "  + new"]
    assert "--yes" in asked.stderr
    assert (sh.home / "work" / "a.py").read_text() == "one\nthree\n"
    done = sh.run("runs", "commit", "two", "a.py", "--yes")
    assert (done.returncode, done.stdout) == (0, "✓ committed 1 path\n"), done.stderr
    assert (sh.home / "work" / "a.py").read_text() == "four\n"
    assert not (sh.home / "work" / "new").exists()
    (sh.home / "work" / "new").write_text("mine")
    refused = sh.run("runs", "commit", "two", "--yes")
    assert refused.returncode == 1
    assert "new: it changed in the target too" in refused.stderr
    assert "no fork" in sh.run("runs", "commit", "one", "--yes").stderr


@pytest.mark.requirement("cli:runs-rewind")
def test_a_rewind_puts_the_files_back_and_goes_on_from_there(sh: Shell) -> None:
    (sh.home / "work" / "mine").write_text("by hand")
    done = sh.run("runs", "rewind", "one", "--at", str(finished(sh, 0)))
    assert (done.returncode, done.stderr) == (0, "")
    assert (sh.home / "work" / "a.py").read_text() == "one\ntwo\n"
    assert (sh.home / "work" / "b" / "c.txt").exists()
    undo = done.stdout.splitlines()[-1].split()
    assert undo[:4] == ["undo", "holdfast", "runs", "rewind"]
    assert sh.run(*undo[2:]).returncode == 0
    assert (sh.home / "work" / "a.py").read_text() == "one\nthree\n"
    assert (sh.home / "work" / "mine").read_text() == "by hand"


@pytest.mark.requirement("cli:runs-diff")
def test_the_difference_is_a_diff_that_patch_takes_of_all_files_or_of_some(sh: Shell) -> None:
    whole = sh.run("runs", "diff", "one").stdout
    assert "-two\n+three\n" in whole
    some = sh.run("runs", "diff", "one", "b").stdout
    assert "+new\n" in some
    assert "three" not in some
    assert sh.run("runs", "diff", "one", "none").stdout == "nothing was changed\n"
    data = json.loads(sh.run("runs", "diff", "one", "-o", "json").stdout)
    assert ("a.py", "modified") in [(each["path"], each["kind"]) for each in data]
    only = sh.run("runs", "diff", "one", "--from", "1", "--to", str(finished(sh, 1)), "a.py").stdout
    (sh.home / "work" / "a.py").write_text("one\ntwo\n")
    apply = ["git", "apply", "--check"]
    done = subprocess.run(apply, cwd=sh.home / "work", input=only, text=True, capture_output=True, check=False)
    assert done.returncode == 0, (only, done.stderr)


@pytest.mark.requirement("cli:runs-fork", "cli:runs-rewind", "cli:runs-diff", "cli:runs-export")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("fork", "none"), "there is no session 'none'"),
        (("rewind", "none", "--at", "1"), "there is no session 'none'"),
        (("diff", "none"), "there is no session 'none'"),
        (("export", "none"), "there is no session 'none'"),
        (("rewind", "one"), "--at"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_made(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    sh = Shell(tmp_path)
    done = sh.run("runs", *command)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.requirement("cli:runs-fork", "cli:runs-rewind")
def test_an_event_that_is_not_there_yet_is_refused_by_its_number(sh: Shell) -> None:
    for command in (("fork", "one", "--at", "99"), ("rewind", "one", "--at", "99"), ("diff", "one", "--to", "99")):
        done = sh.run("runs", *command)
        assert (done.returncode, "has no event 99" in done.stderr) == (2, True), done.stderr


@pytest.mark.requirement("cli:run-in-session-folder")
def test_a_run_in_a_fork_works_in_the_folder_of_the_fork(sh: Shell) -> None:
    assert sh.run("runs", "fork", "one", "--as", "two", "-w", "copy", "--at", str(finished(sh, 0))).returncode == 0
    assert sh.run("run", "Go on", "-s", "two").returncode == 0
    assert (sh.home / "copy" / "a.py").read_text() == "one\nthree\n"


@pytest.mark.requirement("cli:runs-diff")
@pytest.mark.parametrize("end", ["\x0c", "\x0b", "\x85", "\u2028", "\x1c", "\r"])
def test_the_diff_of_a_path_is_whole_whatever_looks_like_an_end_of_line_in_it_as_a_form_feed_does(end: str) -> None:
    one = f"modified a.c\n--- a/a.c\n+++ b/a.c\n@@ -1,2 +1,3 @@\n one\n+int x;{end}int y;\n+int z;\n"
    two = "modified b.c\n--- a/b.c\n+++ b/b.c\n@@ -1 +1 @@\n-1\n+2\n"
    mode = "mode c.sh, mode 0644 became 0755\n"
    assert _only(one + two + mode, [Change("a.c", "modified")]) == one
    assert _only(one + two + mode, [Change("c.sh", "mode")]) == mode
    assert tally(one).plain == "+2 -0"
