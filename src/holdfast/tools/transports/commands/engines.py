"""Images, run by podman or docker: a container for each call, made, started, and removed whatever became of it.

It is made first, which runs nothing: where that fails, the image or the engine is missing, and nothing happened. Then
it is started, with what it reads. An engine's program that is killed leaves its container running, so the container
itself is removed in any case, also when the call is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

from holdfast.errors import IsolationMissing, SandboxError, UsageError
from holdfast.sandbox.processes import Ended, run_command
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.transports.commands.resources import Resources, bound_by
from holdfast.tools.transports.commands.rooms import Job, Room

__all__ = ("EngineRoom",)

_ENGINES: Final = ("podman", "docker")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_OWN = ("PATH", "HOME", "USER", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR")
_OF_ENGINES = ("DOCKER_", "CONTAINER", "PODMAN_", "REGISTRY_")
"""How variables begin that an engine obeys."""
_STEERING = (*_OF_ENGINES, "LD_", "BASH_", "SSH_")
_NOBODY = "65532:65532"
_SCRATCH = 64 * 1024**2
_PATIENCE = 60.0
"""Seconds in which an engine makes or removes a container."""
_SAID = 1 << 14


@final
class EngineRoom(Room):
    """An image, as an engine runs it."""

    def __init__(self, image: str, resources: Resources, engine: str = "") -> None:
        """`engine` is podman or docker, by name or path; the first there is where it is left out.

        Raises:
            UsageError: this is no name of an image.
        """
        if _IMAGE.fullmatch(image) is None:
            raise UsageError(f"{image[:80]!r} is no name of an image: write it as podman and docker do")
        self.place = image
        self._resources = resources
        self._engine = engine

    async def run(self, job: Job, context: ToolContext) -> Ended:
        """Runs a command there, as the port says."""
        bound_by(context.ceiling, self._resources)
        if job.folder not in ("", "."):
            raise ToolFailure("an image has no workspace: leave working_dir out", code="runtime_policy_invalid")
        if ours := [name for name in job.hidden if name in _OWN or name.startswith(_STEERING)]:
            why = f"the engine itself obeys {ours[0]!r}, so no secret is passed on by that name: choose another"
            raise ToolFailure(why, code="runtime_policy_invalid")
        engine, name = self._found(), f"holdfast-{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory(prefix="holdfast-call-") as folder:
            try:
                await self._make(engine, name, job, Path(folder))
                return await run_command(
                    [engine, "start", "--attach", "--interactive", name],
                    folder=Path(folder),
                    env=_environment(),
                    timeout=job.seconds,
                    keep=job.keep,
                    watch=job.watch,
                    streams=job.streams,
                )
            finally:
                await asyncio.shield(_remove(engine, name))

    async def close(self) -> None:
        """Does nothing: no container outlives its call."""

    def _found(self) -> str:
        for each in (self._engine,) if self._engine else _ENGINES:
            if (found := shutil.which(each)) is not None:
                return found
        raise IsolationMissing(
            f"there is no {self._engine or ' or '.join(_ENGINES)} to run the image {self.place!r}: install podman, or "
            "docker"
        )

    async def _make(self, engine: str, name: str, job: Job, folder: Path) -> None:
        words = [engine, "create", *self._options(name, job), self.place, *job.argv[1:]]
        made = await run_command(
            words, folder=folder, env={**_environment(), **job.hidden}, timeout=_PATIENCE, keep=_SAID
        )
        if made.code:
            said = " ".join(made.output.text().split())[-400:]
            raise IsolationMissing(
                f"no container of {self.place!r} can be made: {said or 'the engine said nothing'}; check that the "
                f"engine runs, and that the image is here (`{Path(engine).name} pull {self.place}`)"
            )

    def _options(self, name: str, job: Job) -> Sequence[str]:
        limits = self._resources
        program = ["--entrypoint", job.argv[0]] if job.argv and job.argv[0] else []
        shown = [word for key, value in job.env.items() for word in ("--env", f"{key}={value}")]
        hidden = [word for key in job.hidden for word in ("--env", key)]
        return [
            *("--name", name, "--label", "holdfast=call", "--interactive", "--pull", "never"),
            *("--network", limits.network, "--read-only", "--cap-drop", "ALL", "--user", _NOBODY),
            *("--security-opt", "no-new-privileges", "--memory", str(limits.memory)),
            *("--memory-swap", str(limits.memory), "--cpus", f"{limits.cpus:g}", "--pids-limit", str(limits.pids)),
            *("--tmpfs", f"/tmp:rw,nosuid,nodev,noexec,size={min(limits.memory, _SCRATCH)}"),
            *shown,
            *hidden,
            *program,
        ]


async def _remove(engine: str, name: str) -> None:
    """Removes a container, running or not; where that cannot be done, the engine is gone, too."""
    try:
        await run_command(
            [engine, "rm", "--force", name], folder=Path("/"), env=_environment(), timeout=_PATIENCE, keep=_SAID
        )
    except SandboxError:
        return


def _environment() -> dict[str, str]:
    """Returns what an engine's program needs of our environment to find its engine; containers get none of it."""
    return {name: value for name, value in os.environ.items() if name in _OWN or name.startswith(_OF_ENGINES)}
