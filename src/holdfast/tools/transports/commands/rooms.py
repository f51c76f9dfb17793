"""Where the command of a call runs: in the run's own sandbox, in one of its own, or, by name, on the machine itself.

Each room fails closed. What was to be kept in a sandbox is not started where there is none, or one that does not keep
it apart from the machine; and on the machine itself starts only what somebody listed who may.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol, final
from weakref import WeakKeyDictionary

import msgspec

from holdfast.errors import IsolationMissing, SandboxError, UsageError
from holdfast.sandbox.backends.choosing import LazyBackend
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.output import Streams, Watch
from holdfast.sandbox.policy.openshell import SYSTEM, FilesystemPolicy, Policy
from holdfast.sandbox.policy.profile import BackendName, Pooling, Profile, Quotas
from holdfast.sandbox.port import Backend, lacks, unmet
from holdfast.sandbox.processes import Ended
from holdfast.sandbox.walking import walk
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.transports.commands.resources import Resources, bound_by

__all__ = ("PATH", "HostRoom", "Job", "OwnRoom", "Room", "RunRoom")

PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""Where programs are looked for; never that of this process."""
_APART: Final = ("private-root", "pidns", "netns", "no-new-privs", "no-capabilities", "seccomp")
"""Layers without which nothing is a sandbox for the command of a tool."""
_INSIDE: Final = 'cd -- "./$0" && exec "$@"'
_STEERING: Final = ("PATH", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS4", "CDPATH")
_STEERING_FAMILIES: Final = ("BASH_", "LD_", "DYLD_")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One command."""

    argv: Sequence[str]
    env: Mapping[str, str] = {}
    """What it was declared with, in the clear."""
    hidden: Mapping[str, str] = {}
    """Variables whose values nobody but the process may see."""
    streams: Streams
    folder: str = "."
    """Where it begins, relative to the workspace."""
    keep: int
    watch: Watch | None = None
    seconds: float

    def __repr__(self) -> str:
        return f"Job({self.argv[:1]!r})"


class Room(Protocol):
    """One place to run commands in."""

    place: str
    """What it is, for people."""

    async def run(self, job: Job, context: ToolContext) -> Ended:
        """Runs a command to its end; cancelling ends all that it started.

        Raises:
            IsolationMissing: what it needs is not here; nothing was started.
            ToolFailure: nothing was started: it may not run there, or its folder leads out or is none.
            SandboxError: it cannot be started, or it is not known how it ended.
            ValueError: it cannot be passed on.
        """
        ...

    async def close(self) -> None:
        """Ends what is kept ready; a second call does nothing."""
        ...


@final
class RunRoom(Room):
    """The sandbox of the run: its workspace, its limits, its way out."""

    place = "the run's sandbox"

    async def run(self, job: Job, context: ToolContext) -> Ended:
        """Runs a command there, as the port says."""
        workspace, backend = context.workspace, context.backend
        if workspace is None or backend is None:
            raise IsolationMissing("the run has no workspace, and so no sandbox: give it a folder to work in")
        await _ready(backend)
        _refuse_open(backend)
        _check_folder(workspace, job.folder)
        owner = {OWNER: workspace.env[OWNER]} if OWNER in workspace.env else {}
        return await _inside(backend, job, workspace.root, owner)

    async def close(self) -> None:
        """Does nothing: the sandbox is the run's."""


class _Shared:
    """What makes the sandboxes of every tool that may use as much."""

    def __init__(self, profile: Profile) -> None:
        self.backend = LazyBackend(profile)
        self.rooms: set[OwnRoom] = set()


_own: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bytes, _Shared]] = WeakKeyDictionary()
"""By event loop and profile: a process that makes sandboxes is not started for each tool."""


@final
class OwnRoom(Room):
    """A sandbox for each call: the machine's programs to read, a `/tmp` in memory, no file of anybody's, no network."""

    place = "a sandbox of its own"

    def __init__(self, resources: Resources, backend: BackendName = "auto") -> None:
        """`backend` is what it is made with.

        Raises:
            UsageError: a network is asked for, which only an image has.
        """
        if resources.network != "none":
            raise UsageError("a sandbox of its own has no network: name an image, which podman or docker runs")
        self._resources = resources
        limits = Quotas(memory=resources.memory, cpus=resources.cpus, pids=resources.pids, disk=resources.memory)
        self._profile = Profile(
            backend=backend,
            require=(*_APART, "rlimits"),
            policy=Policy(filesystem_policy=FilesystemPolicy(include_workdir=False, read_only=SYSTEM)),
            limits=limits,
            pool=Pooling(reuse="never"),
        )
        self._key = msgspec.json.encode(self._profile)

    async def run(self, job: Job, context: ToolContext) -> Ended:
        """Runs a command there, as the port says."""
        bound_by(context.ceiling, self._resources)
        if job.folder not in ("", "."):
            raise ToolFailure(
                "a sandbox of its own has no workspace: leave working_dir out", code="runtime_policy_invalid"
            )
        shared = _own.setdefault(asyncio.get_running_loop(), {}).setdefault(self._key, _Shared(self._profile))
        shared.rooms.add(self)
        backend = shared.backend
        await backend.ready()
        with tempfile.TemporaryDirectory(prefix="holdfast-call-") as folder:
            mark = {OWNER: f"{context.stream}/{context.call_id}#1"}
            return await _inside(backend, job, Path(folder).resolve(), mark)  # noqa: ASYNC240 - a folder we made

    async def close(self) -> None:
        """Ends what makes its sandboxes in this event loop, unless another tool uses it, too."""
        found = _own.get(asyncio.get_running_loop(), {})
        if (shared := found.get(self._key)) is not None:
            shared.rooms.discard(self)
            if not shared.rooms:
                del found[self._key]
                await shared.backend.close()


