"""The runtime's side: one launcher, and the sandboxes it made."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from holdfast.errors import IsolationMissing, SandboxError, SandboxesFull
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.native.slots import FIRST_UID
from holdfast.sandbox.native.talking.channel import Channel

__all__ = ("Launcher",)

_PATIENCE = 20.0
"""Seconds after which a launcher or a sandbox that does not answer is given up."""
_SOURCE = str(Path(__file__).resolve().parents[3])
_CODE = "import importlib, sys; sys.path.insert(0, sys.argv[2]); importlib.import_module(sys.argv[3]).main()"
_MOMENTARY = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Reasons of the kernel that may be gone a moment later; where namespaces are forbidden it has others."""
_LAUNCHING = "holdfast.sandbox.native.launching"


@final
class Launcher(Channel):
    """The process that makes sandboxes. It is started with the first one, and ends when this is closed or lost."""

    def __init__(self, end: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        """A descriptor of the file that is empty and takes everything, as long as this is open."""
        super().__init__(end)
        self._process = process
        self._numbers = itertools.count(1)
        self._boxes: dict[int, Box] = {}
        self._made: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self.groups: tuple[str, ...] = ()
        """What control groups limit here."""
        self.without: dict[str, str] = {}
        """What they do not, and why."""

    @classmethod
    async def start(cls, module: str = _LAUNCHING) -> Launcher:
        """Starts one; `module` is the one whose `main` it runs.

        Raises:
            IsolationMissing: it cannot work here.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [sys.executable, "-I", "-S", "-c", _CODE, str(theirs.fileno()), _SOURCE, module]
        environment = {name: os.environ[name] for name in ("XDG_RUNTIME_DIR",) if name in os.environ}
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - a moment, once
                arguments, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise IsolationMissing(f"the launcher of sandboxes cannot be started: {error}") from error
        finally:
            theirs.close()
        try:
            launcher = cls(ours, process)
        except OSError as error:
            ours.close()  # by which it ends
            await asyncio.to_thread(_wait, process)
            raise IsolationMissing(f"the launcher of sandboxes cannot be talked to: {error}") from error
        try:
            ready = await asyncio.wait_for(launcher._ready, _PATIENCE)
        except BaseException as error:
            await launcher.end()
            if isinstance(error, TimeoutError):
                raise IsolationMissing(f"the launcher of sandboxes did not answer for {_PATIENCE:g} s") from None
            raise
        launcher.groups = tuple(ready["cgroups"])
        launcher.without = dict(ready["without"])
        return launcher

    async def make(self, plan: dict[str, Any]) -> Box:
        """Makes a sandbox by its plan.

        Raises:
            IsolationMissing: the kernel refuses a step; the message names it.
            SandboxesFull: there are as many as the plan allows.
            SandboxError: the launcher is gone.
        """
        number = next(self._numbers)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made = self._made[number] = self._loop.create_future()
        box = self._boxes[number] = Box(self, number, ours)
        try:
            self.say({"do": "make", "sandbox": number, "plan": plan}, [theirs.fileno()])
            theirs.close()
            async with asyncio.timeout(_PATIENCE):  # `wait_for` of Python 3.11 may lose a cancellation
                answer = await made
            if "error" in answer:
                self._boxes.pop(number, None)  # there is none whose end will be told
                if answer.get("full"):
                    raise SandboxesFull(f"{answer['error']}: try again when one has ended")
                if answer.get("errno") in _MOMENTARY:
                    raise SandboxError(f"no sandbox can be made just now: {answer['error']}; try again")
                raise IsolationMissing(f"no sandbox can be made: {answer['error']}")
            box.pid, box.place = int(answer["pid"]), int(answer["place"])
            box.group = None if answer["group"] is None else Group(answer["group"], unified=answer["unified"])
            box.hits_before = box.hits()
            box.user = int(answer.get("user", FIRST_UID + box.place))
            box.variables = dict(answer.get("variables", {}))
            async with asyncio.timeout(_PATIENCE):
                await box.built
        except (OSError, TimeoutError) as error:
            box.end()
            if not self.open:
                self._boxes.pop(number, None)
            raise SandboxError(f"the launcher of sandboxes does not answer ({error}); try again") from error
        except BaseException:
            box.end()
            raise
        finally:
            theirs.close()
            self._made.pop(number, None)
        return box

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Every sandbox that is not known to be gone."""
        return tuple(self._boxes.values())

    async def look(self, box: Box) -> dict[str, int]:
        """Returns how often limits of its control group were hit."""
        if not box.open:
            return await asyncio.wait_for(asyncio.shield(box.gone), _PATIENCE)
        return box.hits()

    def kill(self, number: int) -> None:
        """Ends a sandbox from outside, whatever it does."""
        with suppress(OSError):
            self.say({"do": "end", "sandbox": number})

    def heard(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Hands on what the launcher says."""
        number = message.get("sandbox")
        if number is None:
            _resolve(self._ready, message, SandboxError(f"no sandboxes here: {message.get('error')}"))
        elif message.get("ended"):
            if (box := self._boxes.pop(number, None)) is not None:
                box.buried(message["breaches"])
        elif (made := self._made.get(number)) is not None and not made.done():
            made.set_result(message)

    def lost(self) -> None:
        """Ends everything that waits for it."""
        gone = SandboxError("the launcher of sandboxes is gone; try again")
        for each in (self._ready, *self._made.values()):
            if not each.done():
                each.set_exception(gone)
                each.exception()
        for box in list(self._boxes.values()):
            box.buried({})
        self._boxes.clear()

    def close(self) -> None:
        """Ends the talk with it, and so all that it made."""
        if self.open:
            os.close(self.nothing)
        super().close()

    async def end(self) -> None:
        """Ends it and every sandbox; returns when it is gone."""
        self.close()
        self.lost()
        await asyncio.to_thread(_wait, self._process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _resolve(future: asyncio.Future[dict[str, Any]], message: dict[str, Any], error: SandboxError) -> None:
    if future.done():
        return
    if "error" in message:
        future.set_exception(IsolationMissing(str(error)))
    else:
        future.set_result(message)
