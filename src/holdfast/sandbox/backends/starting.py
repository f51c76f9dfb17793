"""Starts an installed program that isolates one command, sees to its end, and says how it went.

A process of its own between the runtime and the program, because what has to be done first cannot be done in the
runtime: a mount namespace in which the root of the sandbox is put together, with the workspace's files shown as
belonging to the sandbox's user; a control group; a user nobody else is; a PID namespace, so that all of it ends
together, whatever the program leaves behind. Its files (a bundle, a program's records) lie in memory in that mount
namespace, and go with it.

What to do comes as a marshalled dictionary in the file that is the only argument, and what came of it goes there:
`error`, or `started`, `breaches`, `without` and `user`.

Runs as `python -I -S`: the standard library and neighbours that load nothing else.
"""

from __future__ import annotations

import errno
import marshal
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import Any

from holdfast.sandbox.kernel import seccomp, syscalls
from holdfast.sandbox.kernel.cgroups import Group, Groups
from holdfast.sandbox.native.building import PLACE, place_mounts
from holdfast.sandbox.native.launching import user_namespace
from holdfast.sandbox.native.slots import FIRST_UID, PLACES, Slots, folder, start_of

__all__ = ("BUNDLE", "PLACE", "RECORDS", "main")

_PRIVATE = "/run"
"""Where this process keeps files in memory, in its own mount namespace."""
BUNDLE = f"{_PRIVATE}/bundle"
"""Where an OCI runtime finds its `config.json`, and leaves the number of the process it started."""
RECORDS = f"{_PRIVATE}/records"
"""Where it may keep its books."""

