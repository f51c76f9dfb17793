"""The application: every door's routes, as one ASGI program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from starlette.routing import BaseRoute, Router, WebSocketRoute
from starlette.types import ASGIApp

from holdfast.errors import UsageError
from holdfast.server.doors import description, figures, health, models
from holdfast.server.doors.accounts.table import ROUTES as ACCOUNTS
from holdfast.server.doors.console.pages import ROUTES as CONSOLE
from holdfast.server.doors.sessions import table as sessions
from holdfast.server.parts import Service
from holdfast.server.problems import PROBLEM, Dialect
from holdfast.server.routing.crossing import Crossing
from holdfast.server.routing.endpoint import Endpoint, Nowhere
from holdfast.server.routing.finding import Table
from holdfast.server.routing.openapi import Description
from holdfast.server.routing.route import Route
from holdfast.server.routing.socket import Socket, SocketEndpoint

__all__ = ("ROUTES", "make_app")

ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *description.ROUTES,
    *figures.ROUTES,
    *sessions.ROUTES,
    *ACCOUNTS,
    *models.ROUTES,
)
"""Every route of the server, door by door."""
SOCKETS: tuple[Socket, ...] = (*sessions.SOCKETS,)
"""Every WebSocket of the server."""


def make_app(
    service: Service,
    routes: Sequence[Route] = ROUTES,
    more: Iterable[BaseRoute] = CONSOLE,
    origins: Collection[str] = (),
    sockets: Iterable[Socket] = SOCKETS,
) -> ASGIApp:
    """Returns the ASGI application of a service, which pages of these origins may ask; `more` is the console.

    Raises:
        UsageError: two routes are the same, or a handler does not fit its path.
    """
    paths: dict[str, dict[str, Route]] = defaultdict(dict)
    for route in routes:
        if route.method in paths[route.path]:
            raise UsageError(f"{route.method} {route.path} is declared twice: a door can have it once")
        paths[route.path][route.method] = route
    service.parts[Description] = Description(routes)
    nowhere = Nowhere(service, _spoken(routes))
    others = [*more, *(WebSocketRoute(each.path, SocketEndpoint(service, each)) for each in sockets)]
    otherwise = Router(others, redirect_slashes=False, default=nowhere) if others else nowhere
    app = Table({path: Endpoint(service, methods) for path, methods in paths.items()}, otherwise)
    return Crossing(app, origins) if origins else app


def _spoken(routes: Sequence[Route]) -> Dialect:
    """Returns how is written that there is no such route: as everywhere, unless no route here writes so."""
    own = [route.dialect for route in routes]
    return PROBLEM if PROBLEM in own or not own else own[0]
