"""Measures in a sandbox what a command used: its CPU, and the room in the folders of the sandbox's own.

What is told from in here is told by the first process, which no command can reach.

The first process of a sandbox loads this: the standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from resource import struct_rusage
from typing import Any, final

__all__ = ("Folders", "Spending")

_TICK = os.sysconf("SC_CLK_TCK")
_SOONEST, _GRACE = 0.02, 1.0
"""Seconds between two looks at what is used, at least; and of CPU between the polite signal and the other one."""
_ENTRIES, _SECONDS = 50_000, 1.0
"""How much is looked through for a file that met its quota."""
_CLOCK = 0.05
"""Seconds by which the kernel's time of a file may be behind."""


@final
class Spending:
    """The CPU of one command and everything it starts, which is bounded together."""

    def __init__(self, leader: int, most: float, others: Callable[[], Collection[int]]) -> None:
        """`others` returns all processes in here that are the command's."""
        self._leader = leader
        self._most = most
        self._others = others
        self.spent = 0.0
        """Seconds of those that have ended: of all, where nobody else is left."""
        self._told = False
        self._look_at = 0.0
        self._plan(0.0)

    def _plan(self, used: float) -> None:
        left = self._most + (_GRACE if self._told else 0) - used
        self._look_at = time.monotonic() + max(_SOONEST, left / (os.cpu_count() or 1))

    @property
    def patience(self) -> float:
        """Milliseconds until it is to be looked at again: no sooner can it all be used."""
        return max(0.0, self._look_at - time.monotonic()) * 1000 + 1

    def collected(self, used: struct_rusage) -> None:
        """Counts a process that has ended, with those it had collected itself."""
        self.spent += used.ru_utime + used.ru_stime

    def used(self) -> float:
        """Returns the seconds so far."""
        return self.spent + sum(_ticks_of(pid) for pid in self._others()) / _TICK

    def is_over(self) -> bool:
        """Looks, when it is time to; asks what uses too much to end, and returns whether it is to be killed."""
        if time.monotonic() < self._look_at:
            return False
        used = self.used()
        if self._told and used >= self._most + _GRACE:
            return True
        if not self._told and used >= self._most:
            self._told = True
            with suppress(OSError):
                os.killpg(self._leader, signal.SIGXCPU)
        self._plan(used)
        return False


def _ticks_of(pid: int) -> int:
    with suppress(OSError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
        return sum(int(each) for each in file.read().rpartition(b")")[2].split()[11:15])
    return 0


@final
class Folders:
    """The folders that commands may write, and what was found there before."""

    def __init__(self, bounds: Mapping[str, Any]) -> None:
        """`bounds` are those of a plan (`native/planning.py`)."""
        self._scratch: Sequence[str] = bounds.get("scratch", ())
        self._writable: Sequence[str] = bounds.get("writable", ())
        self._file: int | None = bounds.get("file")
        self._told = set[tuple[int, int, int]]()
        """Files that were as large as one may be, as they were then."""

    def met(self, since: float) -> list[str]:
        """Returns the names of quotas that are met by what lies there: `disk` and `inodes` where a folder of the
        sandbox's own is full, `file` where a file that was written `since` is exactly as large as one may be.
        """
        found = self._full()
        if self._file is not None and self._holds_largest(self._file, since - _CLOCK):
            found.append("file")
        return found

    def _full(self) -> list[str]:
        found: dict[str, None] = {}
        for folder in self._scratch:
            with suppress(OSError):
                room = os.statvfs(folder)
                if not room.f_bavail:
                    found["disk"] = None
                if not room.f_favail:
                    found["inodes"] = None
        return list(found)

    def _holds_largest(self, size: int, since: float) -> bool:
        """A limit that is met leaves the file at it: the kernel writes as much as is allowed, and refuses the rest."""
        found = set[tuple[int, int, int]]()
        left, end = _ENTRIES, time.monotonic() + _SECONDS
        todo = list(self._writable)
        while todo and left > 0 and time.monotonic() < end:
            with suppress(OSError), os.scandir(todo.pop()) as entries:
                for each in islice(entries, left):
                    left -= 1
                    with suppress(OSError):
                        if each.is_dir(follow_symlinks=False):
                            todo.append(each.path)
                        elif each.is_file(follow_symlinks=False):
                            status = each.stat(follow_symlinks=False)
                            if status.st_size == size and status.st_mtime >= since:
                                found.add((status.st_dev, status.st_ino, status.st_mtime_ns))
        fresh = found - self._told
        self._told = found
        return bool(fresh)
