"""Git repositories to try the git tool on: in a workspace, with a bare one outside of it as their origin."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.git import git_tool
from holdfast.types import CallId, StreamId, ToolResult

__all__ = ("ACTIONS", "Place", "promised", "unbounded")

ACTIONS: list[dict[str, Any]] = [
    {"action": "status"},
    {"action": "diff"},
    {"action": "diff", "staged": True},
    {"action": "log"},
    {"action": "show"},
    {"action": "branch_list"},
    {"action": "add", "paths": ["."]},
    {"action": "commit", "message": "more"},
    {"action": "branch", "branch": "other"},
    {"action": "checkout", "ref": "main"},
    {"action": "checkout", "paths": ["a.txt"]},
    {"action": "pull", "branch": "main"},
    {"action": "push", "branch": "main"},
]


class Place:
    """A workspace with a repository, and a bare one outside of it, which is its origin."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.ran = base / "ran"
        """Made by whatever a hostile repository gets to run."""
        self.remote = base / "remote.git"
        self.tool = git_tool([self.remote])
        (base / "space").mkdir()
        self.space = Workspace(base / "space")
        self.root = self.space.root
        self.plain("init", "-q", "--bare", "-b", "main", str(self.remote), where=base)
        self.plain("init", "-q", "-b", "main")
        self.plain("config", "user.name", "Ada")
        self.plain("config", "user.email", "ada@example.invalid")
        (self.root / "a.txt").write_text("one\ntwo\n")
        self.plain("add", ".")
        self.plain("commit", "-qm", "first")
        self.plain("remote", "add", "origin", str(self.remote))
        self.plain("push", "-q", "origin", "main")

    def plain(self, *arguments: str, where: Path | None = None, check: bool = True) -> str:
        """Git as a person runs it who trusts the repository."""
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(self.base)}
        ended = subprocess.run(
            ["git", *arguments],
            cwd=where or self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert ended.returncode == 0 or not check, ended.stderr
        return ended.stdout.strip()

    def context(self) -> ToolContext:
        return ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=self.space)

    async def use(self, action: str, **arguments: Any) -> ToolResult:
        result = await self.tool.run(
            self.tool.parse(json.dumps({"action": action, **arguments}).encode()), self.context()
        )
        assert isinstance(result, ToolResult)
        return result

    async def says(self, action: str, **arguments: Any) -> str:
        return (await self.use(action, **arguments)).content

    async def fails(self, action: str, **arguments: Any) -> ToolFailure:
        with pytest.raises(ToolFailure) as caught:
            await self.use(action, **arguments)
        return caught.value

    async def check(self, **arguments: Any) -> Any:
        assert self.tool.check is not None
        return await self.tool.check(
            self.tool.parse(json.dumps({"action": "push", **arguments}).encode()), self.context()
        )

    def config(self, **settings: str) -> None:
        for name, value in settings.items():
            self.plain("config", name.replace("__", "."), value)

    def script(self, name: str, then: str = "cat") -> str:
        path = self.base / name
        path.write_text(f"#!/bin/sh\n: > {self.ran}\n{then}\n")
        path.chmod(0o755)
        return str(path)


def promised(place: Place) -> None:
    """Lets an object be missing that a remote promises to have, whose program is a trap."""
    place.plain("config", "remote.origin.promisor", "true")
    place.plain("config", "core.repositoryformatversion", "1")
    place.plain("config", "extensions.partialClone", "origin")
    place.plain("config", "remote.origin.uploadpack", place.script("program", 'exec git-upload-pack "$@"'))
    blob = place.plain("rev-parse", "HEAD:a.txt")
    (place.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    place.ran.unlink(missing_ok=True)


def unbounded(patch: pytest.MonkeyPatch) -> None:
    """Makes the kernel one without Landlock: what keeps git in then is what was looked at and set before."""
    patch.setattr("holdfast.sandbox.kernel.landlock.abi", lambda: 0)
