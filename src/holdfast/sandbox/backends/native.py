"""Sandboxes of our own making: user, namespaces, a root of its own, Landlock, seccomp and limits, in some milliseconds.

Needs Linux and nothing installed. Started by root it takes a user nobody else is for each sandbox, and control
groups; started by anybody else it is the same without those two, if the machine lets ordinary users have user
namespaces.

Commands of one owner in one workspace share a sandbox, one after another, and with it `/tmp` and the home folder,
unless the profile says otherwise; what a command leaves running is killed when it ends. Several at once have a sandbox
each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from holdfast.errors import IsolationMissing, SandboxError, UsageError
from holdfast.sandbox.backends.observing import GROUPED, ungrouped_ways
from holdfast.sandbox.backends.running import Running, Talk, interact
from holdfast.sandbox.capacity.abilities import refuse_more
from holdfast.sandbox.egress.credentials import Credential
from holdfast.sandbox.egress.dialling import Dialler
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.environment import CALL, owner_of
from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.longrunning.keeping import Kept
from holdfast.sandbox.longrunning.process import Process, asked_by
from holdfast.sandbox.native.bounds.breaching import ENDED_BY_ITSELF, breach_of, is_stuck
from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.native.boxes.outlet import Outlet
from holdfast.sandbox.native.boxes.pooling import Key, Pool
from holdfast.sandbox.native.bringing import bring, is_changed
from holdfast.sandbox.native.client import Launcher
from holdfast.sandbox.native.guarding import guard, named
from holdfast.sandbox.native.lasting.boxed import KeptBoxes
from holdfast.sandbox.native.lasting.starting import given_in
from holdfast.sandbox.native.planning import SCRATCH, plan_of
from holdfast.sandbox.native.slots import fence
from holdfast.sandbox.native.slots import folder as places
from holdfast.sandbox.output import Output, Streams, Watch
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import ABILITIES, Backend, Missing, Posture, lacks, unmet
from holdfast.sandbox.processes import Breach, Ended
from holdfast.sandbox.snapshots.storing import in_thread

__all__ = ("NativeSandboxes", "ungrouped")

_NAMESPACES = ("userns", "pidns", "mountns", "netns", "ipcns", "utsns")


_TRY = "holdfast-try-"
_LEFT = 60.0
"""Seconds after which a folder in which sandboxes were tried is of one that was killed meanwhile."""


def _tidy() -> None:
    """Removes the folders of those that were killed as they tried; they are empty, or not ours to remove."""
    with os.scandir(tempfile.gettempdir()) as found:
        for each in found:
            with contextlib.suppress(OSError):
                if each.name.startswith(_TRY) and time.time() - each.stat(follow_symlinks=False).st_mtime > _LEFT:
                    Path(each.path).rmdir()


class NativeSandboxes(Backend):
    """Makes sandboxes by one profile."""

    launching = "holdfast.sandbox.native.launching"
    """The module whose `main` is the launcher."""

    def __init__(self, profile: Profile, launcher: Launcher) -> None:
        self._profile = profile
        self._launcher = launcher
        self._rootless = os.geteuid() != 0
        self._watched = (*profile.workspace.protect, ".git") if profile.workspace.protect else ()
        self._starting = asyncio.Lock()
        layered = profile.workspace.apply != "at-once"
        self.pool = Pool(profile.pool, self._make, self._watched, layered=layered)
        """The sandboxes that no command runs in."""
        self._processes = Kept()
        self._keeping = KeptBoxes(self.pool)
        self._services: Mapping[str, Service] = {}
        self._posture, self._missing = self._look()

    @classmethod
    async def open(cls, profile: Profile) -> Self:
        """Starts what makes them, and tries one.

        Raises:
            IsolationMissing: it does not work here, or a layer that is required is missing.
        """
        launcher = await Launcher.start(cls.launching)
        try:
            backend = cls(profile, launcher)
            backend._judge()
            await backend._try()
        except BaseException:
            await launcher.end()
            raise
        return backend

    def _judge(self) -> None:
        """Raises IsolationMissing where something that is required is not to be had."""
        if lacking := unmet(self._posture, self._profile.require):
            raise IsolationMissing(lacks(lacking, self._missing))
        policy = self._profile.policy
        if policy.landlock.compatibility == "hard_requirement":
            files = policy.filesystem
            lost = [each for each in (*files.read_only, *files.read_write) if not os.path.lexists(each)]
            if policy.filesystem_policy is not None and lost:
                raise IsolationMissing(f"the policy requires paths that are not there: {', '.join(lost)}")
            if not landlock.abi():
                raise IsolationMissing("the policy requires Landlock, and the kernel has none")

    async def _try(self) -> None:
        await asyncio.to_thread(_tidy)
        with tempfile.TemporaryDirectory(prefix=_TRY) as folder:
            box = await self._make((os.path.realpath(folder), "", 0, ""))  # noqa: ASYNC240 - a folder we made
            box.end()
            await box.gone

    @property
    def posture(self) -> Posture:
        """What is on, as it was tried when this was opened."""
        return self._posture

    @property
    def missing(self) -> Sequence[Missing]:
        """What is not, and why."""
        return self._missing

    @property
    def guarded(self) -> tuple[str, ...]:
        """Paths that are looked after where nothing is at them, as the port says."""
        return self._watched if self._profile.workspace.apply == "at-once" else ()  # a layer is brought in without them

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
        limits = self._profile.limits
        wall = limits.wall is not None and limits.wall < timeout
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        output = Output(keep if limits.output is None else min(keep, limits.output), watch)
        if streams is not None:
            streams.bound(limits.output)

        async def act(box: Box, given: Mapping[str, str]) -> tuple[Ended, bool]:
            run = Running(box, output, streams)
            ended = await run.through(argv, given, folder, min(timeout, limits.wall or timeout), errors=errors)
            return ended, run.killed

        return await self._within(folder, env, act, wall=wall)

    async def interact(self, argv: Sequence[str], *, folder: Path, env: Mapping[str, str], talk: Talk) -> Ended:
        """Runs a program on a terminal of its own, of which `talk` has the outer side until the program has ended.

        `talk` is given a descriptor and a future of the exit code; it returns before the future is done to end the
        program. Nothing of the output is kept, and what is left of it in the terminal may be read after the end.

        Raises:
            SandboxError: it cannot be started.
            FileNotFoundError: there is no such program in the sandbox.
        """
        limits = self._profile.limits

        async def act(box: Box, given: Mapping[str, str]) -> tuple[Ended, bool]:
            command = await box.begun(box.begin(argv, {**given, CALL: "sandbox"}, str(folder), ()))
            return await interact(box, command, talk, limits)

        return await self._within(folder, env, act, wall=limits.wall is not None)

    async def _within(
        self,
        folder: Path,
        env: Mapping[str, str],
        act: Callable[[Box, Mapping[str, str]], Awaitable[tuple[Ended, bool]]],
        *,
        wall: bool,
    ) -> Ended:
        """Does something in a sandbox, which returns how it ended and whether by a signal, and sees to what it left."""
        owner, epoch = owner_of(env)
        key = self._keeping.key((str(folder), owner, epoch, env.get("HOME", "")))
        box = await self.pool.take(key)
        taken, lost = tuple[str, ...](), ""
        begun, outlet = time.time(), box.outlet  # which is gone from a sandbox that has ended; what it noted is not
        before, elsewhere = self._keeping.absent(box, key[0]), self._keeping.elsewhere(key, box)
        try:
            ended, killed = await act(box, given_in(box, env))
            breach = await self._breach(box, ended, begun, wall=wall)
            if box.changes < 0:
                taken = await guard(folder, before)
            elif why := self._refuses(ended, breach, killed=killed):
                lost = why if is_changed(box.changes) else ""
            else:
                lost = await self._bring(box, folder)
        except BaseException:
            if box.open:
                await asyncio.shield(box.clear())
            if box.changes < 0:
                await asyncio.shield(guard(folder, before))
            raise
        finally:
            self.pool.give_back(key, box)
        out = () if outlet is None else outlet.take()
        if breach == "memory" and is_stuck(box, self._profile):
            box.end()  # or no command would find room any more
        decided = tuple(msgspec.structs.asdict(each) for each in out)
        said = {"taken": taken, "elsewhere": elsewhere, "unbound": self._profile.unbound, "lost": lost}
        return msgspec.structs.replace(ended, breach=breach, out=decided, **said)

    async def _bring(self, box: Box, folder: Path) -> str:
        """Does what a layer says in the folder, as long as nobody has ended the sandbox; returns why nothing of it."""
        layer = os.dup(box.changes)  # a number that nobody else closes meanwhile
        profile, mark = self._profile, "user.overlay.opaque" if self._rootless else "trusted.overlay.opaque"
        most = profile.limits.disk or SCRATCH
        try:
            protected = named(folder, profile.workspace.protect)
            await in_thread(lambda: bring(layer, folder, protected, mark, most, lambda: box.alive))
        except SandboxError as refused:  # it is too deep, or too much
            return str(refused)
        except OSError as error:
            raise SandboxError(f"the command ran, but what it changed was not all brought in: {error}") from error
        finally:
            os.close(layer)
        return ""

    def _refuses(self, ended: Ended, breach: Breach | None, *, killed: bool) -> str:
        """Returns why what a command did in its layer is not done to the folder; empty where it is."""
        if breach not in ENDED_BY_ITSELF:
            return f"it met the quota of {breach}"
        if ended.timed_out or killed:
            return "its time was over" if ended.timed_out else "it was killed"
        if ended.code == 0 or self._profile.workspace.apply == "when-ended":
            return ""
        return f"it ended with exit code {ended.code} (workspace: apply: when-succeeded)"

    async def _breach(self, box: Box, ended: Ended, begun: float, *, wall: bool) -> Breach | None:
        if ended.timed_out:
            return "wall" if wall else None
        if ended.code == 0:
            # What was hit all the same is not the next command's fault; whoever waits need not wait for that.
            asyncio.get_running_loop().call_soon(_note_hits, box)
        return await breach_of(box, ended, self._profile.limits, begun, lambda: self._launcher.look(box))

    @property
    def can(self) -> frozenset[str]:
        """Everything; but it keeps processes only where they change the folder itself."""
        return frozenset(ABILITIES) - ({"processes"} if self._profile.workspace.apply != "at-once" else set())

    @property
    def processes(self) -> Kept:
        """Those it keeps."""
        return self._processes

    async def start(self, command: str, *, name: str, folder: Path, env: Mapping[str, str], call: str = "") -> Process:
        """Starts a process that goes on, as the port says; the profile's `wall` and `output` do not bound it."""
        if "processes" not in self.can:
            raise SandboxError(
                "no process goes on where changes come in after a command (workspace: apply): set it to at-once"
            )
        asked = asked_by(env, name, command, call)
        key = (str(folder), asked.owner, asked.epoch, env.get("HOME", ""))
        return await self._processes.start(asked, lambda process: self._keeping.launch(key, process, env))

    async def attach(self, owner: str, epoch: int) -> int:
        """Ends the sandboxes of lower epochs, whichever process made them, as the port says."""
        self._keeping.forget(owner, epoch)
        self.pool.forget(owner, epoch)
        return await asyncio.to_thread(fence, places(), owner, epoch)

    async def update(self, policy: Policy, services: Mapping[str, Service]) -> None:
        """Decides about the network by another policy from now on, as the port says.

        A sandbox that was made without any way out gets none: the next command has another one, also where processes go
        on in the first.
        """
        wanted = msgspec.structs.replace(self._profile, policy=policy)
        refuse_more(self._posture.backend, self.can, wanted)
        if _without_network(policy) != _without_network(self._profile.policy):
            raise UsageError("only the network of a policy can be changed while sandboxes live; open another runtime")
        try:
            Dialler(services=services).close()
        except ValueError as error:
            raise UsageError(f"a service has no name of a host: {error}") from error
        before = self._profile, self._services
        self._profile, self._services = wanted, dict(services)
        try:
            self._posture, self._missing = self._look()
            self._judge()
        except BaseException:
            self._profile, self._services = before
            self._posture, self._missing = self._look()
            raise
        for box in self._launcher.boxes:
            if box.outlet is not None:
                box.outlet.update(policy, self._services)
            elif self._reaches_out:
                box.where = ()  # by which the pool ends it

    async def close(self) -> None:
        """Ends every sandbox, and what makes them; what goes on in them is asked first."""
        await self._processes.end()
        await self.pool.close()
        await self._launcher.end()

    def _look(self) -> tuple[Posture, tuple[Missing, ...]]:
        """Returns what is on, and what is not."""
        return _posture(self._profile, self._launcher, rootless=self._rootless, reaches_out=self._reaches_out)

    def hide(self, paths: Mapping[Path, bool]) -> None:
        """Hides our own files, as the port says."""
        self.pool.apart = dict(paths)

    def _plan(self, folder: Path, home: str, whose: tuple[str, int], trusted: str) -> dict[str, Any]:
        groups, apart = self._launcher.groups, self.pool.apart
        plan = plan_of(self._profile, folder, home, whose=whose, trusted=trusted, groups=groups, apart=apart)
        if "cpu" in plan["rlimits"]:  # what a command uses is bounded in there (`bounds/measuring.py`), with its name;
            plan["rlimits"]["cpu"] += 1  # the kernel's limit counts by ticks, and would sometimes come before that
        return plan

    async def _make(self, key: Key) -> Box:
        folder, owner, epoch, home = key
        async with self._starting:
            if not self._launcher.open:  # somebody killed it
                await self._launcher.end()
                self._launcher = await Launcher.start(self.launching)
                try:
                    self._posture, self._missing = self._look()
                    self._judge()
                except BaseException:
                    await self._launcher.end()  # or the next command would be run by it, unjudged
                    raise
        outlet = self._outlet()
        trusted = await asyncio.to_thread(lambda: outlet.trusted) if outlet is not None else ""
        try:
            plan = self._plan(Path(folder), home, (owner, epoch), trusted)
        except OSError as error:  # it was taken away meanwhile
            raise SandboxError(f"the workspace {folder!r} cannot be used: {error.strerror}") from error
        box = await self._launcher.make(plan)
        if outlet is None and self._reaches_out:  # since a moment: it has no way out, and cannot be given one
            box.end()
            return await self._make(key)
        if outlet is not None:
            box.outlet = outlet
            outlet.update(self._profile.policy, self._services)
            try:
                outlet.open(os.dup(box.listener), box.pid)
            except OSError as error:
                box.end()
                raise SandboxError(f"its way out cannot be opened: {error}") from error
        return box

    def _outlet(self) -> Outlet | None:
        """Returns the way out of a sandbox that is about to be made; None where the policy has none."""
        policy = self._profile.policy
        if not self._reaches_out:
            return None
        secrets = self._profile.env.secrets
        held = {name: os.environ[name] for name in secrets if os.environ.get(name)}
        credentials = [Credential(key=name, value=held[name], hosts=secrets[name]) for name in held]
        return Outlet(policy, credentials, self._services)

    @property
    def _reaches_out(self) -> bool:
        return bool(self._profile.policy.network_policies or self._services)


