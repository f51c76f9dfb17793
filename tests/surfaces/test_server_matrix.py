"""Every route, asked without a key, without its scope, by another tenant, and by who may: from the tables of routes."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.standing import AGENTOPS_ROUTES, SERVED, SETUP, Standing, peopled
from tests.ways import AGENTOPS_WAYS, WAYS, Said, Tenant, Way, path_of

from holdfast.server.access.principal import SCOPES
from holdfast.server.app import SOCKETS
from holdfast.server.doors.agentops.routes import ROUTES as AGENTOPS
from holdfast.server.routing.route import Route

DOORS: Mapping[str, tuple[Sequence[Route], Mapping[tuple[str, str], Way]]] = {
    "serve": (SERVED, WAYS),
    "daemon": (AGENTOPS_ROUTES, AGENTOPS_WAYS),
}
OTHERWISE = {
    ("GET", "/prompt/stream"): 204,  # where no run is open
}
"""What whoever may is answered where that is not the route's own status."""
HOMELY = {("GET", "/metrics")}
"""What is of all tenants together, and so of the server's own alone."""
EVERYBODYS = {"agent", "model", "routed"}
"""What is named in a path and belongs to no tenant."""
ELSEWHERE = {"called", "response"}
"""What is named in a query or a body."""
MAKING = {("POST", "/v1/sessions/{session}/prompts")}
"""What makes what it names where nothing of that name is there, and so answers both alike, but not that it is not."""
_COUNTS = re.compile(rb"k[0-9a-f]{12,}|\d+\.\d+|req_\w+")
"""Ids of requests and times, which differ from one answer to the next."""


@asynccontextmanager
async def house(door: str) -> AsyncGenerator[tuple[Standing, aiohttp.ClientSession]]:
    jar = aiohttp.DummyCookieJar()
    async with peopled(routes=DOORS[door][0]) as server, aiohttp.ClientSession(cookie_jar=jar) as client:
        yield server, client


async def tenant(server: Standing, client: aiohttp.ClientSession, name: str) -> Tenant:
    return Tenant(server, client, name, await server.key(name, user=f"{name}-admin"), f"{name}canary")


def way_of(door: str, route: Route) -> Way:
    return DOORS[door][1][route.method, route.path]


@pytest.mark.requirement("server_frame:matrix")
def test_every_route_of_every_door_is_in_the_matrix() -> None:
    for door, (routes, ways) in DOORS.items():
        assert {(each.method, each.path) for each in routes} == set(ways), door
    assert {(each.method, each.path) for each in AGENTOPS} < set(AGENTOPS_WAYS)


@pytest.mark.requirement("server_frame:matrix")
@pytest.mark.parametrize("door", DOORS)
async def test_who_shows_nothing_or_nonsense_is_not_recognised_and_who_lacks_the_scope_is_forbidden(door: str) -> None:
    async with house(door) as (server, client):
        a = await tenant(server, client, "a")
        without = {
            scope: await server.key("a", None, scopes=tuple(each for each in SCOPES if each != scope))
            for scope in SCOPES
        }
        made: dict[str, dict[str, str]] = {}
        for route in DOORS[door][0]:
            if route.scope is None:
                continue
            way = way_of(door, route)
            if way.needs not in made:
                made[way.needs] = await a.make(way.needs)
            names = made[way.needs]
            what = f"{route.method} {route.path}"
            for shown in ("", "hf_nonsense", "Bearer"):
                said = await a.send(route, names, way, key=shown)
                assert said.status == 401, (what, said)
                assert a.canary.encode() not in said.whole, (what, said)
            said = await a.send(route, names, way, key=without[route.scope])
            assert said.status == 403, (what, said)
            assert a.canary.encode() not in said.whole, (what, said)


@pytest.mark.requirement("server_frame:matrix")
@pytest.mark.parametrize("door", DOORS)
async def test_who_may_is_answered_as_the_route_declares(door: str) -> None:
    async with house(door) as (server, client):
        for number, route in enumerate(DOORS[door][0]):
            name = "local" if (route.method, route.path) in HOMELY else f"a{number}"
            a, way = await tenant(server, client, name), way_of(door, route)
            names = {**await a.make(way.needs), "setup": SETUP}
            if route.path.endswith("/setup"):
                continue  # it makes the first user, and there are some: see below
            said = await a.send(route, names, way)
            wanted = OTHERWISE.get((route.method, route.path), route.status)
            assert said.status == wanted, (route.method, route.path, said)


