"""Pages of other sites: those whose origins were named may ask this server, and no others."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.server.routing.heading import headers_of

__all__ = ("Crossing",)

_SHOWN = b"location, retry-after, x-request-id"
"""Headers of answers that a page may read beside the usual ones."""
_HEADERS = re.compile(r"[A-Za-z0-9-]{1,64}(?:, *[A-Za-z0-9-]{1,64}){0,30}")


@final
class Crossing:
    """An ASGI application that tells browsers which pages may read what it answers."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope["headers"])
        origin = headers.get("origin", "")
        allowed = origin in self._origins
        wish = headers.get("access-control-request-headers", "")
        asks_first = scope["method"] == "OPTIONS" and "access-control-request-method" in headers

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                more: list[tuple[bytes, bytes]] = [(b"vary", b"origin")]
                if allowed:
                    more += [(b"access-control-allow-origin", origin.encode("latin-1"))]
                    more += _first(message, wish) if asks_first else [(b"access-control-expose-headers", _SHOWN)]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, tell)


def _first(message: Any, wish: str) -> list[tuple[bytes, bytes]]:
    """Returns what a browser is told that asks before it sends the request itself."""
    methods = next((value for name, value in message["headers"] if name == b"allow"), b"")
    told = [(b"access-control-allow-methods", methods), (b"access-control-max-age", b"600")]
    if _HEADERS.fullmatch(wish):
        told.append((b"access-control-allow-headers", wish.encode("ascii")))
    return told