def _without_network(policy: Policy) -> Policy:
    """Returns what of a policy is fixed when a sandbox is made."""
    return msgspec.structs.replace(policy, network_policies={}, network_middlewares={})


def _note_hits(box: Box) -> None:
    if box.open:
        box.breaches = box.hits()


def _posture(
    profile: Profile, launcher: Launcher, *, rootless: bool, reaches_out: bool
) -> tuple[Posture, tuple[Missing, ...]]:
    layers = [*_NAMESPACES, "private-root", "protected-paths", "seccomp", "no-new-privs", "no-capabilities", "rlimits"]
    missing = [Missing("own-kernel", "it shares the machine's kernel: take gvisor for one of its own")]
    ways: list[str] = []
    if version := landlock.abi():
        layers.append(f"landlock={version}")
    else:
        why = "the kernel has none, so the tool git is held by what it looks at alone: take Linux 5.19 or later with "
        missing.append(Missing("landlock", f"{why}landlock in lsm="))
    if rootless:
        missing.append(Missing("own-uid", "only root can take another user: start Holdfast as root, or do without"))
    else:
        layers.insert(0, "own-uid")
    if profile.workspace.apply == "at-once":
        why = "the workspace is the folder itself: bring changes in when a command has ended (workspace: apply)"
        if profile.unbound:
            why += f"; limits: {', '.join(profile.unbound)} bound /tmp and the home folder alone"
        missing += [Missing(layer, why) for layer in ("disk-quota", "inode-quota")]
        ways += ["disk_fill_700MB", "inode_fill_20k"]
    else:
        layers += ["disk-quota", "inode-quota"]
    lacking = ungrouped(profile, launcher)
    layers += [f"cgroup.{kind}" for kind in GROUPED if kind not in lacking]
    missing += [Missing(f"cgroup.{kind}", why) for kind, why in lacking.items()]
    ways += ungrouped_ways(lacking, profile.limits)
    if reaches_out:
        layers.append("egress-proxy")
    else:
        missing.append(Missing("egress-proxy", "the policy lets nothing out: there is no network at all"))
    return Posture("native", tuple(layers), isolated=not reaches_out, open=tuple(ways)), tuple(missing)


def ungrouped(profile: Profile, launcher: Launcher) -> dict[str, str]:
    """Returns what is not bounded for all processes together, and why."""
    wanted = {"memory": profile.limits.memory, "cpu": profile.limits.cpus, "pids": profile.limits.pids}
    lacking: dict[str, str] = {}
    for kind, most in wanted.items():
        if kind not in launcher.groups:
            lacking[kind] = launcher.without.get(kind, "no such control group")
        elif most is None:
            lacking[kind] = "the profile sets no such limit"
    return lacking
