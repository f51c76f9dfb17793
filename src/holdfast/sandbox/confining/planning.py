"""From a profile to the plan of a sandbox without namespaces: the paths of any other plan, as rules for Landlock.

What is mounted read-only elsewhere can be read here, what is mounted writable can be written, and everything else
cannot be opened. Of `/proc` there are a few files about the machine: which processes are one's own no rule can say.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.native.planning import plan_of
from holdfast.sandbox.policy.profile import Profile

__all__ = ("bare_plan_of", "look_around")

_ABOUT_THE_MACHINE = ("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys")
_PROGRAMS = "/usr"
_BROUGHT = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""What comes with packages, and holds no secret; as `/usr` does but for what is put into its `local` by hand, and the
Python that runs us.
"""
_RIGHTS = {"ro": landlock.READ, "rw": landlock.WRITE, "dev": landlock.WRITE}


def bare_plan_of(
    profile: Profile, folder: Path, *, whose: tuple[str, int], groups: Collection[str] = ()
) -> dict[str, Any]:
    """Returns the plan of a sandbox without namespaces for a workspace; see `plan_of`."""
    plan = plan_of(profile, folder, "", whose=whose, groups=groups)
    # Whoever stays root owns what only root may read; nobody else could open it anyway.
    is_root = os.geteuid() == 0 and plan["owner"][0] == 0
    rules = [(f"/proc/{name}", landlock.READ) for name in _ABOUT_THE_MACHINE]
    for each in plan["mounts"]:
        path, rights = str(each["path"]), _RIGHTS.get(each["kind"])
        if rights is None:
            continue
        if each["kind"] == "ro" and is_root and not each.get("owned"):
            rules += [(public, rights) for public in _readable(path)]
        else:
            rules.append((path, rights))
    whose_it_is = {**plan["whose"], "asked": True}  # to end: what it started would outlive it
    owned = [each["path"] for each in plan["mounts"] if each.get("owned")]
    bounds = {**plan["bounds"], "scratch": [], "writable": owned}  # what else it may write is the machine's
    return plan | {"mounts": [], "landlock": rules, "owned": owned, "whose": whose_it_is, "bounds": bounds}


def look_around(profile: Profile) -> None:
    """Finds out what everybody may read of what a profile gives, where plans ask for that: it takes a while, once."""
    bare_plan_of(profile, Path("/"), whose=("", 0))


@cache
def _readable(path: str) -> tuple[str, ...]:
    """Returns what of a path everybody could read when it was first asked for."""
    if path in _BROUGHT or path in (os.path.realpath(sys.base_prefix), os.path.realpath(sys.prefix)):
        return (path,)
    if path != _PROGRAMS:
        return tuple(_public(path)[0])
    brought = [f"{path}/{name}" for name in _names(path) if name != "local"]
    return (*brought, *_public(f"{path}/local")[0])


def _public(path: str) -> tuple[list[str], bool]:
    """Returns what of a path everybody may read, in as few paths as there can be, and whether that is all of it."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return [], True
    if stat.S_ISLNK(mode):  # where it leads has rules of its own
        return [], True
    if not stat.S_ISDIR(mode) or mode & 0o005 != 0o005:
        is_open = stat.S_ISREG(mode) and bool(mode & 0o004)
        return [path] if is_open else [], is_open
    found: list[str] = []
    whole = True
    for name in _names(path):
        below, all_of_it = _public(f"{path}/{name}")
        found += below
        whole = whole and all_of_it
    return ([path], True) if whole else (found, False)


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []
