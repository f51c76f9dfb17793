"""What `holdfast run` may do without a person's word, and how it asks for one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.surfaces.commands import bash, shell
from tests.surfaces.test_screen import on_terminal, plain

from holdfast.testing import Turn
from holdfast.testing.scripts import Call

ASKS = {"HOLDFAST_MODE": ""}
TURNS = [bash("touch made"), Turn(text="Over.")]
CHANGE = Call(name="edit", arguments={"path": "a.py", "edits": [{"oldText": "two", "newText": "three"}]})


@pytest.mark.requirement("cli:run-modes", "cli:headless-denies")
@pytest.mark.parametrize("output", ["text", "json", "jsonl"])
def test_where_nobody_can_be_asked_it_is_denied_and_the_result_says_so(tmp_path: Path, output: str) -> None:
    with shell(tmp_path, TURNS) as sh:
        done = sh.run("run", "go", "-o", output, **ASKS)
    assert done.returncode == 0
    assert not (tmp_path / "made").exists()
    if output == "text":
        assert "1 call was denied: nobody could be asked; --yes allows them" in done.stdout
    elif output == "json":
        assert json.loads(done.stdout)["denied"] == 1
    else:
        assert json.loads(done.stdout.splitlines()[-1])["data"]["denied"] == 1


@pytest.mark.requirement("cli:run-modes")
@pytest.mark.parametrize(
    ("flag", "runs", "changes"),
    [("--yes", True, True), ("", False, True), ("--ask", False, False), ("--read-only", False, False)],
)
def test_each_mode_allows_what_it_says(tmp_path: Path, flag: str, runs: bool, changes: bool) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    turns = [Turn(text="x", calls=[CHANGE]), *TURNS]
    with shell(tmp_path, turns) as sh:
        assert sh.run("run", "go", *([flag] if flag else []), **ASKS).returncode == 0
    assert (tmp_path / "made").exists() == runs
    assert ("three" in (tmp_path / "a.py").read_text()) == changes


@pytest.mark.requirement("cli:run-modes")
def test_two_modes_at_once_are_refused(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh:
        done = sh.run("run", "go", "--yes", "--read-only")
    assert (done.returncode, "exclude each other" in done.stderr) == (2, True)


@pytest.mark.requirement("cli:approval-card")
@pytest.mark.parametrize(("key", "made", "said"), [("y", True, "allowed once"), ("n", False, "denied")])
def test_a_person_sees_the_command_and_answers_with_a_key(tmp_path: Path, key: str, made: bool, said: str) -> None:
    with shell(tmp_path, TURNS) as sh, on_terminal(sh, "run", "go", **ASKS) as (terminal, process):
        terminal.until(r"allow bash\?[\s\S]*\$ touch made[\s\S]*y once")
        terminal.press(key)
        screen = plain(terminal.rest())
        assert process.wait(10) == 0
    assert said in screen
    assert (tmp_path / "made").exists() == made
    assert "nobody could be asked" not in screen


@pytest.mark.requirement("cli:approval-card")
def test_always_is_asked_once_a_change_is_shown_as_a_diff_and_q_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    turns = [bash("touch one"), bash("touch one"), Turn(text="x", calls=[CHANGE]), Turn(text="Over.")]
    with shell(tmp_path, turns) as sh, on_terminal(sh, "run", "go", "--ask") as (terminal, process):
        terminal.until(r"allow bash\?[\s\S]*y once")
        terminal.press("a")
        terminal.until(r"allow edit\?[\s\S]*-two[\s\S]*\+three[\s\S]*y once")
        terminal.press("q")
        screen = plain(terminal.rest())
        assert process.wait(10) == 4
    assert screen.count("allow bash?") == 1
    assert "two" in (tmp_path / "a.py").read_text()
    assert "aborted" in screen


@pytest.mark.requirement("cli:approval-card")
def test_keys_from_before_the_question_are_no_answer_and_the_terminal_is_given_back(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, TURNS) as sh, on_terminal(sh, "run", "go", **ASKS) as (terminal, process):
        terminal.press("yyyy")
        terminal.until(r"y once")
        process.send_signal(signal.SIGINT)
        screen = terminal.rest()
        assert process.wait(10) == 4
    assert not (tmp_path / "made").exists()
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
