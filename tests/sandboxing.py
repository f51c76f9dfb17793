"""Native sandboxes for tests: a workspace, commands in it, and what is left of them outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.native.blanks import FIRST
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.processes import Ended

__all__ = ("Place", "children", "first_processes", "name_of", "names", "of", "sandboxes")


class Place:
    """A workspace, and commands in it."""

    def __init__(self, backend: NativeSandboxes, folder: Path, owner: str) -> None:
        self.backend = backend
        self.folder = folder
        self.env = {"PATH": "/usr/bin:/bin", "HOME": "/home/me", OWNER: owner}

    async def run(self, command: str, *, seconds: float = 20) -> Ended:
        return await self.backend.run(command, folder=self.folder, env=self.env, timeout=seconds, keep=1 << 20)

    async def says(self, command: str) -> str:
        ended = await self.run(command)
        assert ended.code == 0, ended.output.text()
        return ended.output.text().strip()


@asynccontextmanager
async def sandboxes(folder: Path, profile: Profile | None = None, owner: str = "") -> AsyncGenerator[Place]:
    backend = await NativeSandboxes.open(profile or Profile())
    try:
        yield Place(backend, folder, owner or f"{folder}#1")
    finally:
        await backend.close()


def of(owner: str) -> set[int]:
    """Returns the numbers of processes that an owner's commands started, seen from outside."""
    found: set[int] = set()
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdigit() and f"{OWNER}={owner}#".encode() in (each / "environ").read_bytes():
                found.add(int(each.name))
    return found


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def first_processes(launcher: int) -> list[int]:
    """Returns the first processes of a launcher's sandboxes that were made, and not the one that waits for one."""
    return [each for each in children(launcher) if name_of(each) == FIRST]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())
