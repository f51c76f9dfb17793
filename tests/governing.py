"""A real server whose users, keys and tenants are governed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.serving import serving

from holdfast import Runtime
from holdfast.flow.clock import Clock
from holdfast.server.access.keys.key import Wish
from holdfast.server.access.settings import AccessSettings
from holdfast.server.app import ROUTES
from holdfast.server.governing.opening import Governed, governed
from holdfast.server.routing.route import Route
from holdfast.testing.clock import FakeClock
from holdfast.types import TenantId

PASSWORD = "correct horse battery"
SETUP = "the-set-up-token"


@dataclass
class Guarded:
    """A server, and who may use it."""

    url: str
    who: Governed
    client: aiohttp.ClientSession
    clock: Clock

    async def key(self, tenant: str = "local", role: Any = "admin", **more: Any) -> str:
        """Returns a new key."""
        wish = Wish(tenant=TenantId(tenant), user=more.pop("user", "ada"), role=role, **more)
        _, text = await self.who.keys.create(wish)
        self.who.access.closes()
        return text

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Returns status, decoded answer and the answer itself; headers are named with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["authorization"] = f"Bearer {key}"
        async with self.client.request(method, path, json=body, headers=sent) as answer:
            data = await answer.read()
            decoded = await answer.json(content_type=None) if data else None
            return answer.status, decoded, answer


@asynccontextmanager
async def guarding(
    settings: AccessSettings | None = None,
    *,
    clock: Clock | None = None,
    proxies: Sequence[str] = (),
    routes: Sequence[Route] = ROUTES,
    url: str = "memory:",
) -> AsyncGenerator[Guarded]:
    """Serves with these settings; time stands still unless a clock is given."""
    clock = clock or FakeClock()
    given = settings or AccessSettings(required=True, setup_token=SETUP)
    async with (
        Runtime.open(url, clock=clock) as runtime,
        governed(runtime, clock, given) as who,
        serving(runtime=runtime, access=who.access, routes=routes) as served,
        aiohttp.ClientSession(served.url, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        service = served.service
        service.throttle, service.observer, service.proxies = who.throttle, who.audit, frozenset(proxies)
        service.parts[Governed] = who
        yield Guarded(served.url, who, client, clock)


def cookie_in(answer: aiohttp.ClientResponse) -> tuple[str, str]:
    """Returns the pair that a browser would send, and the whole header."""
    whole = answer.headers["set-cookie"]
    return whole.partition(";")[0], whole
