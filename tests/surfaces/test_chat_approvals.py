"""A call that needs a person's word: what they are shown, and how they answer while they type."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.surfaces.chatting import ENTER, chatting
from tests.surfaces.commands import bash, shell

from holdfast.testing import Call, Turn

ASKS = [bash("echo one >> log"), bash("echo two >> log"), Turn(text="I am done.")]


def lines(home: Path) -> list[str]:
    log = home / "log"
    return log.read_text().split() if log.exists() else []


@pytest.mark.requirement("cli:chat-approvals")
def test_a_command_runs_when_it_is_allowed_and_not_before(tmp_path: Path) -> None:
    with shell(tmp_path, ASKS) as sh, chatting(sh) as person:
        person.says("Log it")
        person.sees(r"allow bash\?(.*\n)+.*\$ echo one >> log(.*\n)+  y once · a always · n no")
        assert lines(tmp_path) == []
        person.types("\x1by")
        person.sees(r"✓ allowed once(.*\n)+.*\$ echo two >> log")
        assert lines(tmp_path) == ["one"]
        person.types("\x1ba")
        person.sees(r"✓ allowed from now on(.*\n)+I am done\.(.*\n)+ ready")
        assert lines(tmp_path) == ["one", "two"]


@pytest.mark.requirement("cli:chat-approvals")
def test_letters_answer_on_an_empty_line_and_belong_to_the_line_elsewhere(tmp_path: Path) -> None:
    with shell(tmp_path, ASKS) as sh, chatting(sh) as person:
        person.types(f"Log it{ENTER}any")  # typed on before the question was there
        person.sees(r"Alt-y once(.*\n)+▸ any")
        person.types(" day")
        person.sees("▸ any day")
        assert lines(tmp_path) == []
        person.types("\x1bn")
        person.sees(r"why not\?\n")
        person.types(f"it is Sunday{ENTER}")
        person.sees(r"⊘ denied: it is Sunday")
        person.sees(r"\$ echo two(.*\n)+▸ any day")  # the draft is back, under the next question
        person.types("\x15")
        person.sees(r"  y once(.*\n)+▸\n")
        while "allowed once" not in person.screen.text:  # a letter counts once the question has been there a while
            person.types("y")
            person.sees(r"▸ y|allowed once")
            if "▸ y" in person.screen.text:
                person.types("\x7f")
                person.sees(r"▸\n|allowed once")
        person.sees(r"I am done\.(.*\n)+ ready")
        assert lines(tmp_path) == ["two"]


@pytest.mark.requirement("cli:chat-approvals")
def test_what_a_write_takes_away_is_shown_before_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("old words\nkept\n")
    write = Call("write", {"path": "notes", "content": "new words\nkept\n"})
    with shell(tmp_path, [Turn(text="So.", calls=[write]), Turn(text="Ok.")]) as sh, chatting(sh, "--ask") as person:
        person.says("Change it")
        person.sees(r"allow write\?(.*\n)+.*notes(.*\n)+.*-old words(.*\n)+.*\+new words(.*\n)+  y once")
        person.types("\x1by")
        person.sees(r"Ok\.(.*\n)+ ready")
    assert (tmp_path / "notes").read_text() == "new words\nkept\n"


@pytest.mark.requirement("cli:chat-approvals")
def test_a_question_that_was_left_is_asked_again_in_the_next_talk(tmp_path: Path) -> None:
    with shell(tmp_path, ASKS) as sh:
        with chatting(sh, "-s", "one") as person:
            person.says("Log it")
            person.sees("y once")
            assert person.leaves() == 0
        with chatting(sh, "-s", "one", ready=r"\$ echo one >> log(.*\n)+  y once") as person:
            person.types("\x1by")
            person.sees(r"\$ echo two >> log(.*\n)+  y once")
        assert lines(tmp_path) == ["one"]


@pytest.mark.requirement("cli:chat-approvals")
def test_lines_answer_on_a_dumb_terminal(tmp_path: Path) -> None:
    with shell(tmp_path, ASKS) as sh, chatting(sh, ready=r"\n>$", TERM="dumb") as person:
        person.types("Log it\n")
        person.sees(r"\$ echo one >> log(.*\n)+y once")
        person.types("n, not on Sundays\n")
        person.sees(r"denied: not on Sundays(.*\n)+.*\$ echo two >> log(.*\n)+y once")
        person.types("y\n")
        person.sees(r"I am done\.(.*\n)+>$")
        assert lines(tmp_path) == ["two"]
