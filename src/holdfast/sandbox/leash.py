"""Ends our process groups when we end, however we end.

A command that outlives a killed runtime would go on changing the workspace while the session is resumed. So one
small shell, in a group of its own, is told of each group when it starts and when it is over; when its input
ends, because we are gone, it kills the groups that are left. It starts with the first command and costs two
short writes for each.

Not here: a process that leaves its group (`setsid`) also leaves the leash; `fencing.py` finds it by its mark.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

__all__ = ("hold", "release")

_SCRIPT = """
trap '' HUP INT QUIT TERM
declare -A groups
while read -r sign group; do
  case $sign in
    +) groups[$group]=1 ;;
    -) unset "groups[$group]" ;;
  esac
done
for group in "${!groups[@]}"; do kill -KILL -- "-$group"; done
"""


class _Leash:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pipe = -1
        self.owner = 0
        self.shell = 0
        self.groups: set[int] = set()

    def tell(self, sign: str, group: int, shell: str) -> None:
        with self.lock:
            if self.owner != os.getpid():
                # First use, or a forked child: the parent's shell is not for its groups.
                self.groups = set()
                self._start(shell)
            _change(self.groups, sign, group)
            try:
                os.write(self.pipe, f"{sign} {group}\n".encode())
            except BrokenPipeError:
                # Somebody killed it: another one takes over.
                with suppress(ChildProcessError):
                    os.waitpid(self.shell, os.WNOHANG)
                self._start(shell)
                for other in self.groups:
                    os.write(self.pipe, f"+ {other}\n".encode())

    def _start(self, shell: str) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
        reading, self.pipe = os.pipe()
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, nowhere, 1)]
            actions.append((os.POSIX_SPAWN_DUP2, nowhere, 2))
            # Its own group, so that Ctrl-C at a terminal does not end it before us.
            self.shell = os.posix_spawn(shell, [shell, "-c", _SCRIPT], {}, file_actions=actions, setpgroup=0)
        finally:
            os.close(reading)
            os.close(nowhere)
        self.owner = os.getpid()


_leash = _Leash()


def hold(group: int, shell: str) -> None:
    """Has the group killed when this process is gone; `shell` is where bash is."""
    _leash.tell("+", group, shell)


def release(group: int, shell: str) -> None:
    """Forgets a group that is over."""
    _leash.tell("-", group, shell)


def _change(groups: set[int], sign: str, group: int) -> None:
    if sign == "+":
        groups.add(group)
    else:
        groups.discard(group)
