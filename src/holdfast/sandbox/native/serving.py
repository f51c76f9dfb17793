"""The first process of a sandbox: starts commands, collects what ends, kills what is left.

It is as confined as what it starts. When it ends, for whatever reason, the kernel ends every process of the sandbox.
It ends when the runtime's end of its socket closes.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from resource import struct_rusage
from typing import Any, Protocol

from holdfast.sandbox.longrunning.dialling import begin_dialling
from holdfast.sandbox.native.bounds.measuring import Folders, Spending
from holdfast.sandbox.native.lasting.sparing import around, clear_around, end_session
from holdfast.sandbox.native.talking.wire import receive, send

__all__ = ("Children", "serve")

_MOMENT = 2
"""ms within which a command has to end for its beginning and its end to be told together."""
_SHELL = "bash"
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Those a command begins with as a program expects them, whatever was ignored where this process was started; of one
that is not named here the C library has to ask first.
"""


class Children(Protocol):
    """What starts commands and ends all that they leave, where no namespace does (`sandbox/confining/starting.py`)."""

    def start(
        self, program: str, argv: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
    ) -> int:
        """Starts a program with these for its input, output and errors, out of reach of this process."""
        ...

    def kill(self) -> object:
        """Kills every child; they are still to be collected."""
        ...

    def end(self) -> object:
        """Kills and collects every child, and what comes to this process by that, to the last."""
        ...


def serve(channel: socket.socket, children: Children | None = None, bounds: Mapping[str, Any] | None = None) -> None:
    """Does what comes over the channel until that ends.

    `bounds` say what commands may use, and where they may write, as far as this process sees to that (`bounds/`).
    With `children` nobody else ends what commands started when this process ends, so it does that first; also where it
    is asked to end by SIGTERM.
    """
    reading, writing = os.pipe()
    for each in (reading, writing):
        os.set_blocking(each, False)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(reading, select.POLLIN)
    server = _Server(channel, children, dict(bounds or {}))
    with suppress(EOFError, ConnectionError):
        while True:
            found = poll.poll(server.patience)
            if not found:
                server.tell_begun()
            for descriptor, _ in found:
                if descriptor == reading:
                    with suppress(BlockingIOError):
                        os.read(reading, 4096)
                    server.collect()
                else:
                    server.hear()
            server.bound()
    if children is not None:
        children.end()


def _ignore(_number: int, _frame: object) -> None:
    """Only so that the signal wakes the loop."""


