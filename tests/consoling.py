"""The console as people see it: `holdfast serve` as a process of its own, a scripted model, and a browser.

The browser is Debian's; where there is none, tests are skipped, and in CI they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, expect, sync_playwright
from tests.surfaces.commands import Shell

from holdfast.testing import ScriptedModelServer
from holdfast.testing.scripts import Script

__all__ = ("PASSWORD", "Stage", "Watched", "browser", "staged")

PASSWORD = "correct horse battery staple"
CHROMIUM = shutil.which("chromium")
MODEL = "anthropic/claude-sonnet-4-5"
_AGENTS = f"""
from holdfast import Agent

coder = Agent("{MODEL}", name="coder", tools=("read", "write", "edit", "grep", "ls", "bash", "question"))
writer = Agent("{MODEL}", name="writer", tools=("think",))
"""
_STARTS = 30
"""Seconds after which a server that does not listen is given up."""
_PATIENCE = 20_000
"""Milliseconds in which a page of a machine that has much to do shows what it has to."""


@final
class Stage:
    """A store, a model, and a server that can be killed and started again at the same address."""

    def __init__(self, home: Path, model: ScriptedModelServer) -> None:
        self.model = model
        self.shell = Shell(home)
        more = {"ANTHROPIC_BASE_URL": model.base_url.removesuffix("/v1"), "ANTHROPIC_API_KEY": "k"}
        self.shell.environment |= {**more, "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "k"}
        self.port = _free()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        (home / "agents.py").write_text(_AGENTS)

    def add_user(self, name: str, role: str = "writer") -> None:
        """Makes a user, whose password is `PASSWORD`."""
        done = self.shell.run("serve", "users", "add", name, "--role", role, "--password-stdin", given=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr

    def add_key(self, user: str, role: str = "writer") -> str:
        """Returns a new key."""
        return self.shell.run("serve", "keys", "create", user, "--role", role).stdout.strip()

    def start(self) -> None:
        """Starts the server; returns when it listens."""
        command = [sys.executable, "-m", "holdfast", "serve", "--agents", "agents.py", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--log", "none", "-o", "json"],
            cwd=self.shell.home,
            env=self.shell.environment,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline() or b"{}")
        assert told.get("url") == self.url, told

    def kill(self) -> None:
        """Ends the server as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STARTS)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@contextmanager
def staged(home: Path, script: Script, *, users: Sequence[str] = ("ada",)) -> Generator[Stage]:
    """Serves two agents of a scripted model to these users, from a folder."""
    with ScriptedModelServer.in_thread(script) as model:
        stage = Stage(home, model)
        for name in users:
            stage.add_user(name)
        stage.start()
        try:
            yield stage
        finally:
            stage.kill()


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def browser() -> Generator[Browser]:
    """Starts a browser; skips where there is none, but not in CI."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "there is no chromium: scripts/system-packages.sh installs it"
        pytest.skip("there is no chromium")
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield found
        finally:
            found.close()


@final
class Watched:
    """A page, and everything it should not do: errors, and requests to anybody but the server."""

    def __init__(self, found: Browser, url: str, **how: Any) -> None:
        self.context = found.new_context(base_url=url, **how)
        self.context.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.forgiven: Callable[[str], bool] = lambda words: False
        """Whether something wrong is what the test is about."""
        self._host = urlsplit(url).netloc
        self.page.on("console", lambda said: self._note(said.text if said.type in ("error", "warning") else ""))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("request", self._look)
        self.page.on("dialog", self._dismiss)

    def _look(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme != "data" and address.netloc != self._host:
            self._note(f"asked {request.url}")

    def _dismiss(self, dialog: Dialog) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, words: str) -> None:
        if words and not self.forgiven(words):
            self.wrong.append(words)

    def log_in(self, name: str = "ada") -> None:
        """Logs in with a name and a password."""
        self.page.goto("/")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("navigation", name="Sessions").wait_for()
        self.wrong = [each for each in self.wrong if "401" not in each]  # that nobody was logged in yet

    def close(self) -> None:
        """Closes it, and says what was wrong."""
        self.context.close()
        assert self.wrong == []
