"""Keeps a place in which an installed program isolates commands, and starts it there for one command after another.

A process of its own between the launcher and the program, because what has to be done first cannot be done in the
runtime: a mount namespace in which the root of the sandbox is put together, with the workspace's files shown as
belonging to the sandbox's user; a PID namespace, so that all of it ends together, whatever a program leaves behind; a
control group; and for each command the step down to a user nobody else is. What commands leave in `/tmp` and in the
home folder lies in this namespace, so the next one finds it, and it goes with this process. A program's own files (a
bundle, its records) lie in memory in there, too, anew for each command.

It says over its socket what `serving.py` says, and of a command that ended besides whether it `started` at all, and the
seconds of `cpu` it took. It is outside of the sandbox: nothing that a command says reaches it.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import struct
from contextlib import suppress
from typing import Any

from holdfast.sandbox.kernel import seccomp, syscalls
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.native.bounds.measuring import Folders
from holdfast.sandbox.native.building import PLACE, Step, keep_mounts, limit, map_ids, place_mounts
from holdfast.sandbox.native.slots import PLACES
from holdfast.sandbox.native.talking.wire import receive, send

__all__ = ("BUNDLE", "PLACE", "RECORDS", "keep", "stage")

_PRIVATE = "/run"
"""Where a program keeps files in memory, in the place's mount namespace."""
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


def stage(plan: dict[str, Any], group: Group | None, owners: int, step: Step) -> None:
    """Puts the sandbox's root together in this process's mount namespace, and joins its group, as what it forks will.

    Raises:
        OSError: a step is not possible here; `step` names it.
    """
    step[:] = ["cgroup"]
    if group is not None:
        group.join()  # here, since joining may take the kernel longer than all the rest
    if plan["rootless"]:
        step[:] = ["user namespace"]
        map_ids(plan["kuid"], plan["kgid"], plan["kuid"], plan["kgid"])
    step[:] = ["mounts"]
    keep_mounts()
    place_mounts(plan["mounts"], owners)
    syscalls.mount_attributes(PLACE, syscalls.ATTR_RDONLY)
    syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    if plan["program"]["config"]:
        _hide_groups()
    os.chdir("/")
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def keep(channel: socket.socket, plan: dict[str, Any], filter: bytes) -> None:
    """Does what comes over the channel until that ends; `filter` is the seccomp program for programs that want one."""
    keeper = _Keeper(channel, plan, filter)
    with suppress(EOFError, ConnectionError):
        while True:
            keeper.turn()


