"""A path that is a WebSocket: recognised, authorised, bounded and decoded as every route is, and then a stream.

A page of another site can open a socket to a server at which its visitor is logged in, and no browser asks that server
first. So a socket whose request names the page it comes from is opened only for a page of this very server, or for who
shows a key, which no page of others has.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from holdfast.errors import HoldfastError
from holdfast.flow.ids import new_key
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import Principal
from holdfast.server.access.principal import Scope as Wanted
from holdfast.server.parts import Heard, Service
from holdfast.server.problems import PROBLEM, Refused, problem_of
from holdfast.server.routing.decoding import query_of, where_of
from holdfast.server.routing.heading import check_once, headers_of
from holdfast.server.routing.lasting import lasting
from holdfast.server.routing.route import Call, Route
from holdfast.server.routing.signature import signature_of
from holdfast.server.streams.port import Stream
from holdfast.server.streams.sending import place_for
from holdfast.server.streams.sockets import send_texts

__all__ = ("Socket", "SocketEndpoint")


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """One stream that can be had over a WebSocket."""

    path: str
    """Names in braces are the fields of the `Where` of the handler."""
    handle: Callable[[Any], Awaitable[Stream]]
    scope: Wanted
    tag: str

    def as_route(self) -> Route:
        """Returns it as the route it would be."""
        return Route(method="GET", path=self.path, handle=self.handle, scope=self.scope, tag=self.tag)


@final
class SocketEndpoint:
    """One socket's path: an ASGI application."""

    def __init__(self, service: Service, socket: Socket) -> None:
        self._service = service
        self._socket = socket
        self._signature = signature_of(socket.as_route())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Opens one socket, and tells what it has to tell."""
        began = time.monotonic()
        connection = HTTPConnection(scope)
        opening = _Opening(self._service, connection)
        code = ""
        try:
            stream = await self._socket.handle(await opening.understand(self._socket, self._signature))
            stream.still = opening.still
            place = await place_for(stream, self._service, opening.who)
        except Refused as refused:
            code = refused.code
            await _refuse(refused, opening.id, scope, receive, send)
        except HoldfastError as error:
            code = (refused := problem_of(error)).code
            await _refuse(refused, opening.id, scope, receive, send)
        else:
            with place:
                await receive()  # `websocket.connect`
                await send({"type": "websocket.accept", "headers": [(b"x-request-id", opening.id.encode())]})
                await send_texts(stream, self._service, receive, send)
        finally:
            self._service.observer.heard(
                Heard(
                    method="GET",
                    route=self._socket.path,
                    status=opening.status or 500,
                    code=code,
                    seconds=time.monotonic() - began,
                    who=opening.who,
                    scope=self._socket.scope,
                    client=opening.client,
                    request_id=opening.id,
                    streamed=not code,
                )
            )


@final
class _Opening:
    """A socket on its way to a handler."""

    def __init__(self, service: Service, connection: HTTPConnection) -> None:
        self._service = service
        self._connection = connection
        self.headers = headers_of(connection.scope["headers"])
        self.id = new_key()
        self.who: Principal | None = None
        self.client = self._client()
        self.status = 101
        self.still: Callable[[], Awaitable[Refused | None]] | None = None
        """Says why it may not go on."""

    async def understand(self, socket: Socket, signature: Any) -> Call[Any, Any, Any]:
        """Returns the call it is.

        Raises:
            Refused: it is none, or of nobody who may, or of somebody else's page.
        """
        service, connection = self._service, self._connection
        if service.closing.is_set():
            raise Refused(503, "closing", "this process is being stopped: ask another one")
        check_once(connection.scope["headers"])
        self._check_origin()
        asked = Asked(method="GET", path=socket.path, headers=self.headers, client=self.client)
        who = self.who = await service.access.identify(asked)
        if who is None:
            await service.throttle.admit(None, self.client)
            raise Refused(401, "unauthenticated", "say who you are: send a key as `Authorization: Bearer ...`")
        if not who.may(socket.scope):
            raise Refused(403, "scope_missing", f"this needs the scope {socket.scope!r}, which this {who.how} has not")
        await service.throttle.admit(who, self.client)
        self.still = lasting(service.access, asked, who, socket.scope)
        return Call(
            who=who,
            runtime=service.runtime.acting_for(tenant=who.tenant, user=who.user),
            where=where_of(signature.where, connection.path_params),
            query=query_of(signature.query, connection.scope["query_string"]),
            body=None,
            headers=self.headers,
            service=service,
            request_id=self.id,
            client=self.client,
        )

    def _client(self) -> str:
        peer = self._connection.client.host if self._connection.client else ""
        line = [each.strip() for each in self.headers.get("x-forwarded-for", "").split(",") if each.strip()]
        while peer in self._service.proxies and line:
            peer = line.pop()
        return peer

    def _check_origin(self) -> None:
        origin = self.headers.get("origin", "")
        if not origin or "authorization" in self.headers:
            return
        try:
            ours = urlsplit(origin).netloc.lower() == self.headers.get("host", "").lower()
        except ValueError:
            ours = False
        if not ours:
            raise Refused(403, "foreign_origin", f"a page of {origin[:100]!r} may not open a socket here without a key")


async def _refuse(refused: Refused, id: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as any route does where the listener can; else closes, which is told as 403."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refused.code})
        return
    told = PROBLEM(refused.problem(id))
    headers = {"content-type": told.media_type, "x-request-id": id, **refused.headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "websocket.http.response.body", "body": told.body})
