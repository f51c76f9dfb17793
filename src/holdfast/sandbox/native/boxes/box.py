"""One sandbox as the runtime holds it: the commands that run in it, as long as it lives."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast, final

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.longrunning.reaching import Reaching
from holdfast.sandbox.native.boxes.outlet import Outlet
from holdfast.sandbox.native.talking.channel import Channel

__all__ = ("Box", "Command")

T = TypeVar("T")

_PATIENCE = 20.0
"""Seconds after which a sandbox that does not answer is given up."""
_BROKEN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Reasons why the first process of a sandbox cannot start a command, that would meet the next one, too."""


class Maker(Protocol):
    """What made it, and ends it."""

    nothing: int
    """A descriptor of the file that is empty and takes everything, as long as this is open."""
    open: bool

    def kill(self, number: int) -> None:
        """Ends a sandbox from outside, whatever it does."""
        ...


class Command:
    """One command in a sandbox."""

    def __init__(self, box: Box, number: int) -> None:
        self._box = box
        self.number = number
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        """Its process number in there; 0 where nobody knows it."""
        self.ended: asyncio.Future[int] = loop.create_future()
        """Its exit code, as a shell gives it."""
        self.killed = False
        """Whether a signal ended it."""
        self.alone = False
        """Whether nothing but the first process was left in the sandbox when it ended: there is nothing to clear."""
        self.asked_terminal = False
        self.terminal = -1
        """A descriptor of the outer side of its terminal, where it asked for one; whoever started it closes it."""

    def signal(self, what: signal.Signals) -> None:
        """Sends a signal to its process group."""
        with suppress(OSError):
            self._box.say({"do": "signal", "command": self.number, "signal": int(what)})


