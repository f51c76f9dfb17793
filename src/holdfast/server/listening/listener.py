"""A server that listens, from the first connection to the last farewell.

Without keys it listens where only this machine can reach it, and nowhere else. It ends in this order: readiness fails
and nothing new begins; streams say farewell; what is under way has the grace that `Bounds` gives; then connections are
closed. Whoever started it releases the runs and closes the store after that.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config

from holdfast.errors import UsageError
from holdfast.server.listening.caps import Caps
from holdfast.server.listening.doorkeeping import Doorkeeper
from holdfast.server.listening.protocol import Kept, Speaking, Talking
from holdfast.server.listening.sockets import Place, bind, certified, is_loopback, raise_files, sound
from holdfast.server.parts import Service

__all__ = ("Listener",)

_HANDSHAKE = 10.0
"""Seconds that TLS may take to begin."""
_MESSAGE = 1024 * 1024
"""Bytes of one message of a WebSocket."""
_FAREWELL = 2.0
"""Seconds that streams have to end by themselves, and that what was sent last has to arrive."""
_LOOK = 0.02
"""Seconds between two looks at whether the last answer is sent."""


@final
class _Leaving:
    """An application that says nothing of requests that were cut off when the server left."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._service.closing.is_set():
                raise


@final
class Listener:
    """Takes connections for a service; enter it, in an event loop, for as long as it is to be reached."""

    def __init__(
        self, service: Service, app: ASGIApp, place: Place, caps: Caps | None = None, *, guarded: bool = False
    ) -> None:
        """`guarded` says that whoever asks has to say who they are, or that somebody else sees to it."""
        caps = caps or Caps()
        caps = msgspec.structs.replace(caps, connections=raise_files(caps.connections))
        self.url = ""
        """Where it is reached, once it is entered."""
        self._service = service
        self._place = place
        self._guarded = guarded
        self._config = Config(
            _Leaving(app, service),
            http=Speaking,
            ws=Talking,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=caps.idle_seconds,  # pyright: ignore[reportArgumentType] - a part of a second will do, too
            ws_max_size=_MESSAGE,
            ws_per_message_deflate=False,  # a message could unpack to anything
        )
        self._state = Kept()
        self._keeper = self._state.doorkeeper = Doorkeeper(caps, self._state, service.proxies)
        self._servers: list[asyncio.Server] = []

    @property
    def keeper(self) -> Doorkeeper:
        """Who is connected."""
        return self._keeper

    async def __aenter__(self) -> Listener:
        """Begins to listen.

        Raises:
            UsageError: it cannot, or may not: says what to do.
        """
        place = self._place
        if not self._guarded and not is_loopback(place):
            raise UsageError(
                f"this server has no keys, so whoever reaches {place.host!r} could do everything: create a key first "
                "(holdfast serve keys create), or listen on 127.0.0.1"
            )
        context = certified(place)
        bound = bind(place, self._keeper.caps)
        self.url = sound(place, bound)
        self._config.load()
        for each in bound:
            self._servers.append(await self._listen(each, context))
        self._keeper.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends in good order."""
        keeper, grace = self._keeper, self._service.bounds.grace
        self._service.closing.set()
        keeper.closing = True
        for connection in list(keeper.connections):
            if isinstance(connection, Speaking):
                connection.shutdown()
        await self._wait(lambda: not self._state.tasks, min(grace, _FAREWELL))
        for connection in list(keeper.connections):
            if isinstance(connection, Talking):  # whoever speaks through it has said what there was to say
                connection.shutdown()
        await self._wait(lambda: not self._state.tasks, grace - _FAREWELL)
        for server in self._servers:
            server.close()
        for connection in list(keeper.connections):
            (connection.drop if self._state.tasks else connection.shutdown)()
        for task in list(self._state.tasks):
            task.cancel()
        await self._wait(lambda: not keeper.connections and not self._state.tasks, _FAREWELL)
        for connection in list(keeper.connections):
            connection.abort()
        keeper.end()
        if self._place.unix is not None:
            self._place.unix.unlink(missing_ok=True)

    async def _listen(self, found: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: Speaking(self._config, self._state, {}, loop),
            sock=found,
            ssl=context,
            backlog=self._keeper.caps.backlog,
            ssl_handshake_timeout=None if context is None else _HANDSHAKE,
        )

    async def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        """Returns when it is done, or takes too long; meanwhile it can still be asked whether the server is ready."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not done() and loop.time() < until:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_LOOK)  # nothing tells when a transport is gone
