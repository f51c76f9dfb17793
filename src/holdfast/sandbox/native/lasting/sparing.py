"""Ends what a command left in a sandbox, and spares the processes that are kept there.

Spared is what is of a kept process's session or descends from it; nobody else can get there. The rest is stopped
before it is killed: what is stopped still counts as a process, so that what multiplies runs out of room, and is all
there when it is killed.

The first process of a sandbox loads this: the standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress

__all__ = ("around", "clear_around", "end_session")

_PATIENCE = 5.0
"""Seconds after which what multiplies has outrun this."""
_PAUSE = 0.001


def around(kept: Collection[int]) -> set[int]:
    """Returns every process but this one, those that lead kept sessions, and what is theirs."""
    return _others(_table(), kept)


def clear_around(kept: Collection[int], reap: Callable[[], object]) -> int:
    """Kills every process but this one, those that lead kept sessions, and what is theirs; returns how many, or -1
    where they are not all gone after some seconds.

    `reap` collects what has ended.
    """
    return _sweep(lambda table: _others(table, kept), reap)


def end_session(leader: int, reap: Callable[[], object]) -> int:
    """Kills what is left of the session of a leader that has ended; returns how many there were, or -1 as above."""
    return _sweep(lambda table: {pid for pid, (_, session) in table.items() if session == leader}, reap)


_Table = dict[int, tuple[int, int]]
"""Parents and sessions of processes."""


def _sweep(wanted: Callable[[_Table], set[int]], reap: Callable[[], object]) -> int:
    killed: set[int] = set()
    stopped: set[int] = set()
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        reap()
        found = wanted(_table())
        if not found:
            return len(killed)
        if fresh := found - stopped:
            _send(fresh, signal.SIGSTOP)
            stopped |= fresh
            continue
        _send(found, signal.SIGKILL)
        killed |= found
        stopped.clear()
        time.sleep(_PAUSE)
    return -1


def _send(pids: Collection[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, what)


def _table() -> _Table:
    found: _Table = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                found[int(name)] = int(fields[1]), int(fields[3])
    return found


def _others(table: _Table, kept: Collection[int]) -> set[int]:
    others: set[int] = set()
    for pid in table:
        above, passed = pid, 0
        while above in table and table[above][1] not in kept and passed <= len(table):
            above, passed = table[above][0], passed + 1
        if above not in table or passed > len(table):  # it leads to the first process
            others.add(pid)
    return others