@final
class Box(Channel):
    """One sandbox, as long as it lives."""

    def __init__(self, launcher: Maker, number: int, end: socket.socket) -> None:
        super().__init__(end)
        self.number = number
        self.breaches: dict[str, int] = {}
        """How often its limits were hit, as far as somebody looked."""
        self.pid = 0
        """Its first process, as we count."""
        self.place = 0
        """Which of the machine's places it has."""
        self.group: Group | None = None
        """Its control group, where there are any."""
        self.hits_before: dict[str, int] = {}
        """How often the group's limits were hit before: others had it then."""
        self.user = 0
        """Whose its processes are, where root started them."""
        self.variables: dict[str, str] = {}
        """What its programs find in their environment, whatever they are given."""
        self.told: Mapping[str, Any] = {}
        """What was said of the last command that ended."""
        self.met: frozenset[str] = frozenset()
        """Quotas that its own folders met when somebody looked last."""
        self.kept = 0
        """Processes in it that outlive the command that started them: while there are any, it does not idle out."""
        self.where: tuple[tuple[int, ...], ...] = ()
        """What tells its workspace from another folder at that path."""
        self.absent: frozenset[str] = frozenset()
        """Protected paths of its workspace at which there was nothing when it was taken for a command."""
        self._closing: set[asyncio.Task[None]] = set()
        self.outlet: Outlet | None = None
        """Its way out, where it has one; it is closed with it."""
        self._launcher = launcher
        self._count = itertools.count(1)
        self._commands: dict[int, Command] = {}
        self._cleared: list[asyncio.Future[int]] = []
        self._looked: list[asyncio.Future[tuple[str, ...]]] = []
        self.reaching = Reaching(self.say)
        """Connects to ports in there."""
        self.listener = -1
        """A descriptor of the socket that listens in there for what wants out; -1 for none."""
        self.changes = -1
        """A descriptor of the folder that holds what was changed in the workspace, where that is a layer; -1 for none.
        Whoever takes it closes it.
        """
        self.built: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[dict[str, int]] = self._loop.create_future()
        """Done when nothing of it is left; how often its limits were hit."""

    @property
    def nothing(self) -> int:
        """A descriptor of the file that is empty and takes everything.

        Raises:
            SandboxError: the launcher is gone.
        """
        if not self._launcher.open:
            raise SandboxError("the sandbox is gone; try again")
        return self._launcher.nothing

    @property
    def alive(self) -> bool:
        """Whether it lives at this very moment; that `open` says so, too, takes a turn of the event loop."""
        poll = select.poll()
        try:
            poll.register(self._end, 0)
        except ValueError:  # it was closed
            return False
        return not poll.poll(0)

    def begin(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        folder: str,
        descriptors: Sequence[int],
        *,
        keep: bool = False,
    ) -> Command:
        """Has a command started with those descriptors as its standard input, output and error, of which the sandbox
        has copies then; without any, on a terminal of its own. One to `keep` is spared by `clear`.

        Raises:
            SandboxError: the sandbox is gone.
            ValueError: it cannot be passed on: it holds NUL.
        """
        if "\0" in "".join((*argv, *env, *env.values())):
            raise ValueError("it holds a NUL byte; leave it out")
        command = Command(self, next(self._count))
        self._commands[command.number] = command
        asked = {"do": "start", "command": command.number, "argv": list(argv), "env": dict(env), "cwd": folder}
        if not descriptors:
            command.asked_terminal = asked["terminal"] = True
        if keep:
            asked["keep"] = True
        try:
            self.say(asked, descriptors)
        except OSError as error:
            raise SandboxError("the sandbox is gone; try again") from error
        return command

    async def begun(self, command: Command) -> Command:
        """Returns the command once it runs, or has ended already.

        Raises:
            FileNotFoundError: there is no such program, or no such folder, in the sandbox.
            SandboxError: it cannot be started, or the sandbox is gone.
            ValueError: it cannot be passed on: it is too long.
        """
        try:
            await command.started
        except asyncio.CancelledError:  # it may run, and nobody will know of it
            command.signal(signal.SIGKILL)
            command.asked_terminal = False
            if command.terminal >= 0:
                os.close(command.terminal)
            raise
        return command

    def hits(self) -> dict[str, int]:
        """Returns how often limits of its control group were hit; from the kernel's files, which takes no time."""
        if self.group is None:
            return {}
        return {name: count - self.hits_before.get(name, 0) for name, count in self.group.breaches().items()}

    async def clear(self) -> int:
        """Kills every process in it but the first and those to keep, and returns how many there were."""
        cleared: asyncio.Future[int] = self._loop.create_future()
        self._cleared.append(cleared)
        try:
            self.say({"do": "clear"})
        except OSError:
            return 0
        try:
            async with asyncio.timeout(_PATIENCE):
                return await cleared
        except TimeoutError:
            self.end()
            return 0

    async def look(self, since: float) -> tuple[str, ...]:
        """Returns the names of quotas that are met in its folders (`bounds/measuring.py`); none where it is gone."""
        looked: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        try:
            self.say({"do": "look", "since": since})
            self._looked.append(looked)
            async with asyncio.timeout(_PATIENCE):
                return await looked
        except (OSError, TimeoutError):
            self.end()
            return ()

    def end(self) -> None:
        """Ends it with everything in it, and does not wait; `gone` tells when."""
        self._launcher.kill(self.number)
        self.close()
        self.lost()

    def heard(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Hands on what the first process says; whatever it is, it does no harm here."""
        if message.get("built") is True and not self.built.done():
            self._take_up(message, descriptors)
        started = self._commands.get(_number(message.get("command")))
        if descriptors and started is not None and started.asked_terminal:
            started.asked_terminal, started.terminal = False, descriptors.pop(0)
        self.reaching.heard(message, descriptors)
        for extra in descriptors:
            os.close(extra)
        if "failed" in message and not self.built.done():
            why = f"{message.get('failed')}: {message.get('error')}"
            self.built.set_exception(IsolationMissing(f"no sandbox can be made here: the step {why}"))
        elif "cleared" in message and self._cleared:
            _answer(self._cleared, _number(message["cleared"]))
        elif "looked" in message and self._looked:
            _answer(self._looked, _words(message["looked"]))
        elif (command := self._commands.get(_number(message.get("command")))) is not None:
            self._tell(command, message)

    def _take_up(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Goes on with it once it is built; without its layer, what commands change in it would be lost."""
        if message.get("layers"):
            if not descriptors:
                self.built.set_exception(SandboxError("this process has no room for its files; let some go, try again"))
                return
            self.changes = descriptors.pop(0)
        if descriptors:
            self.listener = descriptors.pop(0)
        self.built.set_result(None)

    def _tell(self, command: Command, message: dict[str, Any]) -> None:
        if "error" in message and not command.started.done():
            del self._commands[command.number]
            if message.get("errno") == errno.E2BIG:
                reason: Exception = ValueError("it is too long for one command; write it to a file and run that")
            elif message.get("errno") == errno.ENOENT:
                reason = FileNotFoundError(errno.ENOENT, str(message["error"]))
            else:
                reason = SandboxError(f"it cannot be started: {message['error']}")
            command.started.set_exception(reason)
            if message.get("errno") in _BROKEN:
                self.end()  # so that nobody is given it again
            return
        if "pid" in message and not command.started.done():
            command.started.set_result(_number(message["pid"]))
        if "status" in message and not command.ended.done():
            del self._commands[command.number]
            self.told = message
            status = _number(message["status"]) & 0xFFFF
            command.killed = bool(status & 0x7F)
            command.alone = message.get("alone") is True
            command.ended.set_result(128 + (status & 0x7F) if status & 0x7F else status >> 8)

    def lost(self) -> None:
        """Ends what waits: its first process is gone, and so is everything."""
        gone = SandboxError("the sandbox is gone; try again")
        if not self.built.done():
            self.built.set_exception(gone)
            self.built.exception()
        for command in list(self._commands.values()):
            if not command.started.done():  # it was sent, so it may have begun
                command.started.set_result(0)
            if not command.ended.done():
                command.killed = True
                command.ended.set_result(128 + signal.SIGKILL)
        self._commands.clear()
        while self._cleared:
            _answer(self._cleared, 0)
        while self._looked:
            _answer(self._looked, ())
        self.reaching.lost()
        if self.outlet is not None:
            closing = self._loop.create_task(self.outlet.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self.outlet = None
        for descriptor in (self.listener, self.changes):
            if descriptor >= 0:
                os.close(descriptor)
        self.listener = self.changes = -1

    def buried(self, breaches: dict[str, int]) -> None:
        """Notes that nothing of it is left."""
        self.close()
        self.lost()
        if not self.gone.done():
            self.gone.set_result(breaches)


def _answer(waiting: list[asyncio.Future[T]], answer: T) -> None:
    """Gives whoever has waited longest an answer."""
    first = waiting.pop(0)
    if not first.done():
        first.set_result(answer)


def _words(given: object) -> tuple[str, ...]:
    return tuple(map(str, cast("list[object]", given))) if isinstance(given, list) else ()


def _number(given: object) -> int:
    return given if isinstance(given, int) else 0
