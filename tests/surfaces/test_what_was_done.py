"""What is shown of a call is what was done, and of a wait what became of it: live, on resuming, and in the log."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, bash, shell
from tests.surfaces.test_approve import asked, asking

from holdfast.testing import Call, Turn

TEXT = ("run", "go", "--ask", "--patience", "10m", "-s", "one")


@pytest.mark.requirement("newcomers:made-calls")
def test_the_log_and_the_screen_show_the_arguments_that_a_call_was_made_with(tmp_path: Path) -> None:
    edit = json.dumps({"command": "echo edited > made"})
    with shell(tmp_path, [bash("echo tested > made"), Turn(text="Over.")]) as sh, asking(sh, run=TEXT) as process:
        [found] = asked(sh)
        assert sh.run("approve", "yes", found["id"], "--edit", edit).returncode == 0
        live, _ = process.communicate(timeout=20)
        log = sh.run("runs", "show", "one").stdout
    assert (tmp_path / "made").read_text("utf-8") == "edited\n"
    assert "✓ bash echo edited > made" in live
    assert "✓ bash echo tested" not in live
    assert "✓ allowed once, with other arguments" in live
    [started] = [line for line in log.splitlines() if "tool.started" in line]
    assert "bash echo edited > made" in started
    [resolved] = [line for line in log.splitlines() if "wait.resolved" in line]
    assert "once, with other arguments" in resolved


@pytest.mark.requirement("newcomers:made-calls")
def test_arguments_that_are_read_another_way_are_shown_as_they_are_read(tmp_path: Path) -> None:
    read = Turn(calls=[Call("read", {"path": "x", "limit": "3"})])
    (tmp_path / "x").write_text("1\n2\n3\n4\n", "utf-8")
    with shell(tmp_path, [read, Turn(calls=[Call("bash", '{"command": "echo hi > made",}')]), Turn(text="x")]) as sh:
        live = sh.run("run", "go", "-s", "one").stdout
        log = sh.run("runs", "show", "one").stdout
    assert "✓ bash echo hi > made" in live
    assert ",}" not in log


def ends(sh: Shell, name: str) -> str:
    """Returns what a run in a session prints that gives people ten minutes, once it is over."""
    return sh.run("runs", "resume", name).stdout


@pytest.mark.requirement("newcomers:wait-outcomes")
def test_what_a_person_said_is_printed_where_the_run_is_followed(tmp_path: Path) -> None:
    turns = [bash("touch one"), bash("touch two"), Turn(text="Over.")]
    with shell(tmp_path, turns) as sh, asking(sh, run=TEXT) as process:
        [found] = asked(sh)
        sh.run("approve", "yes", found["id"])
        end = time.monotonic() + 20
        while (second := asked(sh)[0])["id"] == found["id"]:
            assert time.monotonic() < end
        sh.run("approve", "no", second["id"], "not", "today")
        live, _ = process.communicate(timeout=20)
    assert "✓ allowed once  bash touch one" in live
    assert "⊘ denied: not today  bash touch two" in live
    assert "1 call was denied by a person\n" in live
    assert "nobody could be asked" not in live


@pytest.mark.requirement("newcomers:wait-outcomes")
def test_time_that_ran_out_is_no_missing_person(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("touch one"), Turn(text="Over.")]) as sh:
        live = sh.run("run", "go", "--ask", "--patience", "0.2s").stdout
    assert "⊘ nobody answered in 0.2 s  bash touch one" in live
    assert "1 call was denied: nobody answered in time\n" in live


@pytest.mark.requirement("newcomers:wait-outcomes")
def test_denials_of_several_kinds_are_counted_apart(tmp_path: Path) -> None:
    both = Turn(calls=[Call("bash", {"command": "touch one"}), Call("bash", {"command": "touch two"})])
    run = ("run", "go", "--ask", "--patience", "3s", "-s", "one")
    with shell(tmp_path, [both, Turn(text="Over.")]) as sh, sh.running(*run) as process:
        first = asked(sh, 2)[0]
        sh.run("approve", "no", first["id"], "never")
        live, _ = process.communicate(timeout=20)
    assert "2 calls were denied: 1 by a person, 1 as nobody answered in time\n" in live


@pytest.mark.requirement("newcomers:wait-outcomes")
@pytest.mark.parametrize("words", [("yes",), ("changes", "shorter", "please")])
def test_a_resumed_run_says_what_was_answered_while_nobody_drove_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    review = ("run", "go", "--review", "1", "--patience", "10m", "-o", "json", "-s", "one")
    turns = [Turn(text="Long."), Turn(text="Short.")]
    made = words[0] == "yes"
    with shell(tmp_path, [bash("touch one"), Turn(text="Over.")] if made else turns) as sh:
        with asking(sh) if made else asking(sh, run=review) as process:
            process.kill()
            process.wait(10)
        [found] = asked(sh)
        assert sh.run("approve", words[0], found["id"], *words[1:]).returncode == 0
        if made:
            assert "✓ allowed once  bash touch one" in ends(sh, "one")
            return
        with sh.running("runs", "resume", "one") as resumed:
            end = time.monotonic() + 20
            while (again := asked(sh)[0])["id"] == found["id"] or again.get("answered"):
                assert time.monotonic() < end
            sh.run("approve", "yes", again["id"])
            live, _ = resumed.communicate(timeout=20)
        assert "↻ sent back: shorter please" in live
        assert "✓ accepted" in live