class _Server:
    def __init__(self, channel: socket.socket, children: Children | None, bounds: dict[str, Any]) -> None:
        self._channel = channel
        self._children = children
        self._bounds = bounds
        self._folders = Folders(bounds)
        self._spending: Spending | None = None
        """What the command that runs uses of its CPU, where that is bounded."""
        self._shells: dict[str, str] = {}
        """Where the shell is, by the PATH it was looked for in."""
        self._commands: dict[int, int] = {}
        """Numbers of commands by their leaders."""
        self._kept: set[int] = set()
        """Those among them that outlive the end of others."""
        self._begun: dict[int, int] = {}
        """Those among them of which nobody was told yet: whoever waits wakes up once for one that ends at once."""

    @property
    def patience(self) -> float | None:
        """Milliseconds to wait for what comes, None for ever: somebody may have to be told, or something ended."""
        if self._begun:
            return _MOMENT
        return None if self._spending is None else self._spending.patience

    def bound(self) -> None:
        """Ends a command that uses more than it may."""
        if self._spending is not None and self._spending.is_over():
            self._clear()

    def tell_begun(self) -> None:
        """Tells of every command that began and has not ended."""
        while self._begun:
            pid, number = self._begun.popitem()
            send(self._channel, {"command": number, "pid": pid})

    def hear(self) -> None:
        self.tell_begun()
        message, descriptors = receive(self._channel)
        try:
            match message["do"]:
                case "start":
                    self._start(message, descriptors)
                case "signal":
                    self._signal(message["command"], message["signal"])
                case "clear":
                    send(self._channel, {"cleared": self._clear()})
                case "look":
                    send(self._channel, {"looked": self._folders.met(message["since"])})
                case "connect":
                    self._connect(message["connection"], message["port"])
                case _:
                    pass
        finally:
            for each in descriptors:
                os.close(each)

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        number = message["command"]
        try:
            if self._children is not None and message.get("keep"):
                raise OSError(errno.ENOTSUP, "only the sandbox `native` keeps processes that outlive a command")
            try:
                pid = _spawn(message, self._program(message), descriptors, self._children)
            finally:
                if self._children is not None:  # whoever waits here must not keep what is mounted there
                    os.chdir("/")
        except (OSError, ValueError) as error:
            number_of = getattr(error, "errno", None) or 0
            reason = (getattr(error, "strerror", None) or str(error))[:1000]
            send(self._channel, {"command": number, "error": reason, "errno": number_of})
            return
        self._commands[pid] = number
        if message.get("keep"):
            self._kept.add(pid)
        elif (most := self._bounds.get("cpu")) is not None:
            self._spending = Spending(pid, most, self._of_commands)
        if message.get("terminal"):
            send(self._channel, {"command": number, "pid": pid}, descriptors[:1])
        else:
            self._begun[pid] = number

    def _program(self, message: dict[str, Any]) -> str:
        """Returns where the program is that is to be started. The shell is the system's where there is one: a command
        may have put another one into a folder of the PATH that it can write.
        """
        name, path = message["argv"][0], message["env"].get("PATH", "")
        if name != _SHELL:
            return _find(name, path)
        if path not in self._shells:
            mine = tuple(f"{each}/" for each in self._bounds.get("writable", ()))
            fixed = (each for each in path.split(":") if not f"{os.path.realpath(each)}/".startswith(mine))
            try:
                self._shells[path] = _find(name, ":".join(fixed))
            except FileNotFoundError:
                return _find(name, path)
        return self._shells[path]

    def _of_commands(self) -> set[int]:
        return around(self._kept) if self._children is None else set()

    def _signal(self, number: int, what: int) -> None:
        for pid, command in self._commands.items():
            if command == number:
                with suppress(OSError):
                    os.killpg(pid, what)

    def collect(self) -> None:
        """Collects every process that has ended, and tells of commands among them."""
        ended: list[tuple[int, int]] = []
        alone = False
        while not ended or ended[-1][0]:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                alone = self._children is None  # what loses its parent in here becomes a child of this process
                break
            ended.append((pid, status))
            self._count(pid, used)
        for pid, status in ended:
            self._tell(pid, status, alone=alone)
        self.tell_begun()

    def _count(self, pid: int, used: struct_rusage) -> None:
        """Counts what a process used that has ended; where processes are kept, others than commands may be theirs."""
        if self._spending is not None and pid not in self._kept and (not self._kept or pid in self._commands):
            self._spending.collected(used)

    def _tell(self, pid: int, status: int, *, alone: bool = False) -> None:
        """Tells that a process has ended, if it was a command, and whether this one is `alone` now; nothing is left of
        one that was kept.
        """
        if (number := self._commands.pop(pid, None)) is None:
            return
        kept = False
        if pid in self._kept:
            self._kept.remove(pid)
            kept = True
            if self._commands.keys() <= self._kept or end_session(pid, self.collect) < 0:
                self._clear()
        self._say_ended(pid, number, status, alone=alone, kept=kept)

    def _say_ended(self, pid: int, number: int, status: int, *, alone: bool, kept: bool = False) -> None:
        message: dict[str, Any] = {"command": number, "status": status, "alone": alone}
        if self._spending is not None and not kept:
            message["cpu"] = self._spending.spent if alone else self._spending.used()
            self._spending = None
        if self._begun.pop(pid, None) is not None:
            message["pid"] = pid
        send(self._channel, message)

    def _connect(self, number: int, port: int) -> None:
        """Hands out a connection to a port in here."""
        try:
            with begin_dialling(port) as end:
                send(self._channel, {"connected": number}, [end.fileno()])
        except (OSError, OverflowError) as error:
            send(self._channel, {"connected": number, "error": str(error)[:200]})

    def _clear(self) -> int:
        """Kills everything but this process and what is kept, and returns how many processes there were."""
        if self._kept and (spared := clear_around(self._kept, self.collect)) >= 0:
            return spared
        self._kept.clear()  # what multiplied was quicker: nobody is spared
        killed = 0
        while True:
            if self._children is not None:  # -1 would be everything of the user
                self._children.kill()
            else:
                with suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            try:
                pid, status, used = os.wait4(-1, 0)
            except ChildProcessError:
                return killed
            killed += 1
            self._count(pid, used)
            if (number := self._commands.pop(pid, None)) is not None:
                self._say_ended(pid, number, status, alone=False)


def _spawn(message: dict[str, Any], program: str, descriptors: list[int], children: Children | None) -> int:
    """Starts a command where it is to be started, which this process is in then, and returns its number; where it has
    a terminal, the two ends of that come after the descriptors.
    """
    if not message.get("terminal") and len(descriptors) < 3:
        raise OSError(errno.EMFILE, "its input and its output did not arrive: this process has no room for them")
    os.chdir(message["cwd"])
    if message.get("terminal"):
        descriptors.extend(os.openpty())
        name = os.ttyname(descriptors[-1])  # opened by the leader of a session, it becomes its terminal
        actions = [(os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0), *((os.POSIX_SPAWN_DUP2, 0, n) for n in (1, 2))]
    else:
        actions = [(os.POSIX_SPAWN_DUP2, each, place) for place, each in enumerate(descriptors[:3])]
    argv, environment = message["argv"], message["env"]
    if children is not None:
        return children.start(program, argv, environment, descriptors[:3])
    return os.posix_spawn(program, argv, environment, file_actions=actions, setsid=True, setsigdef=_SIGNALS)


def _find(program: str, path: str) -> str:
    """Returns where a program is, as a shell would find it."""
    if "/" in program:
        return program
    for folder in path.split(":"):
        if folder and os.access(found := f"{folder}/{program}", os.X_OK):
            return found
    raise FileNotFoundError(2, f"there is no program {program!r} in the sandbox's PATH")
