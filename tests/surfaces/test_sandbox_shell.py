"""`holdfast sandbox shell`: a person at a terminal, inside the sandbox of a folder."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.surfaces.chatting import CTRL_C, CTRL_D, Person
from tests.surfaces.commands import BOUND, Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
PROMPT = r"\(sandbox\) \S+[$#] ?$"


@contextmanager
def working(home: Path, *more: str) -> Generator[tuple[Person, int]]:
    """Sits a person down in a sandbox, who waits for the prompt; gives them and their terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    variables = Shell(home).environment | {"TERM": "xterm-256color"}
    command = [sys.executable, "-m", "holdfast", "sandbox", "shell", "--sandbox", "native", *more]
    with subprocess.Popen(command, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        watchdog = threading.Timer(BOUND, process.kill)
        watchdog.start()
        try:
            person = Person(ours, process, 77, 33)
            person.sees(PROMPT)
            yield person, ours
        finally:
            watchdog.cancel()
            process.kill()
            os.close(ours)


@pytest.mark.requirement("cli:sandbox-shell")
def test_a_person_works_on_a_terminal_in_there_and_its_exit_code_is_passed_on(tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}.outside"
    with working(tmp_path) as (person, ours):
        assert person.screen.text.startswith("sandbox native: ")
        assert "no network" in person.screen.text.partition("(sandbox)")[0].replace("\n", " ")
        before = termios.tcgetattr(ours)
        person.types("tty; stty size; echo $TERM; id -u\r")
        person.sees(r"/dev/pts/0\s+33 77\s+xterm-256color\s+1000")
        person.types(f"echo x > {outside}; echo in-here > made\r")
        person.sees("denied")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
        person.process.send_signal(signal.SIGWINCH)  # as a terminal does it whose window became smaller
        person.types("stty size\r")
        person.sees("20 50")
        assert before[3] & termios.ECHO == 0  # only the inner terminal echoes
        person.types("exit 7\r")
        assert person.is_out() == 7
        assert termios.tcgetattr(ours)[3] & termios.ECHO
    assert ((tmp_path / "made").read_text(), outside.exists()) == ("in-here\n", False)


@pytest.mark.requirement("cli:sandbox-shell-jobs")
def test_ctrl_c_ends_the_command_and_ctrl_d_the_shell_and_jobs_stop_and_go_on(tmp_path: Path) -> None:
    with working(tmp_path) as (person, _):
        person.types("sleep 1000; echo after-$?\r")
        person.sees("sleep 1000; echo")
        person.types("\r")
        person.types(CTRL_C)
        person.sees(r"\^C")
        person.types("echo code-$?\r")
        person.sees("code-130")
        person.types("sleep 1000\r")
        person.sees(r"\$ sleep 1000\s*$")
        person.types("\x1a")
        person.sees(r"\[1\]\+\s+Stopped\s+sleep 1000")
        person.types("bg; jobs\r")
        person.sees(r"Running\s+sleep 1000")
        person.types("true\r")
        person.types(CTRL_D)
        assert person.is_out() == 0


@pytest.mark.requirement("cli:sandbox-shell-needs-a-terminal")
def test_without_a_terminal_or_a_sandbox_it_says_what_to_do(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("sandbox", "shell", "--sandbox", "native")
    assert (done.returncode, "needs a terminal" in done.stderr) == (2, True)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nbackend: native\nrequire: [own-kernel]\n")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast", "sandbox", "shell", "--sandbox", "p.yaml"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=sh.environment,
        text=True,
    ) as process:
        _, said = process.communicate(timeout=BOUND)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, "own-kernel" in said) == (125, True)


@pytest.mark.requirement("cli:sandbox-shell-hostile-output")
def test_what_would_make_the_terminal_answer_does_not_reach_it_and_modes_are_taken_back(tmp_path: Path) -> None:
    (tmp_path / "hostile").write_bytes(
        b"\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x1b[6n\x1b[c\x1b[>c\x1b[21t\x1bP$qm\x1b\\\x05\x1bZ"
        b"\x1b[?1049h\x1b[?1003h\x1b[31mred\x1b[0m drawn\n"
    )
    with working(tmp_path) as (person, _):
        person.types("cat hostile\r")
        person.sees("red drawn")
        person.types("exit\r")
        assert person.is_out() == 0
        raw = person.raw
    for each in ("\x1b]", "\x1b[6n", "\x1b[c", "\x1b[>c", "\x1b[21t", "\x1bP", "\x05", "\x1bZ"):
        assert each not in raw
    assert "\x1b[31mred" in raw
    assert raw.rfind("\x1b[?1003l") > raw.rfind("\x1b[?1003h") > 0
    assert raw.rfind("\x1b[?1049l") > raw.rfind("\x1b[?1049h") > 0
