"""Numbered places for sandboxes: each stands for a user nobody else is, a control group, and a line about who it is
for.

A place is taken by locking its file, and free again when whoever had it is gone, however that came. So what a killed
runtime left is found without anybody keeping books: groups whose place nobody holds.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import select
import signal
import stat
import time
from binascii import crc32
from collections.abc import Collection
from contextlib import suppress
from typing import Any

__all__ = ("FIRST_UID", "PLACES", "Slots", "fence", "folder", "kill_owners", "unseal")

FIRST_UID = 1_879_048_192
"""The user of the first place; far above what administrators and containers give out (`subuid` ranges end below)."""
PLACES = 4096
_SEALS = 1024
"""Files in which seals stand at most."""
_SEALED = 7 * 86_400
"""Seconds after which a seal is removed; no worker that lost its session lives so long without hearing of it."""


def folder() -> str:
    """Returns where the places of this user are."""
    if os.geteuid() == 0:
        return "/run/holdfast/places"
    run = os.environ.get("XDG_RUNTIME_DIR", "")
    if run and os.access(run, os.W_OK):
        return f"{run}/holdfast/places"
    return f"/tmp/holdfast-{os.geteuid()}/places"  # refused if it is another's


class Slots:
    """The places that this process holds."""

    def __init__(self, where: str) -> None:
        for each in (os.path.dirname(where), where):
            with suppress(FileExistsError):
                os.makedirs(each, mode=0o700, exist_ok=True)
            held = os.lstat(each)
            if held.st_uid != os.geteuid() or held.st_mode & 0o022 or not stat.S_ISDIR(held.st_mode):
                raise PermissionError(
                    f"{each} is no folder of yours alone: remove it; if it is somebody else's, set XDG_RUNTIME_DIR to "
                    "a folder that only you can write, or ask root to remove it"
                )
        self._where = where
        self._since = int(start_of(os.getppid()) or 0)
        """When the runtime started that this works for."""
        self._held: dict[int, int] = {}

    def take(self) -> int:
        """Returns a free place, which is ours from now on.

        Raises:
            OSError: all are taken; `errno` is EDQUOT.
        """
        first = random.randrange(PLACES)
        for turn in range(PLACES):
            place = (first + turn) % PLACES
            if place not in self._held and self.try_take(place):
                return place
        raise OSError(errno.EDQUOT, f"all {PLACES} places for sandboxes are taken")

    def try_take(self, place: int) -> bool:
        """Takes that very place, if it is free."""
        descriptor = os.open(f"{self._where}/{place}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        if os.fstat(descriptor).st_nlink == 0:  # it was given back between opening and locking: ask for the new one
            os.close(descriptor)
            return self.try_take(place)
        os.ftruncate(descriptor, 0)
        self._held[place] = descriptor
        return True

    def admit(self, most: int) -> int:
        """Returns a descriptor that stands for one sandbox, of `most` on this machine, until `dismiss`.

        Raises:
            OSError: there are that many; `errno` is EDQUOT.
        """
        where = f"{os.path.dirname(self._where)}/admitted"
        os.makedirs(where, mode=0o700, exist_ok=True)
        for number in range(most):
            descriptor = os.open(f"{where}/{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            os.close(descriptor)
        raise OSError(
            errno.EDQUOT, f"as many sandboxes as there may be ({most}) are on this machine (limits: sandboxes)"
        )

    def dismiss(self, admitted: int) -> None:
        """Makes room for another sandbox, though a process that is just being forked may hold the descriptor, too."""
        if admitted >= 0:
            fcntl.flock(admitted, fcntl.LOCK_UN)
            os.close(admitted)

    def describe(self, place: int, what: dict[str, Any]) -> None:
        """Writes down whose sandbox it is.

        Raises:
            OSError: an owner with a higher epoch has sealed it off; `errno` is ESTALE.
        """
        os.pwrite(self._held[place], json.dumps(what).encode(), 0)
        # Only now: whoever seals it off later finds what was written, and kills it.
        if what["epoch"] < _sealed(self._where, what["owner"], self._since):
            raise OSError(errno.ESTALE, f"{what['owner']!r} has another worker by now: this one is to stop")

    def blank(self, place: int) -> None:
        """Writes down that it is nobody's; it stays ours."""
        os.ftruncate(self._held[place], 0)

    def give_back(self, place: int) -> None:
        """Lets others have it; whoever looks for sandboxes reads its file no more."""
        descriptor = self._held.pop(place)
        os.unlink(f"{self._where}/{place}")
        os.close(descriptor)

    def tidy(self, most: int) -> None:
        """Removes the files of free places, as far as there are any among that many: killed processes leave theirs."""
        for name in os.listdir(self._where)[:most]:
            if name.isdigit() and int(name) not in self._held and self.try_take(int(name)):
                self.give_back(int(name))


