"""The launcher of places in which installed programs run: as the other one, with keepers instead of first processes.

Loaded as that one is: the standard library, the kernel's calls and its neighbours.
"""

from __future__ import annotations

import os
import socket
from typing import Any, NoReturn

from holdfast.sandbox.kernel import syscalls
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.native import launching
from holdfast.sandbox.native.building import Step
from holdfast.sandbox.native.slots import FIRST_UID
from holdfast.sandbox.native.talking.wire import send
from holdfast.sandbox.programs.keeping import keep, stage

__all__ = ("main",)

_CHANNEL = 3


class _Launcher(launching.SandboxLauncher):
    blanks = False

    def _settle(self, plan: dict[str, Any], place: int) -> int:
        own_user = bool(plan["program"]["own user"]) and not self._rootless
        own = (FIRST_UID + place, FIRST_UID + place) if own_user else (os.getuid(), os.getgid())
        plan |= {"rootless": self._rootless, "kuid": own[0], "kgid": own[1], "place": place}
        # A program that stays root serves files to a user whom it alone knows.
        served = own[0] if own_user or self._rootless else plan["uid"]
        for each in plan["mounts"]:
            if each.get("uid") == "own":
                each["uid"] = served
        return 0 if self._rootless else self._map(served, *plan["owner"])

    def _fork(self, plan: dict[str, Any], group: Group | None, owners: int, channel: int) -> tuple[int, int]:
        # The program brings the other namespaces.
        born_into = syscalls.NEWNS | syscalls.NEWPID | (syscalls.NEWUSER if self._rootless else 0)
        pid, descriptor = syscalls.fork_into(born_into)
        if pid == 0:
            _become_keeper(plan, group, owners, self._filter, channel)
        return pid, descriptor


def _become_keeper(plan: dict[str, Any], group: Group | None, owners: int, filter: bytes, descriptor: int) -> NoReturn:
    """Goes on as the keeper of a place."""
    step: Step = []
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nothing, each)
        channel = socket.socket(fileno=descriptor)
        try:
            stage(plan, group, owners, step)
        except BaseException as error:
            send(channel, {"failed": " ".join(step), "error": str(error), "errno": getattr(error, "errno", 0) or 0})
            raise
        send(channel, {"built": True, "layers": 0})
        if (held := channel.detach()) != _CHANNEL:
            os.dup2(held, _CHANNEL)
        os.set_inheritable(_CHANNEL, False)
        syscalls.close_above(_CHANNEL + 1)
        keep(socket.socket(fileno=_CHANNEL), plan, filter)
    except BaseException:  # noqa: BLE001 - boundary: nothing may go on as the launcher in here
        pass
    finally:
        os._exit(0)


def main() -> None:
    """Runs on the socket whose number is the only argument."""
    launching.main(_Launcher)
