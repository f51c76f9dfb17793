"""People who log in: the first one, their cookies, their passwords, and the last who may decide."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest
from tests.governing import PASSWORD, SETUP, Guarded, cookie_in, guarding

from holdfast.server.access.naming import HOME
from holdfast.server.access.settings import AccessSettings
from holdfast.testing.clock import FakeClock
from holdfast.tools.keeping.memory import MemoryKeyValues

pytestmark = pytest.mark.asyncio


async def enter(served: Guarded, name: str, password: str = PASSWORD, **headers: str) -> str:
    status, _, answer = await served.ask("POST", "/v1/auth/login", {"name": name, "password": password}, **headers)
    assert status == 200
    return cookie_in(answer)[0]


async def first(served: Guarded) -> str:
    body = {"token": SETUP, "name": "root", "password": PASSWORD}
    status, me, answer = await served.ask("POST", "/v1/auth/setup", body)
    assert (status, me["user"], me["role"]) == (201, "root", "admin")
    return cookie_in(answer)[0]


@pytest.mark.requirement("server_access:setup-token", "server:auth-native-login")
async def test_the_first_user_is_made_once_with_the_setup_token_and_before_that_nobody_gets_in() -> None:
    async with guarding() as served:
        status, problem, _ = await served.ask("GET", "/v1/keys")
        assert (status, problem["code"]) == (401, "setup_required")
        assert (await served.ask("GET", "/v1/auth/config"))[1]["setup_required"] is True
        wrong = {"token": "guessed", "name": "root", "password": PASSWORD}
        assert (await served.ask("POST", "/v1/auth/setup", wrong))[:2][0] == 403
        short = {"token": SETUP, "name": "root", "password": "too short"}
        assert (await served.ask("POST", "/v1/auth/setup", short))[0] == 400
        cookie = await first(served)
        again = {"token": SETUP, "name": "other", "password": PASSWORD}
        status, problem, _ = await served.ask("POST", "/v1/auth/setup", again)
        assert (status, problem["code"]) == (409, "set_up")
        assert (await served.ask("GET", "/v1/keys", cookie=cookie))[0] == 200
        config = (await served.ask("GET", "/v1/auth/config"))[1]
        assert (config["login"], config["setup_required"], config["open"]) == (True, False, False)


@pytest.mark.requirement("server_access:setup-token")
async def test_of_two_who_make_the_first_user_at_the_same_time_one_does() -> None:
    async with guarding() as served:
        bodies = [{"token": SETUP, "name": name, "password": PASSWORD} for name in ("ada", "bob", "eve")]
        answers = await asyncio.gather(*(served.ask("POST", "/v1/auth/setup", body) for body in bodies))
        assert sorted(status for status, _, _ in answers) == [201, 409, 409]
        assert len((await served.who.users.listed(HOME))[0]) == 1


@pytest.mark.requirement("server_access:cookie-flags", "server:auth-native-login")
async def test_a_login_is_a_cookie_of_this_host_that_no_script_reads_and_only_https_carries_where_there_is_https() -> (
    None
):
    async with guarding() as served:
        await first(served)
        body = {"name": "root", "password": PASSWORD}
        plain = cookie_in((await served.ask("POST", "/v1/auth/login", body))[2])[1]
        flags = [part.strip().lower() for part in plain.split(";")[1:]]
        assert plain.startswith("holdfast_session=") and flags == [
            "path=/",
            "max-age=86400",
            "httponly",
            "samesite=lax",
        ]
        origin = served.url.replace("http:", "https:")
        secure = cookie_in((await served.ask("POST", "/v1/auth/login", body, origin=origin))[2])[1]
        assert secure.startswith("__Host-holdfast_session=") and secure.lower().endswith("; secure")
        assert "domain" not in secure.lower()
        token = secure.partition("=")[2].partition(";")[0]
        assert len(token) == 43
        places = cast("MemoryKeyValues", served.who.users._shelf._values)._places
        assert not any(token in str(place) for place in places.values()), "only its hash is kept"


@pytest.mark.requirement("server_access:cookie-flags")
async def test_where_only_https_is_served_the_cookie_that_another_host_could_have_set_is_not_read() -> None:
    settings = AccessSettings(required=True, setup_token=SETUP, https=True)
    async with guarding(settings) as served:
        cookie = await first(served)
        assert cookie.startswith("__Host-holdfast_session=")
        assert (await served.ask("GET", "/v1/auth/me", cookie=cookie))[0] == 200
        assert (await served.ask("GET", "/v1/auth/me", cookie=cookie.removeprefix("__Host-")))[0] == 401


@pytest.mark.requirement("server_access:sessions-slide")
async def test_a_login_lasts_for_a_day_after_it_was_last_used() -> None:
    clock = FakeClock()
    async with guarding(clock=clock) as served:
        cookie = await first(served)
        for _ in range(3):
            await clock.advance(23 * 3600)
            assert (await served.ask("GET", "/v1/auth/me", cookie=cookie))[0] == 200
        await clock.advance(24 * 3600 + 1)
        assert (await served.ask("GET", "/v1/auth/me", cookie=cookie))[0] == 401


@pytest.mark.requirement("server_access:password-ends-sessions")
async def test_another_password_a_reset_a_logout_and_a_removal_end_logins() -> None:
    async with guarding() as served:
        root = await first(served)
        new = {"name": "bob", "role": "writer", "password": PASSWORD}
        assert (await served.ask("POST", "/v1/auth/users", new, cookie=root, origin=served.url))[0] == 201
        one, two = await enter(served, "bob"), await enter(served, "bob")
        change = {"current": PASSWORD, "new": "another long password"}
        status, _, answer = await served.ask("POST", "/v1/auth/change-password", change, cookie=one, origin=served.url)
        own = cookie_in(answer)[0]
        assert status == 200
        statuses = [(await served.ask("GET", "/v1/auth/me", cookie=each))[0] for each in (one, two, own)]
        assert statuses == [401, 401, 200]

        path = "/v1/auth/users/bob/reset-password"
        reset = (await served.ask("POST", path, {}, cookie=root, origin=served.url))[1]
        assert (await served.ask("GET", "/v1/auth/me", cookie=own))[0] == 401
        own = await enter(served, "bob", reset["password"])
        status, _, answer = await served.ask("POST", "/v1/auth/logout", cookie=own, origin=served.url)
        assert status == 204 and "max-age=0" in cookie_in(answer)[1].lower()
        assert (await served.ask("GET", "/v1/auth/me", cookie=own))[0] == 401

        own = await enter(served, "bob", reset["password"])
        assert (await served.ask("DELETE", "/v1/auth/users/bob", cookie=root, origin=served.url))[0] == 204
        assert (await served.ask("GET", "/v1/auth/me", cookie=own))[0] == 401
        assert (await served.ask("POST", "/v1/auth/users", new, cookie=root, origin=served.url))[0] == 201
        assert (await served.ask("GET", "/v1/auth/me", cookie=own))[0] == 401, "who has the name next is somebody else"


@pytest.mark.requirement("server_access:generated-passwords")
async def test_a_password_that_is_drawn_is_shown_once_and_a_name_is_taken_once() -> None:
    async with guarding() as served:
        root = await first(served)
        made = (await served.ask("POST", "/v1/auth/users", {"name": "bob"}, cookie=root, origin=served.url))[1]
        assert len(made["password"]) >= 12 and made["role"] == "reader"
        listed = (await served.ask("GET", "/v1/auth/users", cookie=root))[1]["users"]
        shown = (await served.ask("GET", "/v1/auth/users/bob", cookie=root))[1]
        assert [each["name"] for each in listed] == ["bob", "root"]
        assert "password" not in shown and not any("password" in each for each in listed)
        assert "argon2" not in str(listed) + str(shown)
        await enter(served, "bob", made["password"])
        status, problem, _ = await served.ask("POST", "/v1/auth/users", {"name": "bob"}, cookie=root, origin=served.url)
        assert (status, problem["code"]) == (409, "user_exists")
        short = {"name": "eve", "password": "elevenchars"}
        assert (await served.ask("POST", "/v1/auth/users", short, cookie=root, origin=served.url))[0] == 400


@pytest.mark.requirement("server_access:last-admin", "server:auth-native-login")
async def test_the_last_admin_stays_also_where_two_remove_each_other_at_the_same_time() -> None:
    async with guarding() as served:
        root = await first(served)
        path = "/v1/auth/users/root"
        for method, body in (("DELETE", None), ("PATCH", {"role": "writer"})):
            status, problem, _ = await served.ask(method, path, body, cookie=root, origin=served.url)
            assert (status, problem["code"]) == (409, "last_admin")
        two = {"name": "second", "role": "admin", "password": PASSWORD}
        assert (await served.ask("POST", "/v1/auth/users", two, cookie=root, origin=served.url))[0] == 201
        second = await enter(served, "second")
        answers = await asyncio.gather(
            served.ask("DELETE", "/v1/auth/users/second", cookie=root, origin=served.url),
            served.ask("PATCH", path, {"role": "reader"}, cookie=second, origin=served.url),
        )
        assert sum(status in (200, 204) for status, _, _ in answers) == 1, answers
        admins = [each for each in (await served.who.users.listed(HOME))[0] if each.role == "admin"]
        assert len(admins) == 1


@pytest.mark.requirement("server_access:login-rate", "server:auth-native-login")
async def test_attempts_to_log_in_are_limited_by_the_address_that_a_trusted_proxy_names() -> None:
    clock = FakeClock()
    body = {"name": "root", "password": "wrong password"}
    first = {"token": "guessed", "name": "root", "password": PASSWORD}

    async def attempt(served: Guarded, line: str) -> tuple[int, str]:
        status, _, answer = await served.ask("POST", "/v1/auth/login", body, x_forwarded_for=line)
        return status, answer.headers.get("retry-after", "")

    async with guarding(clock=clock, proxies=["127.0.0.1"]) as served:
        for _ in range(3):
            assert (await attempt(served, "1.1.1.1, 203.0.113.7"))[0] == 401
        for _ in range(17):  # which count as well, and take less
            await served.ask("POST", "/v1/auth/setup", first, x_forwarded_for="1.1.1.1, 203.0.113.7")
        status, seconds = await attempt(served, "2.2.2.2, 203.0.113.7")
        assert (status, seconds) == (429, "6"), "what stands before the proxy's own word is the client's invention"
        assert (await attempt(served, "203.0.113.8"))[0] == 401, "others are not concerned"
        await clock.advance(6)
        assert (await attempt(served, "203.0.113.7"))[0] == 401, "the time that was told is true"
        assert (await attempt(served, "203.0.113.7"))[0] == 429
    async with guarding(clock=clock) as served:
        for number in range(20):
            await served.ask("POST", "/v1/auth/setup", first, x_forwarded_for=f"203.0.113.{number}")
        assert (await attempt(served, "203.0.113.99"))[0] == 429, "without a trusted proxy nobody's word counts"


@pytest.mark.requirement("server_access:csrf")
async def test_a_page_of_another_site_can_do_nothing_with_somebodys_cookie() -> None:
    async with guarding() as served:
        cookie = await first(served)
        body = {"user": "ada", "role": "writer"}
        for origin in ("https://evil.example", "null", f"{served.url}.evil.example", "http://127.0.0.1:1", "http://["):
            status, problem, _ = await served.ask("POST", "/v1/keys", body, cookie=cookie, origin=origin)
            assert (status, problem["code"]) == (403, "foreign_origin"), origin
        status, problem, _ = await served.ask("POST", "/v1/keys", body, cookie=cookie)
        assert (status, problem["code"]) == (403, "foreign_origin"), "a browser says where it comes from"
        assert (await served.ask("POST", "/v1/keys", body, cookie=cookie, sec_fetch_site="same-origin"))[0] == 201
        assert (await served.ask("POST", "/v1/keys", body, cookie=cookie, origin=served.url))[0] == 201
        login = {"name": "root", "password": PASSWORD}
        status, _, answer = await served.ask("POST", "/v1/auth/login", login, origin="https://evil.example")
        assert status == 403 and "set-cookie" not in answer.headers
        assert (await served.ask("GET", "/v1/keys", cookie=cookie, origin="https://evil.example"))[0] == 200


@pytest.mark.requirement("server_access:csrf")
async def test_pages_of_a_configured_origin_may_use_a_login() -> None:
    page = "https://console.example"
    settings = AccessSettings(required=True, setup_token=SETUP, origins=(page,))
    async with guarding(settings) as served:
        cookie = await first(served)
        body = {"user": "ada", "role": "writer"}
        assert (await served.ask("POST", "/v1/keys", body, cookie=cookie, origin=page))[0] == 201


@pytest.mark.requirement("server_access:same-answer")
async def test_nothing_tells_a_wrong_password_from_a_user_there_is_not() -> None:
    async with guarding() as served:
        await first(served)
        known = await served.ask("POST", "/v1/auth/login", {"name": "root", "password": "wrong password"})
        unknown = await served.ask("POST", "/v1/auth/login", {"name": "nobody", "password": "wrong password"})
        tenant = {"name": "root", "password": PASSWORD, "tenant": "acme"}
        other = await served.ask("POST", "/v1/auth/login", tenant)
        plain = [{**each[1], "request_id": ""} for each in (known, unknown, other)]
        assert plain[0] == plain[1] == plain[2] and known[0] == unknown[0] == other[0] == 401

        work = 0
        hasher = served.who.passwords._hasher
        verify = type(hasher).verify

        def counted(self: Any, kept: str, password: bytes) -> bool:
            nonlocal work
            work += 1
            assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=2$")
            return verify(self, kept, password)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(hasher), "verify", counted)
            for name in ("root", "nobody"):
                await served.ask("POST", "/v1/auth/login", {"name": name, "password": "wrong password"})
        assert work == 2, "the same work for both"


@pytest.mark.requirement("server_access:password-work-bounded")
async def test_while_many_log_in_two_passwords_are_worked_on_and_others_are_served() -> None:
    settings = AccessSettings(required=True, setup_token=SETUP)
    async with guarding(settings, proxies=["127.0.0.1"]) as served:
        await first(served)
        body = {"name": "root", "password": "wrong password"}
        attempts = [
            asyncio.create_task(served.ask("POST", "/v1/auth/login", body, x_forwarded_for=f"203.0.113.{number}"))
            for number in range(60)
        ]
        began = time.monotonic()
        assert (await served.ask("GET", "/healthz"))[0] == 200
        assert time.monotonic() - began < 5 and not all(each.done() for each in attempts)
        statuses = [status for status, _, _ in await asyncio.gather(*attempts)]
        assert set(statuses) == {401, 503} and statuses.count(401) >= 32
        assert served.who.passwords._threads._max_workers == 2