def _seals(where: str) -> str:
    return f"{os.path.dirname(where)}/sealed"


def _sealed(where: str, owner: str, since: int) -> int:
    """Returns the epoch below which an owner gets no sandbox any more in a runtime that started then.

    One that started later is no worker that lost its session: it has another session of that name, with epochs of its
    own.
    """
    with suppress(FileNotFoundError), open(_seal_of(where, owner), encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        epoch, at = _read_seals(file.read()).get(owner, (0, 0))
        return int(epoch) if since <= at <= _now() else 0  # a later one is of the time before the machine started
    return 0


def _now() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def unseal(where: str, owner: str) -> None:
    """Lets an owner that is deleted begin anew."""
    with suppress(FileNotFoundError):
        _note_seal(where, owner, None)


def _seal_of(where: str, owner: str) -> str:
    """Returns the file in which an owner stands, together with others: there are never more than so many files."""
    return f"{_seals(where)}/{crc32(owner.encode()) % _SEALS}"


def _read_seals(text: str) -> dict[str, tuple[int, int]]:
    """Returns who stands there, without those who have for a week: their epoch, and when they were written down."""
    now = _now()
    with suppress(ValueError, TypeError):
        found = {owner: (int(epoch), int(at)) for owner, (epoch, at) in json.loads(text or "{}").items()}
        oldest = now - _SEALED * os.sysconf("SC_CLK_TCK")
        return {owner: each for owner, each in found.items() if oldest < each[1] <= now}
    return {}  # a full disk kept somebody from writing all of it


def _note_seal(where: str, owner: str, epoch: int | None) -> None:
    create = 0 if epoch is None else os.O_CREAT
    descriptor = os.open(_seal_of(where, owner), os.O_RDWR | create | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        seals = _read_seals(file.read())
        known, _ = seals.pop(owner, (0, 0))
        if epoch is not None:
            seals[owner] = (max(epoch, known), _now())
        file.seek(0)
        file.write(json.dumps(seals))
        file.truncate()


def fence(where: str, owner: str, epoch: int) -> int:
    """Kills every sandbox of an owner with a lower epoch, and lets none be made any more; returns how many there were.

    Raises:
        OSError: that cannot be written down.
    """
    os.makedirs(_seals(where), mode=0o700, exist_ok=True)
    _note_seal(where, owner, epoch)
    return kill_owners(where, owner, epoch)


def kill_owners(where: str, owner: str, epoch: int) -> int:
    """Kills every sandbox of an owner with a lower epoch, whoever holds it; returns how many, once they are gone."""
    killed: list[int] = []
    with suppress(OSError):
        for name in os.listdir(where):
            with suppress(OSError, ValueError, KeyError, TypeError):
                path = f"{where}/{name}"
                if not os.stat(path, follow_symlinks=False).st_size:
                    continue
                with open(path, encoding="utf-8") as file:
                    what = json.load(file)
                if what["owner"] == owner and int(what["epoch"]) < epoch:
                    number = signal.SIGTERM if what.get("asked") else signal.SIGKILL
                    killed += _kill(int(what["pid"]), str(what["start"]), number)
    left = _await(killed)
    for each in left:  # it was asked, and does not answer
        with suppress(OSError):
            signal.pidfd_send_signal(each, signal.SIGKILL)
    _await(left)
    for each in killed:
        os.close(each)
    return len(killed)


def _await(descriptors: Collection[int]) -> set[int]:
    """Waits two seconds for each end of a process, and returns the pidfds of those that go on."""
    poll = select.poll()
    for each in descriptors:
        poll.register(each, select.POLLIN)
    left = set(descriptors)
    while left and (ended := poll.poll(2000)):
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            left.discard(descriptor)
    return left


def start_of(pid: int) -> str:
    """Returns when a process started, in the kernel's ticks; empty when it is gone."""
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]
    return ""


def _kill(pid: int, start: str, number: signal.Signals) -> list[int]:
    descriptor = os.pidfd_open(pid)
    if start_of(pid) != start:
        os.close(descriptor)
        return []
    signal.pidfd_send_signal(descriptor, number)
    return [descriptor]
