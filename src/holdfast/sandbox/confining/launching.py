"""The launcher of sandboxes without namespaces: as the other one, and it inherits whatever outlives a first process.

Loaded as that one is: the standard library, the kernel's calls and its neighbours.
"""

from __future__ import annotations

import os
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
from holdfast.sandbox.native.wire import send

__all__ = ("main",)

_CHANNEL, _CHILDREN = 3, 4


class _Launcher(launching.SandboxLauncher):
    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self._children = Children()
        self._homes = Homes(self._slots)
        self._folders: dict[int, str] = {}
        """By the places of their sandboxes."""

    def run(self) -> None:
        try:
            super().run()
        finally:
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

    def _clean(self, place: int) -> None:
        known = {each.pid for each in self._sandboxes.values()}
        self._children.end(known | self._homes.removing)
        if (folder := self._folders.pop(place, None)) is not None:
            self._homes.remove(folder)


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
        serve(socket.socket(fileno=_CHANNEL), children)
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
