"""The port of what commands run in: how they are started, what keeps them in, and how their leftovers end.

A backend says what it really does as a posture, found out by trying. Nothing is ever assumed of it beyond that: a call
whose effect depends on isolation is judged by the posture, its digest stands beside each call in the log, and where a
profile requires a layer that is missing nothing is started at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import msgspec

from holdfast.errors import SandboxError, UsageError
from holdfast.errors.hinting import closest
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.longrunning.keeping import Kept
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.output import Streams, Watch
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.processes import Ended
from holdfast.types import Digest, digest_of

__all__ = ("ABILITIES", "LAYERS", "Backend", "Missing", "Posture", "lacks", "unmet")

LAYERS: Final = {
    "own-kernel": "system calls are answered by a kernel of its own (gVisor), or there are none (wasm)",
    "own-uid": "its processes belong to a user nobody else is",
    "userns": "capabilities mean nothing outside",
    "pidns": "other processes cannot be seen, and all of its end together",
    "mountns": "what it mounts nobody else sees",
    "netns": "no network but its own loopback",
    "ipcns": "no shared memory or semaphores of others",
    "utsns": "a host name of its own",
    "private-root": "only the paths it is given exist",
    "protected-paths": "files that programs outside obey cannot be changed",
    "landlock": "the kernel checks each path again; the number is its ABI",
    "seccomp": "system calls that are of no use to programs are refused",
    "no-new-privs": "no program gains rights by being started",
    "no-capabilities": "it has no rights of the superuser",
    "rlimits": "limits on each process",
    "cgroup.memory": "memory is limited for all its processes together",
    "cgroup.cpu": "so is CPU",
    "cgroup.pids": "so is the number of processes",
    "disk-quota": "so is the space on the disk",
    "inode-quota": "so is the number of files",
    "egress-proxy": "the only way out is a proxy that judges each connection",
}
"""What can stand between a command and the rest of the machine, by its name in a posture."""

ABILITIES: Final = {
    "processes": "keeps processes running after the call that started them",
    "terminals": "runs a program on a terminal",
    "layers": "keeps changes apart until a command has ended; workspace: apply",
    "network": "lets out what a policy allows; policy: network_policies",
    "secrets": "gives programs placeholders for secrets; env: secrets",
    "landlock": "refuses to start without Landlock; policy: landlock: hard_requirement",
    "ready": "makes sandboxes before they are asked for; pool: ready",
    "counted": "bounds how many sandboxes live on the machine; limits: sandboxes",
}
"""What can be done with a sandbox beyond running commands, by name; not every backend can all of it."""


class Missing(msgspec.Struct, frozen=True):
    """A layer that is not on."""

    layer: str
    reason: str
    """Why, and what to do about it."""


class Posture(msgspec.Struct, frozen=True, dict=True):
    """What stands between a command and the rest of the machine."""

    backend: str
    """The adapter's name."""
    layers: tuple[str, ...] = ()
    """What is really on, by names of `LAYERS`; one that has a version is followed by it, as in `landlock=7`."""
    isolated: bool = False
    """Whether a command can change nothing outside its workspace, the network included."""
    open: tuple[str, ...] = ()
    """Ways that are known to be open, by the names of attempts in `docs/guide/sandboxes.md`."""

    @cached_property
    def digest(self) -> Digest:
        """Its content address, as the log names it."""
        return digest_of(msgspec.json.encode(self))


def unmet(posture: Posture, require: Sequence[str]) -> tuple[str, ...]:
    """Returns which requirements a posture does not meet: `layer`, or `layer>=number`.

    Raises:
        UsageError: a name is no layer's.
    """
    on = {name: int(version or 0) for name, _, version in (each.partition("=") for each in posture.layers)}
    missing: list[str] = []
    for each in require:
        name, _, least = each.partition(">=")
        if name not in LAYERS or not (least or "0").isdigit():
            near = closest(name, LAYERS)
            hint = f"did you mean {near!r}?" if near and near != name else f"these are {', '.join(LAYERS)}"
            raise UsageError(f"{each!r} is no layer of a sandbox: {hint}")
        if name not in on or on[name] < int(least or 0):
            missing.append(each)
    return tuple(missing)


