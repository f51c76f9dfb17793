"""One path as it is served: each request is recognised, authorised, bounded, decoded, handled and answered, in this
order, and every way it can end is told to the observer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast, final

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from holdfast.errors import HoldfastError
from holdfast.flow.ids import new_key
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import Principal
from holdfast.server.parts import Heard, Service
from holdfast.server.problems import PROBLEM, Dialect, Refused, problem_of
from holdfast.server.routing.decoding import body_of, query_of, read_body, where_of
from holdfast.server.routing.heading import check_once, headers_of
from holdfast.server.routing.lasting import lasting
from holdfast.server.routing.route import Answer, Call, Raw, Route
from holdfast.server.routing.signature import Signature, signature_of
from holdfast.server.streams.port import Stream
from holdfast.server.streams.sending import PUSH, send_stream, send_whole
from holdfast.types import TenantId

__all__ = ("Endpoint", "NOBODY", "Nowhere")

NOBODY = Principal(tenant=TenantId("local"), user="nobody", scopes=frozenset(), how="local")
"""Who asks where nobody has to be recognised."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_json = msgspec.json.Encoder()


@final
class Endpoint:
    """All routes of one path, by method: an ASGI application."""

    def __init__(self, service: Service, routes: Mapping[str, Route]) -> None:
        self._service = service
        self._routes = {method: (route, signature_of(route)) for method, route in routes.items()}
        if "GET" in self._routes:
            self._routes["HEAD"] = self._routes["GET"]
        self.rest = any(route.rest for route in routes.values())
        """Whether the last name of its path may have slashes."""
        self._allowed = ", ".join(sorted((*self._routes, "OPTIONS")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        asking = _Asking(self._service, request)
        found = self._routes.get(request.method)
        route = found[0] if found else next(iter(self._routes.values()))[0]
        status, code = 0, ""
        try:
            if found is None:
                raise self._other(request.method)
            given = await self._answer(asking, *found)
            if isinstance(given, Stream) and request.method != "HEAD":
                status, asking.streams, given.still = route.status, True, asking.still
                headers = {"x-request-id": asking.id, **given.headers}
                push = request.scope.get(PUSH)
                await send_stream(given, status, headers, self._service, receive, send, asking.who, push)
            else:
                status = await self._send(asking, route, given, send)
        except (Refused, HoldfastError) as error:
            refused = error if isinstance(error, Refused) else problem_of(error)
            status, code = refused.status, refused.code
            await asking.refuse(refused, route.dialect, send)
        except Exception as error:
            self._service.observer.broken(asking.id, error)
            if asking.streams:
                raise
            status, code = 500, "internal"
            await asking.refuse(Refused(500, code, "the server could not do it; its log says why"), route.dialect, send)
        finally:
            self._service.observer.heard(asking.heard(route.path, status, code, route.scope))

    def _other(self, method: str) -> Refused:
        """Returns what is answered to a method that no route has."""
        headers = {"allow": self._allowed}
        if method == "OPTIONS":
            return Refused(204, "", headers=headers)
        return Refused(405, "method_not_allowed", f"send {self._allowed}", headers=headers)

    async def _answer(self, asking: _Asking, route: Route, signature: Signature) -> Any:
        try:
            async with asyncio.timeout(route.seconds):
                call = await asking.understand(route, signature)
                if route.attended:
                    return await _as_long_as_somebody_waits(asking.request.receive, route.handle(call))
                return await route.handle(call)
        except TimeoutError:
            raise Refused(
                503,
                "too_slow",
                f"this took longer than {route.seconds:g} seconds: ask again",
                headers={"retry-after": "1"},
            ) from None

    async def _send(self, asking: _Asking, route: Route, given: Any, send: Send) -> int:
        headers, cookies, status = {"x-request-id": asking.id}, (), route.status
        if isinstance(given, Answer):
            answer = cast(Answer[Any], given)
            headers |= answer.headers
            cookies, status, given = answer.cookies, answer.status or route.status, answer.value
        if isinstance(given, Stream):  # somebody wants to know its headers only
            await given.pieces.aclose()
            headers |= given.headers
            body, media = b"", given.media_type
        elif isinstance(given, Raw):
            body, media = given.data, given.media_type
        else:
            body, media = (b"", "") if given is None else (_json.encode(given), "application/json")
        await send_whole(body, media, status, headers, cookies, send, bodiless=asking.request.method == "HEAD")
        return status


@final
class _Asking:
    """A request on its way to a handler."""

    def __init__(self, service: Service, request: Request) -> None:
        self.service = service
        self.request = request
        self.who: Principal | None = None
        self.streams = False
        """Whether a stream is the answer."""
        self.still: Callable[[], Awaitable[Refused | None]] | None = None
        """Says why such a stream may not go on."""
        self._began = time.monotonic()
        given = request.headers.get("x-request-id", "")
        self.id = given if _ID.fullmatch(given) else new_key()
        self.headers = headers_of(request.scope["headers"])
        self.client = self._client()

    async def understand(self, route: Route, signature: Signature) -> Call[Any, Any, Any]:
        """Returns the call it is.

        Raises:
            Refused: it is none, or of nobody who may.
        """
        check_once(self.request.scope["headers"])
        if self.service.closing.is_set() and route.counted:
            raise Refused(503, "closing", "this process is being stopped: ask again", headers={"retry-after": "2"})
        who = await self._recognise(route)
        if route.counted:
            await self.service.throttle.admit(self.who, self.client)
        where = where_of(signature.where, self.request.path_params)
        query = query_of(signature.query, self.request.scope["query_string"])
        data = b"" if signature.body is None else await read_body(self.request, route.body_bytes)
        body = body_of(signature.body, data, self.headers.get("content-type", ""))
        return Call(
            who=who,
            runtime=self.service.runtime.acting_for(tenant=who.tenant, user=who.user),
            where=where,
            query=query,
            body=body,
            headers=self.headers,
            service=self.service,
            request_id=self.id,
            client=self.client,
        )

    async def refuse(self, refused: Refused, dialect: Dialect, send: Send) -> None:
        """Answers with a problem."""
        headers = {"x-request-id": self.id, **refused.headers}
        if refused.status == 204:  # no problem at all
            await send_whole(b"", "", 204, headers, (), send)
            return
        told = dialect(refused.problem(self.id))
        headers |= told.headers
        await send_whole(
            told.body, told.media_type, refused.status, headers, (), send, bodiless=self.request.method == "HEAD"
        )

    def heard(self, path: str, status: int, code: str, scope: str | None) -> Heard:
        """Returns what became of it."""
        return Heard(
            method=self.request.method,
            route=path,
            status=status or 500,
            code=code,
            seconds=time.monotonic() - self._began,
            who=self.who,
            scope=scope or "",
            client=self.client,
            request_id=self.id,
            streamed=self.streams,
        )

    async def _recognise(self, route: Route) -> Principal:
        if route.scope is None:
            return NOBODY
        asked = Asked(
            method=self.request.method,
            path=route.path,
            headers=self.headers,
            client=self.client,
        )
        who = self.who = await self.service.access.identify(asked)
        if who is None:
            await self.service.throttle.admit(None, self.client)
            raise Refused(
                401,
                "unauthenticated",
                "say who you are: send a key as `Authorization: Bearer ...`, or log in",
                headers={"www-authenticate": 'Bearer realm="holdfast"'},
            )
        if not who.may(route.scope):
            raise Refused(403, "scope_missing", f"this needs the scope {route.scope!r}, which this {who.how} has not")
        self.still = lasting(self.service.access, asked, who, route.scope)
        return who

    def _client(self) -> str:
        """Returns where it comes from: the last address in the line that no proxy of ours has (source: Orloj 6.2)."""
        peer = self.request.client.host if self.request.client else ""
        line = [each.strip() for each in self.headers.get("x-forwarded-for", "").split(",") if each.strip()]
        while peer in self.service.proxies and line:
            peer = line.pop()
        return peer


async def _as_long_as_somebody_waits(receive: Receive, work: Awaitable[Any]) -> Any:
    """Returns what comes of the work, which is cancelled when whoever waits for it is gone."""
    task, gone = asyncio.ensure_future(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refused(499, "client_left", "nobody waits for the answer any more")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.wait((task, gone))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@final
class Nowhere:
    """What answers where there is no route: an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect = PROBLEM) -> None:
        self._service = service
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or turns away one wish for a socket."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4404})
            return
        asking = _Asking(self._service, Request(scope, receive))
        listed = ": /openapi.json lists what there is" if self._dialect is PROBLEM else ""
        refused = Refused(404, "not_found", f"there is nothing at this path{listed}")
        await asking.refuse(refused, self._dialect, send)
        self._service.observer.heard(asking.heard("", 404, refused.code, None))
