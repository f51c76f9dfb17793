"""What a run looks like on a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.surfaces.commands import ALLOWED, BOUND, Shell, bash, deaf, shell
from tests.surfaces.forking import holdfast

from holdfast.testing import Turn
from holdfast.testing.faults import Drip

pty = pytest.importorskip("pty")


def plain(screen: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)


class Terminal:
    """The other side of a pseudo-terminal."""

    def __init__(self, ours: int) -> None:
        self.seen = ""
        self._ours = ours

    def until(self, pattern: str) -> str:
        """Reads until what was seen matches; the watchdog ends a program that never shows it."""
        while not re.search(pattern, plain(self.seen)):
            try:
                self._read()
            except OSError:
                raise AssertionError(f"{pattern!r} is not in {self.seen[-3000:]!r}") from None
        return self.seen

    def press(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._ours, keys.encode())

    def rest(self) -> str:
        """Reads to the end."""
        try:
            while True:
                self._read()
        except OSError:  # how a terminal says that the program has gone
            return self.seen

    def _read(self) -> None:
        self.seen += os.read(self._ours, 65536).decode()


@contextmanager
def on_terminal(sh: Shell, *arguments: str, **more: str) -> Generator[tuple[Terminal, subprocess.Popen[bytes]]]:
    ours, theirs = pty.openpty()
    variables = sh.environment | ALLOWED | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"} | more
    with holdfast(arguments, cwd=sh.home, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        watchdog = threading.Timer(BOUND, process.kill)
        watchdog.start()
        try:
            yield Terminal(ours), process
        finally:
            watchdog.cancel()
            process.kill()
            os.close(ours)


def opened(home: Path) -> Callable[[], int]:
    """Makes a pipe that a command waits at, and returns what lets it pass."""
    os.mkfifo(home / "gate")
    return lambda: (home / "gate").write_text("\n")


@pytest.mark.requirement("cli:live-line")
def test_a_line_below_shows_the_call_under_way_its_seconds_and_what_was_spent(tmp_path: Path) -> None:
    let_pass = opened(tmp_path)
    turns = [bash("read -r _ < gate"), Turn(text="**Through.**")]
    asked = ("run", "Pass", "-m", "openai/gpt-5-mini")
    with shell(tmp_path, turns) as sh, on_terminal(sh, *asked) as (terminal, process):
        terminal.until(r"bash read -r _ < gate  0\.[3-9] s  120 tokens · \$0\.000065 · context <1 % · step 1\r")
        let_pass()
        screen = terminal.rest()
        assert process.wait(10) == 0
    assert "\x1b[?25l" in screen
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # the cursor is back
    assert "**" not in screen.partition("Through")[0][-4:]  # Markdown is drawn
    assert "\x1b[32m✓" in screen


@pytest.mark.requirement("cli:run", "cli:live-line")
def test_an_answer_is_shown_as_it_comes(tmp_path: Path) -> None:
    words = "One word after the other, and the last of them is finished."
    turns = [Turn(text=words, chunk=4, fault=Drip())]
    with shell(tmp_path, turns) as sh, on_terminal(sh, "run", "x") as (terminal, process):
        half = terminal.until("One word after")
        screen = terminal.rest()
        assert process.wait(10) == 0
    assert "finished" not in half
    assert plain(screen).count("finished.") >= 1
    assert plain(screen).rindex("completed") > plain(screen).rindex("finished.")


@pytest.mark.requirement("cli:live-line")
def test_no_color_and_dumb_terminals_are_honoured(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("true"), Turn(text="Yes.")]) as sh:
        with on_terminal(sh, "run", "x", NO_COLOR="1") as (terminal, _):
            sober = terminal.rest()
        with on_terminal(sh, "run", "x", TERM="dumb") as (terminal, _):
            dumb = terminal.rest()
        with on_terminal(sh, "run", "", NO_COLOR="1") as (terminal, _):
            error = terminal.rest()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", sober)
    assert "\x1b" not in dumb
    assert error.startswith("error there is no job")


@pytest.mark.requirement("cli:interrupt-twice")
def test_leaving_at_once_gives_the_terminal_back(tmp_path: Path) -> None:
    opened(tmp_path)
    turns = deaf()
    with shell(tmp_path, turns) as sh, on_terminal(sh, "run", "x", "-s", "one") as (terminal, process):
        terminal.until("trap .* 0\\.[2-9] s")
        process.send_signal(signal.SIGINT)
        terminal.until("aborting")
        process.send_signal(signal.SIGINT)
        screen = terminal.rest()
        assert process.wait(10) == 130
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    assert "\x1b[2K" in screen
    assert screen.endswith("left; the run is still open: holdfast runs resume one\r\n")


@pytest.mark.requirement("cli:runs-list")
def test_a_run_is_one_line_of_the_list_on_a_narrow_terminal(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "Do something " * 20, "-s", "one")
        with on_terminal(sh, "runs", "list") as (terminal, _):
            lines = terminal.rest().splitlines()
    assert len(lines) == 2
    assert len(plain(lines[1])) == 80
    assert plain(lines[1]).endswith("…")
