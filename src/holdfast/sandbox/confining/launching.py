"""The launcher of sandboxes without namespaces: as the other one, and it inherits whatever outlives a first process.

Loaded as that one is: the standard library, the kernel's calls and its neighbours.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import Any, NoReturn

from holdfast.sandbox.confining.building import confine
from holdfast.sandbox.confining.ending import Children
from holdfast.sandbox.confining.homes import Homes
from holdfast.sandbox.kernel import landlock, syscalls
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.native import launching
from holdfast.sandbox.native.building import Step
from holdfast.sandbox.native.serving import serve
from holdfast.sandbox.native.talking.wire import send

__all__ = ("main",)

_CHANNEL, _CHILDREN = 3, 4
_AT_ONCE, _IN_TURN, _AT_LAST = 0.25, 0.01, 10.0
"""Seconds for ending what outlived its first process: when that is seen, between what others ask for, and when this
launcher ends.
"""


class _Launcher(launching.SandboxLauncher):
    blanks = False

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self._children = Children()
        self._homes = Homes()
        self._folders: dict[int, str] = {}
        """By the places of their sandboxes."""
        self._waiting = -1
        """What tells of the end of something that outlived its first process; -1 where nothing did."""
        self._withheld: dict[int, Group | None] = {}
        """Places of sandboxes of which something may be left."""
        self._used: list[str] = []
        """Folders that nobody uses any more once it is gone."""

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._children.end(self._homes.removing, _AT_LAST)
            for place, group in self._withheld.items():
                if group is None or group.clear():
                    self._slots.give_back(place)
            if self._used:
                self._homes.remove(*self._used)
            self._homes.collect(0)

    def _settle(self, plan: dict[str, Any], place: int) -> int:
        uid, gid = (os.getuid(), os.getgid()) if self._rootless else plan["owner"]
        folder = self._folders[place] = self._homes.make(place, uid, gid)
        plan["landlock"].append((folder, landlock.WRITE))
        plan |= {"rootless": self._rootless, "kuid": uid, "kgid": gid}
        plan["told"] = {"user": uid, "variables": {"HOME": f"{folder}/home", "TMPDIR": f"{folder}/tmp"}}
        return 0

    def _fork(self, plan: dict[str, Any], group: Group | None, owners: int, channel: int) -> tuple[int, int]:
        pid, descriptor = syscalls.fork_into(0)
        if pid == 0:
            _become_first(plan, group, channel)
        return pid, descriptor

    def _ended(self, descriptor: int) -> None:
        if descriptor != self._waiting:
            super()._ended(descriptor)
            return
        self._poll.unregister(descriptor)
        os.close(descriptor)
        self._waiting = -1
        self._end_strays(_IN_TURN)

    def _bury(self, number: int) -> None:
        place = self._sandboxes[number].place
        super()._bury(number)
        if self._waiting >= 0 and place in self._spare:  # the next one in its group would find no room
            self._withheld[place] = self._spare.pop(place)

    def _clean(self, place: int) -> None:
        if (folder := self._folders.pop(place, None)) is not None:
            self._used.append(folder)
        if self._waiting < 0:
            self._end_strays(_AT_ONCE)

    def _end_strays(self, seconds: float) -> None:
        """Ends what outlived its first process; where that takes longer, others are heard in between."""
        known = {each.pid for each in self._sandboxes.values()}
        if pid := self._children.end(known | self._homes.removing, seconds):
            self._waiting = os.pidfd_open(pid)
            self._poll.register(self._waiting, select.POLLIN)
            return
        self._spare |= self._withheld
        self._withheld.clear()
        if self._used:
            self._homes.remove(*self._used)
            self._used.clear()


def _become_first(plan: dict[str, Any], group: Group | None, descriptor: int) -> NoReturn:
    """Goes on as the first process of a sandbox."""
    step: Step = []
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nothing, each)
        channel = socket.socket(fileno=descriptor)
        try:
            children = confine(plan, group, step)
        except BaseException as error:
            send(channel, {"failed": " ".join(step), "error": str(error), "errno": getattr(error, "errno", 0) or 0})
            raise
        send(channel, {"built": True, "layers": 0})
        # Far away first: each of them may have the number that the other one gets.
        held, kept = os.dup(channel.detach()), os.dup(children.descriptor)
        highest = max(held, kept, _CHILDREN) + 1
        os.dup2(kept, highest, inheritable=False)
        os.dup2(held, _CHANNEL, inheritable=False)
        os.dup2(highest, _CHILDREN, inheritable=False)
        children.descriptor = _CHILDREN
        syscalls.close_above(_CHILDREN + 1)
        signal.signal(signal.SIGTERM, _end)
        serve(socket.socket(fileno=_CHANNEL), children, plan["bounds"])
    except BaseException:  # noqa: BLE001 - boundary: nothing may go on as the launcher in here
        pass
    finally:
        os._exit(0)


def _end(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise EOFError


def main() -> None:
    """Runs on the socket whose number is the only argument."""
    launching.main(_Launcher)
