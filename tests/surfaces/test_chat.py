"""A talk: what joins it, what ends it, and what is still there afterwards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.surfaces.chatting import ALT_Q, CTRL_C, CTRL_D, ENTER, READY, chatting
from tests.surfaces.commands import Shell, bash, deaf, shell

from holdfast.testing import Call, ScriptedModelServer, Turn

WAITING = [bash("read -r _ < gate; echo through"), Turn(text="It is **through**."), Turn(text="And more.")]
"""Waits at a pipe named `gate`."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def let_pass(home: Path) -> None:
    (home / "gate").write_text("\n")


def statuses(sh: Shell) -> list[str]:
    return [row["status"] for row in json.loads(sh.run("runs", "list", "-o", "json").stdout)]


def said(server: ScriptedModelServer) -> list[str]:
    """What people said in the last request."""
    body = server.requests[-1].json()
    assert isinstance(body, dict)
    return [message["content"] for message in body["messages"] if message["role"] == "user"]


@pytest.mark.requirement("cli:chat")
def test_prompts_of_a_talk_are_runs_of_one_session_which_is_gone_on_with_later(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="I am **one**."), Turn(text="I am two."), Turn(text="I am three.")]) as sh:
        with chatting(sh, "-s", "talk") as person:
            person.says("Who are you?")
            person.sees(r"▸ Who are you\?\n\nI am one\.\n(.*\n)+.*✓  1 step(.*\n)+ ready")
            person.says("And now?")
            person.sees(r"I am two\.\n(.*\n)+.*✓  1 step(.*\n)+ ready")
            assert person.leaves() == 0
            assert "holdfast chat --session talk" in person.screen.text
        with chatting(sh, "-s", "talk", ready="And now") as person:
            screen = person.sees(READY)
            assert "2 runs so far" in screen
            assert "I am two." in screen
            assert "I am one." not in screen
            person.says("And then?")
            person.sees(r"I am three\.(.*\n)+ ready")
            assert person.leaves() == 0
        assert statuses(sh) == ["completed"] * 3


@pytest.mark.requirement("cli:chat-steer")
def test_what_is_said_while_it_works_is_shown_as_queued_until_it_joins_the_run(home: Path) -> None:
    with ScriptedModelServer.in_thread(WAITING) as server:
        sh = Shell(home, server)
        with chatting(sh, "--yes") as person:
            person.says("Pass")
            person.sees(r"⋯ bash read -r _ < gate.*\n")
            person.says("Use tabs")
            person.sees(r"↳ queued: Use tabs\n")
            let_pass(home)
            person.sees(r"▸ Use tabs\n\nIt is through\.(.*\n)+.*✓  2 steps(.*\n)+ ready")
            assert "queued" not in "\n".join(person.screen.lines)
            assert person.leaves() == 0
        assert said(server) == ["Pass", "Use tabs"]
        assert statuses(sh) == ["completed"]


@pytest.mark.requirement("cli:chat-steer")
@pytest.mark.parametrize("how", ["key", "command"])
def test_a_follow_up_joins_when_the_run_would_be_over(home: Path, how: str) -> None:
    with ScriptedModelServer.in_thread(WAITING) as server:
        sh = Shell(home, server)
        with chatting(sh, "--yes") as person:
            person.says("Pass")
            person.sees(r"⋯ bash")
            if how == "key":
                person.types("Then docs")
                person.sees("▸ Then docs")
                person.types(ALT_Q)
            else:
                person.says("/later Then docs")
            person.sees(r"↳ after this: Then docs\n")
            let_pass(home)
            person.sees(r"It is through\.\n\n▸ Then docs\n\nAnd more\.(.*\n)+.*✓  3 steps(.*\n)+ ready")
            assert person.leaves() == 0
        assert said(server) == ["Pass", "Then docs"]


@pytest.mark.requirement("cli:chat-interrupt")
def test_ctrl_c_aborts_the_run_and_the_talk_goes_on(home: Path) -> None:
    with shell(home, WAITING) as sh, chatting(sh, "--yes") as person:
        person.says("Pass")
        person.sees(r"⋯ bash")
        person.types(f"a draft{CTRL_C}")
        person.sees(r"■ aborted \(Ctrl-C\)(.*\n)+ ready")
        assert "▸ a draft" in person.screen.lines  # what was being typed is still there
        person.types(ENTER)
        person.sees(r"▸ a draft\n\nIt is through\.(.*\n)+ ready")
        assert person.leaves() == 0
        assert statuses(sh) == ["completed", "aborted"]


