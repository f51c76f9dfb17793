"""Runs one program once: a subprocess of its own, asked through the environment, answering with a line of JSON.

The model server is another process, so the CPU that a program reports is the client's alone. The environment is
stripped of what could steer a client elsewhere: proxies, telemetry, and the settings of whoever is running it.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .facts import REPO

__all__ = ("ProgramFailed", "Sample", "Surroundings", "open_model_server", "run_command", "run_program")

DROPPED = ("PROXY", "HOLDFAST", "OPENAI", "LANGSMITH", "LANGCHAIN", "OTEL", "AGNO", "PYTHONPATH")
QUIET = {
    "AGNO_TELEMETRY": "false",
    "LANGSMITH_TRACING": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}
SERVER_STARTS_WITHIN = 20.0  # seconds
PROGRAM_ENDS_WITHIN = 300.0  # seconds

Sample = dict[str, Any]


class ProgramFailed(Exception):
    """A program ended without a figure; the message is its last word."""


@dataclass(frozen=True)
class Surroundings:
    """What every program of one bench is told."""

    stub: str
    """Address of the model server, up to `/v1`."""
    data: Path
    """Folder on a disk, for stores; also the home of any settings a program looks for."""

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The environment of a program."""
        kept = {k: v for k, v in os.environ.items() if not any(word in k.upper() for word in DROPPED)}
        return {
            **kept,
            **QUIET,
            "STUB": self.stub,
            "OPENAI_BASE_URL": self.stub,
            "OPENAI_API_KEY": "stub",
            "BENCH_DATA": str(self.data),
            "XDG_CONFIG_HOME": str(self.data / "config"),
            "XDG_DATA_HOME": str(self.data / "home"),
            **extra,
        }


@contextmanager
def open_model_server(module: str = "bench.floor.model_server", path: str = "/v1") -> Generator[str]:
    """Starts the model server, or another one that prints its port, on a free port and yields its address.

    Raises:
        SystemExit: It did not start.
    """
    command = [sys.executable, "-m", module, "0"]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout and server.stderr
            if not select.select([server.stdout], [], [], SERVER_STARTS_WITHIN)[0]:
                raise SystemExit(f"the model server said nothing; run `python -m {module}` to see why")
            line = server.stdout.readline()
            if not line:
                raise SystemExit(f"the model server did not start: {_last_line(server.stderr.read())}")
            yield f"http://127.0.0.1:{json.loads(line)['port']}{path}"
        finally:
            server.kill()  # it holds nothing worth a goodbye


def run_program(
    module: str,
    arguments: tuple[str, ...],
    *,
    surroundings: Surroundings,
    python: str = sys.executable,
    environment: Mapping[str, str],
) -> Sample:
    """One measurement: the object that the program printed as its last line.

    Raises:
        ProgramFailed: It failed, hung or printed something else.
    """
    return run_command([python, "-m", module, *arguments], surroundings.environment(environment))


def run_command(command: list[str], environment: dict[str, str]) -> Sample:
    """The object that a command, with all of its environment, printed as its last line.

    Raises:
        ProgramFailed: It failed, hung or printed something else.
    """
    code, out, err = _run(command, environment)
    if code:
        raise ProgramFailed(_last_line(err) or f"exit code {code}")
    try:
        sample: Sample = json.loads(_last_line(out))
    except ValueError as odd:
        raise ProgramFailed(f"printed no figure but {_last_line(out)[:120]!r}") from odd
    return sample


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, which never outlives this call, nor do its own children."""
    with subprocess.Popen(
        command,
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            out, err = child.communicate(timeout=PROGRAM_ENDS_WITHIN)
        except subprocess.TimeoutExpired as late:
            raise ProgramFailed(f"did not end within {PROGRAM_ENDS_WITHIN:.0f} s") from late
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    return child.returncode, out, err


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
