"""Tokens of OAuth 2 client credentials, from a real token server on loopback, into whole runs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import msgspec
import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import soon, until

from holdfast import Agent, Runtime
from holdfast.errors import AuthFailed, ModelError, ModelTimeout, RateLimited, ServerError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.models.access.access import Access
from holdfast.models.access.oauth import ClientCredentials, Tokens
from holdfast.models.access.servers import CustomServer
from holdfast.models.failures import Origin
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import ScriptedModelServer
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Status
from holdfast.testing.scripts import ScriptRequest, Turn

SECRET = "s3cret/with+signs and=more"
ORIGIN = Origin(provider="mine", model="m")
WIRES = {"chat": "/v1", "messages": "", "responses": "/v1", "gemini": "", "cohere": "", "ollama": ""}


class Giver:
    """A token server that gives `token-1`, `token-2` and so on, or what it is told to."""

    def __init__(self, life: float | None = 3600, instead: bytes | None = None) -> None:
        self.life = life
        self.instead = instead
        self.given = 0
        self.hold: asyncio.Event | None = None

    async def __call__(self, request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.instead is not None:
            writer.write(self.instead)
            return
        self.given += 1
        told: dict[str, Any] = {"access_token": f"token-{self.given}", "token_type": "Bearer"}
        writer.write(answer(msgspec.json.encode(told | ({} if self.life is None else {"expires_in": self.life}))))


@asynccontextmanager
async def tokens(giver: Giver, clock: Clock | None = None, secret: str = SECRET, **more: Any) -> AsyncGenerator[Any]:
    """Yields the tokens of a client, and the server that gives them."""
    async with serving(giver) as server, HttpClient(TRUSTED) as client:
        given = ClientCredentials(
            token_url=f"{server.url}/token", client_id="me & you", secret_variable="MY_SECRET", **more
        )
        yield Tokens(given, lambda: secret, client, clock or SystemClock()), server


def taking(accepted: Callable[[str], bool]) -> Callable[[ScriptRequest], Turn]:
    def answering(request: ScriptRequest) -> Turn:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        others = {"x-api-key", "x-goog-api-key", "api-key"} & set(request.headers)
        return Turn("hello") if accepted(token) and not others else Turn(fault=Status(status=401, message=token))

    return answering


def mine(wire: str, model: ScriptedModelServer, token: Server) -> Access:
    oauth = ClientCredentials(token_url=f"{token.url}/token", client_id="me", secret_variable="MY_SECRET")
    server = CustomServer(wire=wire, url=model.origin + WIRES[wire], key_variables=("MINE_KEY",), oauth=oauth)
    return Access(servers={"mine": server})


@asynccontextmanager
async def told(
    wire: str, accepted: Callable[[str], bool]
) -> AsyncGenerator[tuple[Runtime, ScriptedModelServer, Server]]:
    """Yields a runtime that knows a server, that server, and the one it takes tokens from."""
    async with (
        ScriptedModelServer(taking(accepted)) as model,
        serving(Giver()) as server,
        Runtime.open("memory:", sandbox="none", access=mine(wire, model, server)) as runtime,
    ):
        yield runtime, model, server


async def finished(runtime: Runtime, **more: Any) -> Any:
    run = await runtime.start(Agent("mine/m", **more), "hi")
    return await run.result()


@pytest.mark.requirement("access:oauth-request")
@pytest.mark.parametrize("send", ["basic", "body"])
async def test_the_client_is_told_as_the_server_wants_it(send: Any) -> None:
    async with tokens(Giver(), scope="a b", audience="https://x", send=send) as (held, server):
        assert await held.token(ORIGIN) == "token-1"
    (asked,) = server.requests
    fields = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
    who = {"client_id": "me & you", "client_secret": SECRET} if send == "body" else {}
    assert fields == {"grant_type": "client_credentials", "scope": "a b", "audience": "https://x", **who}
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    if send == "basic":
        pair = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
        assert [unquote(each) for each in pair.split(":")] == ["me & you", SECRET]


@pytest.mark.requirement("access:oauth-single-flight", "net:oauth-token-cached")
async def test_fifty_that_need_a_token_at_once_ask_for_one() -> None:
    giver = Giver()
    giver.hold = asyncio.Event()
    async with tokens(giver) as (held, server):
        asking = [asyncio.create_task(held.token(ORIGIN)) for _ in range(50)]
        await until(lambda: len(server.requests) == 1)
        giver.hold.set()
        assert set(await soon(asyncio.gather(*asking))) == {"token-1"}
        assert await held.token(ORIGIN) == "token-1"
    assert len(server.requests) == 1


@pytest.mark.requirement("access:oauth-single-flight")
async def test_those_who_waited_share_a_failure_and_the_next_one_asks_again() -> None:
    giver = Giver(instead=answer(b'{"error":"invalid_client"}', "401 Unauthorized"))
    giver.hold = asyncio.Event()
    async with tokens(giver) as (held, server):
        asking = [asyncio.create_task(held.token(ORIGIN)) for _ in range(50)]
        await until(lambda: len(server.requests) == 1)
        giver.hold.set()
        came = await soon(asyncio.gather(*asking, return_exceptions=True))
        assert {type(each) for each in came} == {AuthFailed}
        assert len(server.requests) == 1
        giver.instead = None
        assert await held.token(ORIGIN) == "token-1"


@pytest.mark.requirement("access:oauth-single-flight")
async def test_one_who_stops_waiting_takes_the_token_from_nobody() -> None:
    giver = Giver()
    giver.hold = asyncio.Event()
    async with tokens(giver) as (held, server):
        asking = [asyncio.create_task(held.token(ORIGIN)) for _ in range(3)]
        await until(lambda: len(server.requests) == 1)
        asking[0].cancel()
        giver.hold.set()
        came = await soon(asyncio.gather(*asking, return_exceptions=True))
        assert isinstance(came[0], asyncio.CancelledError)
        assert came[1] == came[2]


@pytest.mark.requirement("access:oauth-expiry", "net:oauth-token-refreshed")
@pytest.mark.parametrize(("life", "holds", "over"), [(3600, 3539, 3541), (100, 49, 51), (None, 239, 241)])
async def test_a_token_is_renewed_a_minute_before_its_end_or_after_half_a_short_life(
    life: float | None, holds: float, over: float
) -> None:
    clock = FakeClock()
    async with tokens(Giver(life), clock) as (held, _):
        assert await held.token(ORIGIN) == "token-1"
        await clock.advance(holds)
        assert await held.token(ORIGIN) == "token-1"
        await clock.advance(over - holds)
        assert await held.token(ORIGIN) == "token-2"


@pytest.mark.requirement("access:oauth-refused")
async def test_a_refused_token_is_fetched_anew_and_an_older_one_is_not() -> None:
    async with tokens(Giver()) as (held, server):
        assert await held.token(ORIGIN) == "token-1"
        several = await asyncio.gather(*(held.token(ORIGIN, refused="token-1") for _ in range(20)))
        assert set(several) == {"token-2"}
        assert await held.token(ORIGIN, refused="token-1") == "token-2"
    assert len(server.requests) == 2


@pytest.mark.requirement("access:oauth-refused", "net:oauth-token-cached", "net:oauth-token-refreshed")
@pytest.mark.parametrize("wire", WIRES)
async def test_a_run_goes_on_with_a_new_token_where_the_server_refuses_the_old_one(
    wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setenv("MINE_KEY", "not-this-one")
    known = {"token-1"}
    async with told(wire, lambda token: token in known) as (runtime, _, server):
        results = await soon(asyncio.gather(*(finished(runtime) for _ in range(50))), 20)
        assert {each.output for each in results} == {"hello"}
        assert len(server.requests) == 1
        known.clear()
        known.add("token-2")
        results = await soon(asyncio.gather(*(finished(runtime) for _ in range(50))), 20)
        assert {(each.output, each.steps) for each in results} == {("hello", 1)}
        assert len(server.requests) == 2


@pytest.mark.requirement("access:oauth-refused")
async def test_a_server_that_refuses_each_token_is_asked_twice_and_the_run_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_SECRET", SECRET)
    async with told("chat", lambda token: False) as (runtime, model, server):
        result = await soon(finished(runtime))
    assert (result.status, len(model.requests), len(server.requests)) == ("failed", 2, 2)
    assert "oauth, client 'me'" in result.reason
    assert "token-" not in result.reason, "the server repeats the token in its error"


@pytest.mark.requirement("access:oauth-refused")
async def test_an_agents_own_key_goes_before_tokens() -> None:
    async with told("chat", lambda token: token == "own") as (runtime, _, server):
        assert (await soon(finished(runtime, key="own"))).output == "hello"
        assert server.requests == []


@pytest.mark.requirement("access:oauth-hostile")
@pytest.mark.parametrize(
    ("sent", "kind", "words"),
    [
        (answer(b"<html><body>Sign in</body></html>"), AuthFailed, "gave no token"),
        (answer(b'{"access_token":""}'), AuthFailed, "gave no token"),
        (answer(b'{"access_token":"a\\r\\nX-B: c"}'), AuthFailed, "gave no token"),
        (answer(b'{"access_token":7}'), AuthFailed, "gave no token"),
        (answer(b'{"access_token":"t","expires_in":"soon"}'), AuthFailed, "gave no token"),
        (answer(b"[" * 50_000), AuthFailed, "gave no token"),
        (answer(b"\xff\xfe"), AuthFailed, "gave no token"),
        (answer(b'{"access_token":"' + b"x" * 10_000_000 + b'"}'), AuthFailed, "gave no token"),
        (answer(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"), AuthFailed, "HTTP 302.*check token_url"),
        (answer(b"no page", "404 Not Found"), AuthFailed, "HTTP 404.*check token_url"),
        (answer(b'{"error":"invalid_client"}', "400 Bad Request"), AuthFailed, "does not accept.*MY_SECRET"),
        (answer(b"slow down", "429 Too Many", "Retry-After: 7\r\n"), RateLimited, "try again in 7 s"),
        (answer(b"down", "503 Unavailable"), ModelError, "try again"),
        (answer(b"down", "500 Broken"), ServerError, "try again"),
        (b"nonsense\r\n\r\n", ModelError, "mine/m"),
    ],
)
async def test_a_token_server_that_says_something_else_is_one_clear_error(
    sent: bytes, kind: type[ModelError], words: str
) -> None:
    async with tokens(Giver(instead=sent)) as (held, server):
        with pytest.raises(kind, match=words) as caught:
            await soon(held.token(ORIGIN))
        assert len(server.requests) == 1, "no redirect is followed"
    assert len(str(caught.value)) < 1000


@pytest.mark.requirement("access:oauth-hostile")
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Broken"])
async def test_a_token_server_that_repeats_the_secret_does_not_bring_it_into_the_error(status: str) -> None:
    async def repeating(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        said = f"{SECRET} | {request.headers.get('authorization', '')} | {request.body.decode()}"
        writer.write(answer(said.encode(), status))

    for send in ("basic", "body"):
        async with serving(repeating) as server, HttpClient(TRUSTED) as client:
            given = ClientCredentials(
                token_url=f"{server.url}/t", client_id="me", secret_variable="MY_SECRET", send=send
            )
            held = Tokens(given, lambda: SECRET, client, SystemClock())
            with pytest.raises(ModelError) as caught:
                await held.token(ORIGIN)
            shown = f"{caught.value} {held!r} {given!r}"
            sent = server.requests[0].headers.get("authorization", "Basic none")[6:]
            assert [each for each in (SECRET, "s3cret", quote(SECRET, safe=""), sent) if each in shown] == []
            assert "***" in shown


@pytest.mark.requirement("access:oauth-hostile")
async def test_a_token_server_that_drips_is_given_up() -> None:
    clock = FakeClock()

    async def dripping(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        await asyncio.Event().wait()

    async with serving(dripping) as server, HttpClient(TRUSTED) as client:
        given = ClientCredentials(token_url=f"{server.url}/t", client_id="me", secret_variable="MY_SECRET")
        asking = asyncio.create_task(Tokens(given, lambda: SECRET, client, clock).token(ORIGIN))
        await until(lambda: bool(server.requests) and clock.waiting > 0)
        await clock.advance(31)
        with pytest.raises(ModelTimeout, match="30 s"):
            await soon(asking)


@pytest.mark.requirement("access:oauth-request")
@pytest.mark.parametrize(("secret", "words"), [("", "set MY_SECRET"), ("s\u00e4cret", "no secret has.*MY_SECRET")])
async def test_a_secret_that_is_missing_or_none_is_said_before_anything_is_sent(secret: str, words: str) -> None:
    async with tokens(Giver(), secret=secret) as (held, server):
        with pytest.raises(AuthFailed, match=words):
            await held.token(ORIGIN)
    assert server.requests == []


@pytest.mark.requirement("access:oauth-expiry")
@pytest.mark.parametrize("life", ["nan", 0, -5, "-inf"])
async def test_a_life_that_is_none_is_over_at_once(life: Any) -> None:
    async with tokens(Giver(life)) as (given, _):
        assert [await given.token(ORIGIN), await given.token(ORIGIN)] == ["token-1", "token-2"]
