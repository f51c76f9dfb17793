"""What backends that use an installed program share: finding out what it does here, and running commands in it.

Commands of one owner in one workspace share a place, one after another, and with it `/tmp` and the home folder; it is
made by the launcher, as a sandbox of `native` is, and kept by `programs/keeping.py`. Each command gets a sandbox of its
own in there. The environment a command is given never reaches what runs outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.observing import LOOK, Observed, breach_of
from holdfast.sandbox.backends.running import Running
from holdfast.sandbox.capacity.abilities import refuse_more
from holdfast.sandbox.environment import owner_of
from holdfast.sandbox.native.bounds.breaching import met_anew
from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.native.boxes.pooling import Key, Pool
from holdfast.sandbox.native.client import Launcher
from holdfast.sandbox.native.guarding import look, put_away
from holdfast.sandbox.native.planning import plan_of
from holdfast.sandbox.native.slots import FIRST_UID, fence
from holdfast.sandbox.native.slots import folder as places
from holdfast.sandbox.output import Output, Streams, Watch
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import LAYERS, Backend, Missing, Posture, lacks, unmet
from holdfast.sandbox.processes import Ended
from holdfast.sandbox.snapshots.storing import in_thread

__all__ = ("InstalledProgram",)

_PROGRAM = 'exec "$@"'
_QUIET_PROGRAM = 'exec "$@" 2>/dev/null'
_LONGEST = 131_072
"""Bytes of one argument from which on the kernel refuses it, its end included."""
_LONGEST_TOGETHER = 1_900_000
_PATIENCE = 30.0
"""Seconds for the one try that finds out what there is."""
_TRY = "holdfast-look-"
_LEFT = 20 * _PATIENCE
"""Seconds after which the folder it had is of a runtime that was killed."""
_SAID = 1 << 16
_LAUNCHING = "holdfast.sandbox.programs.launching"

_APART = {"private-root", "pidns", "netns", "mountns", "ipcns", "protected-paths"}
_POWERLESS = {"own-uid", "userns", "own-kernel"}
_seen: dict[tuple[str, str, bytes], Observed] = {}
"""What was found out in this process, by backend, program and profile."""


class InstalledProgram(Backend, ABC):
    """A backend that runs each command in a program that isolates it.

    Raises:
        IsolationMissing: the program is not installed, or cannot do what the profile asks for.
    """

    name: str
    own_user = True
    """Whether its processes become a user nobody else is, where we have the right to make them."""

    def __init__(self, profile: Profile) -> None:
        refuse_more(self.name, self.can, profile)
        self.profile = profile
        self.program = self.find()
        self._watched = (*profile.workspace.protect, ".git") if profile.workspace.protect else ()
        self.pool = Pool(profile.pool, self._make, self._watched, layered=False)
        """The places that no command runs in."""
        self._starting = asyncio.Lock()
        self._groups: tuple[str, ...] = ()
        """What its launcher bounded with control groups, which another one has to, too."""
        self._launcher: Launcher | None = None
        self._posture = Posture(self.name)
        self._missing: tuple[Missing, ...] = ()

    @classmethod
    async def open(cls, profile: Profile) -> Self:
        """Starts it once to see what it does here.

        Raises:
            IsolationMissing: it is not installed, does not work here, or lacks a layer that is required.
        """
        made = cls(profile)
        await made.begin()
        return made

    @abstractmethod
    def find(self) -> str:
        """Returns where the program is, or raises IsolationMissing with what to install."""

    @abstractmethod
    def program_of(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Returns what `programs/keeping.py` is to know to start the program, and may change the plan of its place."""

    @abstractmethod
    def judge(self, observed: Observed) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns the layers that are on, with their versions or nothing, and the ways that are open."""

    @abstractmethod
    def reason(self, layer: str) -> str:
        """Says why a layer is not on."""

    @property
    def posture(self) -> Posture:
        """What it does on this machine, as it was found out when this was opened."""
        return self._posture

    @property
    def missing(self) -> Sequence[Missing]:
        """Which layers are not on, and why."""
        return self._missing

    @property
    def can(self) -> frozenset[str]:
        """It keeps places ready, and counts them."""
        return frozenset(("ready", "counted"))

    @property
    def guarded(self) -> tuple[str, ...]:
        """Paths that are looked after where nothing is at them, as the port says."""
        return self._watched

    def hide(self, paths: Mapping[Path, bool]) -> None:
        """Hides our own files, as the port says."""
        self.pool.apart = dict(paths)

    async def begin(self) -> None:
        """Finds out what it does here, and sees that what the profile requires is there, as `open` says."""
        try:
            await self._find_out()
        except BaseException:
            await self.close()
            raise

    async def _find_out(self) -> None:
        key = (self.name, self.program, msgspec.json.encode(self.profile))
        if key not in _seen:
            _seen[key] = await self._look()
        else:
            await self._launching()  # puts away what a killed runtime left
        observed = _seen[key]
        on, ways = self.judge(observed)
        layers = tuple(f"{layer}={on[layer]}" if on[layer] else layer for layer in LAYERS if layer in on)
        isolated = set(on) >= _APART and not set(on).isdisjoint(_POWERLESS)
        self._missing = tuple(
            Missing(each, observed.without.get(each.removeprefix("cgroup."), "") or self.reason(each))
            for each in LAYERS
            if each not in on
        )
        self._posture = Posture(self.name, layers, isolated=isolated, open=ways)
        if lacking := unmet(self._posture, self.profile.require):
            raise IsolationMissing(lacks(lacking, self._missing))

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
        words = _words(command, env, errors=errors)
        limits = self.profile.limits
        kept = keep if limits.output is None else min(keep, limits.output)
        seconds = timeout if limits.wall is None else min(timeout, limits.wall)
        if streams is not None:
            streams.bound(limits.output)
        place = Path(await asyncio.to_thread(os.path.realpath, folder))
        key = (str(place), *owner_of(env), env.get("HOME", ""))
        box = await self.pool.take(key)
        before: frozenset[str] = frozenset()
        begun = time.time()
        try:
            _, before = await asyncio.to_thread(look, place, self._watched)
            running = Running(box, Output(kept, watch), streams)
            ended = await running.through(words, env, place, seconds, errors=True)
            if not (box.told.get("started") or ended.timed_out):
                raise SandboxError(f"{self.name!r} cannot start a command: {_said(ended, streams) or 'it was killed'}")
            told = {**box.told, "breaches": await self._breaches(box)}
            if ended.code and not ended.timed_out:
                told["met"] = await met_anew(box, begun)
            taken = await in_thread(lambda: put_away(place, before))
        except BaseException:
            if box.open:
                await asyncio.shield(box.clear())
            if before:
                await asyncio.shield(in_thread(lambda: put_away(place, before)))
            raise
        finally:
            self.pool.give_back(key, box)
        breach = breach_of(ended, told, limits, kept < keep, seconds < timeout)
        return msgspec.structs.replace(ended, breach=breach, taken=taken, unbound=self.profile.unbound)

    async def attach(self, owner: str, epoch: int) -> int:
        """Ends what lower epochs left, as the port says; what is in a place goes with it."""
        self.pool.forget(owner, epoch)
        return await asyncio.to_thread(fence, places(), owner, epoch)

    async def close(self) -> None:
        """Ends every place, and what makes them."""
        await self.pool.close()
        if self._launcher is not None:
            await self._launcher.end()

    async def _launching(self) -> Launcher:
        async with self._starting:
            if self._launcher is not None and not self._launcher.open:  # somebody killed it
                await self._launcher.end()
                self._launcher = None
            if self._launcher is None:
                launcher = await Launcher.start(_LAUNCHING)
                if lost := set(self._groups) - set(launcher.groups):
                    await launcher.end()  # or the next command would be run by it
                    raise IsolationMissing(f"these control groups are gone: {', '.join(sorted(lost))}; start anew")
                self._launcher, self._groups = launcher, launcher.groups
            return self._launcher

    async def _make(self, key: Key) -> Box:
        launcher = await self._launching()
        try:
            place, groups, apart = Path(key[0]), launcher.groups, self.pool.apart
            plan = plan_of(self.profile, place, key[3], whose=key[1:3], groups=groups, apart=apart)
        except OSError as error:
            raise SandboxError(f"cannot start in {key[0]!r}: {error.strerror}; check the folder") from None
        # The program brings these itself.
        bare = ("/proc", "/dev")
        kept = [each for each in plan["mounts"] if not f"{each['path']}/".startswith(("/proc/", "/dev/"))]
        plan["mounts"] = [{"path": path, "kind": "folder"} for path in bare] + kept
        program: dict[str, Any] = {"config": "", "arguments": [], "rlimits": {}, "own user": self.own_user}
        plan["program"] = program | self.program_of(plan)
        return await launcher.make(plan)

    async def _breaches(self, box: Box) -> dict[str, int]:
        """Returns how often limits of its control group were hit since the last time."""
        hits: dict[str, int] = {}
        if self._launcher is not None:
            with contextlib.suppress(SandboxError, TimeoutError, OSError):
                hits = await self._launcher.look(box)
        known, box.breaches = box.breaches, hits
        return {name: count - known.get(name, 0) for name, count in hits.items()}

    async def _look(self) -> Observed:
        """Starts it once, and returns what was seen; raises IsolationMissing where it does not start."""
        await asyncio.to_thread(_tidy)
        with tempfile.TemporaryDirectory(prefix=_TRY) as there:
            place = Path(there).resolve()  # noqa: ASYNC240 - a folder we made
            guarded = place / "workspace" / next(iter(self.profile.workspace.protect), "nothing")
            guarded.parent.mkdir(parents=True)
            guarded.write_bytes(b"")
            (place / "canary").write_bytes(b"")
            env = {"PATH": os.defpath, "CANARY": f"{place}/canary", "GUARDED": str(guarded)}
            box = await self._make((f"{place}/workspace", "", 0, ""))
            words = _words(LOOK, env, errors=True)
            ended = await Running(box, Output(_SAID)).through(words, env, place / "workspace", _PATIENCE, errors=True)
            box.end()
            await box.gone
        if ended.timed_out:
            raise self.refused(f"it did not end within {_PATIENCE:g} seconds")
        if ended.code != 0 or not box.told.get("started"):
            raise self.refused(_said(ended))
        lines = (line.partition(":") for line in _said(ended).splitlines())
        user = FIRST_UID + box.place if self.own_user and os.geteuid() == 0 else os.geteuid()
        without = {} if self._launcher is None else self._launcher.without
        return Observed({name: value.strip() for name, _, value in lines}, user, without)

    def refused(self, reason: str) -> IsolationMissing:
        """Returns the error that says that it is here and does not work."""
        return IsolationMissing(
            f"{self.name!r} does not work here: {reason or 'it said nothing'}; "
            "allow it what it lacks, or choose another backend"
        )


def _tidy() -> None:
    """Removes the folders of runtimes that were killed as they found out."""
    with os.scandir(tempfile.gettempdir()) as found:
        for each in found:
            with contextlib.suppress(OSError):
                if not each.name.startswith(_TRY):
                    continue
                held = each.stat(follow_symlinks=False)
                if held.st_uid == os.geteuid() and time.time() - held.st_mtime > _LEFT:
                    shutil.rmtree(each.path)


def _said(ended: Ended, streams: Streams | None = None) -> str:
    errors = b"" if streams is None else streams.errors.raw()
    return (ended.output.raw() + errors).decode("utf-8", "replace").strip()


def _words(command: str | Sequence[str], env: Mapping[str, str], *, errors: bool) -> list[str]:
    """Returns the command line inside; raises ValueError for what no kernel takes."""
    given = [command] if isinstance(command, str) else list(command)
    everything = [each.encode("utf-8", "surrogateescape") for each in given]
    variables = [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in env.items()]
    if any(b"\0" in each for each in (*everything, *variables)):
        raise ValueError("it holds NUL, which no command can; write it to a file and use that")
    lengths = [len(each) + 9 for each in (*everything, *variables)]
    if sum(lengths) > _LONGEST_TOGETHER or max(lengths, default=0) - 8 > _LONGEST:
        raise ValueError("it is too long for one command; write it to a file and run that")
    if isinstance(command, str):
        return ["/bin/bash", "-c", command, "bash"]
    return ["/bin/bash", "-c", _PROGRAM if errors else _QUIET_PROGRAM, "bash", *command]