_GROUPS = "/sys/fs/cgroup"
_NEWEST = 448
"""The last system call that every OCI runtime's library has a name for; `fchmodat2` came after it."""
_NOTHING_NEWER = b"".join(
    struct.pack("=HBBI", *each)
    for each in (
        (0x20, 0, 0, 0),  # load the number
        (0x25, 0, 1, _NEWEST),
        (0x06, 0, 0, 0x00050000 | errno.ENOSYS),
        (0x06, 0, 0, 0x7FFF0000),  # else let it through
    )
)
"""A filter by which newer calls do not exist: rules of a bundle go by names, and could not refuse them."""
_AS_THEY_WERE = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Does what the file says that is the only argument."""
    os.umask(0o022)
    descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CLOEXEC)
    with open(descriptor, "rb", closefd=False) as file:
        order: dict[str, Any] = marshal.load(file)
    told: dict[str, Any] = {}
    code = 1
    try:
        code = _Sandbox(order, told).run()
    except OSError as error:
        told["error"] = str(error)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, marshal.dumps(told), 0)
    sys.exit(code)


class _Sandbox:
    def __init__(self, order: dict[str, Any], told: dict[str, Any]) -> None:
        self._order = order
        self._told = told
        self._rootless = os.geteuid() != 0
        self._slots = Slots(folder())
        self._groups = Groups()
        self._place = self._slots.take()
        self._user = FIRST_UID + self._place if order["own user"] and not self._rootless else os.geteuid()
        self._status = os.memfd_create("status")
        self._child = 0
        told |= {"without": self._groups.missing, "user": self._user}

    def run(self) -> int:
        """Returns the exit code of the command, once nothing of it is left."""
        group = self._group()
        try:
            self._stage()
            # Ended by its caller: everything in there goes, and then what is left here is put in order.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._kill)
            self._child, descriptor = syscalls.fork_into(syscalls.NEWPID)
            if self._child == 0:
                self._become(group)
            self._slots.describe(
                self._place, {**self._order["whose"], "pid": self._child, "start": start_of(self._child)}
            )
            _, status, used = os.wait4(self._child, 0)
            self._told["cpu"] = used.ru_utime + used.ru_stime
            os.close(descriptor)
        finally:
            if group is not None:
                self._told["breaches"] = group.breaches()
                group.clear()
            self._slots.give_back(self._place)
        code = os.waitstatus_to_exitcode(status)
        self._told["started"] = self._has_started()
        return code if code >= 0 else 128 - code

    def _kill(self, *_: object) -> None:
        if self._child:
            with suppress(OSError):
                os.kill(self._child, signal.SIGKILL)

    def _group(self) -> Group | None:
        if not self._groups.kinds:
            return None
        group = self._groups.of(str(self._place))
        group.limit(**self._order["group"])
        return group

    def _stage(self) -> None:
        """Puts the sandbox's root together, in a mount namespace of our own."""
        real = os.getuid(), os.getgid()
        syscalls.unshare(syscalls.NEWNS | (syscalls.NEWUSER if self._rootless else 0))
        if self._rootless:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{real[0]} {real[0]} 1"),
                ("gid_map", f"{real[1]} {real[1]} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        owners = user_namespace(self._user, *self._order["owner"]) if self._user != os.geteuid() else 0
        for each in self._order["mounts"]:
            if each.get("uid") == "own":
                each["uid"] = self._user
        place_mounts(self._order["mounts"], owners)
        syscalls.mount_attributes(PLACE, syscalls.ATTR_RDONLY)
        os.chdir("/")
        if self._order["config"]:
            syscalls.mount("private", _PRIVATE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "size=64m,mode=700")
            os.mkdir(BUNDLE)
            os.mkdir(RECORDS)
            with open(f"{BUNDLE}/config.json", "w", encoding="utf-8") as file:
                file.write(self._config())

    def _config(self) -> str:
        """Returns the bundle's configuration, with the user's numbers, which nobody knew before."""
        text: str = self._order["config"]
        return text.replace('"@user"', str(self._user)).replace('"@root"', str(self._user + PLACES))

    def _become(self, group: Group | None) -> None:
        """Goes on as the program; never returns."""
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if group is not None:
                group.join()
            syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
            for number in _AS_THEY_WERE:
                signal.signal(number, signal.SIG_DFL)
            words = self._words()
            if self._order["config"]:
                _hide_groups()
                seccomp.install(_NOTHING_NEWER)
            self._limit()
            self._lower()
            os.execve(words[0], words, self._order["environment"])
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(1)

    def _limit(self) -> None:
        """Sets the limits of each process, which whatever is started here inherits."""
        for name, most in self._order["rlimits"].items():
            number = getattr(resource, f"RLIMIT_{name.upper()}")
            hard = resource.getrlimit(number)[1]
            soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
            # At the first of two limits of CPU the signal says what happened; at the second there is only a kill.
            resource.setrlimit(number, (soft, soft + (name == "cpu")))

    def _lower(self) -> None:
        """Becomes the sandbox's user, unless the program does that itself."""
        if self._order["config"]:
            return
        if self._user != os.geteuid():
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # another user: it was forgotten
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)

    def _words(self) -> list[str]:
        """Returns the program's command line; descriptors stand for what it is to read and to write."""
        words: list[str] = []
        for word in self._order["words"]:
            match word:
                case "@arguments":
                    words.append(_file("arguments", "\0".join(self._order["arguments"]).encode() + b"\0"))
                case "@filter":
                    words.append(_file("filter", seccomp.program()))
                case "@status":
                    os.set_inheritable(self._status, True)
                    words.append(str(self._status))
                case "@name":
                    words.append(f"sandbox-{self._place}")  # gVisor has sockets of that name, for all to see
                case _:
                    words.append(word)
        return words

    def _has_started(self) -> bool:
        if self._order["config"]:
            return os.path.exists(f"{BUNDLE}/pid")
        return b'"exit-code"' in os.pread(self._status, 4096, 0)


def _hide_groups() -> None:
    """Shows runtimes control groups that cannot be changed: they are in one already, and would leave theirs behind."""
    syscalls.unshare(syscalls.NEWNS)
    with suppress(OSError):
        syscalls.umount(_GROUPS)
    syscalls.mount("groups", _GROUPS, "cgroup2")
    syscalls.mount_attributes(_GROUPS, syscalls.ATTR_RDONLY)


def _file(name: str, content: bytes) -> str:
    """Returns the number of a descriptor from which the program it is given to reads these bytes."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return str(descriptor)
