"""A real server on loopback, in the loop of the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from holdfast import Agent, Runtime
from holdfast.flow.clock import SystemClock
from holdfast.server.access.local import LocalAccess
from holdfast.server.access.port import Access
from holdfast.server.app import ROUTES, make_app
from holdfast.server.listening.listener import Listener
from holdfast.server.listening.sockets import Place
from holdfast.server.parts import Bounds, Service
from holdfast.server.routing.route import Route


@dataclass
class Serving:
    """A server that is up, and a client of it."""

    url: str
    service: Service
    runtime: Runtime
    client: aiohttp.ClientSession


@asynccontextmanager
async def serving(
    agents: Mapping[str, Agent] | None = None,
    *,
    runtime: Runtime | None = None,
    access: Access | None = None,
    bounds: Bounds | None = None,
    routes: Sequence[Route] = ROUTES,
) -> AsyncGenerator[Serving]:
    """Serves these agents over a runtime, one in memory if none is given, on a free port of loopback."""
    if runtime is None:
        async with (
            Runtime.open("memory:") as own,
            serving(agents, runtime=own, access=access, bounds=bounds, routes=routes) as served,
        ):
            yield served
        return
    service = Service(
        runtime=runtime,
        agents=agents or {},
        access=access or LocalAccess(),
        clock=SystemClock(),
        bounds=bounds or Bounds(),
    )
    try:
        async with (
            Listener(service, make_app(service, routes), Place(port=0)) as listener,
            aiohttp.ClientSession(listener.url) as client,
        ):
            yield Serving(listener.url, service, runtime, client)
    finally:
        await service.access.close()