@pytest.mark.requirement("server_frame:matrix")
async def test_the_first_user_is_made_by_who_has_the_token_alone() -> None:
    async with house("serve") as (server, client):
        a = Tenant(server, client, "local", "", "canary")
        route = next(each for each in SERVED if each.path.endswith("/setup"))
        way = way_of("serve", route)
        for token, status in (("wrong", 403), (SETUP, 201), (SETUP, 409)):
            assert (await a.send(route, {"setup": token}, way)).status == status


@pytest.mark.requirement("server_frame:matrix")
@pytest.mark.parametrize("door", DOORS)
async def test_another_tenant_cannot_tell_a_name_that_there_is_from_one_that_there_is_not(door: str) -> None:
    async with house(door) as (server, client):
        b = await tenant(server, client, "b")
        for number, route in enumerate(DOORS[door][0]):
            way = way_of(door, route)
            if route.scope is None or (way.needs in EVERYBODYS):
                continue
            a = await tenant(server, client, f"a{number}")
            names = await a.make(way.needs)
            what = f"{route.method} {route.path}"
            there = await b.send(route, names, way)
            assert a.canary.encode() not in _without(there.whole, names), (what, there)
            if "{" not in route.path and way.needs not in ELSEWHERE:
                continue
            strange = {name: _strange(text) for name, text in names.items()}
            nowhere = await b.send(route, strange, way)
            assert (there.status, _plain(there, names)) == (nowhere.status, _plain(nowhere, strange)), (what, there)
            assert (nowhere.status == 404) == ((route.method, route.path) not in MAKING), (what, nowhere)


@pytest.mark.requirement("server_frame:matrix")
async def test_what_another_tenant_names_in_a_body_or_a_query_is_not_there_either() -> None:
    async with house("serve") as (server, client):
        a, b = await tenant(server, client, "a"), await tenant(server, client, "b")
        file, session = (await a.make("uploaded"))["file"], (await b.make("blank"))["session"]
        for body in ({"text": "read", "agent": "helper", "files": [each]} for each in (file, _strange(file))):
            said = await b.ask("POST", f"/v1/sessions/{session}/prompts", body)
            assert (said.status, said.json()["code"]) == (400, "usage"), said
        key, user = (await a.make("apikey"))["key"], (await a.make("person"))["user"]
        for path in ("/v1/keys", f"/v1/keys/{key}", "/v1/auth/users", f"/v1/auth/users/{user}", "/v1/audit"):
            told = [await b.ask("GET", path, query={"tenant": each}) for each in ("a", "nobody")]
            assert [each.status for each in told] == [403, 403], told
            assert _plain(told[0], {}) == _plain(told[1], {})


def _strange(text: str) -> str:
    """Returns a name of the same form that nothing has."""
    if text.count("/") > 1:  # of a wait: tenant, session, and the rest
        first, session, rest = text.split("/", 2)
        return f"{first}/{_strange(session)}/{rest}"
    if text.startswith("resp_"):
        head, _, tail = text.rpartition("_")
        return f"{head[:-1]}{_other(head[-1])}_{tail}"
    return text[:-1] + _other(text[-1])


def _other(letter: str) -> str:
    return "1" if letter != "1" else "2"


def _without(data: bytes, names: Mapping[str, str]) -> bytes:
    """Returns what was told, without the names that were asked for, which whoever asks knows."""
    for text in sorted(names.values(), key=len, reverse=True):
        data = data.replace(text.encode(), b"<name>")
    return data


def _plain(said: Said, names: Mapping[str, str]) -> bytes:
    return _without(_COUNTS.sub(b"<n>", said.body), names)


@pytest.mark.requirement("server_frame:matrix", "server_frame:refused-sockets")
@pytest.mark.parametrize("socket", SOCKETS, ids=lambda each: each.path)
async def test_a_socket_opens_for_who_may_and_for_nobody_else(socket: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with house("serve") as (server, client):
        a, b = await tenant(server, client, "a"), await tenant(server, client, "b")
        names = await a.make("session")
        without = await server.key("a", None, scopes=tuple(each for each in SCOPES if each != socket.scope))
        path = path_of(socket.as_route(), names)
        strange = path_of(socket.as_route(), {"session": _strange(names["session"])})
        for key, at, status in ((None, path, 401), (without, path, 403), (b.key, path, 404), (b.key, strange, 404)):
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(server.url + at, headers=headers)
            assert refused.value.status == status, at
        headers = {"authorization": f"Bearer {a.key}"}
        async with client.ws_connect(f"{server.url}{path}?until=idle", headers=headers) as opened:
            told = [each.data async for each in opened]
        assert any("acanary" in each for each in told) and '"end"' in told[-1]
    assert not caplog.records  # strangers write nothing into the log of the process
