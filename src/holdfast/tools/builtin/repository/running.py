"""Runs git: as a program with arguments, outside of any sandbox, with a configuration that was tamed before."""

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

__all__ = ("LOOK", "Git", "open_git")

LOOK: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
"""For looking: nothing is written, not even to make the next look quicker, and nothing is fetched."""

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

    def __init__(
        self, program: str, backend: Backend, repository: Repository, tamed: Tamed, remotes: tuple[Path, ...]
    ) -> None:
        self.repository = repository
        self.tamed = tamed
        self.remotes = remotes
        """Folders of this machine that may be remotes."""
        self._program = program
        self._backend = backend

    async def run(self, *arguments: str, protocols: str = "", env: dict[str, str] | None = None) -> str:
        """Returns what a command printed. Without protocols it can speak with no remote, whatever is configured.

        Raises:
            ToolFailure: it ended with an error, whose words are the message, or did not end in time.
        """
        ended, text = await self.try_run(*arguments, protocols=protocols, env=env)
        if ended.code:
            raise ToolFailure(text.strip() or f"git {arguments[0]} ended with exit code {ended.code} and no word.")
        return text

    async def try_run(
        self, *arguments: str, protocols: str = "", env: dict[str, str] | None = None
    ) -> tuple[Ended, str]:
        """Returns how a command ended, and what it printed; the rest as `run` says.

        Raises:
            ToolFailure: it did not end in time, or could not be started.
        """
        seconds = _THERE if protocols else _HERE
        command = [self._program, "--no-pager", *arguments]
        environment = {**self.tamed.env, **(env or {}), "GIT_ALLOW_PROTOCOL": protocols or "none"}
        ended = await _started(self._backend, command, self.repository.folder, environment, seconds)
        text = await asyncio.to_thread(ended.output.text) if ended.output.total > 1 << 18 else ended.output.text()
        if ended.timed_out:
            message = f"git {arguments[0]} was stopped after {seconds:g} s; use git in bash, with a longer timeout."
            raise ToolFailure(message, code="timeout")
        return ended, text


async def open_git(context: ToolContext, folder: str, remotes: tuple[Path, ...] = ()) -> Git:
    """Returns git on the repository of a folder of the workspace; `remotes` are folders that may be remotes.

    Raises:
        ToolFailure: there is no workspace or no git.
        SandboxError: there is no repository, or it is not used.
        PathEscape: the repository leads out of the workspace.
    """
    workspace = workspace_of(context)
    backend = context.backend or NoIsolation()  # a run gives it none that confines: see `tools/tiers.py`
    repository = await asyncio.to_thread(find_repository, workspace.root, folder)
    base = base_environment(repository, workspace.env)
    program = shutil.which("git", path=base["PATH"])
    if program is None:
        raise ToolFailure("There is no git on the PATH of commands: install it, or give the agent other tools.")
    await _refuse_old(backend, program, repository.space, base)
    # What git takes for no repository has no configuration to be listed, and some commands would go on without one.
    command = [program, "rev-parse", "--git-dir"]
    if (await _started(backend, command, repository.folder, base, _HERE, errors=False)).code:
        raise SandboxError("the repository is not used: git does not take its .git for one; look at it in bash")
    # Included files are not looked into, for a repository that includes any is not used.
    command = [program, "config", "--list", "-z", "--no-includes"]
    listing = await _started(backend, command, repository.folder, base, _HERE, errors=False)
    if listing.code or listing.output.omitted:
        message = "its configuration cannot be read; look at .git/config"
        raise SandboxError(f"the repository is not used: {message}")
    return Git(program, backend, repository, tame(base, listing.output.raw()), remotes)


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
