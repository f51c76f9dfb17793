"""Keys that answer a question: which count, and which do not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.surfaces.commands import bash, shell
from tests.surfaces.test_screen import on_terminal, plain

from holdfast.cli.asking import keys as keyboard
from holdfast.cli.asking.keys import Keys
from holdfast.testing import Turn

pty = pytest.importorskip("pty")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Generator[int]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        yield ours
    os.close(ours)


@pytest.mark.requirement("cli:approval-card")
@pytest.mark.parametrize("arrow", [b"\x1b[A", b"\x1bOA", b"\x1b[1;5A", b"\x1ba"])
async def test_an_arrow_that_comes_byte_by_byte_is_no_letter(terminal: int, arrow: bytes) -> None:
    with Keys() as keys:
        reading = asyncio.create_task(keys.read())
        for byte in arrow:
            os.write(terminal, bytes([byte]))
            done, _ = await asyncio.wait([reading], timeout=keyboard._REST / 4)  # pyright: ignore[reportPrivateUsage] - slower than at once, and quicker than a person
            assert not done
        assert not (await asyncio.wait([reading], timeout=keyboard._REST * 2))[0]  # pyright: ignore[reportPrivateUsage] - as above
        os.write(terminal, b"n")
        assert await asyncio.wait_for(reading, 5) == "n"


@pytest.mark.requirement("cli:approval-card")
def test_only_small_letters_answer_and_only_once_the_question_was_there_a_while(tmp_path: Path) -> None:
    turns = [bash("touch made"), Turn(text="Over.")]
    with shell(tmp_path, turns) as sh, on_terminal(sh, "run", "go", HOLDFAST_MODE="") as (terminal, process):
        terminal.until(r"touch made.*\n?[\s\S]*╯")
        terminal.press("a\r")  # before the keys are named
        terminal.until(r"typed before this was asked is no answer[\s\S]*y once")
        for letter in "AYN":
            terminal.press(letter)
            asked = plain(terminal.seen).count("y once")
            terminal.until(rf"(?:y once[\s\S]*?){{{asked + 2}}}")  # it is asked as before
        terminal.press("n")
        screen = plain(terminal.rest())
        assert process.wait(10) == 0
    assert "⊘ denied" in screen
    assert not (tmp_path / "made").exists()


@pytest.mark.requirement("cli:approval-card")
@pytest.mark.parametrize(("typed", "early"), [(b"y\n", True), (b"y", True), (b"\n \n", False), (b"", False)])
async def test_letters_that_were_typed_ahead_are_known_to_have_been_and_an_enter_is_none(
    terminal: int, typed: bytes, early: bool
) -> None:
    os.write(terminal, typed)
    with Keys() as keys:
        assert keys.early is early
        keys.forget()
        assert keys.early is early, "that stays so"
        os.write(terminal, b"n")
        assert await asyncio.wait_for(keys.read(), 5) == "n"
