"""`holdfast serve` as a program of its own, which can be killed and started again at the same address."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

from tests.surfaces.commands import ALLOWED, BOUND, Shell
from tests.surfaces.forking import holdfast

__all__ = ("Distant", "distant")


class Distant:
    """A server, in the store and the folder of a shell."""

    def __init__(self, sh: Shell, *arguments: str) -> None:
        self.url = ""
        self._sh = sh
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Distant:
        self.begins()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_killed()

    def begins(self) -> None:
        """Starts it, again where it was, and returns when it listens."""
        port = self.url.rpartition(":")[2] or "0"
        command = ["serve", *self._arguments, "--port", port, "--log", "none", "-o", "json"]
        process = holdfast(
            command,
            cwd=self._sh.home,
            env=self._sh.environment | ALLOWED,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        watchdog = threading.Timer(BOUND, process.kill)
        watchdog.daemon = True
        watchdog.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        watchdog.cancel()
        assert line, "" if process.stderr is None else process.stderr.read()
        self.url = json.loads(line)["url"]

    def is_killed(self) -> None:
        """Has it killed, as by a loss of power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(BOUND)
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()
            self._process = None


@contextmanager
def distant(sh: Shell, *arguments: str) -> Generator[Distant]:
    """Serves while the block lasts."""
    with Distant(sh, *arguments) as server:
        yield server
