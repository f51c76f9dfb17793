"""Who is connected: how many in all and from each address, and who takes too long.

One task looks at all connections every half second. Ten thousand of them have no timer each, and a request that is
answered in time costs no timer, either.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Container, Sequence
from email.utils import formatdate
from typing import Protocol, final

from uvicorn.server import ServerState

from holdfast.server.listening.caps import Caps

__all__ = ("Connection", "Doorkeeper")

_EACH = 1_000
"""Connections of one address elsewhere, where nothing else is said."""
_ABOVE = 256
"""Connections above the bound that are still told why they are not served; the rest is dropped."""
_AT_ONCE = 500
"""Connections that are looked at between two turns of the event loop."""


class Connection(Protocol):
    """Somebody who is connected."""

    due: float
    """When it is too late for what it should do next, by the loop's clock; infinite where it has any time."""

    def overdue(self) -> None:
        """Is called when it is too late."""
        ...

    def shutdown(self) -> None:
        """Ends the connection after the answer that is under way."""
        ...

    def drop(self) -> None:
        """Ends the connection now, with a word where none was said yet."""
        ...

    def abort(self) -> None:
        """Ends the connection without a word."""
        ...


@final
class Doorkeeper:
    """Lets connections in, and shows out who takes too long."""

    def __init__(self, caps: Caps, state: ServerState, proxies: Container[str] = ()) -> None:
        self.caps = caps
        self.state = state
        self.connections: dict[Connection, str] = {}
        """Everybody who is in, with their address."""
        self.turned_away = 0
        """How many were answered with 503, or dropped."""
        self.timed_out = 0
        self.closing = False
        """Whether each connection that has its answer is to end."""
        self._each: dict[str, int] = {}
        self._proxies = proxies
        self._task: asyncio.Task[None] | None = None

    def enter(self, connection: Connection, address: str) -> bool | None:
        """Counts somebody in; False where there is no room and they may be told so, None where they are dropped."""
        caps, there = self.caps, len(self.connections)
        mine = self._each.get(address, 0)
        if there >= caps.connections + _ABOVE:
            self.turned_away += 1
            return None
        self.connections[connection] = address
        self._each[address] = mine + 1
        if there < caps.connections and mine < self._most(address):
            return True
        self.turned_away += 1
        return False

    def leave(self, connection: Connection) -> None:
        """Counts somebody out; nothing where they are out already."""
        address = self.connections.pop(connection, None)
        if address is None:
            return
        left = self._each[address] - 1
        if left:
            self._each[address] = left
        else:
            del self._each[address]

    def replace(self, old: Connection, new: Connection) -> None:
        """Has somebody go on as somebody else: a connection that speaks another protocol now."""
        address = self.connections.pop(old, None)
        if address is not None:
            self.connections[new] = address

    def begin(self) -> None:
        """Begins to look, and to tell the time."""
        self._tell_time()
        self._task = asyncio.create_task(self._look(), name="doorkeeper")

    def end(self) -> None:
        """Looks no longer."""
        if self._task is not None:
            self._task.cancel()

    def _most(self, address: str) -> float:
        most = self.caps.connections_each
        if address in self._proxies or (most is None and _is_here(address)):
            return float("inf")
        return _EACH if most is None else most

    async def _look(self) -> None:
        loop, told = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.sleep(self.caps.looks)
            now = loop.time()
            if now - told >= 1:
                self._tell_time()
                told = now
            await self._show_out(list(self.connections), now)

    async def _show_out(self, there: Sequence[Connection], now: float) -> None:
        """Shows out who is late; to look at ten thousand at once takes as long as to hear a hundred others."""
        for at in range(0, len(there), _AT_ONCE):
            for connection in [each for each in there[at : at + _AT_ONCE] if each.due < now]:
                if connection in self.connections:
                    self.timed_out += 1
                    connection.overdue()
            await asyncio.sleep(0)

    def _tell_time(self) -> None:
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


def _is_here(address: str) -> bool:
    try:
        return not address or ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
