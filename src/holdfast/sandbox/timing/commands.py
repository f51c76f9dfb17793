"""Times `true` in a new sandbox, in a live one, and spawned without any, in turns.

A time of its own says little: the machine is busy, or fast, or asleep. What is compared takes turns, so that both
sides meet the same machine, and the medians are compared. Every side is timed from this process, through an event
loop, with the output captured, until what was started is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.output import Intake, Output
from holdfast.sandbox.port import Backend

__all__ = ("Commands", "Speed", "medians", "program", "spawn", "take_turns", "time_backend")

Act = Callable[[], Awaitable[object]]
_KEPT = 65536
_REST = 0.03
"""Seconds between two acts."""
_PATIENCE = 60.0
"""Seconds after which a command that says nothing is given up."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What one backend takes for `true`, in ms: medians of rounds in which all three took turns."""

    spawn: float
    """Spawned without a sandbox."""
    cold: float
    """In a new sandbox, which is gone afterwards."""
    warm: float
    """In the sandbox of the command before; as `cold` where the backend keeps none."""


async def time_backend(backend: Backend, folder: Path, rounds: int, told: Callable[[], None] = lambda: None) -> Speed:
    """Returns how fast a backend is, in a resolved folder as the workspace; `told` is called after every round.

    Raises:
        SandboxError: it does not run what is measured.
    """
    commands, argv = Commands(backend, folder), [program()]
    acts = {"spawn": lambda: spawn(argv), "cold": commands.cold, "warm": commands.warm}
    return Speed(**medians(await take_turns(acts, rounds, told)))


async def take_turns(
    acts: Mapping[str, Act], rounds: int, told: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Does each act once in every round, and returns what each took, in ms.

    A round before the first does not count: programs are read from the disk in it, and caches filled. There is a rest
    before each act, so that none pays for what the one before it left to be done. `told` is called after every round.
    """
    took: dict[str, list[float]] = {name: [] for name in acts}
    for number in range(rounds + 1):
        for name, act in acts.items():
            await asyncio.sleep(_REST)
            begun = time.perf_counter()
            await act()
            if number:
                took[name].append((time.perf_counter() - begun) * 1000)
        told()
    return took


def medians(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns the median of each series."""
    return {name: statistics.median(each) for name, each in took.items()}


def program() -> str:
    """Returns where `true` is.

    Raises:
        SandboxError: there is none.
    """
    if (found := shutil.which("true", path="/usr/bin:/bin")) is None:
        raise SandboxError("there is no program 'true' in /usr/bin or /bin, and nothing else is measured")
    return os.path.realpath(found)


async def spawn(argv: Sequence[str], passed: Mapping[int, int] | None = None) -> None:
    """Spawns a program with an empty environment, and returns when it is gone and its output is read.

    `passed` says as which number it gets which descriptor of ours.

    Raises:
        SandboxError: it ended with another exit code than 0.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    output = Output(_KEPT)
    intake = Intake(output)
    places = {1: intake.writing, 2: intake.writing, **(passed or {})}
    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in places.items()]
    try:
        env = {"PATH": "/usr/bin:/bin"}
        pid = os.posix_spawn(argv[0], list(argv), env, file_actions=actions, setsid=True)  # noqa: ASYNC221 - it is timed
        intake.started()
        intake.begin()
        code = await _end_of(pid, ended)
        await intake.silent
    finally:
        intake.close()
    if code:
        raise SandboxError(f"{argv[0]!r} ended with {code}: {output.text().strip()[-300:]}")


async def _end_of(pid: int, ended: asyncio.Future[None]) -> int:
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, lambda: ended.done() or ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])  # noqa: ASYNC222 - it has ended


@final
class Commands:
    """`true` in sandboxes of a backend."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        """`folder` is the workspace, resolved."""
        self._backend = backend
        self._folder = folder
        self._stays = backend.posture.backend != "none"
        self._mark = f"holdfast-timing-{secrets.token_hex(8)}"
        self._epochs = itertools.count(1)
        self._argv = [program()]

    async def cold(self) -> None:
        """Makes a sandbox, runs the program in it, and ends it.

        Raises:
            SandboxError: it cannot be made, or the program failed in it.
        """
        epoch = next(self._epochs)
        await self.run(self._mark, epoch)
        if self._stays:
            await self._backend.attach(self._mark, epoch + 1)

    async def warm(self) -> None:
        """Runs the program in the sandbox of the call before, where the backend keeps one.

        Raises:
            SandboxError: as `cold`.
        """
        await self.run(f"{self._mark}-warm")

    async def end(self) -> None:
        """Ends the sandbox of `warm`."""
        if self._stays:
            await self._backend.attach(f"{self._mark}-warm", 2)

    async def run(self, owner: str, epoch: int = 1) -> None:
        """Runs the program for an owner, whose sandbox is left as the backend leaves it.

        Raises:
            SandboxError: as `cold`.
        """
        env = {"PATH": "/usr/bin:/bin", "HOME": "/home/user", OWNER: f"{owner}#{epoch}"}
        ended = await self._backend.run(self._argv, folder=self._folder, env=env, timeout=_PATIENCE, keep=_KEPT)
        if ended.code:
            raise SandboxError(f"{self._argv[0]!r} ended with {ended.code}: {ended.output.text().strip()[-300:]}")
