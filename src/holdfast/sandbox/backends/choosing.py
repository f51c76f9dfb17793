"""From a profile to the backend that keeps it: the strongest that works here, or the one that is named, or none at all.

Nothing weaker is ever taken silently. Where nothing works, commands are refused and the refusal says what was tried;
whoever wants them without a sandbox says so by name.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import msgspec

from holdfast.errors import HoldfastError, IsolationMissing, SandboxError
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.capacity.abilities import refuse_more, refuse_unheeded
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.longrunning.keeping import Kept
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.output import Streams, Watch
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import BackendName, Profile
from holdfast.sandbox.port import LAYERS, Backend, Missing, Posture, unmet
from holdfast.sandbox.processes import Ended

__all__ = ("AUTO", "NAMES", "NONE_WORKS", "LazyBackend", "open_backend", "open_named", "passed_on")


async def _open_native(profile: Profile) -> Backend:
    from holdfast.sandbox.backends.native import NativeSandboxes

    return await NativeSandboxes.open(profile)


async def _open_bubblewrap(profile: Profile) -> Backend:
    from holdfast.sandbox.backends.bubblewrap import Bubblewrap

    return await Bubblewrap.open(profile)


async def _open_container(profile: Profile) -> Backend:
    from holdfast.sandbox.backends.container import Container

    return await Container.open(profile)


async def _open_gvisor(profile: Profile) -> Backend:
    from holdfast.sandbox.backends.gvisor import GVisor

    return await GVisor.open(profile)


async def _open_process(profile: Profile) -> Backend:
    from holdfast.sandbox.backends.process import ProcessSandboxes

    return await ProcessSandboxes.open(profile)


async def _open_wasm(profile: Profile) -> Backend:
    from holdfast.sandbox.snippets.backend import WasmSnippets

    return await WasmSnippets.open(profile)


async def _open_none(profile: Profile) -> Backend:
    backend = NoIsolation()
    if lacking := unmet(backend.posture, profile.require):
        raise IsolationMissing(f"without a sandbox there is no {', '.join(lacking)}: require less, or name a backend")
    return backend


_OPENERS: dict[str, Callable[[Profile], Awaitable[Backend]]] = {
    "native": _open_native,
    "bubblewrap": _open_bubblewrap,
    "container": _open_container,
    "gvisor": _open_gvisor,
    "process": _open_process,
    "wasm": _open_wasm,
    "none": _open_none,
}
NAMES = tuple(_OPENERS)
"""Every backend."""
AUTO: tuple[BackendName, ...] = ("native", "bubblewrap", "container", "gvisor", "process")
"""What `auto` tries, strongest first; never `wasm`, which runs no programs."""
NONE_WORKS = "`holdfast doctor` says what is missing, and the sandbox `none` runs commands without one, as you"
"""What to do about it."""


async def open_backend(profile: Profile) -> Backend:
    """Returns a backend that works here and has all that the profile requires.

    Raises:
        IsolationMissing: there is none; the message says what was tried, each on a line with what it lacks.
    """
    refuse_unheeded(profile)
    tried: list[str] = []
    for name in AUTO if profile.backend == "auto" else (profile.backend,):
        try:
            return await open_named(msgspec.structs.replace(profile, backend=name))
        except IsolationMissing as error:
            tried.append(f"  {name}: {error}")
    raise IsolationMissing("\n".join(("no sandbox works here that keeps the profile:", *tried, NONE_WORKS)))


async def open_named(profile: Profile) -> Backend:
    """Returns the backend that a profile names, which is not `auto`, where it works here as the profile requires.

    Raises:
        IsolationMissing: it does not; the message says what it lacks, and only that.
    """
    name = profile.backend
    if sys.platform != "linux" and name != "none":
        raise IsolationMissing("it works on Linux only")
    refuse_unheeded(profile)
    backend = await _OPENERS[name](profile)
    try:
        refuse_more(name, backend.can, profile)
    except IsolationMissing:
        await backend.close()
        raise
    return backend


def passed_on(profile: Profile) -> dict[str, str]:
    """Returns the variables of ours that commands find in their environment because the profile says so."""
    return {name: os.environ[name] for name in profile.env.allow if name in os.environ}


@final
class LazyBackend(Backend):
    """A backend that is opened when a run first needs it, and one that refuses commands where there is none."""

    def __init__(self, profile: Profile, apart: Mapping[Path, bool] | None = None) -> None:
        """`apart` are our own files, which no command sees where anything is hidden from it; see `Backend.hide`."""
        self._profile = profile
        self._apart = apart or {}
        self._opening: asyncio.Task[Backend] | None = None
        self._backend: Backend = NoIsolation()
        self._refused = ""
        self._posture = Posture("unopened")

    async def ready(self) -> None:
        """Returns when it is known what this machine gives."""
        if self._posture.backend != "unopened":
            return
        if self._opening is None:
            self._opening = asyncio.create_task(open_backend(self._profile))
        try:
            self._backend = await asyncio.shield(self._opening)
        except IsolationMissing as error:
            self._refused = str(error)
            self._posture = Posture("refused")
        except (HoldfastError, OSError):
            self._opening = None  # it may work the next time
            raise
        else:
            self._backend.hide(self._apart)
            self._posture = self._backend.posture  # as it was opened; what it says later goes before

    @property
    def posture(self) -> Posture:
        """That of what was opened; `refused` where nothing works, `unopened` before anybody needed it."""
        return self._posture if self._posture.backend in ("refused", "unopened") else self._backend.posture

    @property
    def missing(self) -> Sequence[Missing]:
        """What is not on, and why."""
        if self._posture.backend in ("refused", "unopened"):
            return tuple(Missing(layer, self._refused or "nothing was started yet") for layer in LAYERS)
        return self._backend.missing

    @property
    def guarded(self) -> tuple[str, ...]:
        """Those of what was opened, as the port says."""
        return self._backend.guarded

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
        """Runs a command in what was opened, as the port says.

        Raises:
            IsolationMissing: nothing works here that keeps the profile.
        """
        await self.ready()
        if self._refused:
            raise IsolationMissing(self._refused)
        env = {**passed_on(self._profile), **env}
        return await self._backend.run(
            command, folder=folder, env=env, timeout=timeout, keep=keep, errors=errors, watch=watch, streams=streams
        )

    @property
    def can(self) -> frozenset[str]:
        """What that can do which was opened."""
        return frozenset() if self._refused else self._backend.can

    @property
    def processes(self) -> Kept:
        """Those that are kept in what was opened."""
        return self._backend.processes

    async def start(self, command: str, *, name: str, folder: Path, env: Mapping[str, str], call: str = "") -> Process:
        """Starts a process that goes on in what was opened, as the port says.

        Raises:
            IsolationMissing: nothing works here that keeps the profile.
            SandboxError: the profile has files put back, which would take those away that it writes meanwhile.
        """
        await self.ready()
        if self._refused:
            raise IsolationMissing(self._refused)
        if self._profile.workspace.rollback == "failed":
            raise SandboxError(
                "no process goes on where files are put back after a failed call (workspace: rollback), since what it "
                "wrote meanwhile would go, too: run it within one command, or set rollback to never"
            )
        env = {**passed_on(self._profile), **env}
        return await self._backend.start(command, name=name, folder=folder, env=env, call=call)

    async def update(self, policy: Policy, services: Mapping[str, Service]) -> None:
        """Changes the policy of what was opened, or is about to be, as the port says.

        Raises:
            IsolationMissing: nothing works here that keeps the profile.
        """
        await self.ready()
        if self._refused:
            raise IsolationMissing(self._refused)
        await self._backend.update(policy, services)

    async def attach(self, owner: str, epoch: int) -> int:
        """Kills what lower epochs left, in a sandbox or without one, as the port says."""
        await self.ready()
        killed = 0 if self._refused else await self._backend.attach(owner, epoch)
        if self._backend.posture.backend != "none":
            killed += await NoIsolation().attach(owner, epoch)  # earlier ones may have run without
        return killed

    async def close(self) -> None:
        """Ends what was opened."""
        if self._opening is None:
            return
        await asyncio.wait([self._opening])
        if not self._opening.cancelled() and self._opening.exception() is None:
            await self._opening.result().close()
