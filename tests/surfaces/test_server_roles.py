"""Each role at each route: who is let, and who is told what is missing."""

from __future__ import annotations

import pytest
from tests.governing import SETUP, Guarded, guarding

from holdfast.server.access.principal import ROLES, SCOPES, Role, Scope
from holdfast.server.access.settings import AccessSettings
from holdfast.server.app import ROUTES
from holdfast.server.routing.route import Call, Method, Route

METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")

ALLOWED: dict[Role, set[Scope]] = {
    "reader": {"sessions:read", "metrics:read"},
    "writer": {"sessions:read", "metrics:read", "sessions:write", "waits:answer", "models:call"},
    "controller": {"sessions:read", "metrics:read", "waits:answer"},
    "admin": set(SCOPES),
}
"""Written down a second time, on purpose: who changes what a role may, changes it here too."""


async def answer(call: Call[None, None, None]) -> None:
    """Is reached."""


PLAIN = tuple(
    Route(method=method, path=f"/try/{scope}", handle=answer, scope=scope, tag="try", status=204)
    for method in METHODS
    for scope in SCOPES
)


@pytest.mark.requirement("server_access:roles", "server:auth-scope")
async def test_each_role_is_let_at_each_verb_of_what_it_may_and_nowhere_else() -> None:
    assert set(ROLES) == set(ALLOWED)
    async with guarding(routes=PLAIN) as served:
        for role, allowed in ALLOWED.items():
            key = await served.key(role=role)
            for route in PLAIN:
                status, problem, _ = await served.ask(route.method, route.path, key=key)
                wanted = 204 if route.scope in allowed else 403
                assert status == wanted, (role, route.method, route.scope)
                assert status == 204 or problem["code"] == "scope_missing"
        for scope in SCOPES:
            key = await served.key(role=None, scopes=(scope,))
            for other in SCOPES:
                assert ((await served.ask("POST", f"/try/{other}", key=key))[0] == 204) == (other == scope)


@pytest.mark.requirement("server_access:roles")
async def test_every_route_that_asks_for_a_scope_refuses_who_shows_nothing_and_who_has_not_got_it() -> None:
    many = AccessSettings(required=True, setup_token=SETUP, strangers=None)  # there are more routes than a burst has
    async with guarding(many) as served:
        await served.key()
        without = {scope: await _without(served, scope) for scope in SCOPES}
        for route in ROUTES:
            if route.scope is None or not route.described:
                continue
            path = "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))
            assert (await served.ask(route.method, path))[0] == 401, route.path
            assert (await served.ask(route.method, path, key="hf_nonsense"))[0] == 401, route.path
            assert (await served.ask(route.method, path, key=without[route.scope]))[0] == 403, route.path


@pytest.mark.requirement("server_access:roles")
async def test_what_is_open_to_everybody_is_a_short_list_that_is_written_down() -> None:
    opened = {
        f"{route.method} {route.path}" for route in ROUTES if route.scope is None and route.path.startswith("/v1")
    }
    assert {each for each in opened if "/auth/" in each or "/keys" in each or "/audit" in each} == {
        "GET /v1/auth/config",
        "GET /v1/auth/me",
        "POST /v1/auth/setup",
        "POST /v1/auth/login",
        "POST /v1/auth/logout",
        "POST /v1/auth/change-password",
    }


async def _without(served: Guarded, scope: Scope) -> str:
    return await served.key(role=None, scopes=tuple(each for each in SCOPES if each != scope))


@pytest.mark.requirement("server_cli:role-of-a-key")
async def test_whoever_asks_with_a_key_is_told_its_role_and_of_one_with_scopes_alone_none() -> None:
    async with guarding() as served:
        for role in ALLOWED:
            status, me, _ = await served.ask("GET", "/v1/auth/me", key=await served.key(role=role))
            assert (status, me["role"]) == (200, role)
        alone = await served.key(role=None, scopes=("sessions:read",))
        assert (await served.ask("GET", "/v1/auth/me", key=alone))[1]["role"] is None
        wrong = {"name": "ada", "password": "some long words", "tenant": "acme"}
        status, problem, _ = await served.ask("POST", "/v1/auth/login", wrong)
        assert status == 401 and "in this tenant" in problem["detail"]
