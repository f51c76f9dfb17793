"""What backends that use an installed program share: finding out what it does here, and running commands in it.

Each command gets a sandbox of its own, made by `starting.py` in a process of its own, of which `run_command` sees one
group with one pipe, as of any command. The environment a command is given never reaches what runs outside.
"""

from __future__ import annotations

import asyncio
import functools
import marshal
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.observing import LOOK, Observed, breach_of
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.fencing import kill_below
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native.planning import owner_of, plan_of
from holdfast.sandbox.native.slots import Slots, kill_owners
from holdfast.sandbox.native.slots import folder as places
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import LAYERS, Backend, Missing, Posture, unmet
from holdfast.sandbox.processes import Ended, run_command

__all__ = ("InstalledProgram",)

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from holdfast.sandbox.backends.starting import main; main()"
_SOURCE = str(Path(__file__).parents[3])
_PROGRAM = 'exec "$@"'
_QUIET_PROGRAM = 'exec "$@" 2>/dev/null'
_LONGEST = 131_072
"""Bytes of one argument from which on the kernel refuses it, its end included."""
_LONGEST_TOGETHER = 1_900_000
_PATIENCE = 30
"""Seconds for the one try that finds out what there is."""

_APART = {"private-root", "pidns", "netns", "mountns", "ipcns", "protected-paths"}
_POWERLESS = {"own-uid", "userns", "own-kernel"}
_tried: dict[tuple[str, str, bytes], tuple[Posture, tuple[Missing, ...]]] = {}
"""What was found out in this process, by backend, program and profile."""
_trying = threading.Lock()


