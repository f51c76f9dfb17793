"""First processes that wait for a sandbox to begin: born into namespaces and in a control group, before anybody asks.

Forking, a network of its own and above all joining a group take longer than the rest together: kernels that do not
favour it wait until every processor was idle once. So the launcher keeps one ready, and makes the next while the
sandbox of the last one is being built. A blank knows nothing of a sandbox yet, and has no descriptor but its own.

Loaded by the launcher: the standard library and `sandbox/kernel/` only.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, final

from holdfast.sandbox.kernel import syscalls
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.native.talking.wire import receive, send

__all__ = ("BLANK", "FIRST", "Become", "Blank", "name_process")

Become = Callable[[dict[str, Any], Sequence[int]], object]
"""Goes on as the first process of a sandbox, given its plan and the descriptors that came with it."""

BLANK, FIRST = "holdfast-blank", "holdfast-box"
"""What such a process is called for whoever lists processes, and what it is called in a sandbox."""
_END = 3


@final
class Blank:
    """One of them, as the launcher has it."""

    def __init__(self, place: int, group: Group | None, pid: int, descriptor: int, end: socket.socket) -> None:
        self.place = place
        self.group = group
        self.pid = pid
        self.descriptor = descriptor
        """A pidfd, which is whoever's who goes on with the process."""
        self._end = end

    @classmethod
    def fork(cls, place: int, group: Group | None, flags: int, ready: Callable[[], object], become: Become) -> Blank:
        """Returns a new one, born into the namespaces of these flags.

        `ready` is done in it at once, `become` when its sandbox begins.

        Raises:
            OSError: there is no room for it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid, descriptor = syscalls.fork_into(flags)
            if pid == 0:
                _wait(theirs, ready, become)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(place, group, pid, descriptor, ours)

    def begin(self, plan: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Has it become the first process of a sandbox.

        Raises:
            OSError: somebody killed it.
        """
        with self._end:
            send(self._end, plan, descriptors)

    def drop(self) -> None:
        """Ends it, and returns when it is gone."""
        self._end.close()
        with suppress(OSError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def name_process(name: str) -> None:
    """Has this process listed by another name, of 15 letters at most."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name)


def _wait(end: socket.socket, ready: Callable[[], object], become: Become) -> None:
    """Waits for a plan and goes on by it; never returns."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nothing, each)
        if (held := end.detach()) != _END:
            os.dup2(held, _END, inheritable=False)
        syscalls.close_above(_END + 1)  # or it would hold what tells others that the launcher is gone
        ready()
        name_process(BLANK)
        end = socket.socket(fileno=_END)
        become(*receive(end))
    except BaseException:  # noqa: BLE001 - boundary: nothing may go on as the launcher in here
        pass
    finally:
        os._exit(1)
