"""What a backend's sandbox is like on this machine, told from inside and from outside: what a posture is made of."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from holdfast.sandbox.policy.profile import Quotas
from holdfast.sandbox.processes import Breach, Ended

__all__ = ("GROUPED", "LOOK", "REASONS", "Observed", "breach_of", "find", "seen", "unbounded", "ungrouped_ways")

LOOK: Final = """
while read -r line; do printf '%s\\n' "$line"; done </proc/self/status
for each in user pid mnt net ipc uts; do printf 'ns_%s:%s\\n' "$each" "$(readlink "/proc/self/ns/$each")"; done
read -r line </proc/version; printf 'version:%s\\n' "$line"
if [ -e "$CANARY" ]; then printf 'canary:seen\\n'; fi
if (printf x >"$GUARDED") 2>/dev/null; then printf 'guarded:written\\n'; fi
if [ -e "$GUARDED" ]; then printf 'workspace:seen\\n'; fi
"""
"""Says what it is like in there; `CANARY` is a file that is not to be there, `GUARDED` a protected one."""
REASONS: Final = {
    "own-kernel": "commands share the machine's kernel: use gvisor",
    "own-uid": "only root may give a sandbox a user of its own: run as root",
    "landlock": "paths are bounded by mounts alone: use native",
    "disk-quota": "commands write to the workspace itself: use native",
    "inode-quota": "commands write to the workspace itself: use native",
    "egress-proxy": "there is no network at all, so there is no way out to judge",
}
"""Why layers are not on that no program here gives."""
_NAMESPACES = {"userns": "user", "pidns": "pid", "mountns": "mnt", "netns": "net", "ipcns": "ipc", "utsns": "uts"}
_AT_ONCE = ("disk_fill_700MB", "inode_fill_20k")
"""Ways that are open because the workspace is the folder itself, which has no bound."""
GROUPED: Final = {"memory": ("memory_1500MB", "memory_many_processes"), "cpu": ("cpu_unlimited",), "pids": ()}
"""What control groups limit, and the ways that are open where they do not."""
_FOUND: Final[tuple[Breach, ...]] = ("file", "disk", "inodes")
"""Quotas that are found to be met by looking at what lies there."""
_BESIDES = "/usr/local/sbin:/usr/sbin:/sbin"


class Observed(msgspec.Struct, frozen=True):
    """What a sandbox said of itself from inside, and whoever started it of the outside."""

    inside: Mapping[str, str]
    user: int
    """Whose processes they are on this machine."""
    without: Mapping[str, str]
    """What control groups cannot limit, and why."""


def find(program: str) -> str | None:
    """Returns where a program is; also where only administrators look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_BESIDES}")


def unbounded(observed: Observed, limits: Quotas) -> tuple[str, ...]:
    """Returns the ways that stay open because nothing bounds what is added to the workspace, or no group is limited."""
    limited = {"memory": limits.memory, "cpu": limits.cpus}
    lacking = [kind for kind, most in limited.items() if most is None or kind in observed.without]
    return tuple(sorted([*_AT_ONCE, *ungrouped_ways(lacking, limits)]))


def ungrouped_ways(lacking: Iterable[str], limits: Quotas) -> list[str]:
    """Returns the ways that are open because no group limits what is named."""
    # Seconds of CPU bound it, too.
    return [way for kind in lacking if kind != "cpu" or limits.cpu is None for way in GROUPED[kind]]


def seen(observed: Observed, limits: Quotas) -> dict[str, str]:
    """Returns the layers that can be told from inside, and by whose the processes are."""
    inside = observed.inside
    on = {
        layer: ""
        for layer, name in _NAMESPACES.items()
        if (there := inside.get(f"ns_{name}")) and there != os.readlink(f"/proc/self/ns/{name}")  # noqa: PTH115
    }
    facts = {
        "own-uid": observed.user != os.geteuid(),
        "private-root": "canary" not in inside and "workspace" in inside,
        "protected-paths": "guarded" not in inside and "workspace" in inside,
        "seccomp": inside.get("Seccomp") == "2",
        "no-new-privs": inside.get("NoNewPrivs") == "1",
        "no-capabilities": {inside.get(f"Cap{each}", "?").strip("0") for each in ("Prm", "Eff", "Bnd")} == {""},
        "rlimits": True,
        "cgroup.memory": limits.memory is not None and "memory" not in observed.without,
        "cgroup.cpu": limits.cpus is not None and "cpu" not in observed.without,
        "cgroup.pids": limits.pids is not None and "pids" not in observed.without,
    }
    return on | {layer: "" for layer, holds in facts.items() if holds}


def breach_of(ended: Ended, told: Mapping[str, Any], limits: Quotas, kept_less: bool, sooner: bool) -> Breach | None:
    """Returns the quota a command ran into, as far as that can be told.

    `told` is what the keeper told; `kept_less` and `sooner` say whether a quota, not the caller, bounded the output
    and the time.
    """
    counts: Mapping[str, int] = told.get("breaches", {})
    hits: tuple[tuple[Breach, object], ...] = (
        ("memory", ended.code and counts.get("memory")),
        ("cpu", limits.cpu is not None and _is_out_of_cpu(ended, told, limits.cpu)),
        ("file", limits.file is not None and ended.code == 128 + signal.SIGXFSZ),
        *((name, told.get("met") == name) for name in _FOUND),
        ("pids", ended.code and counts.get("pids")),
        ("wall", sooner and ended.timed_out),
        ("output", kept_less and ended.output.omitted),
    )
    return next((name for name, hit in hits if hit), None)


def _is_out_of_cpu(ended: Ended, told: Mapping[str, Any], most: float) -> bool:
    killed = ended.code == 128 + signal.SIGKILL and told.get("cpu", 0) >= most
    return killed or ended.code == 128 + signal.SIGXCPU
