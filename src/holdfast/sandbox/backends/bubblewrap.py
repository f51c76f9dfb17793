"""Bubblewrap, hardened: started as a user nobody else is, in a root put together beforehand, under a seccomp filter.

Started by the machine's root it would let a command write what the kernel obeys; so the rights go before it starts.
"""

from __future__ import annotations

from typing import Any, final

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.installed import InstalledProgram
from holdfast.sandbox.backends.observing import REASONS, Observed, find, seen, unbounded
from holdfast.sandbox.programs.keeping import PLACE

__all__ = ("Bubblewrap",)

_UNSHARED = ("user", "pid", "net", "ipc", "uts")
_SHARED_MEMORY = 64 * 1024**2


@final
class Bubblewrap(InstalledProgram):
    """Runs each command in `bwrap`; also without root, then as our user and without control groups."""

    name = "bubblewrap"

    def find(self) -> str:
        """Returns where `bwrap` is."""
        if (found := find("bwrap")) is None:
            raise IsolationMissing("there is no 'bwrap' on the PATH: install the package bubblewrap")
        return found

    def program_of(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Returns how to start it; what it is given goes through a descriptor, where nobody else can read it."""
        uid = str(plan["uid"])
        arguments = [
            *("--bind", PLACE, "/", "--proc", "/proc", "--dev", "/dev"),
            *("--perms", "1777", "--size", str(_SHARED_MEMORY), "--tmpfs", "/dev/shm"),
            *("--remount-ro", "/dev", "--hostname", "sandbox"),
            *(f"--unshare-{each}" for each in _UNSHARED),
            *("--unshare-cgroup-try", "--disable-userns", "--uid", uid, "--gid", uid, "--cap-drop", "ALL"),
            *("--die-with-parent", "--new-session", "--clearenv"),
        ]
        words = [self.program, "--args", "@arguments", "--seccomp", "@filter", "--json-status-fd", "@status", "--"]
        return {"words": [*words, "@command"], "arguments": arguments, "rlimits": plan["rlimits"]}

    def judge(self, observed: Observed) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns what was seen to be on; nothing bounds what is added to the workspace."""
        return seen(observed, self.profile.limits), unbounded(observed, self.profile.limits)

    def reason(self, layer: str) -> str:
        """Says why a layer is not on."""
        return REASONS.get(layer, f"{self.program} does not do it here, or the profile does not ask for it")
