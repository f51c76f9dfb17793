"""Commands without namespaces: for machines and containers that forbid those to whoever runs us.

Landlock decides which paths are opened, a filter refuses sockets and what else reaches other processes, limits bound
what is used, and a fresh folder for each sandbox stands in for `/tmp` and the home. What a command does stays visible
to others of the same user, and what neither of the two can refuse is open; the posture names it. So it never says that
it isolates: an effect outside the workspace is possible.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.native import NativeSandboxes, ungrouped
from holdfast.sandbox.backends.observing import GROUPED, ungrouped_ways
from holdfast.sandbox.backends.running import Talk
from holdfast.sandbox.capacity.abilities import refuse_more
from holdfast.sandbox.confining.planning import bare_plan_of, look_around
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.native.client import Launcher
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import LAYERS, Backend, Missing, Posture
from holdfast.sandbox.processes import Ended
from holdfast.sandbox.protecting.hiding import below

__all__ = ("ProcessSandboxes",)

_LEAST: Final = 3
"""The Landlock ABI from which on files cannot be emptied behind its back."""
_SIGNALS: Final = 6
"""The one from which on signals do not leave a sandbox."""
_OPEN = (
    "change_modes_outside",
    "disk_fill_700MB",
    "gitattributes_filter_or_fsmonitor",
    "inode_fill_20k",
    "write_agent_config",
    "write_git_hook",
)
_OPEN_TO_ROOT = ("runs_as_host_uid0", "setuid0")
_REASONS = {
    "own-kernel": "it shares the machine's kernel: take gvisor for one of its own",
    "own-uid": "its user is whoever owns the workspace, or who runs Holdfast: modes, owners and times of that user's "
    "other files can be changed, though not read or written",
    "private-root": "without mounts all paths keep their names, and Landlock refuses to open those that are not given",
    "protected-paths": "a path in a folder that can be written cannot be held without mounts",
    "egress-proxy": "nothing goes out: every socket is refused",
    "disk-quota": "the workspace is the folder itself",
    "inode-quota": "the workspace is the folder itself",
}
_NO_NAMESPACES = "this backend is for machines that forbid namespaces: take native where they are allowed"


@final
class ProcessSandboxes(NativeSandboxes):
    """Confines processes by one profile, without namespaces."""

    launching = "holdfast.sandbox.confining.launching"

    def __init__(self, profile: Profile, launcher: Launcher) -> None:
        refuse_more("process", self.can, profile)
        if landlock.abi() < _LEAST:
            raise IsolationMissing(
                f"'process' needs Landlock with ABI {_LEAST} (Linux 6.2), here it is {landlock.abi()}"
            )
        super().__init__(profile, launcher)

    def _look(self) -> tuple[Posture, tuple[Missing, ...]]:
        version, profile = landlock.abi(), self._profile
        lacking = ungrouped(profile, self._launcher)
        on = {f"cgroup.{kind}": "" for kind in GROUPED if kind not in lacking}
        on |= {"landlock": f"={version}", "seccomp": "", "no-new-privs": "", "no-capabilities": "", "rlimits": ""}
        ways = [*_OPEN, *(_OPEN_TO_ROOT if os.geteuid() == 0 else ())]
        ways += ungrouped_ways(lacking, profile.limits)
        if "pids" in lacking and os.geteuid() == 0:
            ways.append("fork_bomb_600")  # the kernel does not count the processes of root
        if version < _SIGNALS:
            ways += ["signal_blind", "signal_host"]
        reasons = _REASONS | {f"cgroup.{kind}": why for kind, why in lacking.items()}
        missing = [Missing(each, reasons.get(each, _NO_NAMESPACES)) for each in LAYERS if each not in on]
        layers = tuple(f"{each}{on[each]}" for each in LAYERS if each in on)
        return Posture("process", layers, open=tuple(sorted(ways))), tuple(missing)

    async def _try(self) -> None:
        await asyncio.to_thread(look_around, self._profile)
        await super()._try()

    def _plan(self, folder: Path, home: str, whose: tuple[str, int], trusted: str) -> dict[str, Any]:
        plan = bare_plan_of(self._profile, folder, whose=whose, groups=self._launcher.groups)
        if found := [path for path, _ in plan["landlock"] if below(str(path), self.pool.apart)]:
            raise SandboxError(
                f"Holdfast's own store lies in {found[0]!r}, and without mounts the sandbox 'process' cannot hide it: "
                "keep it elsewhere (--store), work in another folder, or take the sandbox native"
            )
        return plan

    @property
    def can(self) -> frozenset[str]:
        """What takes neither mounts nor a network of its own."""
        return frozenset(("landlock", "ready", "counted"))

    async def start(self, command: str, *, name: str, folder: Path, env: Mapping[str, str], call: str = "") -> Process:
        """Refuses, as the port says."""
        return await Backend.start(self, command, name=name, folder=folder, env=env, call=call)

    async def update(self, policy: Policy, services: Mapping[str, Service]) -> None:
        """Refuses, as the port says: every socket is refused."""
        await Backend.update(self, policy, services)

    async def interact(self, argv: Sequence[str], *, folder: Path, env: Mapping[str, str], talk: Talk) -> Ended:
        """Refuses: a terminal of its own takes mounts, and those of the user must not be reached."""
        raise SandboxError("the sandbox 'process' has no terminals: run single commands, or take the sandbox native")
