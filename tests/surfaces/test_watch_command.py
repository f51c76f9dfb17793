"""`holdfast runs watch` as a command: what it needs, and how it leaves the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell, shell
from tests.surfaces.test_screen import Terminal, on_terminal

from holdfast.testing import Turn

WITHOUT = "import sys; sys.modules['textual'] = None; from holdfast.cli.main import main; main(sys.argv[1:])"


def read(terminal: Terminal, until: str = "") -> str:
    """Returns what came, up to some words or to the end; a watchdog ends a program that never shows them."""
    seen = b""
    while not until or until.encode() not in seen:
        try:
            seen += os.read(terminal._ours, 65536)
        except OSError:  # how a terminal says that the program has gone
            break
    return seen.decode("utf-8", "replace")


@pytest.mark.requirement("cli:watch-needs")
def test_without_its_package_it_says_how_to_get_it_and_nothing_else_needs_it(tmp_path: Path) -> None:
    sh = Shell(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, *arguments]
        options = {"cwd": tmp_path, "env": sh.environment, "capture_output": True, "text": True}
        return subprocess.run(command, **options, timeout=BOUND, check=False)  # type: ignore[call-overload]

    done = run("runs", "watch")
    assert done.returncode == 2
    assert "pip install 'holdfast[tui]'" in done.stderr
    assert run("runs", "list").returncode == 0
    assert "watch" in run("runs", "--help").stdout


@pytest.mark.requirement("cli:watch-needs")
def test_without_a_terminal_it_says_what_prints_the_same(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("runs", "watch", "one")
    assert done.returncode == 2
    assert "holdfast runs show one prints what happened" in done.stderr


@pytest.mark.requirement("cli:watch-needs")
def test_on_a_terminal_it_shows_the_session_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes indeed.")]) as sh:
        sh.run("run", "Say yes", "-s", "one")
        for leaves in ("q", "\x03"):
            with on_terminal(sh, "runs", "watch", "one") as (terminal, process):
                before = read(terminal, "Yes indeed")
                os.write(terminal._ours, leaves.encode())
                seen = before + read(terminal)
                assert process.wait(10) == 0
            assert re.search(r"\x1b\[\?1049h", seen), "a screen of its own"
            assert seen.rindex("\x1b[?1049l") > seen.rindex("\x1b[?1049h"), "and back"
            assert "Traceback" not in seen


@pytest.mark.requirement("cli:watch-needs")
def test_a_session_or_a_store_that_is_not_there_is_said_before_the_screen_opens(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    for arguments, words in ((("none",), "there is no session 'none'"), ((), "no run is in")):
        with on_terminal(sh, "runs", "watch", *arguments) as (terminal, process):
            seen = read(terminal)
            assert process.wait(10) == 2, seen
        assert words in seen
        assert "1049h" not in seen