class InstalledProgram(Backend, ABC):
    """A backend that runs each command in a program that isolates it.

    Raises:
        IsolationMissing: the program is not installed; or, from whatever is asked of it first, it does not work here
            or lacks a layer that is required.
    """

    name: str
    own_user = True
    """Whether its processes become a user nobody else is, where we have the right to make them."""

    def __init__(self, profile: Profile) -> None:
        if profile.workspace.apply != "at-once":
            raise IsolationMissing(f"{self.name!r} writes to the workspace itself: take native, or apply: at-once")
        if profile.policy.landlock.compatibility == "hard_requirement":
            raise IsolationMissing(f"{self.name!r} has no Landlock, which the policy demands: take native")
        self.profile = profile
        self.program = self.find()
        self._key = (self.name, self.program, msgspec.json.encode(profile))

    @classmethod
    async def open(cls, profile: Profile) -> Self:
        """Starts it once to see what it does here.

        Raises:
            IsolationMissing: it is not installed, does not work here, or lacks a layer that is required.
        """
        made = cls(profile)
        await asyncio.to_thread(made.begin)
        return made

    @abstractmethod
    def find(self) -> str:
        """Returns where the program is, or raises IsolationMissing with what to install."""

    @abstractmethod
    def order(self, env: Mapping[str, str], plan: dict[str, Any], command: list[str]) -> dict[str, Any]:
        """Returns what `starting.py` is to do to start the program."""

    @abstractmethod
    def judge(self, observed: Observed) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns the layers that are on, with their versions or nothing, and the ways that are open."""

    @abstractmethod
    def reason(self, layer: str) -> str:
        """Says why a layer is not on."""

    @property
    def posture(self) -> Posture:
        """What it does on this machine, found out by starting it once; raises IsolationMissing where that fails."""
        return self._known()[0]

    @property
    def missing(self) -> Sequence[Missing]:
        """Which layers are not on, and why; raises IsolationMissing as `posture` does."""
        return self._known()[1]

    def begin(self) -> None:
        """Puts away what a killed runtime left, and sees that what the profile requires is there, as `open` says."""
        _sweep()
        self.require()

    def require(self) -> None:
        """Raises IsolationMissing where a layer the profile requires is not on."""
        if not (lacking := unmet(self.posture, self.profile.require)):
            return
        why = {each.layer: each.reason for each in self.missing}
        told = "; ".join(f"{each}: {why.get(each.partition('>=')[0], 'too old here')}" for each in lacking)
        raise IsolationMissing(f"{self.name!r} does not give what the profile requires: {told}")

    async def run(
        self,
        command: str | Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - see the port
        keep: int,
        errors: bool = True,
    ) -> Ended:
        """Runs a command to its end, as the port says."""
        words = _words(command, env, errors=errors)
        if self._key not in _tried or self.profile.require:
            await asyncio.to_thread(self.require)
        limits = self.profile.limits
        kept = keep if limits.output is None else min(keep, limits.output)
        seconds = timeout if limits.wall is None else min(timeout, limits.wall)
        outside = {"PATH": os.defpath, OWNER: env.get(OWNER, "")}
        with _letter(self._order(words, folder, env)) as (path, read):
            ended = await run_command(_starter(path), folder=folder, env=outside, timeout=seconds, keep=kept)
            told = read()
        if "error" in told or not (told.get("started") or ended.timed_out):
            reason = told.get("error") or ended.output.raw().decode("utf-8", "replace").strip()
            raise SandboxError(f"{self.name!r} cannot start a command: {reason or 'it was killed'}")
        return msgspec.structs.replace(ended, breach=breach_of(ended, told, limits, kept < keep, seconds < timeout))

    async def attach(self, owner: str, epoch: int) -> int:
        """Kills what lower epochs left, as the port says; what is in a sandbox goes with it."""
        return await asyncio.to_thread(_kill_owned, owner, epoch)

    async def close(self) -> None:
        """Nothing is kept ready: each command has a sandbox of its own."""

    def look(self) -> Observed:
        """Starts it once, and returns what was seen; raises IsolationMissing where it does not start."""
        with tempfile.TemporaryDirectory(prefix="holdfast-") as place:
            folder = Path(place, "workspace").resolve()
            guarded = folder / next(iter(self.profile.workspace.protect), "nothing")
            guarded.parent.mkdir(parents=True)
            guarded.write_bytes(b"")
            Path(place, "canary").write_bytes(b"")
            env = {"PATH": os.defpath, "CANARY": f"{place}/canary", "GUARDED": str(guarded)}
            words = _words(LOOK, env | {"WRITTEN": f"{folder}/written"}, errors=True)
            order = self._order(words, folder, env | {"WRITTEN": f"{folder}/written"})
            with _letter(order) as (path, read):
                try:
                    done = subprocess.run(
                        _starter(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False,
                        cwd=folder, env={"PATH": os.defpath}, start_new_session=True,
                    )  # fmt: skip
                except subprocess.TimeoutExpired:
                    raise self.refused(f"it did not end within {_PATIENCE} seconds") from None
                told = read()
        if done.returncode != 0 or not told.get("started"):
            raise self.refused(told.get("error") or (done.stderr + done.stdout).decode("utf-8", "replace").strip())
        lines = (line.partition(":") for line in done.stdout.decode("utf-8", "replace").splitlines())
        return Observed({name: value.strip() for name, _, value in lines}, told["user"], told["without"])

    def refused(self, reason: str) -> IsolationMissing:
        """Returns the error that says that it is here and does not work."""
        return IsolationMissing(
            f"{self.name!r} does not work here: {reason or 'it said nothing'}; "
            "allow it what it lacks, or choose another backend"
        )

    def _known(self) -> tuple[Posture, tuple[Missing, ...]]:
        with _trying:
            if self._key not in _tried:
                _tried[self._key] = self._try()
            return _tried[self._key]

    def _try(self) -> tuple[Posture, tuple[Missing, ...]]:
        observed = self.look()
        on, ways = self.judge(observed)
        layers = tuple(f"{layer}={on[layer]}" if on[layer] else layer for layer in LAYERS if layer in on)
        isolated = set(on) >= _APART and not set(on).isdisjoint(_POWERLESS)
        missing = tuple(
            Missing(each, observed.without.get(each.removeprefix("cgroup."), "") or self.reason(each))
            for each in LAYERS
            if each not in on
        )
        return Posture(self.name, layers, isolated=isolated, open=ways), missing

    def _order(self, words: list[str], folder: Path, env: Mapping[str, str]) -> dict[str, Any]:
        place, home, kinds = folder.resolve(), env.get("HOME", ""), _groups().kinds
        try:
            plan = plan_of(self.profile, place, home, whose=owner_of(env), groups=kinds)
        except OSError as error:
            raise SandboxError(f"cannot start in {str(folder)!r}: {error.strerror}; check the folder") from None
        # The program brings these itself.
        bare = ("/proc", "/dev")
        kept = [each for each in plan["mounts"] if not f"{each['path']}/".startswith(("/proc/", "/dev/"))]
        plan["mounts"] = [{"path": path, "kind": "folder"} for path in bare] + kept
        order: dict[str, Any] = {
            "config": "",
            "arguments": [],
            "environment": {"PATH": os.defpath},
            "own user": self.own_user,
        }
        return order | plan | self.order(env, plan, words)


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


@functools.cache
def _groups() -> Groups:
    return Groups()


def _sweep() -> None:
    slots, groups = Slots(places()), _groups()
    for name in groups.left():
        if name.isdigit() and slots.try_take(int(name)):
            groups.of(name).clear()
            slots.give_back(int(name))


def _starter(path: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _START, _SOURCE, path]


@contextmanager
def _letter(order: dict[str, Any]) -> Generator[tuple[str, Any]]:
    """Keeps an order in memory, where only our user can read it, and the answer after it."""
    descriptor = os.memfd_create(f"order-{secrets.token_hex(4)}")
    try:
        sent = marshal.dumps(order)
        os.write(descriptor, sent)

        def read() -> dict[str, Any]:
            answer = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            return {} if answer == sent else marshal.loads(answer)

        yield f"/proc/{os.getpid()}/fd/{descriptor}", read
    finally:
        os.close(descriptor)


def _kill_owned(owner: str, epoch: int) -> int:
    return kill_owners(places(), owner, epoch) + kill_below(owner, epoch)
