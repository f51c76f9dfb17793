"""Ends all that a process started where no namespace does it: a subreaper inherits every orphan below it, so whoever
kills its own children again and again meets all of its descendants.

Only children are killed, and the number of a child is nobody else's until its parent has collected it; what else the
user runs on this machine is never in reach. Nothing is collected before everything is dead: the dead still count to
every limit of processes, so what multiplies runs out of room instead of taking theirs. The list of children is opened
before Landlock, which then refuses it.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Container
from contextlib import suppress

from holdfast.sandbox.kernel import syscalls

__all__ = ("Children",)

_PIECE = 1 << 16
_DEAD = os.WEXITED | os.WNOWAIT


class Children:
    """The children of this process, which has a single thread; from now on also what its descendants leave behind."""

    def __init__(self) -> None:
        """Raises OSError where the kernel tells nobody who his children are."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        path = f"/proc/self/task/{threading.get_native_id()}/children"
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def kill(self) -> None:
        """Kills every child, and what comes to this process by that, to the last; they are still to be collected."""
        killed: set[int] = set()
        while pid := self._strike((), killed):
            os.waitid(os.P_PID, pid, _DEAD)

    def end(self, spared: Container[int] = (), seconds: float | None = None) -> int:
        """Kills every child but the spared ones, and what comes to this process by that, and collects it.

        Returns 0; or where that takes longer than so many seconds one that has yet to end, and then nothing is
        collected.
        """
        until = None if seconds is None else time.monotonic() + seconds
        killed: set[int] = set()
        while pid := self._strike(spared, killed):
            if until is None:
                os.waitid(os.P_PID, pid, _DEAD)
            elif time.monotonic() > until:
                return pid
            else:
                os.sched_yield()
        for pid in killed:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        return 0

    def _strike(self, spared: Container[int], killed: set[int]) -> int:
        """Kills those that are new, and returns one that is to be dead before the next time; 0 once there is none."""
        # Asked first: what ends later leaves orphans that the list does not hold yet.
        dying = next((pid for pid in killed if os.waitid(os.P_PID, pid, _DEAD | os.WNOHANG) is None), 0)
        fresh = [pid for pid in self._all() if pid not in spared and pid not in killed]
        for pid in fresh:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(fresh)
        return fresh[-1] if fresh else dying

    def _all(self) -> list[int]:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return [int(each) for each in b"".join(iter(lambda: os.read(self.descriptor, _PIECE), b"")).split()]
