"""From a profile to the plan of a sandbox without namespaces: the paths of any other plan, as rules for Landlock.

What is mounted read-only elsewhere can be read here, what is mounted writable can be written, and everything else
cannot be opened. Of `/proc` there are a few files about the machine: which processes are one's own no rule can say.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.native.planning import plan_of
from holdfast.sandbox.policy.profile import Profile

__all__ = ("bare_plan_of",)

_ABOUT_THE_MACHINE = ("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys")
_SETTINGS = "/etc"
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
        if path == _SETTINGS and is_root:
            rules += [(public, rights) for public in _public(path)[0]]
        else:
            rules.append((path, rights))
    whose_it_is = {**plan["whose"], "asked": True}  # to end: what it started would outlive it
    return plan | {"mounts": [], "landlock": rules, "whose": whose_it_is}


def _public(folder: str) -> tuple[list[str], bool]:
    """Returns what of a folder everybody may read, in as few paths as there can be, and whether that is all of it."""
    found: list[str] = []
    whole = True
    for path, status in _entries(folder):
        if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o005 == 0o005:
            below, all_of_it = _public(path)
            found += [path] if all_of_it else below
            whole = whole and all_of_it
        elif stat.S_ISREG(status.st_mode) and status.st_mode & 0o004:
            found.append(path)
        elif not stat.S_ISLNK(status.st_mode):  # where a link leads has rules of its own
            whole = False
    return found, whole


def _entries(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for each in entries:
            yield each.path, each.stat(follow_symlinks=False)
