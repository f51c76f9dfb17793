"""`holdfast approve`: what is asked in all sessions, seen and answered from another terminal."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.surfaces.commands import Shell, bash, shell

from holdfast.testing import Call, Turn

ASK = {
    "questions": [
        {"question": "Which colour?", "header": "paint", "options": [{"label": "red"}, {"label": "blue"}]},
        {"question": "Which days?", "options": [{"label": "Mon"}, {"label": "Tue"}], "multiple": True},
    ]
}
QUESTION = Turn(calls=[Call("question", ASK)])
RUN = ("run", "go", "--ask", "--patience", "10m", "-o", "json", "-s", "one")


@contextmanager
def asking(sh: Shell, *more: str, run: tuple[str, ...] = RUN) -> Generator[subprocess.Popen[str]]:
    """Starts a run that nobody sits at, and waits until it asks something."""
    with sh.running(*run, *more) as process:
        asked(sh)
        yield process


def asked(sh: Shell, count: int = 1) -> list[dict[str, Any]]:
    """Returns what is asked, once so much is."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = json.loads(sh.run("approve", "list", "-o", "json").stdout)
        if len([each for each in found if not each.get("answered")]) == count:
            return found
    raise AssertionError("nobody is asked")


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=20)
    return json.loads(out)


@pytest.mark.requirement("cli:approve")
def test_a_call_is_listed_shown_whole_and_allowed_from_another_terminal(tmp_path: Path) -> None:
    long = "echo " + "x" * 3000 + " > made"
    with shell(tmp_path, [bash(long), Turn(text="Over.")]) as sh, asking(sh) as process:
        [found] = asked(sh)
        assert (found["session"], found["kind"], found["tool"]) == ("one", "approval", "bash")
        assert 590e6 < found["deadline"] - found["since"] < 610e6
        listed = sh.run("approve", "list")
        assert found["id"][:8] in listed.stdout
        assert "bash echo xxx" in listed.stdout
        assert f"holdfast approve show {found['id'][:8]}" in listed.stdout
        shown = sh.run("approve", "show", found["id"][:4])
        assert shown.stdout.count("x") >= 3000, "all of it"
        assert f"approve yes {found['id'][:8]} --edit JSON" in shown.stdout
        done = sh.run("approve", "yes", found["id"][:6])
        assert (done.returncode, done.stdout) == (0, "✓ allowed once: bash in session one\n")
        assert result(process)["status"] == "completed"
        assert json.loads(sh.run("approve", "list", "-o", "json").stdout) == []
        assert "Nobody is asked anything" in sh.run("approve", "list").stdout
    assert (tmp_path / "made").exists()


@pytest.mark.requirement("cli:approve")
@pytest.mark.parametrize("given", ["argument", "input"])
def test_other_arguments_are_given_as_json(tmp_path: Path, given: str) -> None:
    edit = json.dumps({"command": "touch other"})
    with shell(tmp_path, [bash("touch made"), Turn(text="Over.")]) as sh, asking(sh) as process:
        [found] = asked(sh)
        for wrong in ("nothing", "[1]", '"x"'):
            done = sh.run("approve", "yes", found["id"], "--edit", wrong)
            assert (done.returncode, "wants the arguments as a JSON object" in done.stderr) == (2, True)
        done = sh.run("approve", "yes", found["id"], "--edit", '{"command": 7}')
        assert (done.returncode, "command wants a string, not 7; nothing was allowed" in done.stderr) == (2, True)
        done = sh.run(
            "approve", "yes", found["token"], "--edit", edit if given == "argument" else "-", "-o", "json", given=edit
        )
        assert json.loads(done.stdout) | {"state": ""} == {
            "session": "one",
            "token": found["token"],
            "status": "accepted",
            "heard": True,
            "state": "",
        }
        result(process)
    assert ((tmp_path / "other").exists(), (tmp_path / "made").exists()) == (True, False)


@pytest.mark.requirement("cli:approve")
def test_a_no_has_a_reason_and_what_nobody_drives_says_how_to_go_on(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("touch made"), Turn(text="Over.")]) as sh:
        with asking(sh) as process:
            process.kill()
            process.wait(10)
        [found] = asked(sh)
        done = sh.run("approve", "no", found["id"], "not today")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "⊘ denied: bash in session one")
        assert "no process drives the session now; go on: holdfast runs resume one" in done.stdout
        assert "answered, heard by nobody yet" in sh.run("approve", "list").stdout
        again = sh.run("approve", "yes", found["id"])
        assert (again.returncode, "the first answer counts" in again.stdout) == (1, True)
        resumed = sh.run("runs", "resume", "one")
        assert resumed.returncode == 0
        assert "Over." in resumed.stdout
        assert sh.run("approve", "yes", found["id"]).returncode == 2
        assert "not today" in sh.run("runs", "show", "one").stdout
    assert not (tmp_path / "made").exists()