class _Keeper:
    def __init__(self, channel: socket.socket, plan: dict[str, Any], filter: bytes) -> None:
        self._channel = channel
        self._program: dict[str, Any] = plan["program"]
        self._name = f"sandbox-{plan['place']}"  # gVisor has sockets of that name, for all to see
        self._user: int = plan["kuid"]
        self._filter = filter
        self._folders = Folders(_here(plan["bounds"]))
        self._command = 0
        """The number of the one that runs."""
        self._child = 0
        self._pidfd = -1
        self._status = -1
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def turn(self) -> None:
        for descriptor, _ in self._poll.poll():
            if descriptor == self._pidfd:
                self._collect()
            elif descriptor == self._channel.fileno():
                self._hear()

    def _hear(self) -> None:
        message, descriptors = receive(self._channel)
        try:
            match message["do"]:
                case "start":
                    self._start(message, descriptors)
                case "signal":  # a program passes on no other
                    self._kill()
                case "clear":
                    running = bool(self._child)
                    if running:
                        self._kill()
                        self._collect()
                    send(self._channel, {"cleared": int(running)})
                case "look":
                    send(self._channel, {"looked": self._folders.met(message["since"])})
                case _:
                    pass
        finally:
            for each in descriptors:
                os.close(each)

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        number = message["command"]
        try:
            if self._child or len(descriptors) != 3:
                raise OSError(errno.EBUSY, "one command at a time, with an input, an output and one for errors")
            self._status = os.memfd_create("status")
            self._prepare(message, apart=not os.path.sameopenfile(descriptors[1], descriptors[2]))
            self._child, self._pidfd = syscalls.fork_into(0)
            if self._child == 0:
                self._become(message, descriptors)
        except OSError as error:
            if not self._child:  # or it is that of the one that runs
                self._drop_status()
            send(self._channel, {"command": number, "error": str(error), "errno": 0})
            return
        self._command = number
        self._poll.register(self._pidfd, select.POLLIN)
        send(self._channel, {"command": number, "pid": self._child})

    def _kill(self) -> None:
        if self._child:
            with suppress(OSError):
                os.kill(self._child, signal.SIGKILL)

    def _collect(self) -> None:
        """Tells how the command ended, once nothing of it and of its program is left."""
        _, status, used = os.wait4(self._child, 0)
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # the first process of its namespace reaches all that are in there
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        self._poll.unregister(self._pidfd)
        os.close(self._pidfd)
        told = {"started": self._has_started(), "cpu": used.ru_utime + used.ru_stime}
        self._drop_status()
        self._child, self._pidfd = 0, -1
        send(self._channel, {"command": self._command, "status": status, **told})

    def _drop_status(self) -> None:
        if self._status >= 0:
            os.close(self._status)
            self._status = -1

    def _prepare(self, message: dict[str, Any], *, apart: bool) -> None:
        """Lays out the bundle, with the user's numbers, which nobody knew before, and what is to run; its errors go
        the way of its output, or are `apart`.
        """
        if not self._program["config"]:
            return
        if os.path.ismount(_PRIVATE) and os.path.exists(RECORDS):
            syscalls.umount(_PRIVATE)
        syscalls.mount("private", _PRIVATE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "size=64m,mode=700")
        os.mkdir(BUNDLE)
        os.mkdir(RECORDS)
        text: str = self._program["config"]
        config = json.loads(text.replace('"@user"', str(self._user)).replace('"@root"', str(self._user + PLACES)))
        process = config["process"]
        process["args"][-1] = "2" if apart else "1"
        process["args"] += message["argv"]
        process["env"] = [f"{name}={value}" for name, value in message["env"].items()]
        process["cwd"] = message["cwd"]
        written = json.dumps(config, ensure_ascii=False).encode("utf-8", "surrogateescape")
        with open(f"{BUNDLE}/config.json", "wb") as file:
            file.write(written)

    def _become(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Goes on as the program; never returns."""
        try:
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            if self._program["config"]:
                _part_outputs()
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write("500")  # where memory runs out, it goes before the keeper
            for number in _AS_THEY_WERE:
                signal.signal(number, signal.SIG_DFL)
            words = self._words(message)
            if self._program["config"]:
                seccomp.install(_NOTHING_NEWER)
            limit(self._program["rlimits"])
            self._lower()
            os.execve(words[0], words, {"PATH": os.defpath})
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(1)

    def _lower(self) -> None:
        """Becomes the sandbox's user, unless the program does that itself."""
        if self._program["config"]:
            return
        if self._user != os.geteuid():
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)

    def _words(self, message: dict[str, Any]) -> list[str]:
        """Returns the program's command line; descriptors stand for what it is to read and to write."""
        words: list[str] = []
        for word in self._program["words"]:
            match word:
                case "@arguments":
                    words.append(_file("arguments", self._arguments(message)))
                case "@filter":
                    words.append(_file("filter", self._filter))
                case "@status":
                    os.set_inheritable(self._status, True)
                    words.append(str(self._status))
                case "@name":
                    words.append(self._name)
                case "@command":
                    words += message["argv"]
                case _:
                    words.append(word)
        return words

    def _arguments(self, message: dict[str, Any]) -> bytes:
        """Returns what the program is given where nobody else can read it; each ends with NUL."""
        found = [*self._program["arguments"], "--chdir", message["cwd"]]
        for name, value in message["env"].items():
            found += ("--setenv", name, value)
        return b"".join(each.encode("utf-8", "surrogateescape") + b"\0" for each in found)

    def _has_started(self) -> bool:
        if self._program["config"]:
            return os.path.exists(f"{BUNDLE}/pid")
        return b'"exit-code"' in os.pread(self._status, 4096, 0)


def _here(bounds: dict[str, Any]) -> dict[str, Any]:
    """Returns what bounds a sandbox with its paths as they are in this process."""
    folders = {name: [f"{PLACE}{path}" for path in bounds[name]] for name in ("scratch", "writable")}
    return bounds | folders


def _part_outputs() -> None:
    """Gives output and errors a description each of the pipe they share.

    gVisor makes what it is given not wait, and takes the next one for what the command wanted to be so: commands would
    see EAGAIN where the pipe is full.
    """
    for number in (1, 2):
        opened = os.open(f"/proc/self/fd/{number}", os.O_WRONLY)
        os.dup2(opened, number)
        os.close(opened)


def _hide_groups() -> None:
    """Shows runtimes control groups that cannot be changed: they are in one already, and would leave theirs behind."""
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
