"""One process that goes on: what is known of it, what it prints, how it is reached and ended.

How it is started, signalled and reached is the business of whoever started it (`Handle`); everything else is the same
in every backend.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final, Protocol, final

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import owner_of
from holdfast.sandbox.longrunning.connecting import Connection, Forward
from holdfast.sandbox.longrunning.ring import Hides, Piece, Ring

__all__ = ("GRACE", "Asked", "Handle", "Process", "asked_by")

GRACE: Final = 2.0
"""Seconds between the signal that asks it to end and the one that ends it."""
_PATIENCE = 10.0
"""Seconds after which one that was killed and does not end is given up."""
_ANSWER = 5.0
"""Seconds in which a port answers."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A process that somebody wants."""

    name: str
    """What its owner calls it; one that runs has it alone."""
    command: str
    """The line for bash."""
    owner: str = ""
    """Whose it is, without the epoch."""
    epoch: int = 0
    """The owner's, when it was started."""
    call: str = ""
    """Id of the call that started it."""


def asked_by(env: Mapping[str, str], name: str, command: str, call: str) -> Asked:
    """Returns what is asked for by whom the environment names as its owner."""
    owner, epoch = owner_of(env)
    return Asked(name=name, command=command, owner=owner, epoch=epoch, call=call)


class Handle(Protocol):
    """What a backend has of a process that it started."""

    ended: asyncio.Future[int]
    """Done when nothing of it is left and all it printed was read: its exit code, as a shell gives it."""

    def signal(self, what: signal.Signals) -> None:
        """Sends a signal to its group; does nothing when it is gone."""
        ...

    async def dial(self, port: int) -> socket.socket:
        """Returns a socket that is connected, or about to be, to a port of its network, and does not wait.

        Raises:
            OSError: nobody listens there.
            SandboxError: there is no such network any more.
        """
        ...


@final
class Process:
    """A process that was started and is kept."""

    def __init__(self, asked: Asked, keep: int) -> None:
        self.id = secrets.token_hex(8)
        """Tells it from every other, also of that name."""
        self.asked = asked
        self.ring = Ring(keep)
        """What it printed."""
        self.since = time.monotonic()
        self.until: float | None = None
        """When it ended, by the clock that `since` is of; None as long as it runs."""
        self.noted = False
        """Whether it stands in a log."""
        self.absent: frozenset[str] = frozenset()
        """Protected paths of the workspace at which there was nothing before it: what is there by now, it or somebody
        meanwhile put there.
        """
        self.settled = False
        """Whether whoever keeps that log knows that it ended."""
        self._handle: Handle | None = None
        self._forwards: set[Forward] = set()

    def begin(self, handle: Handle) -> None:
        """Notes that it was started."""
        self._handle = handle
        handle.ended.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        self.until = time.monotonic()
        self.ring.close()
        for each in list(self._forwards):
            each.close()

    @property
    def code(self) -> int | None:
        """Its exit code, 128 and the signal's number for a killed one; None as long as it runs."""
        ended = None if self._handle is None else self._handle.ended
        return ended.result() if ended is not None and ended.done() else None

    def read(self, since: int = 0, most: int = 1 << 20, hides: Hides | None = None) -> Piece:
        """Returns what it printed from a place on, as far as that is kept, without what `hides` knows."""
        return self.ring.read(since, most, hides)

    async def output(self, since: int = 0) -> AsyncGenerator[Piece]:
        """Yields what it prints, as it comes, until it has ended."""
        while True:
            piece = self.ring.read(since)
            if piece.next > since:
                yield piece
                since = piece.next
            elif self.ring.closed:
                return
            else:
                await self.ring.more(self.ring.total)

    async def wait(self) -> int:
        """Returns its exit code, once nothing of it is left."""
        return await asyncio.shield(self._started().ended)

    async def stop(self) -> int:
        """Asks it to end, kills it after two seconds, and returns its exit code.

        Raises:
            SandboxError: it does not end: the kernel holds it.
        """
        handle = self._started()
        if not handle.ended.done():
            handle.signal(signal.SIGTERM)
            await asyncio.wait((handle.ended,), timeout=GRACE)
            handle.signal(signal.SIGKILL)
            await asyncio.wait((handle.ended,), timeout=_PATIENCE)
        if not handle.ended.done():
            raise SandboxError(f"the process {self.asked.name!r} was killed and does not end: the kernel holds it")
        return handle.ended.result()

    async def connect(self, port: int) -> Connection:
        """Returns a connection to a port of its network.

        Raises:
            OSError: nobody listens there, or nobody answers for five seconds.
            SandboxError: it has ended.
        """
        if self.code is not None:
            raise SandboxError(f"the process {self.asked.name!r} has ended: start it again")
        connection = Connection(await self._started().dial(port))
        try:
            async with asyncio.timeout(_ANSWER):
                await connection.ready()
        except BaseException:
            connection.close()
            raise
        return connection

    async def forward(self, port: int) -> Forward:
        """Listens on a free port of our loopback and leads whoever connects there to that port of its network.

        It ends with the process, or with its `close`.
        """
        forward = await Forward.open(lambda: self.connect(port))
        self._forwards.add(forward)
        forward.closed.add_done_callback(lambda _: self._forwards.discard(forward))
        if self.code is not None:
            forward.close()
        return forward

    def _started(self) -> Handle:
        if self._handle is None:
            raise SandboxError(f"the process {self.asked.name!r} is being started: try again")
        return self._handle
