"""The command line as a program of its own, with an environment that holds nothing but what a test gives it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.surfaces.forking import holdfast

from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.scripts import Call

BOUND = 30
"""Seconds after which a command that hangs is killed."""
ALLOWED = {"HOLDFAST_MODE": "auto"}
"""Nobody sits in front of these commands, so a mode that asks would deny."""


def bash(command: str) -> Turn:
    """Returns a turn that runs a command."""
    return Turn(text=f"I run {command.partition(' ')[0]}.", calls=[Call(name="bash", arguments={"command": command})])


def deaf() -> list[Turn]:
    """Returns a model's turns whose command ignores being told to end, and so keeps an abort waiting."""
    return [bash("trap '' TERM INT; touch deaf; while :; do read -r _ < gate; done"), Turn(text="x")]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Returns an environment without keys, addresses and settings of whoever runs the tests.

    Commands run without a sandbox, as they do where it says so: what they do outside is looked at, and asked about.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    own = {"PATH": path, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "LANG": "C.UTF-8"}
    return {**own, "HOLDFAST_SANDBOX": "none", **more}


class Shell:
    """A person's folder, store and model server."""

    def __init__(self, home: Path, server: ScriptedModelServer | None = None) -> None:
        self.home = home
        self.server = server
        self.store = f"sqlite:///{home / 'data' / 'holdfast' / 'holdfast.db'}"
        served = {} if server is None else {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "k"}
        self.environment = environment(home, **served)

    def await_asked(self, count: int) -> None:
        """Returns when the model server has so many requests; a turn that fails once fails the first of them."""
        assert self.server is not None
        assert self.server.wait_arrived(count, BOUND)

    def run(self, *arguments: str, given: str | bytes = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        data = given.encode() if isinstance(given, str) else given
        pipe = subprocess.PIPE
        variables = self.environment | ALLOWED | more
        with holdfast(arguments, cwd=self.home, env=variables, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                said, complained = process.communicate(data, BOUND)
            finally:
                process.kill()
        out, error = said.decode(), complained.decode()
        assert "Traceback" not in error, error
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    @contextmanager
    def running(self, *arguments: str) -> Generator[subprocess.Popen[str]]:
        """Runs a command beside the test; what it prints is read from its pipes."""
        with holdfast(
            arguments,
            cwd=self.home,
            env=self.environment | ALLOWED,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            watchdog = threading.Timer(BOUND, process.kill)
            watchdog.start()
            try:
                yield process
            finally:
                watchdog.cancel()
                process.kill()


def await_line(process: subprocess.Popen[str], pattern: str) -> str:
    """Returns the first line of the output that matches; fails when it ends without one."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        if re.search(pattern, line):
            return line
        seen.append(line)
    raise AssertionError(f"no line matches {pattern!r} in {seen}")


@contextmanager
def shell(home: Path, turns: Sequence[Turn] | Mapping[str, Sequence[Turn]]) -> Generator[Shell]:
    """Serves a script while the block lasts."""
    with ScriptedModelServer.in_thread(turns) as server:
        yield Shell(home, server)
