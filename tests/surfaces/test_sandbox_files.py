"""`holdfast sandbox snapshots|rollback|diff|commit`: how a session's files were, and going back to it."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.surfaces.commands import Shell, bash, shell

from holdfast.testing import Turn
from holdfast.testing.scripts import Call


@contextmanager
def worked(home: Path) -> Generator[tuple[Shell, Path]]:
    """Has an agent work for three turns in a folder: two commands and a file that is named."""
    folder = home / "project"
    folder.mkdir()
    (folder / "kept").write_text("kept\n")
    turns = [
        bash("echo one > a"),
        bash("echo two > a; echo b > b"),
        Turn(calls=[Call("write", {"path": "c", "content": "c\n"})]),
        Turn(text="done"),
    ]
    with shell(home, turns) as sh:
        done = sh.run("run", "job", "--session", "s", "-w", str(folder))
        assert done.returncode == 0, done.stderr
        yield sh, folder


def listed(sh: Shell, *more: str) -> list[dict[str, Any]]:
    done = sh.run("sandbox", "snapshots", "s", "-o", "json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.requirement("cli:sandbox-snapshots")
def test_snapshots_are_listed_with_turn_tool_and_what_they_survive(tmp_path: Path) -> None:
    with worked(tmp_path) as (sh, _):
        first, second, third, last = listed(sh)
        assert [each["turn"] for each in (first, second, third, last)] == [1, 2, 3, 4]
        assert [each.get("tool", "") for each in (first, second, third, last)] == ["bash", "bash", "write", ""]
        assert {each["survives"] for each in (first, second, third, last)} == {"power"}
        assert (first["occasion"], last["occasion"], third["paths"]) == ("before-call", "run-over", ["c"])
        assert (second["changed"], last["changed"]) == (1, 3)
        assert [each["event"] for each in listed(sh, "--last", "2")] == [third["event"], last["event"]]
        shown = sh.run("sandbox", "snapshots", "s").stdout
        assert "before bash" in shown
        assert "power: survives a power cut, too" in shown
        nobody = sh.run("sandbox", "snapshots", "nobody")
        assert (nobody.returncode, "there is no session 'nobody'" in nobody.stderr) == (2, True)


@pytest.mark.requirement("cli:sandbox-rollback")
@pytest.mark.requirement("sandbox:rollback-files-and-turn")
def test_going_back_restores_files_and_turn_and_says_how_it_is_undone(tmp_path: Path) -> None:
    with worked(tmp_path) as (sh, folder):
        second = listed(sh)[1]
        (folder / "mine").write_text("mine\n")
        done = sh.run("sandbox", "rollback", "s", "--at", str(second["event"]), "-o", "json")
        assert done.returncode == 0, done.stderr
        assert sorted(each.name for each in folder.iterdir()) == ["a", "kept"]
        assert (folder / "a").read_text() == "one\n"
        undo = json.loads(done.stdout)["undo"]
        assert sh.run("sandbox", "rollback", "s", "--at", str(undo)).returncode == 0
        assert sorted(each.name for each in folder.iterdir()) == ["a", "b", "c", "kept", "mine"]
        kept = [each["turn"] for each in listed(sh) if each["occasion"] == "before-rollback"]
        assert kept == [4, 2]  # of the conversation as it was, and of the one that was gone back to
        wrong = sh.run("sandbox", "rollback", "s", "--at", "9999")
        assert (wrong.returncode, "has no event 9999" in wrong.stderr) == (2, True)


@pytest.mark.requirement("cli:sandbox-diff-of-a-session")
def test_one_command_compares_a_sessions_files_or_two_policies(tmp_path: Path) -> None:
    with worked(tmp_path) as (sh, folder):
        whole = json.loads(sh.run("sandbox", "diff", "s", "-o", "json").stdout)
        assert [each["path"] for each in whole] == ["a", "b", "c"]
        second = listed(sh)[1]["event"]
        since = sh.run("sandbox", "diff", "s", "a", "--at", str(second))
        assert (since.returncode, "-one" in since.stdout, "+two" in since.stdout, "+b" in since.stdout) == (
            0,
            True,
            True,
            False,
        )
        (folder / "config.yaml").write_text("port: 1\n")
        (folder / "other").write_text("other\n")
        one = sh.run("sandbox", "diff", "s", "config.yaml")
        assert (one.returncode, "+port: 1" in one.stdout, "other" in one.stdout) == (0, True, False), one.stderr
        lost = sh.run("sandbox", "diff", "before.yaml", "after.yaml")
        assert (lost.returncode, "cannot be read" in lost.stderr) == (2, True)
        (tmp_path / "p").write_text("version: 1\n")
        assert sh.run("sandbox", "diff", "p", "p").returncode == 0
        assert sh.run("sandbox", "diff", "p", "p", "--at", "3").returncode == 2


@pytest.mark.requirement("cli:sandbox-commit")
def test_what_a_fork_changed_is_brought_back_after_a_review(tmp_path: Path) -> None:
    with worked(tmp_path) as (sh, folder):
        second = listed(sh)[1]["event"]
        made = sh.run("runs", "fork", "s", "--at", str(second), "--as", "f", "-o", "json")
        branch = Path(json.loads(made.stdout)["workspace"])
        (branch / "new").write_text("new\n")
        (branch / "other").write_text("other\n")
        unasked = sh.run("sandbox", "commit", "f", "new")
        assert (unasked.returncode, "+ new" in unasked.stdout, (folder / "new").exists()) == (2, True, False)
        done = sh.run("sandbox", "commit", "f", "new", "--yes", "-o", "json")
        assert [each["path"] for each in json.loads(done.stdout)] == ["new"]
        assert ((folder / "new").read_text(), (folder / "other").exists()) == ("new\n", False)
