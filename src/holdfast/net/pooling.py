"""The HTTP library's connections, one pool for each event loop that uses the client.

A pool belongs to the loop it was made in. It is made with the first request there and closed with the loop: it
lives inside an async generator, and `asyncio.run` and its kin close those before they close the loop. So one client
serves many loops, one after another or in several threads, and leaves no open connection behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from functools import cached_property
from math import inf
from typing import Final, Protocol, final

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from holdfast.net.guarding import GuardedResolver, GuardedSockets
from holdfast.net.settings import NetSettings, Resolve
from holdfast.safety.addresses import AddressPolicy

__all__ = ("Pool", "Pools", "Reading")

_TARGETS: Final = 256
_LOOKS: Final = 8
"""Looks at who waits, in the time that silence is allowed to last."""


class Reading(Protocol):
    """Somebody who reads from a connection of a pool."""

    quiet: float
    """How often the pool has looked since it began to wait; minus infinity while it does not."""

    def drop(self, error: Exception) -> None:
        """Gives the connection up; whoever reads from it gets the error."""
        ...


class _Target(aiohttp.ClientRequest):
    """What the library wants to know of a request before it connects it: where it goes, which never changes."""

    @cached_property
    def connection_key(self) -> ConnectionKey:  # pyright: ignore[reportIncompatibleMethodOverride] - read as the property
        """Which connections lead there; the library makes it anew for each request."""
        return super().connection_key


@final
class Pool:
    """The connections of one loop, and the watch over those that are silent.

    One timer watches all of them: a timer for each read costs more than the read.
    """

    __slots__ = ("_connector", "_free", "_readings", "_silence", "_targets", "_timeout", "_waiting", "_watch")

    def __init__(self, policy: AddressPolicy, settings: NetSettings, resolve: Resolve | None) -> None:
        self._connector = aiohttp.TCPConnector(
            limit=settings.connections,
            ttl_dns_cache=settings.name_memory,
            keepalive_timeout=settings.keep_alive,
            resolver=GuardedResolver(policy, resolve, settings.connect_timeout),
            socket_factory=GuardedSockets(policy).open,
        )
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout)
        self._silence = settings.silence_timeout
        self._targets: dict[URL, _Target] = {}
        self._free: float = settings.connections or inf
        """How many more connections may be had. The library gives one to whoever asks while another one is free, also
        before those who wait, so that a busy few could keep all of them."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        """Those who wait for one, while none is free; each gets the place of somebody who leaves."""
        self._readings: set[Reading] = set()
        self._watch: asyncio.TimerHandle | None = None

    def enter(self) -> bool:
        """Takes a place where one is free; False where there is none (`turn`). Who has a place says `leave`, once."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def turn(self) -> None:
        """Takes the place of somebody who leaves; who asks first has one first."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self._pass_on()  # it was given meanwhile
            else:
                place.cancel()
                with suppress(ValueError):  # it was passed over already
                    self._waiting.remove(place)
            raise

    def connect(self, url: URL) -> Coroutine[None, None, Connection]:
        """Returns a connection to where the URL leads, an unused one or a new one, for somebody who has a place.

        Raises:
            aiohttp.ClientError, OSError: there is none to be had.
        """
        target = self._targets.get(url) or self._target(url)
        return self._connector.connect(target, [], self._timeout)

    def _target(self, url: URL) -> _Target:
        if len(self._targets) >= _TARGETS:
            self._targets.clear()
        target = self._targets[url] = _Target("GET", url, loop=asyncio.get_running_loop())
        return target

    def join(self, reading: Reading) -> None:
        """Watches somebody who begins to read."""
        self._readings.add(reading)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._silence / _LOOKS, self._look)

    def leave(self, reading: Reading) -> None:
        """Watches no longer, and lets somebody else have a connection."""
        self._readings.discard(reading)
        if self._waiting:
            self._pass_on()
        else:
            self._free += 1

    def _pass_on(self) -> None:
        """Lets whoever waits longest have a place, or the next who asks."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    async def close(self) -> None:
        """Closes every connection; the library alone would let those who read from one wait for ever."""
        if self._watch is not None:
            self._watch.cancel()
        for reading in list(self._readings):
            reading.drop(aiohttp.ClientConnectionError("the client was closed"))
        await self._connector.close()

    def _look(self) -> None:
        self._watch = None
        for reading in list(self._readings):
            reading.quiet += 1
            if reading.quiet > _LOOKS:
                self._readings.discard(reading)
                reading.drop(aiohttp.SocketTimeoutError(f"silent for {self._silence:g} s"))
        if self._readings:
            self._watch = asyncio.get_running_loop().call_later(self._silence / _LOOKS, self._look)


@final
class Pools:
    """Hands out the pool of the running loop."""

    __slots__ = ("_lifetimes", "_open", "_policy", "_resolve", "settings")

    def __init__(self, policy: AddressPolicy, settings: NetSettings, resolve: Resolve | None) -> None:
        self.settings = settings
        self._policy = policy
        self._resolve = resolve
        self._open: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._lifetimes: dict[asyncio.AbstractEventLoop, AsyncGenerator[Pool, None]] = {}

    def current(self) -> Pool | None:
        """Returns the pool of the running loop; None before the first request in it."""
        return self._open.get(asyncio.get_running_loop())

    async def open(self) -> Pool:
        """Returns the pool of the running loop, made now if there is none."""
        found = self.current()
        if found is not None:
            return found
        for loop in [loop for loop in self._open if loop.is_closed()]:
            self._forget(loop)
        lifetime = _lifetime(Pool(self._policy, self.settings, self._resolve), self._open)
        opened = await anext(lifetime)
        self._lifetimes[asyncio.get_running_loop()] = lifetime
        return opened

    async def close(self) -> None:
        """Closes the pool of the running loop; a later request opens another."""
        lifetime = self._forget(asyncio.get_running_loop())
        if lifetime is not None:
            await lifetime.aclose()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Pool, None] | None:
        self._open.pop(loop, None)
        return self._lifetimes.pop(loop, None)


async def _lifetime(pool: Pool, register: dict[asyncio.AbstractEventLoop, Pool]) -> AsyncGenerator[Pool, None]:
    """One pool, open and registered until the generator is closed; it reaches its first item without waiting."""
    loop = asyncio.get_running_loop()
    register[loop] = pool
    try:
        yield pool
    finally:
        if register.get(loop) is pool:
            del register[loop]
        await pool.close()
