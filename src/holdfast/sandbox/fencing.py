"""Finds processes by a mark in their environment, and kills them: those of owners before us, and what a command left.

Every command starts with two variables (`environment.py`), and whatever it starts inherits them, also after `setsid`
or a double fork, when neither its group nor its parent says where it came from. A mark is read from
`/proc/<pid>/environ`, which shows the environment a program was started with.

A number of a process may be somebody else's by the time a signal is sent. So the process is opened first (a pidfd
stays with the one it was opened for), then its mark is read again, and only then it is killed, with its group. While
one of them is alive its group cannot be another's.

Not here: isolation. A process that starts another with an empty environment and a session of its own hides it from
here. On systems other than Linux nothing is found and nothing is killed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from holdfast.sandbox.environment import CALL, OWNER

__all__ = ("kill_below", "kill_left")

_PATIENCE = 2.0
"""Seconds after which a hunt for older owners' processes gives up, however many come after."""
_HASTE = 0.2
"""The same for what one command left: whoever waits for its result waits for this, too."""
_DOUBTS = 8
"""Looks in a row that find nothing, while processes come and go so fast that some were gone before they were read."""
_KERNEL_THREAD = 0x00200000
_AT_ONCE = 1 << 16


def kill_below(stream: str, epoch: int) -> int:
    """Kills every process of our user that an owner of the stream with a lower epoch started; returns how many.

    It returns when none is left, or after two seconds. Never killed: this process, and whatever has no mark, unless
    it shares the group of one that has.
    """
    prefix = f"{stream}#".encode()

    def older(value: bytes) -> bool:
        number = value.removeprefix(prefix)
        return value.startswith(prefix) and number.isdigit() and len(number) < 20 and int(number) < epoch

    return _Hunt(OWNER, older, _PATIENCE).run() if _can_look() else 0


def kill_left(mark: str, leader: int) -> int:
    """Kills every process that was started with this mark of one command and is no longer in its leader's group.

    Only what is younger than the leader is looked at, so it costs little; it gives up after 0.2 seconds. Returns how
    many it killed.
    """
    wanted = mark.encode()
    if not _can_look():
        return 0
    since = leader if _last_started() >= leader else 0  # else the numbers began anew meanwhile
    return _Hunt(CALL, wanted.__eq__, _HASTE, since=since, over=leader).run()


class _Hunt:
    def __init__(
        self, name: str, wanted: Callable[[bytes], bool], patience: float, *, since: int = 0, over: int = 0
    ) -> None:
        self._start = f"{name}=".encode()
        self._wanted = wanted
        self._end = time.monotonic() + patience
        self._since = since
        self._over = over
        """A group that was killed already."""
        self._user = os.geteuid()
        self._groups: set[int] = set()
        self._killed: set[int] = set()
        # Looked at and not wanted: what is started without a mark never gets one.
        self._passed: set[int] = {os.getpid()}
        self._doubted: set[int] = set()

    def run(self) -> int:
        """Looks and kills until nothing is found."""
        doubts = 0
        while doubts < _DOUBTS and time.monotonic() < self._end:
            found, sure = self._look()
            if found:
                doubts = 0
                self._kill(found)
            elif sure:
                break
            else:
                doubts += 1
        return len(self._killed)

    def _look(self) -> tuple[list[int], bool]:
        """Returns who is wanted, and whether nobody was gone before it could be read."""
        found: list[int] = []
        sure = True
        for name in os.listdir("/proc"):  # noqa: PTH208 - five times as quick as a Path for each
            if not name.isdigit() or (pid := int(name)) <= self._since or pid in self._passed:
                continue
            environment = _environment_of(pid)
            if environment and self._is_wanted(environment):
                found.append(pid)
            elif environment:
                self._passed.add(pid)
            else:
                sure = self._doubt(pid) and sure
        return found, sure

    def _doubt(self, pid: int) -> bool:
        """Passes over one whose environment cannot be seen; returns whether nothing can have come of it."""
        state, flags = _state_of(pid)
        if state in ("", "Z", "X"):
            self._passed.add(pid)
            return False  # just before its end it may have started another, which is not on this list
        if flags & _KERNEL_THREAD or not _is_of(pid, self._user):
            self._passed.add(pid)
            return True
        if pid in self._doubted:
            self._passed.add(pid)  # it was started with none
            return True
        self._doubted.add(pid)
        return False  # it may be becoming another program, with an environment at the next look

    def _is_wanted(self, environment: bytes) -> bool:
        if self._start not in environment:
            return False
        length = len(self._start)
        return any(self._wanted(entry[length:]) for entry in environment.split(b"\0") if entry.startswith(self._start))

    def _kill(self, found: Iterable[int]) -> None:
        opened: list[int] = []
        try:
            for pid in found:
                with suppress(OSError):
                    opened += self._kill_one(pid)
            _wait_for(opened, self._end)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _kill_one(self, pid: int) -> list[int]:
        """Kills one and its group, if it is still wanted; returns its pidfd, where there are such."""
        group = os.getpgid(pid)
        if group == self._over:
            self._passed.add(pid)  # dying already
            return []
        if group in self._groups:
            self._killed.add(pid)
        descriptors = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        try:
            if _is_of(pid, self._user) and self._is_wanted(_environment_of(pid)):
                self._finish(pid, descriptors)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return descriptors

    def _finish(self, pid: int, descriptors: list[int]) -> None:
        self._killed.add(pid)
        # Stopped first: as long as it does not end by itself, its group stays its own.
        _send(pid, descriptors, signal.SIGSTOP)
        group = os.getpgid(pid)
        if group > 1 and group != os.getpgrp():
            self._groups.add(group)
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        _send(pid, descriptors, signal.SIGKILL)


def _send(pid: int, descriptors: list[int], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if descriptors:
            signal.pidfd_send_signal(descriptors[0], number)
        else:
            os.kill(pid, number)


def _wait_for(descriptors: list[int], end: float) -> None:
    """Waits until all have ended, which a SIGKILL makes a matter of milliseconds."""
    poll = select.poll()
    left = set(descriptors)
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    while left and (rest := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(rest * 1000):
            poll.unregister(descriptor)
            left.discard(descriptor)


def _environment_of(pid: int) -> bytes:
    """Returns the environment a process was started with; nothing when it is ending or must not be seen."""
    try:
        descriptor = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        whole = piece = os.read(descriptor, _AT_ONCE)
        while len(piece) == _AT_ONCE:
            piece = os.read(descriptor, _AT_ONCE)
            whole += piece
        return whole
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _state_of(pid: int) -> tuple[str, int]:
    """Returns the letter of a process's state and its flags; no letter when it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return fields[0], int(fields[6])
    return "", 0


def _is_of(pid: int, user: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == user
    return False


def _last_started() -> int:
    """Returns the number that was given to a process last."""
    return int(Path("/proc/loadavg").read_bytes().split()[-1])


def _can_look() -> bool:
    """Whether there is a /proc, and its numbers are those we go by."""
    if sys.platform != "linux":
        return False
    with suppress(OSError):
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115 - no Path for one comparison
    return False
