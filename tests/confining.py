"""Sandboxes without namespaces for tests: a workspace, and commands in it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.processes import Ended

__all__ = ("HOMES", "Place", "confined", "is_there", "lives", "python")

HOMES = Path(f"/tmp/holdfast-{os.geteuid()}-homes")


class Place:
    def __init__(self, backend: ProcessSandboxes, folder: Path, owner: str) -> None:
        self.backend, self.folder, self.owner = backend, folder, owner

    async def run(self, command: str, *, seconds: float = 20) -> Ended:
        env = {"PATH": "/usr/bin:/bin", OWNER: self.owner}
        return await self.backend.run(command, folder=self.folder, env=env, timeout=seconds, keep=1 << 16)

    async def says(self, command: str) -> str:
        ended = await self.run(command)
        assert ended.code == 0, ended.output.text()
        return ended.output.text().strip()


@asynccontextmanager
async def confined(folder: Path, owner: str = "") -> AsyncGenerator[Place]:
    backend = await ProcessSandboxes.open(Profile())
    try:
        yield Place(backend, folder, owner or f"{folder}#1")
    finally:
        await backend.close()


def is_there(path: Path | str) -> bool:
    return Path(path).exists()


def lives(pid: Path) -> bool:
    """Returns whether the process lives whose number is in a file."""
    return is_there(f"/proc/{pid.read_text().strip()}")


def python(code: str) -> str:
    return f"python3 -I -c '{textwrap.dedent(code)}'"
