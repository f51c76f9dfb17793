"""`holdfast sandbox shell`: a person at a terminal, inside the sandbox of a folder."""

from __future__ import annotations

import fcntl
import os
import pty
import select
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
from tests.surfaces.forking import holdfast

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
PROMPT = r"\(sandbox\) \S+[$#] ?$"


@contextmanager
def working(home: Path, *more: str) -> Generator[tuple[Person, int]]:
    """Sits a person down in a sandbox, who waits for the prompt; gives them and their terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    variables = Shell(home).environment | {"TERM": "xterm-256color"}
    command = ["sandbox", "shell", "--sandbox", "native", *more]
    with holdfast(command, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
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
        person.types(
            "until [ \"$(stty size)\" = '20 50' ]; do :; done; echo smaller by now\r"
        )  # it comes when it comes
        person.sees(r"\nsmaller by now")
        assert before[3] & termios.ECHO == 0  # only the inner terminal echoes
        person.types("exit 7\r")
        assert person.is_out() == 7
        assert termios.tcgetattr(ours)[3] & termios.ECHO
        person.screen.feed("outside")
        assert person.screen.text.endswith("exit\noutside")
        assert "\x1b[?1049l" not in person.raw
    assert ((tmp_path / "made").read_text(), outside.exists()) == ("in-here\n", False)


@contextmanager
def pressing(person: Person, key: str) -> Generator[None]:
    """Presses a key, now and then once more, until what is waited for is seen.

    The kernel sends the signal of such a key first and then forgets what was printed and not read yet, so the answer of
    a quick program may be lost.
    """
    over = threading.Event()

    def press() -> None:
        while True:
            person.types(key)
            if over.wait(4):
                return

    presser = threading.Thread(target=press)
    presser.start()
    try:
        yield
    finally:
        over.set()
        presser.join()


@pytest.mark.requirement("cli:sandbox-shell-jobs")
def test_ctrl_c_ends_the_command_and_ctrl_d_the_shell_and_jobs_stop_and_go_on(tmp_path: Path) -> None:
    with working(tmp_path) as (person, _):
        # What it prints is not in the line, so that it runs once that is seen.
        person.types("sh -c 'printf u%s p; exec sleep 1000'; echo after-$?\r")
        person.sees(r"\bup\b")
        with pressing(person, CTRL_C):
            person.sees(r"\^C\s+\(sandbox\) ~\$")
        person.types("echo code-$?\r")
        person.sees("code-130")
        person.types("sh -c 'printf d%s own; exec sleep 1000'\r")
        person.sees(r"\bdown\b")
        with pressing(person, "\x1a"):
            person.sees(r"\[1\]\+\s+Stopped\s+sh -c")
        person.types("bg; jobs\r")
        person.sees(r"Running\s+sh -c")
        person.types("echo en''d\r")
        person.sees(rf"\bend\s+{PROMPT}")  # a command that runs would be told of the end, not the shell
        person.types(CTRL_D)
        assert person.is_out() == 0


@pytest.mark.requirement("cli:sandbox-shell")
def test_what_is_pasted_while_nobody_reads_is_all_there_when_somebody_does(tmp_path: Path) -> None:
    data = b"".join(b"%07d\n" % number for number in range(50_000))
    with working(tmp_path) as (person, ours):
        person.types(f"stty raw -echo; echo re''ady; until [ -e go ]; do sleep 0.05; done; head -c {len(data)} >got\r")
        person.sees("ready")
        os.set_blocking(ours, False)
        at = 0
        while at < len(data) and select.select([], [ours], [], 0.5)[1]:  # until nothing more is taken
            at += os.write(ours, data[at : at + 1000])
        (tmp_path / "go").touch()
        os.set_blocking(ours, True)
        while at < len(data):
            at += os.write(ours, data[at : at + 1000])
        person.types("stty sane; echo d''one\r")
        person.sees("done")
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.requirement("cli:sandbox-shell-needs-a-terminal")
def test_without_a_terminal_or_a_sandbox_it_says_what_to_do(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("sandbox", "shell", "--sandbox", "native")
    assert (done.returncode, "needs a terminal" in done.stderr) == (2, True)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nbackend: native\nrequire: [own-kernel]\n")
    for named, code, why in (("p.yaml", 125, "own-kernel"), ("process", 125, "has no terminal to give")):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "holdfast", "sandbox", "shell", "--sandbox", named],
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
        assert (process.returncode, why in said, "layers hold" in said) == (code, True, False), said


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
