"""Tells which quota a command ran into, as far as the kernel, the sandbox's folders and its output show that.

A limit on open files shows nowhere but in the program's own words, so it has no name here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

from holdfast.errors import SandboxError
from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.policy.profile import Profile, Quotas
from holdfast.sandbox.processes import Breach, Ended

__all__ = ("ENDED_BY_ITSELF", "breach_of", "is_stuck", "met_anew")

ENDED_BY_ITSELF: Final[tuple[Breach | None, ...]] = (None, "output")
"""Breaches with which a command went on to its own end."""
_NEARLY = 0.9
"""The share of its seconds from which on a command that failed did so for want of CPU: the kernel counts in ticks."""


async def breach_of(
    box: Box, ended: Ended, limits: Quotas, since: float, look: Callable[[], Awaitable[dict[str, int]]]
) -> Breach | None:
    """Returns the quota that a command ran into which ended in time, and which began `since`.

    `look` returns how often the limits of the control group were hit.
    """
    if _is_out_of_cpu(box, ended, limits):
        return "cpu"
    if ended.code == 128 + signal.SIGXFSZ and limits.file is not None:
        return "file"
    if box.changes >= 0 and (full := _full(box.changes)) is not None:
        return full
    if ended.code:
        with suppress(SandboxError, TimeoutError, OSError):
            hits = await look()
            known, box.breaches = box.breaches, hits
            for name in ("memory", "pids"):
                if hits.get(name, 0) > known.get(name, 0):
                    return name
        if (met := await met_anew(box, since)) is not None:
            return met
    return "output" if limits.output is not None and ended.output.total > limits.output else None


def _is_out_of_cpu(box: Box, ended: Ended, limits: Quotas) -> bool:
    if limits.cpu is None:
        return False
    used = box.told.get("cpu", 0.0)
    used = float(used) if isinstance(used, int | float) else 0.0
    return used >= limits.cpu * (_NEARLY if ended.code else 1) or ended.code == 128 + signal.SIGXCPU


async def met_anew(box: Box, since: float) -> Breach | None:
    """Returns a quota that is met in a sandbox's folders, and was not when somebody looked last."""
    met = await box.look(since)
    known, box.met = box.met, frozenset(met) - {"file"}
    names: Collection[Breach] = ("file", "disk", "inodes")
    return next((each for each in names if each in met and each not in known), None)


def _full(layer: int) -> Breach | None:
    """Returns the quota at which a layer is full: what a command wrote last may be cut off, whatever its exit code."""
    room = os.fstatvfs(layer)
    if not room.f_bavail:
        return "disk"
    return None if room.f_favail else "inodes"


def is_stuck(box: Box, profile: Profile) -> bool:
    """Whether what lies in the sandbox's own folders takes the memory that its next command needs."""
    most = profile.limits.memory
    return box.group is not None and most is not None and not box.kept and box.group.lasting() > most // 2
