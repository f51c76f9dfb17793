"""The bundle that OCI runtimes read: what a container is, as their specification lays it down.

The root is put together before a runtime starts (`programs/keeping.py`), so a bundle needs no image and no mounts of
files; what it adds is file systems of the kernel's. Numbers of users are written `"@user"` and `"@root"`, and filled in
there, as are the words and the variables of each command.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.sandbox.backends.filters import filter_of
from holdfast.sandbox.programs.keeping import PLACE

__all__ = ("bundle",)

_MASKED = ("kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi", "acpi", "asound")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_SHARED_MEMORY = 64 * 1024**2
# One pipe for both: some runtimes have two, and then what was printed first need not come first. The last word is the
# number of that pipe, which `programs/keeping.py` sets to that of errors where those are apart.
_FIRST = ("/bin/bash", "-c", 'exec 3>&"$0" 2>/dev/null; "$@" 2>&3 3>&-; exit $?', "1")
"""The first process; it is deaf to most signals, and so must not be the command, whose limits are told by signals."""
_NAMESPACES = ("pid", "mount", "ipc", "uts", "network")


def bundle(plan: Mapping[str, Any], *, own_user: bool) -> str:
    """Returns a `config.json`.

    Args:
        plan: The sandbox's plan (`native/planning.py`).
        own_user: Whether it gets a user namespace, in which its user stands for one that nobody else is.
    """
    uid = plan["uid"]
    limits = [{"type": f"RLIMIT_{name.upper()}", **_both(name, most)} for name, most in plan["rlimits"].items()]
    linux: dict[str, Any] = {
        "namespaces": [{"type": each} for each in (*_NAMESPACES, *(("user",) if own_user else ()))],
        "maskedPaths": [f"/proc/{each}" for each in _MASKED],
        "readonlyPaths": [f"/proc/{each}" for each in _READ_ONLY],
        "seccomp": filter_of(platform.machine()),
    }
    if own_user:
        maps = [{"containerID": 0, "hostID": "@root", "size": 1}, {"containerID": uid, "hostID": "@user", "size": 1}]
        linux |= {"uidMappings": maps, "gidMappings": maps}
    process: dict[str, Any] = {
        "terminal": False,
        "user": {"uid": uid, "gid": uid},
        "args": [*_FIRST],
        "capabilities": {each: [] for each in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": limits,
        "noNewPrivileges": True,
    }
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": PLACE, "readonly": own_user},
        "hostname": "sandbox",
        "mounts": [*_mounts(), *(() if own_user else _scratch(plan["mounts"]))],
        "linux": linux,
    }
    return msgspec.json.encode(config).decode()


def _both(name: str, most: int) -> dict[str, int]:
    return {"soft": most - (name == "cpu"), "hard": most}  # as `native/building.py` sets them


def _mounts() -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec"]
    memory = [*safe, "nodev", "mode=1777", f"size={_SHARED_MEMORY}"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": [*safe, "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "dev", "options": ["nosuid", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": [*safe, "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "memory", "options": memory},
    ]


def _scratch(mounts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what lies in memory in the root, once more by name: gVisor puts something of its own over `/tmp` else."""
    found = [each["path"] for each in mounts if each["kind"] == "memory"]
    return [
        {"destination": path, "type": "bind", "source": f"{PLACE}{path}", "options": ["rbind", "rw", "nosuid", "nodev"]}
        for path in found
    ]