def lacks(required: Sequence[str], missing: Sequence[Missing]) -> str:
    """Says which requirements are not met, and why; those with one reason stand together."""
    reasons = {each.layer: each.reason for each in missing}
    told: dict[str, list[str]] = {}
    for each in required:
        told.setdefault(reasons.get(each.partition(">=")[0], "what is here is older"), []).append(each)
    return "; ".join(f"no {', '.join(names)}: {reason}" for reason, names in told.items())


class Backend(Protocol):
    """One way to run commands."""

    @property
    def posture(self) -> Posture:
        """What it does on this machine, found out by trying."""
        ...

    @property
    def missing(self) -> Sequence[Missing]:
        """Which layers are not on, and why."""
        ...

    @property
    def guarded(self) -> tuple[str, ...]:
        """Paths of a workspace that are looked after where nothing is at them: what a command puts there is taken away
        when it has ended; by `recover` where whoever would have done it was killed.
        """
        return ()

    def hide(self, paths: Mapping[Path, bool]) -> None:
        """Lets no command see what is at these resolved paths, our own files; called before the first one.

        Beside each stands whether it is a folder's. What isolates nothing hides nothing.
        """

    async def run(
        self,
        command: str | Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the command has to be ended, not only the waiting
        keep: int,
        errors: bool = True,
        watch: Watch | None = None,
        streams: Streams | None = None,
    ) -> Ended:
        """Runs a command to its end; `keep` bounds the bytes of output that are kept, `timeout` its seconds.

        A text is a line for bash; a sequence is a program and its arguments, which no shell reads, and `errors` says
        whether its standard error is part of the output or dropped. Cancelling ends everything the command started.
        `watch` gets each piece of the output when it comes, also what is not kept. Nothing is typed to it; with
        `streams` it reads what those give, and its standard error is theirs instead of part of the output.

        Raises:
            SandboxError: it cannot be started.
            ValueError: it cannot be passed on: it holds NUL, or is too long.
        """
        ...

    @property
    def can(self) -> frozenset[str]:
        """What it can do beyond running commands, by names of `ABILITIES`."""
        return frozenset()

    @property
    def processes(self) -> Kept:
        """The processes it keeps running, and those that ended lately."""
        return Kept()

    async def start(self, command: str, *, name: str, folder: Path, env: Mapping[str, str], call: str = "") -> Process:
        """Starts a line for bash that goes on until it ends or is stopped, and returns it as soon as it runs.

        It is the owner's whom `env` names, who has none other of that name running. What commands of that owner in
        that folder reach on their own loopback is what it listens on. It ends with this backend at the latest, or when
        `attach` is called with a higher epoch.

        Raises:
            SandboxError: it cannot be started, the owner has as many as there may be, or this backend keeps none.
            ValueError: it cannot be passed on: it holds NUL, or is too long.
        """
        raise SandboxError(
            f"the sandbox {self.posture.backend!r} keeps no processes running: take the sandbox native, or run it "
            "within one command"
        )

    async def update(self, policy: Policy, services: Mapping[str, Service]) -> None:
        """Decides about the network by another policy from now on, also for what is going on: a connection that it does
        not allow ends. `services` are reached by their names, whatever it says: at the path of a unix socket, or by a
        function that connects.

        Raises:
            UsageError: more than the network differs, or the name of a service is no name of a host.
            SandboxError: this backend lets nothing out, or a layer that is required would be lost. All goes on as
                before.
        """
        raise SandboxError(f"the sandbox {self.posture.backend!r} has no way out to change: take the sandbox native")

    async def attach(self, owner: str, epoch: int) -> int:
        """Kills what commands of this owner's lower epochs left running, and returns how many processes that were.

        A command is known by `HOLDFAST_OWNER=<owner>#<epoch>` in its environment.
        """
        ...

    async def close(self) -> None:
        """Ends everything it keeps ready; a second call does nothing."""
        ...
