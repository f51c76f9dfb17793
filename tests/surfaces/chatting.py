"""A person at `holdfast chat`: what they see on their screen, and what they type."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager

from tests.surfaces.commands import BOUND, Shell
from tests.surfaces.forking import holdfast
from tests.surfaces.vt import Vt

ENTER, ALT_ENTER, ALT_Q, CTRL_C, CTRL_D, CTRL_J, TAB, UP = "\r", "\x1b\r", "\x1bq", "\x03", "\x04", "\n", "\t", "\x1b[A"
READY = r"\n ready · "
"""How the line below begins when it is the person's turn."""


class Person:
    """Looks at one terminal, and types."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes], columns: int, rows: int) -> None:
        self.process = process
        self.raw = ""
        self.screen = Vt(columns, rows)
        self._ours = ours
        self._letters = codecs.getincrementaldecoder("utf-8")("replace")

    def sees(self, pattern: str) -> str:
        """Waits until everything on the screen and above it matches; a watchdog ends a program that never shows it."""
        while not re.search(pattern, self.screen.text):
            self._read(pattern)
        return self.screen.text

    def sees_no_more(self, pattern: str) -> str:
        """Waits until nothing on the screen matches."""
        while re.search(pattern, "\n".join(self.screen.lines)):
            self._read(f"not {pattern}")
        return self.screen.text

    def types(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._ours, keys.encode())

    def says(self, line: str) -> None:
        """Types a line, looks at it, and sends it."""
        self.types(line)
        last = line.rstrip().split("\n")[-1][-30:]
        self.sees(re.escape(last))
        self.types(ENTER)

    def pastes(self, text: str) -> None:
        """Pastes, as terminals do it that say so."""
        self.types(f"\x1b[200~{text}\x1b[201~")

    def leaves(self) -> int:
        """Leaves by the door and returns the exit code."""
        self.types(CTRL_D)
        return self.is_out()

    def is_out(self) -> int:
        """Waits for the end and returns the exit code."""
        try:
            while True:
                self._take()
        except OSError:  # how a terminal says that the program has gone
            return self.process.wait(10)

    def is_killed(self) -> None:
        """Has the program killed."""
        self.process.send_signal(signal.SIGKILL)
        assert self.is_out() == -signal.SIGKILL

    def _read(self, wanted: str) -> None:
        try:
            self._take()
        except OSError:
            raise AssertionError(f"{wanted!r} is not on the screen:\n{self.screen.text}") from None

    def _take(self) -> None:
        data = self._letters.decode(os.read(self._ours, 65536))
        self.raw += data
        self.screen.feed(data)


@contextmanager
def chatting(
    sh: Shell, *arguments: str, columns: int = 80, rows: int = 40, ready: str = READY, **more: str
) -> Generator[Person]:
    """Sits a person down at a new talk, who waits until it is their turn."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = sh.environment | {"TERM": "xterm-256color"} | more
    command = ["chat", *arguments]
    with holdfast(command, cwd=sh.home, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        watchdog = threading.Timer(BOUND, process.kill)
        watchdog.start()
        try:
            person = Person(ours, process, columns, rows)
            person.sees(ready)
            yield person
        finally:
            watchdog.cancel()
            process.kill()
            os.close(ours)