@pytest.mark.requirement("cli:chat-interrupt")
def test_a_second_ctrl_c_while_it_aborts_leaves_at_once(home: Path) -> None:
    with shell(home, deaf()) as sh:
        with chatting(sh, "--yes", "-s", "one") as person:
            person.says("Pass")
            person.sees(r"⋯ bash")
            person.types(CTRL_C)
            person.sees("aborting")
            person.types(CTRL_C)
            assert person.is_out() == 130
            assert person.screen.text.endswith("left; the run is still open: holdfast chat --session one")
        assert sh.run("runs", "resume", "one").returncode in (0, 4)


@pytest.mark.requirement("cli:chat-interrupt")
def test_ctrl_c_where_nothing_runs_clears_the_line_and_then_says_how_to_leave(tmp_path: Path) -> None:
    with shell(tmp_path, []) as sh, chatting(sh) as person:
        person.types("nonsense")
        person.sees("▸ nonsense")
        person.types(CTRL_C)
        person.sees_no_more("nonsense")
        assert "Ctrl-D or /quit" not in person.screen.text
        person.types(CTRL_C)
        person.sees("Ctrl-D or /quit leaves")
        person.types(f"x{CTRL_D}")  # not on an empty line
        person.sees("▸ x")
        person.types(f"\x7f{CTRL_D}")
        assert person.is_out() == 0


@pytest.mark.requirement("cli:chat-leave")
@pytest.mark.parametrize("how", ["leaves", "killed"])
def test_a_run_that_was_left_open_goes_on_in_the_next_talk(home: Path, how: str) -> None:
    with shell(home, WAITING) as sh:
        with chatting(sh, "--yes", "-s", "one") as person:
            person.says("Pass")
            person.sees(r"⋯ bash")
            if how == "killed":
                person.is_killed()
            else:
                assert person.leaves() == 0
                assert "left; the run is still open: holdfast chat --session one" in person.screen.text
        assert statuses(sh) == ["open"]
        with chatting(sh, "-s", "one", ready="has an open run") as person:
            screen = person.sees(r"It is through\.(.*\n)+ ready")
            assert "▸ Pass" in screen
            assert "I run read." in screen
            assert person.leaves() == 0
        assert statuses(sh) == ["completed"]


@pytest.mark.requirement("cli:chat-leave")
def test_sigterm_gives_the_terminal_back_and_leaves_the_run_open(home: Path) -> None:
    with shell(home, WAITING) as sh:
        with chatting(sh, "--yes", "-s", "one") as person:
            person.says("Pass")
            person.sees(r"⋯ bash")
            person.process.terminate()
            assert person.is_out() == 143
        assert person.raw.rindex("\x1b[?2004l") > person.raw.rindex("\x1b[?2004h")
        assert "left; the run is still open" in person.screen.text
        assert statuses(sh) == ["open"]


@pytest.mark.requirement("cli:chat-needs-terminal")
def test_without_a_terminal_it_says_what_to_use(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("chat", given="Hello\n")
    assert done.returncode == 2
    assert "chat needs a terminal: without one, use holdfast run" in done.stderr


@pytest.mark.requirement("cli:chat-terminal-safe")
def test_what_models_and_tools_say_never_acts_on_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jgone\x1b[31m"
    turns = [
        Turn(
            text=f"I say {evil}", calls=[Call("bash", {"command": "printf 'out\\033]0;owned\\007\\033[2J'; echo .. "})]
        ),
        Turn(text=f"Done {evil}", chunk=3),
    ]
    with shell(tmp_path, turns) as sh, chatting(sh, "--ask") as person:
        person.pastes(f"Do {evil}")
        person.types(ENTER)
        person.sees("allow bash")
        person.types("\x1by")
        person.sees(r"Done .*gone(.*\n)+ ready")
        person.says("/sessions")
        person.sees(r"●.*Do")
        assert person.leaves() == 0
    assert "\x1b]0;" not in person.raw
    assert "\x07" not in person.raw
    assert "\x1b[2J" not in person.raw
    assert person.screen.bad == []


@pytest.mark.requirement("cli:chat")
def test_an_error_is_shown_and_the_line_comes_back(tmp_path: Path) -> None:
    sh = Shell(tmp_path)  # without a key
    with chatting(sh) as person:
        person.says("Hello?")
        screen = person.sees(r"OPENAI_API_KEY(.*\n)+▸ Hello\?\n")
        assert "Traceback" not in screen
        person.types("\x15")
        assert person.leaves() == 0
