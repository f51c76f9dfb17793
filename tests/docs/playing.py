"""Plays a page: its files are written, its programs and commands run, in order, in one folder of their own.

Everything runs as a reader would run it, in a process of its own, with a fresh home and the scripted model behind
`OPENAI_BASE_URL` and `ANTHROPIC_BASE_URL`. A key is in the environment from the moment the page exports one. What
cannot run here (making an environment, installing into one) is checked for what it names.

A command that ends with another exit code than 0 says so behind it: `# exit code 3`. One with `&` behind it serves
something until the page ends, and says on its first line that it does; the port 8765 stands for one that is free here.
"""

from __future__ import annotations

import doctest
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.fences import Fence

from holdfast.errors import HoldfastError
from holdfast.runtime.settings import load_settings
from holdfast.testing.fixtures import parse_scripts

__all__ = ("ROOT", "Page", "PageError")

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60
_LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_SETTINGS = "~/.config/holdfast/config.yaml"
_LATER = "later"
"""Stands behind the name of a program that is only kept: a command of the page runs it."""
_PORT = "8765"
"""What a page writes for the port of what it serves itself."""
_EXPECTED = re.compile(r"# exit code (\d+)$")
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
_VARYING = (
    (re.compile(r"\b(under )?\d+(\.\d+)?\s?(ms|s|µs)\b"), "<time>"),
    (re.compile(r"\bs-[0-9a-f]{10}\b"), "<session>"),
    (re.compile(r"holdfast-demo-\w+"), "<folder>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"\bprocess \d+\b"), "<process>"),
    (re.compile(r"\b\d+ min ago\b|\bjust now\b"), "<age>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b|\b\d\d:\d\d:\d\d\.\d{3}\b"), "<date>"),
    (re.compile(r"\S*/\.config/holdfast/config\.yaml"), "<settings>"),
    (re.compile(r"[─╭╮╰╯│]"), ""),
)


class PageError(AssertionError):
    """Something a page shows is not so."""


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


