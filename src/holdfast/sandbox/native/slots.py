"""Numbered places for sandboxes: each stands for a user nobody else is, a control group, and a line about who it is
for.

A place is taken by locking its file, and free again when whoever had it is gone, however that came. So what a killed
runtime left is found without anybody keeping books: groups whose place nobody holds.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import stat
from contextlib import suppress
from typing import Any

__all__ = ("FIRST_UID", "PLACES", "Slots", "folder", "kill_owners")

FIRST_UID = 1_879_048_192
"""The user of the first place; far above what administrators and containers give out (`subuid` ranges end below)."""
PLACES = 4096


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
            os.makedirs(each, mode=0o700, exist_ok=True)
            held = os.lstat(each)
            if held.st_uid != os.geteuid() or held.st_mode & 0o022 or not stat.S_ISDIR(held.st_mode):
                raise PermissionError(f"{each} belongs to somebody else, or others may write to it: remove it")
        self._where = where
        self._held: dict[int, int] = {}

    def take(self) -> int:
        """Returns a free place, which is ours from now on.

        Raises:
            OSError: all are taken.
        """
        first = random.randrange(PLACES)
        for turn in range(PLACES):
            place = (first + turn) % PLACES
            if place not in self._held and self.try_take(place):
                return place
        raise OSError(f"all {PLACES} places for sandboxes are taken")

    def try_take(self, place: int) -> bool:
        """Takes that very place, if it is free."""
        descriptor = os.open(f"{self._where}/{place}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        self._held[place] = descriptor
        return True

    def describe(self, place: int, what: dict[str, Any]) -> None:
        """Writes down whose sandbox it is."""
        os.pwrite(self._held[place], json.dumps(what).encode(), 0)

    def blank(self, place: int) -> None:
        """Writes down that it is nobody's; it stays ours."""
        os.ftruncate(self._held[place], 0)

    def give_back(self, place: int) -> None:
        """Lets others have it."""
        descriptor = self._held.pop(place)
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def kill_owners(where: str, owner: str, epoch: int) -> int:
    """Kills every sandbox of an owner with a lower epoch, whoever holds it; returns how many, once they are gone."""
    killed: list[int] = []
    with suppress(OSError):
        for name in os.listdir(where):
            with suppress(OSError, ValueError, KeyError, TypeError):
                with open(f"{where}/{name}", encoding="utf-8") as file:
                    what = json.load(file)
                if what["owner"] == owner and int(what["epoch"]) < epoch:
                    killed += _kill(int(what["pid"]), str(what["start"]))
    poll = select.poll()
    for each in killed:
        poll.register(each, select.POLLIN)
    left = set(killed)
    while left and (ended := poll.poll(2000)):
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            left.discard(descriptor)
    for each in killed:
        os.close(each)
    return len(killed)


def start_of(pid: int) -> str:
    """Returns when a process started, in the kernel's ticks; empty when it is gone."""
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]
    return ""


def _kill(pid: int, start: str) -> list[int]:
    descriptor = os.pidfd_open(pid)
    if start_of(pid) != start:
        os.close(descriptor)
        return []
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    return [descriptor]
