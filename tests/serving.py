"""A real server on loopback, in the loop of the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import uvicorn
from tests.running import until

from holdfast import Agent, Runtime
from holdfast.flow.clock import SystemClock
from holdfast.server.access.local import LocalAccess
from holdfast.server.access.port import Access
from holdfast.server.app import ROUTES, make_app
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
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so that nothing is held back
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(service, routes),
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=5,
            proxy_headers=False,  # whose word counts is the service's to say
        )
    )
    task = asyncio.create_task(server._serve([listener]))
    await until(lambda: server.started)
    try:
        async with aiohttp.ClientSession(url) as client:
            yield Serving(url, service, runtime, client)
    finally:
        service.closing.set()
        server.should_exit = True
        await task
        await service.access.close()
