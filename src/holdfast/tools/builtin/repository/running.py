"""Runs git: as a program with arguments, in the backend of the run, with a configuration that was tamed before."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Final, final

from holdfast.errors import SandboxError
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.port import Backend
from holdfast.sandbox.processes import Ended
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import workspace_of
from holdfast.tools.builtin.repository.finding import Repository, find_repository
from holdfast.tools.builtin.repository.taming import Tamed, base_environment, tame

__all__ = ("Git", "open_git")

_KEEP: Final = 4 * 1024 * 1024
_HERE: Final = 60.0
"""Seconds a command may take that works on this machine alone."""
_THERE: Final = 180.0
"""Seconds one may take that speaks with a remote repository."""
_OLDEST: Final = (2, 32)
"""The first git that takes settings from the environment and can be kept from reading the user's."""
_versions: dict[str, tuple[int, ...]] = {}


@final
class Git:
    """Git on one repository."""

    def __init__(self, program: str, backend: Backend, repository: Repository, tamed: Tamed) -> None:
        self.repository = repository
        self.tamed = tamed
        self._program = program
        self._backend = backend

    async def run(self, *arguments: str, remote: bool = False, env: dict[str, str] | None = None) -> str:
        """Returns what a command printed.

        Raises:
            ToolFailure: it ended with an error, whose words are the message, or did not end in time.
        """
        ended, text = await self.try_run(*arguments, remote=remote, env=env)
        if ended.code:
            raise ToolFailure(text.strip() or f"git {arguments[0]} ended with exit code {ended.code} and no word.")
        return text

    async def try_run(
        self, *arguments: str, remote: bool = False, env: dict[str, str] | None = None
    ) -> tuple[Ended, str]:
        """Returns how a command ended, and what it printed.

        Raises:
            ToolFailure: it did not end in time, or could not be started.
        """
        seconds = _THERE if remote else _HERE
        command = [self._program, "--no-pager", *arguments]
        environment = {**self.tamed.env, **(env or {})}
        ended = await _started(self._backend, command, self.repository.folder, environment, seconds)
        text = await asyncio.to_thread(ended.output.text) if ended.output.total > 1 << 18 else ended.output.text()
        if ended.timed_out:
            message = f"git {arguments[0]} was stopped after {seconds:g} s; use git in bash, with a longer timeout."
            raise ToolFailure(message, code="timeout")
        return ended, text


async def open_git(context: ToolContext, folder: str) -> Git:
    """Returns git on the repository of a folder of the workspace.

    Raises:
        ToolFailure: there is no workspace or no git.
        SandboxError: there is no repository, or it is not used.
        PathEscape: the repository leads out of the workspace.
    """
    workspace = workspace_of(context)
    backend = context.backend or NoIsolation()
    repository = await asyncio.to_thread(find_repository, workspace.root, folder)
    base = base_environment(repository, workspace.env)
    program = shutil.which("git", path=base["PATH"])
    if program is None:
        raise ToolFailure("There is no git on the PATH of commands: install it, or give the agent other tools.")
    await _refuse_old(backend, program, repository.space, base)
    listing = await _started(backend, [program, "config", "--list", "-z"], repository.folder, base, _HERE, errors=False)
    if listing.code or listing.output.omitted:
        message = "its configuration cannot be read; look at .git/config"
        raise SandboxError(f"the repository is not used: {message}")
    return Git(program, backend, repository, tame(base, listing.output.raw()))


async def _refuse_old(backend: Backend, program: str, folder: Path, env: dict[str, str]) -> None:
    """Raises when this git would not heed what it is started with."""
    if program not in _versions:
        ended = await _started(backend, [program, "--version"], folder, env, _HERE, errors=False)
        _versions[program] = tuple(int(number) for number in re.findall(r"\d+", ended.output.text())[:2])
    if _versions[program] < _OLDEST:
        found = ".".join(map(str, _versions[program]))
        raise ToolFailure(f"This git is too old to be kept from running a repository's programs ({found}): update it.")


async def _started(
    backend: Backend, command: list[str], folder: Path, env: dict[str, str], seconds: float, *, errors: bool = True
) -> Ended:
    try:
        return await backend.run(command, folder=folder, env=env, timeout=seconds, keep=_KEEP, errors=errors)
    except ValueError as error:
        raise ToolFailure(f"git was not run: {error}.", code="invalid_input") from error