@dataclass
class Page:
    """A page under way."""

    folder: Path
    environment: dict[str, str]
    printed: str | None = None
    """What the last program or command put out."""
    ran: list[str] = field(default_factory=list[str])
    port: str = field(default_factory=_free_port)
    """What stands here for the port that the page writes."""
    served: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def close(self) -> None:
        """Ends what it serves."""
        for each in self.served:
            each.kill()
            each.communicate()

    def play(self, fence: Fence) -> None:
        """Does what a block asks for.

        Raises:
            PageError: it failed, or is of a kind nobody checks.
        """
        match fence.language, fence.role:
            case "python", role:
                self._python(fence, role)
            case "sh", "":
                for line in self._own(fence.text).replace("\\\n", " ").splitlines():
                    if words := shlex.split(line, comments=True):
                        self._command(fence, words, _expected(line))
            case "yaml", role:
                self._yaml(fence, role)
            case "text", "output":
                self._compare(fence)
            case "text", "":
                pass
            case "text", name:
                file = self.folder / name
                file.parent.mkdir(exist_ok=True)
                file.write_text(self._own(fence.text), "utf-8")
            case _:
                raise PageError(f"{fence.where}: nobody checks blocks marked {f'{fence.language} {fence.role}'!r}")

    def _yaml(self, fence: Fence, role: str) -> None:
        """Keeps a script of the model, or the reader's own settings for the commands that follow."""
        if role != _SETTINGS:
            parse_scripts(fence.text.encode(), fence.where)
            if role:
                (self.folder / role).write_text(fence.text, "utf-8")
            return
        file = Path(self.environment["HOME"]) / _SETTINGS.removeprefix("~/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(fence.text, "utf-8")
        try:
            load_settings(self.folder, self.environment)
        except HoldfastError as error:
            raise PageError(f"{fence.where}: {error}") from error

    # ---- programs and commands ----

    def _python(self, fence: Fence, role: str) -> None:
        name, _, when = role.partition(" ")
        file = self.folder / (name or f"block{len(self.ran)}.py")
        file.write_text(self._own(fence.text), "utf-8")
        if when == _LATER:
            return
        how = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if name.startswith("test_") else []
        self._run(fence, [sys.executable, *how, file.name])

    def _command(self, fence: Fence, words: list[str], expected: int) -> None:
        program, rest = words[0].removeprefix(".venv/bin/").removeprefix("try/bin/"), words[1:]
        match program, rest:
            case "holdfast" | "python", [*arguments, "&"]:
                how = ["-m", "holdfast"] if program == "holdfast" else []
                self._leave(fence, [sys.executable, *how, *arguments])
            case "holdfast", ["stub", *_]:
                self._serve(fence, [sys.executable, "-m", "holdfast", *rest])
            case "holdfast", [*arguments, "<", file]:
                command = [sys.executable, "-m", "holdfast", *arguments]
                self._run(fence, command, expected, (self.folder / file).read_text("utf-8"))
            case "holdfast", _:
                self._run(fence, [sys.executable, "-m", "holdfast", *rest], expected)
            case "python", [file]:
                self._run(fence, [sys.executable, file], expected)
            case "cat" | "ls" | "cp" | "curl", _:
                self._run(fence, words, expected)
            case "eval", [inner] if inner.startswith("$(holdfast "):
                self._run(fence, ["bash", "-c", f"set -o pipefail; {sys.executable} -m {inner[2:-1]} | bash -n"])
            case "export", [assignment]:
                name, _, value = assignment.partition("=")
                if not name.endswith("_BASE_URL"):
                    self.environment[name] = value
            case _:
                self._look(fence, program, rest)

    def _look(self, fence: Fence, program: str, rest: list[str]) -> None:
        match program, rest:
            case "python", ["-m", "bench.run", *options]:
                known = _output([sys.executable, "-m", "bench.run", "--help"])
                self._known(fence, [each for each in options if each.startswith("-")], known)
            case "python", ["-m", "pytest", *paths]:
                self._exist(fence, paths)
            case "make", [target, *_]:
                self._known(fence, [target], "\n".join(_TARGET.findall((ROOT / "Makefile").read_text("utf-8"))))
            case "pip", ["install", what]:
                self._known(fence, re.findall(r"[\w-]+", what.partition("[")[2]), "\n".join(_extras()))
            case ("python3.11", ["-m", "venv", _]) | ("source", ["try/bin/activate"]):
                pass
            case _:
                raise PageError(f"{fence.where}: nobody checks the command {shlex.join([program, *rest])!r}")

    def _run(self, fence: Fence, command: list[str], expected: int = 0, given: str = "") -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            input=given,
        )
        self.ran.append(shlex.join(command))
        self.printed = done.stdout
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell counts signals
        if code != expected:
            raise PageError(f"{fence.where}: {shlex.join(command)} ended with {code}:\n{done.stdout}{done.stderr}")

    def _serve(self, fence: Fence, command: list[str]) -> None:
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as server:
            assert server.stdout is not None
            first = server.stdout.readline()
            server.send_signal(signal.SIGINT)
            rest, _ = server.communicate(timeout=_SECONDS)
        self.printed = first + rest
        if server.returncode or not first.startswith("listening"):
            raise PageError(f"{fence.where}: {shlex.join(command)} ended with {server.returncode}:\n{self.printed}")

    def _leave(self, fence: Fence, command: list[str]) -> None:
        """Starts what goes on until the page ends."""
        server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.served.append(server)
        assert server.stdout is not None
        self.printed = first = server.stdout.readline()
        if not first.strip() or server.poll() is not None:
            raise PageError(f"{fence.where}: {shlex.join(command)} does not say that it serves:\n{first}")

    def _own(self, text: str) -> str:
        return text.replace(_PORT, self.port)

    # ---- what is only looked at ----

    def _known(self, fence: Fence, names: list[str], known: str) -> None:
        words = set(re.findall(r"[\w-]+", known))
        missing = [name for name in names if name not in words]
        if missing:
            raise PageError(f"{fence.where}: there is no {', '.join(missing)}")

    def _exist(self, fence: Fence, paths: list[str]) -> None:
        missing = [path for path in paths if not path.startswith("-") and not (ROOT / path).exists()]
        if missing:
            raise PageError(f"{fence.where}: there is no {', '.join(missing)}")

    def _compare(self, fence: Fence) -> None:
        if self.printed is None:
            raise PageError(f"{fence.where}: shows output, and nothing before it prints any")
        want, got = _steady(fence.text), _steady(self.printed)
        checker = doctest.OutputChecker()
        if not checker.check_output(want, got, _LIKE):
            example = doctest.Example("", want)
            raise PageError(
                f"{fence.where}: something else was printed\n{checker.output_difference(example, got, _LIKE)}"
            )


def _expected(line: str) -> int:
    """Returns the exit code a command says it ends with."""
    said = _EXPECTED.search(line)
    return int(said[1]) if said else 0


def _steady(text: str) -> str:
    """Returns text with everything that differs from one run to the next replaced."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return text


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout


def _extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return list(project["optional-dependencies"])
