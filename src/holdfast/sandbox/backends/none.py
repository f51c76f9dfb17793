"""No isolation at all: commands run as our user, on our network, with our files in reach.

It says so: nothing in its posture is on, and whoever starts commands through it judges them by that. What it does
keep is order: everything a command starts ends with it, and what an earlier owner of the session left running is
found by a mark in its environment and killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from holdfast.sandbox.fencing import kill_below
from holdfast.sandbox.longrunning.keeping import Kept
from holdfast.sandbox.longrunning.plain import launch
from holdfast.sandbox.longrunning.process import Process, asked_by
from holdfast.sandbox.output import Streams, Watch
from holdfast.sandbox.port import LAYERS, Backend, Missing, Posture
from holdfast.sandbox.processes import Ended, run_command

__all__ = ("NoIsolation",)

_POSTURE = Posture("none")
_MISSING = tuple(Missing(layer, "nothing isolates commands here") for layer in LAYERS)


@final
class NoIsolation(Backend):
    """Runs commands as whoever runs us."""

    def __init__(self) -> None:
        self._processes = Kept()

    @property
    def posture(self) -> Posture:
        """Nothing is on."""
        return _POSTURE

    @property
    def missing(self) -> Sequence[Missing]:
        """Everything is."""
        return _MISSING

    async def run(
        self,
        command: str | Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - see the port
        keep: int,
        errors: bool = True,
        watch: Watch | None = None,
        streams: Streams | None = None,
    ) -> Ended:
        """Runs a command to its end, as the port says."""
        return await run_command(
            command, folder=folder, env=env, timeout=timeout, keep=keep, errors=errors, watch=watch, streams=streams
        )

    @property
    def can(self) -> frozenset[str]:
        """It keeps processes."""
        return frozenset(("processes",))

    @property
    def processes(self) -> Kept:
        """Those it keeps."""
        return self._processes

    async def start(self, command: str, *, name: str, folder: Path, env: Mapping[str, str], call: str = "") -> Process:
        """Starts a process that goes on, as the port says."""
        asked = asked_by(env, name, command, call)
        return await self._processes.start(asked, lambda process: launch(asked, process, folder, env))

    async def attach(self, owner: str, epoch: int) -> int:
        """Kills what lower epochs left, as the port says; only where Linux shows us other processes' environments."""
        return await asyncio.to_thread(kill_below, owner, epoch)

    async def close(self) -> None:
        """Ends the processes that go on; nothing else is kept ready."""
        await self._processes.end()
