"""Runs git: as a program with arguments, outside of any sandbox, with a configuration that was tamed before.

The kernel bounds what it can open (`bounding.py`). The programs are those of the PATH, but none of the workspace, where
a command may have put a `git` of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.processes import Ended, run_command
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.files import workspace_of
from holdfast.tools.builtin.repository.bounding import Need, bounded, can_bound, folders_of
from holdfast.tools.builtin.repository.finding import Repository, find_repository, inside
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
_WRITES: Final = {"add": False, "commit": False, "push": False, "checkout": True, "pull": True}
"""Commands that change the repository's own folder, and whether they change its files, too."""


class _Program(msgspec.Struct, frozen=True):
    """A git that was looked at."""

    version: tuple[int, ...]
    folders: tuple[str, ...]
    """Where it and what it starts lie."""
    anything: bool
    """Whether it does not even start when it can read only those."""


_known: dict[tuple[str, str], _Program] = {}
"""By its path and the PATH it was found on."""


@final
class Git:
    """Git on one repository."""

    def __init__(
        self, program: str, repository: Repository, tamed: Tamed, remotes: tuple[Path, ...], need: Need
    ) -> None:
        self.repository = repository
        self.tamed = tamed
        self.remotes = remotes
        """Folders of this machine that may be remotes."""
        self._program = program
        self._need = need

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
        need = self._needs(arguments[0], protocols)
        ended = await _started(command, self.repository.folder, environment, seconds, need)
        text = await asyncio.to_thread(ended.output.text) if ended.output.total > 1 << 18 else ended.output.text()
        if ended.timed_out:
            message = f"git {arguments[0]} was stopped after {seconds:g} s; use git in bash, with a longer timeout."
            raise ToolFailure(message, code="timeout")
        return ended, text

    def _needs(self, command: str, protocols: str) -> Need:
        """Returns what a command has to do with files: it writes what it is known to, and is near no other remote."""
        own = {self.repository.git, self.repository.shared} if command in _WRITES else set[Path]()
        tree = {self.repository.tree} if _WRITES.get(command) else set[Path]()
        return msgspec.structs.replace(
            self._need,
            writes=tuple(sorted(own | tree)),
            remotes=self.remotes if "file" in protocols.split(":") else (),
            pushes=command == "push",
            asks=self.tamed.env if protocols else None,
        )


async def open_git(context: ToolContext, folder: str, remotes: tuple[Path, ...] = ()) -> Git:
    """Returns git on the repository of a folder of the workspace; `remotes` are folders that may be remotes.

    Raises:
        ToolFailure: there is no workspace or no git.
        SandboxError: there is no repository, or it is not used.
        PathEscape: the repository leads out of the workspace.
    """
    workspace = workspace_of(context)
    repository = await asyncio.to_thread(find_repository, workspace.root, folder)
    base = base_environment(repository, workspace.env)
    base["PATH"] = _outside(base["PATH"], workspace.root)
    program = shutil.which("git", path=base["PATH"])
    if program is None:
        raise ToolFailure("There is no git on the PATH of commands: install it, or give the agent other tools.")
    found = await _look_at(program, repository.space, base)
    need = Need(space=repository.space, programs=found.folders, anything=found.anything)
    # What git takes for no repository has no configuration to be listed, and some commands would go on without one.
    command = [program, "rev-parse", "--git-dir"]
    if (await _started(command, repository.folder, base, _HERE, need, errors=False)).code:
        raise SandboxError("the repository is not used: git does not take its .git for one; look at it in bash")
    # Included files are not looked into, for a repository that includes any is not used.
    command = [program, "config", "--list", "-z", "--no-includes"]
    listing = await _started(command, repository.folder, base, _HERE, need, errors=False)
    if listing.code or listing.output.omitted:
        message = "its configuration cannot be read; look at .git/config"
        raise SandboxError(f"the repository is not used: {message}")
    return Git(program, repository, tame(base, listing.output.raw()), remotes, need)


def _outside(path: str, space: Path) -> str:
    """Returns the folders of a PATH that no command in the workspace can put a program into."""
    folders = (each for each in path.split(os.pathsep) if Path(each).is_absolute())
    return os.pathsep.join(each for each in folders if not inside(space, Path(each)))


async def _look_at(program: str, folder: Path, env: dict[str, str]) -> _Program:
    """Returns what a git is.

    Raises:
        ToolFailure: it would not heed what it is started with.
    """
    key = program, env["PATH"]
    if key not in _known:
        free = Need(space=folder, anything=True)

        async def ask(question: str, need: Need) -> Ended:
            return await _started([program, question], folder, env, _HERE, need, errors=False)

        version = (await ask("--version", free)).output.text()
        helpers = (await ask("--exec-path", free)).output.text().strip()
        folders = (*folders_of(program, env["PATH"]), *((helpers,) if Path(helpers).is_absolute() else ()))
        starts = not can_bound() or (await ask("--version", Need(space=folder, programs=folders))).code == 0
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        _known[key] = _Program(numbers, folders, not starts)
    found = _known[key]
    if found.version < _OLDEST:
        shown = ".".join(map(str, found.version))
        raise ToolFailure(f"This git is too old to be kept from running a repository's programs ({shown}): update it.")
    return found


async def _started(
    command: list[str], folder: Path, env: Mapping[str, str], seconds: float, need: Need, *, errors: bool = True
) -> Ended:
    try:
        with bounded(need) as (within, given):
            return await run_command(
                command,
                folder=folder,
                env={**env, **given},
                timeout=seconds,
                keep=_KEEP,
                errors=errors,
                within=within,
            )
    except ValueError as error:
        raise ToolFailure(f"git was not run: {error}.", code="invalid_input") from error
    except PathEscape as error:
        raise ToolFailure(f"{error}.", code="permission_denied") from error
    except SandboxError as error:
        raise ToolFailure(f"{error}.") from error