@pytest.mark.requirement("cli:approve")
def test_questions_are_answered_by_number_by_label_and_in_words(tmp_path: Path) -> None:
    with shell(tmp_path, [QUESTION, Turn(text="Thanks.")]) as sh, asking(sh) as process:
        [found] = asked(sh)
        shown = sh.run("approve", "show", found["id"]).stdout
        assert "paint: Which colour? (1 of 2)\n  1 red\n  2 blue\n" in shown
        for wrong, why in (
            (["yes"], f"say `holdfast approve answer {found['id']} ANSWER`"),
            (["answer", "1"], "2 questions were asked and 1 answers given"),
            (["answer", "7", "1"], "one of the numbers 1 to 2 (1 red, 2 blue), or words of your own"),
            (["answer", "2", "1,3"], "one of the numbers 1 to 2 (1 Mon, 2 Tue), or words of your own"),
        ):
            done = sh.run("approve", wrong[0], found["id"], *wrong[1:])
            assert (done.returncode, why in done.stderr) == (2, True), done.stderr
        done = sh.run("approve", "answer", found["id"], "2", "Mon, 2")
        assert done.stdout == "✓ answered: question in session one\n"
        assert result(process)["status"] == "completed"
        log = sh.run("runs", "show", "one", "-o", "jsonl").stdout
    assert json.loads(
        next(json.loads(line) for line in log.splitlines() if "wait.resolved" in line)["data"]["content"]
    ) == [
        ["blue"],
        ["Mon", "Tue"],
    ]


@pytest.mark.requirement("cli:approve", "cli:run-review")
def test_an_answer_under_review_is_sent_back_and_accepted(tmp_path: Path) -> None:
    with (
        shell(tmp_path, [Turn(text="First try."), Turn(text="Second try.")]) as sh,
        asking(sh, "--review", "1", run=RUN) as process,
    ):
        [found] = asked(sh)
        assert (found["kind"], found["prompt"], found["changes_left"]) == ("review", "First try.", 1)
        assert "approve changes" in sh.run("approve", "show", found["id"]).stdout
        assert "↻ sent back" in sh.run("approve", "changes", found["id"], "shorter").stdout
        while (found := asked(sh)[0])["prompt"] != "Second try.":
            pass
        refused = sh.run("approve", "changes", found["id"], "more")
        assert (refused.returncode, "no more changes" in refused.stderr) == (2, True)
        assert (sh.run("approve", "yes", found["id"], "--always")).returncode == 2
        assert "✓ accepted" in sh.run("approve", "yes", found["id"]).stdout
        assert (result(process)["status"], process.returncode) == ("completed", 0)
        shown = sh.run("runs", "show", "one").stdout
    assert re.search(r"wait\.resolved +review:\S+ +accepted\n", shown)
    assert "epoch" not in shown, "who waited for a person goes on, and nothing was lost"


@pytest.mark.requirement("cli:approve")
def test_a_token_that_means_nothing_or_too_little_says_what_to_do(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    for token, why in (("abc", "too short"), ("abcd1234", "nobody is asked anything under")):
        done = sh.run("approve", "yes", token)
        assert (done.returncode, why in done.stderr, "holdfast approve list" in done.stderr) == (2, True, True)
    assert json.loads(sh.run("approve", "list", "-o", "json").stdout) == []


@pytest.mark.requirement("cli:run-review")
def test_a_review_that_nobody_could_give_is_refused_beforehand(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="x")]) as sh:
        done = sh.run("run", "go", "--review")
        assert (done.returncode, "add --patience" in done.stderr) == (2, True)
        done = sh.run("run", "go", "--patience", "soon")
        assert (done.returncode, "write it as 90s, 10m, 2h or 1d" in done.stderr) == (2, True)


@pytest.mark.requirement("cli:runs-control")
def test_a_session_is_paused_goes_on_and_ends_for_good_from_another_terminal(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("touch made"), Turn(text="Over."), Turn(text="x")]) as sh:
        with asking(sh) as process:
            [found] = asked(sh)
            assert "⏸ paused: session one" in sh.run("runs", "pause", "one", "--reason", "lunch").stdout
            done = sh.run("approve", "yes", found["id"])
            assert "the session is paused; go on: holdfast runs unpause one" in done.stdout
            assert not (tmp_path / "made").exists()
            told = json.loads(sh.run("runs", "unpause", "one", "-o", "json").stdout)
            assert (told["status"], told["heard"]) == ("accepted", True)
            assert result(process)["status"] == "completed"
        assert (tmp_path / "made").exists()
        assert "■ ended for good: session one" in sh.run("runs", "exit", "one").stdout
        for again in (("runs", "exit", "one"), ("run", "more", "-s", "one")):
            done = sh.run(*again)
            assert (done.returncode, "has ended for good" in done.stderr) == (2, True)


@pytest.mark.requirement("cli:approve")
def test_a_shell_completes_what_is_asked(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("touch made"), Turn(text="Over.")]) as sh, asking(sh):
        [found] = asked(sh)
        words = f"holdfast approve yes {found['id'][:2]}"
        done = sh.run(_HOLDFAST_COMPLETE="zsh_complete", COMP_WORDS=words, COMP_CWORD="3")
    assert found["id"][:8] in done.stdout
    assert "bash command: touch made" in done.stdout
