"""The first process of a sandbox: starts commands, collects what ends, kills what is left.

It is as confined as what it starts. When it ends, for whatever reason, the kernel ends every process of the sandbox.
It ends when the runtime's end of its socket closes.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from typing import Any

from holdfast.sandbox.native.wire import receive, send

__all__ = ("serve",)


def serve(channel: socket.socket) -> None:
    """Does what comes over the channel until that ends."""
    reading, writing = os.pipe()
    for each in (reading, writing):
        os.set_blocking(each, False)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(reading, select.POLLIN)
    server = _Server(channel)
    with suppress(EOFError, ConnectionError):
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == reading:
                    with suppress(BlockingIOError):
                        os.read(reading, 4096)
                    server.collect()
                else:
                    server.hear()


def _ignore(_number: int, _frame: object) -> None:
    """Only so that the signal wakes the loop."""


class _Server:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._commands: dict[int, int] = {}
        """Numbers of commands by their leaders."""

    def hear(self) -> None:
        message, descriptors = receive(self._channel)
        try:
            match message["do"]:
                case "start":
                    self._start(message, descriptors)
                case "signal":
                    self._signal(message["command"], message["signal"])
                case "clear":
                    send(self._channel, {"cleared": self._clear()})
                case _:
                    pass
        finally:
            for each in descriptors:
                os.close(each)

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        number = message["command"]
        try:
            os.chdir(message["cwd"])
            actions = [(os.POSIX_SPAWN_DUP2, each, place) for place, each in enumerate(descriptors[:3])]
            argv, environment = message["argv"], message["env"]
            program = _find(argv[0], environment.get("PATH", ""))
            defaults = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT]
            pid = os.posix_spawn(program, argv, environment, file_actions=actions, setsid=True, setsigdef=defaults)
        except (OSError, ValueError) as error:
            number_of = getattr(error, "errno", None) or 0
            reason = (getattr(error, "strerror", None) or str(error))[:1000]
            send(self._channel, {"command": number, "error": reason, "errno": number_of})
            return
        self._commands[pid] = number
        send(self._channel, {"command": number, "pid": pid})

    def _signal(self, number: int, what: int) -> None:
        for pid, command in self._commands.items():
            if command == number:
                with suppress(OSError):
                    os.killpg(pid, what)

    def collect(self) -> None:
        """Collects every process that has ended, and tells of commands among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (number := self._commands.pop(pid, None)) is not None:
                send(self._channel, {"command": number, "status": status})

    def _clear(self) -> int:
        """Kills everything but this process, and returns how many processes there were."""
        killed = 0
        while True:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                return killed
            killed += 1
            if (number := self._commands.pop(pid, None)) is not None:
                send(self._channel, {"command": number, "status": status})


def _find(program: str, path: str) -> str:
    """Returns where a program is, as a shell would find it."""
    if "/" in program:
        return program
    for folder in path.split(":"):
        if folder and os.access(found := f"{folder}/{program}", os.X_OK):
            return found
    raise FileNotFoundError(2, f"there is no program {program!r} in the sandbox's PATH")
