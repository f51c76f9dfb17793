"""The HTTP library's sessions, one for each event loop that uses the client.

A session belongs to the loop it was made in. It is made with the first request there and closed with the loop: it
lives inside an async generator, and `asyncio.run` and its kin close those before they close the loop. So one client
serves many loops, one after another or in several threads, and leaves no open connection behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, final

import aiohttp
import msgspec

from holdfast.net.guarding import GuardedResolver, GuardedSockets, Resolve
from holdfast.safety.addresses import AddressPolicy

__all__ = ("NetSettings", "OpenSession", "Sessions")

_USER_AGENT: Final = "holdfast"


class NetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a client behaves."""

    connections: int = 1_000
    """Connections at once; a request beyond them waits for one. 0 sets no limit."""
    connect_timeout: float = 10.0
    """Seconds for looking a name up, and again for connecting to each of its addresses, TLS included."""
    silence_timeout: float = 300.0
    """Seconds the other side may send nothing, before the first byte or between two."""
    name_memory: int = 10
    """Seconds the addresses of a name are remembered; 0 looks it up for every connection."""
    keep_alive: float = 15.0
    """Seconds an unused connection is kept for the next request."""
    body_limit: int = 64 * 1024 * 1024
    """Bytes an answer may have in sum, after decompression."""


@final
class OpenSession:
    """The session of one loop and the answers that are being read over it."""

    __slots__ = ("answers", "session")

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.answers: set[aiohttp.ClientResponse] = set()
        """Closed with the session: the library alone would let a reader of one wait for ever."""


@final
class Sessions:
    """Hands out the session of the running loop."""

    __slots__ = ("_lifetimes", "_open", "_policy", "_resolve", "settings")

    def __init__(self, policy: AddressPolicy, settings: NetSettings, resolve: Resolve | None) -> None:
        self.settings = settings
        self._policy = policy
        self._resolve = resolve
        self._open: dict[asyncio.AbstractEventLoop, OpenSession] = {}
        self._lifetimes: dict[asyncio.AbstractEventLoop, AsyncGenerator[OpenSession, None]] = {}

    def current(self) -> OpenSession | None:
        """Returns the session of the running loop; None before the first request in it."""
        return self._open.get(asyncio.get_running_loop())

    async def open(self) -> OpenSession:
        """Returns the session of the running loop, made now if there is none."""
        found = self.current()
        if found is not None:
            return found
        for loop in [loop for loop in self._open if loop.is_closed()]:
            self._forget(loop)
        lifetime = _lifetime(self._policy, self.settings, self._resolve, self._open)
        opened = await anext(lifetime)
        self._lifetimes[asyncio.get_running_loop()] = lifetime
        return opened

    async def close(self) -> None:
        """Closes the session of the running loop; a later request opens another."""
        lifetime = self._forget(asyncio.get_running_loop())
        if lifetime is not None:
            await lifetime.aclose()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[OpenSession, None] | None:
        self._open.pop(loop, None)
        return self._lifetimes.pop(loop, None)


async def _lifetime(
    policy: AddressPolicy,
    settings: NetSettings,
    resolve: Resolve | None,
    register: dict[asyncio.AbstractEventLoop, OpenSession],
) -> AsyncGenerator[OpenSession, None]:
    """One session, open and registered until the generator is closed; it reaches its first item without waiting."""
    connector = aiohttp.TCPConnector(
        limit=settings.connections,
        ttl_dns_cache=settings.name_memory,
        keepalive_timeout=settings.keep_alive,
        resolver=GuardedResolver(policy, resolve, settings.connect_timeout),
        socket_factory=GuardedSockets(policy).open,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": _USER_AGENT},
        timeout=aiohttp.ClientTimeout(
            total=None,
            sock_connect=settings.connect_timeout,
            sock_read=settings.silence_timeout,
        ),
        trust_env=False,
    )
    loop = asyncio.get_running_loop()
    opened = register[loop] = OpenSession(session)
    try:
        yield opened
    finally:
        if register.get(loop) is opened:
            del register[loop]
        for answer in opened.answers:
            answer.close()
        await session.close()
