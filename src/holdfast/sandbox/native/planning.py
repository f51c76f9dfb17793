"""From a profile to a plan: what is mounted where in a sandbox, what its processes may use, and whose it is.

A plan is what the launcher reads; `building.py` does it. Of the machine a sandbox sees the system's programs, the
interpreter that runs us, and what its policy names; of the user's files only the workspace, at its own path.
Everything else does not exist there, whoever may read it outside.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.policy.openshell import SYSTEM
from holdfast.sandbox.policy.profile import Profile, Quotas
from holdfast.sandbox.protecting.hiding import hide
from holdfast.sandbox.protecting.layout import layout_of

__all__ = ("CERTIFICATES", "PROXY_PORT", "SCRATCH", "UID", "plan_of")

UID = 1000
"""The user that commands think they are."""
CERTIFICATES = "/run/holdfast/certificates.pem"
"""Where the sandbox's programs find whom to trust."""
PROXY_PORT = 3128
"""Where the only way out is, on the sandbox's loopback."""
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx"))
SCRATCH = 1024**3
"""Bytes of `/tmp` and of the home folder, each, where no quota says less."""
_INODES = 100_000
_SHARED = 64 * 1024**2
_WRITABLE = ("rw", "layer", "memory", "dev", "terminals", "processes")
_ADDRESSES = 4
"""Times the memory quota a process may reserve where no control group counts what is used of it."""


def plan_of(
    profile: Profile,
    folder: Path,
    home: str,
    *,
    whose: tuple[str, int],
    trusted: str = "",
    groups: Collection[str] = (),
    apart: Mapping[Path, bool] | None = None,
) -> dict[str, Any]:
    """Returns the plan of a sandbox for a workspace.

    Args:
        profile: What is wished.
        folder: The workspace, resolved.
        home: The path of the home folder that programs find there, empty and for the sandbox's life only.
        whose: The owner and its epoch, for fencing.
        trusted: Certificates that programs in there trust, where there is a way out; empty where there is none.
        groups: What control groups bound; where they do not, limits of each process and user do.
        apart: Resolved paths of which nothing is seen in there, each with whether it is a folder's.

    Raises:
        OSError: there is no such folder.
        SandboxError: too much would have to be held in it, or what is apart cannot be hidden.
    """
    limits = profile.limits
    held = os.lstat(folder)
    mounts = _mounts(profile, str(folder), home, trusted)
    if apart:
        mounts = hide(mounts, apart)
    return {
        "uid": UID,
        "gid": UID,
        "owner": (held.st_uid, held.st_gid),
        "whose": {"owner": whose[0], "epoch": whose[1]},
        "mounts": mounts,
        "landlock": _rules(mounts),
        "group": {"memory": limits.memory, "cpus": limits.cpus, "pids": limits.pids},
        "rlimits": _rlimits(limits, groups),
        "bounds": _bounds(limits, mounts),
        "most": limits.sandboxes or 0,
        "listen": PROXY_PORT if trusted else 0,
        "cwd": str(folder),
    }


def _mounts(profile: Profile, folder: str, home: str, trusted: str) -> list[dict[str, Any]]:
    limits, rules = profile.limits, profile.policy.filesystem_policy
    size, inodes = min(limits.disk or SCRATCH, SCRATCH), min(limits.inodes or _INODES, _INODES)
    mounts: dict[str, dict[str, Any]] = {}

    def add(path: str, kind: str, **more: object) -> None:
        mounts[path] = {"path": path, "kind": kind, **more}

    for path in SYSTEM if rules is None else rules.read_only:
        _add_as_it_is(add, path, "ro")
    for path in _interpreter():
        add(path, "ro")
    for path in () if rules is None else rules.read_write:
        _add_as_it_is(add, path, "rw", owned=_owner(path) == _owner(folder))  # others' files stay others'
    _add_own(add, size, inodes)
    if home not in ("", "/"):
        add(home, "memory", size=size, inodes=inodes, mode="700", uid="own")
    if trusted:
        add(CERTIFICATES, "file", text=trusted)
    if "/etc" in mounts:
        add("/etc/passwd", "file", text=f"root:x:0:0::/:/bin/sh\nuser:x:{UID}:{UID}::{home or '/tmp'}:/bin/bash\n")
        add("/etc/group", "file", text=f"root:x:0:\nuser:x:{UID}:\n")
    kind = "rw" if profile.workspace.apply == "at-once" else "layer"
    if rules is not None and not rules.include_workdir:
        kind = "ro"
    own = {"uid": "own"} if kind == "layer" else {}
    protect = sorted(layout_of(folder, profile.workspace.protect))
    add(folder, kind, owned=True, protect=protect, size=size, inodes=inodes, **own)
    return sorted(mounts.values(), key=lambda each: str(each["path"]).count("/"))


def _add_own(add: Callable[..., None], size: int, inodes: int) -> None:
    """Adds what each sandbox has of its own."""
    add("/proc", "processes")
    add("/dev", "folder")
    for name in _DEVICES:
        add(f"/dev/{name}", "dev")
    for name, target in _LINKS:
        add(f"/dev/{name}", "link", target=target)
    add("/dev/pts", "terminals")
    add("/dev/shm", "memory", size=min(size, _SHARED), inodes=inodes)
    add("/tmp", "memory", size=size, inodes=inodes)
    add("/var/tmp", "memory", size=size, inodes=inodes)


def _owner(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_uid
    return -1


def _add_as_it_is(add: Callable[..., None], path: str, kind: str, **more: object) -> None:
    """Adds a path of the machine: a link as a link, what is missing not at all."""
    if os.path.islink(path):
        add(path, "link", target=os.readlink(path))
    elif os.path.exists(path) and not path.startswith(("/proc", "/dev")):
        add(path, kind, **more)


@cache
def _interpreter() -> list[str]:
    """Returns the folders of the Python that runs us, where they are not the system's."""
    folders = {os.path.realpath(each) for each in (sys.base_prefix, sys.prefix)}
    return sorted(each for each in folders if each.strip("/") and not each.startswith("/usr/"))


def _rules(mounts: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Returns what Landlock allows: the root can be read, and some of it written."""
    if not landlock.abi():
        return []
    writable = [str(each["path"]) for each in mounts if each["kind"] in _WRITABLE]
    return [("/", landlock.READ), *((path, landlock.WRITE) for path in writable)]


def _bounds(limits: Quotas, mounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what the first process is to know to measure what a command uses (`bounds/measuring.py`)."""
    return {
        "cpu": limits.cpu,
        "file": limits.file,
        "scratch": [each["path"] for each in mounts if each["kind"] == "memory"],
        "writable": [each["path"] for each in mounts if each["kind"] in ("rw", "layer", "memory")],
    }


def _rlimits(limits: Quotas, groups: Collection[str]) -> dict[str, int]:
    given = {
        "core": 0,
        "nofile": limits.nofile,
        "nproc": None if "pids" in groups else limits.pids,
        "fsize": limits.file,
        "cpu": None if limits.cpu is None else max(1, ceil(limits.cpu)) + 1,
        "as": None if "memory" in groups or limits.memory is None else limits.memory * _ADDRESSES,
    }
    return {name: most for name, most in given.items() if most is not None}
