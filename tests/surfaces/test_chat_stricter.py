"""A talk that is stricter than the run it finds open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.surfaces.chatting import READY, chatting
from tests.surfaces.commands import Shell, await_line, bash, shell

from holdfast.testing import Turn

TURNS = [bash("read -r _ < gate"), bash("touch ran"), Turn(text="It is over.")]
HELD = r"! what is open here was started in mode auto, and this talk is in mode"


def leave_open(sh: Shell) -> None:
    """Leaves a run in mode auto open in session `one`, that dies in the middle of a command."""
    os.mkfifo(sh.home / "gate")
    with sh.running("run", "go", "--yes", "-s", "one", "-o", "jsonl") as process:
        await_line(process, "tool.started")
        process.kill()
        process.wait(10)


@pytest.mark.requirement("cli:chat-stricter")
def test_it_is_not_taken_up_until_a_person_says_go(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh:
        leave_open(sh)
        with chatting(sh, "-s", "one", "--read-only", ready=HELD) as person:
            person.sees("stopped, still open")
            person.says("hello")
            person.sees(r"error what is open here was started in mode auto")
            assert not (tmp_path / "ran").exists()
            person.types("\x15")
            person.sees(r"▸\n")
            person.says("/go")
            person.sees(r"It is over\.(.*\n)+ ready")
            assert (tmp_path / "ran").exists()
            person.says("/go")
            person.sees("nothing is held back here")


@pytest.mark.requirement("cli:chat-stricter")
def test_it_can_be_ended_and_what_was_under_way_does_not_go_on(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh:
        leave_open(sh)
        with chatting(sh, "-s", "one", "--ask", ready=HELD) as person:
            person.says("/abort")
            person.sees(r"■ aborted(.*\n)+ ready")
            assert not (tmp_path / "ran").exists()


@pytest.mark.requirement("cli:chat-stricter")
def test_without_a_mode_of_its_own_or_with_one_as_free_it_goes_on(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh:
        leave_open(sh)
        with chatting(sh, "-s", "one", ready=r"It is over\.(.*\n)+ ready") as person:
            assert "this talk is in mode" not in person.screen.text
    assert READY
