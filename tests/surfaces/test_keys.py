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
        terminal.press("a")  # before the keys are named
        terminal.until("y once")
        for letter in "AYN":
            terminal.press(letter)
            asked = plain(terminal.seen).count("y once")
            terminal.until(rf"(?:y once[\s\S]*?){{{asked + 2}}}")  # it is asked as before
        terminal.press("n")
        screen = plain(terminal.rest())
        assert process.wait(10) == 0
    assert "⊘ denied" in screen
    assert not (tmp_path / "made").exists()