@final
class HostRoom(Room):
    """The machine itself, as our user, for programs that whoever runs Holdfast listed, and no others (`Ceiling`)."""

    place = "this machine, without a sandbox"

    async def run(self, job: Job, context: ToolContext) -> Ended:
        """Runs a command there, as the port says."""
        program = job.argv[0]
        if program not in context.ceiling.programs:
            raise ToolFailure(
                f"the program {program!r} may not run without a sandbox: have whoever runs Holdfast list it in "
                "`tools.programs` of the sandbox profile, or declare the tool with an isolation",
                code="permission_denied",
            )
        if steering := [each for each in (*job.env, *job.hidden) if _steers(each)]:
            why = f"{steering[0]!r} says which programs are loaded, and is not set without a sandbox: leave it out"
            raise ToolFailure(why, code="permission_denied")
        if (found := shutil.which(program, path=PATH)) is None or not found.startswith("/"):
            raise IsolationMissing(f"there is no program {program!r} in {PATH}: install it, or list its whole path")
        env = {"PATH": PATH, "LANG": "C.UTF-8", **job.env, **job.hidden}
        with ExitStack() as held:
            if (workspace := context.workspace) is None:
                folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-call-")))
            else:
                folder = _held_open(held, workspace, job.folder)
                env |= {OWNER: workspace.env[OWNER]} if OWNER in workspace.env else {}
            return await NoIsolation().run(
                [found, *job.argv[1:]],
                folder=folder,
                env=env,
                timeout=job.seconds,
                keep=job.keep,
                watch=job.watch,
                streams=job.streams,
            )

    async def close(self) -> None:
        """Does nothing: nothing is kept."""


def _steers(name: str) -> bool:
    return name in _STEERING or name.startswith(_STEERING_FAMILIES)


async def _ready(backend: Backend) -> None:
    if isinstance(backend, LazyBackend):
        await backend.ready()


def _refuse_open(backend: Backend) -> None:
    posture = backend.posture
    if posture.backend == "refused":
        raise IsolationMissing(next((each.reason for each in backend.missing), "no sandbox works here"))
    if lacking := unmet(posture, _APART):
        raise IsolationMissing(
            f"the run's sandbox {posture.backend!r} does not keep a command apart ({lacks(lacking, backend.missing)}): "
            "take native, bubblewrap, container or gvisor (`holdfast doctor` says what to install)"
        )


async def _inside(backend: Backend, job: Job, root: Path, mark: Mapping[str, str]) -> Ended:
    """Runs a command in a sandbox, with nothing of our environment."""
    fixed = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/home/user", "TMPDIR": "/tmp"}
    argv = list(job.argv)
    if job.folder not in ("", "."):
        argv = ["bash", "-c", _INSIDE, job.folder, *argv]
    return await backend.run(
        argv,
        folder=root,
        env={**fixed, **job.env, **job.hidden, **mark},
        timeout=job.seconds,
        keep=job.keep,
        watch=job.watch,
        streams=job.streams,
    )


def _check_folder(workspace: Workspace, path: str) -> None:
    """Raises what is wrong with a folder to begin in; where links lead meanwhile is the sandbox's business."""
    if path not in ("", "."):
        os.close(_opened(workspace, path))


def _held_open(held: ExitStack, workspace: Workspace, path: str) -> Path:
    """Returns a folder of the workspace by a name that no link can lead elsewhere."""
    if path in ("", "."):
        return workspace.root
    if sys.platform != "linux":
        why = "without a sandbox a command begins in the workspace itself here: leave working_dir out"
        raise ToolFailure(why, code="isolation_unavailable")
    descriptor = _opened(workspace, path)
    held.callback(os.close, descriptor)
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _opened(workspace: Workspace, path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with walk(str(workspace.root), path, follow=True) as place:
            return os.open(place.name, flags, dir_fd=place.folder)
    except SandboxError as error:
        raise ToolFailure(str(error), code="permission_denied") from None
    except OSError as error:
        why = f"the folder {path!r} cannot be used: {error.strerror}; name one in the workspace"
        raise ToolFailure(why, code="runtime_policy_invalid") from None
