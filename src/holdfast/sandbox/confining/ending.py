"""Ends all that a process started where no namespace does it: a subreaper inherits every orphan below it, so whoever
kills its own children again and again meets all of its descendants.

Only children are killed, and the number of a child is nobody else's until its parent has collected it; what else the
user runs on this machine is never in reach. The list of children is opened before Landlock, which then refuses it.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Container
from contextlib import suppress

from holdfast.sandbox.kernel import syscalls

__all__ = ("Children",)

_LARGE = 1 << 20


class Children:
    """The children of this process, which has a single thread; from now on also what its descendants leave behind."""

    def __init__(self) -> None:
        """Raises OSError where the kernel tells nobody who his children are."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        path = f"/proc/self/task/{threading.get_native_id()}/children"
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def kill(self, spared: Container[int] = ()) -> list[int]:
        """Kills every child but the spared ones, and returns their numbers; they are still to be collected."""
        found = [int(each) for each in os.pread(self.descriptor, _LARGE, 0).split()]
        wanted = [pid for pid in found if pid not in spared]
        for pid in wanted:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return wanted

    def end(self, spared: Container[int] = ()) -> None:
        """Kills and collects every child but the spared ones, and what comes to this process by that, to the last."""
        while wanted := self.kill(spared):
            for pid in wanted:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
