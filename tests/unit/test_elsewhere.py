"""Calls of tools that stand elsewhere, against real servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from holdfast.flow.clock import SystemClock
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.safety.redacting import MARK, Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.environment import EnvironmentSecrets
from holdfast.tools.access.applying import Authenticator
from holdfast.tools.access.profiles import Bearer, OAuth2
from holdfast.tools.binding import ToolContext
from holdfast.tools.contract.messages import AuthNote
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.contract.wording import Told, told_in
from holdfast.tools.elsewhere.attempting import Attempts, delay_before
from holdfast.tools.elsewhere.calling import Elsewhere
from holdfast.tools.results import canceled
from holdfast.tools.transports.callback import Callback, delivered
from holdfast.tools.transports.external import External
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Transport
from holdfast.types import CallId, Effect, StreamId, ToolResult, ToolSpec, Wait

Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def serving(handle: Handler) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def spec(effect: str = "none") -> ToolSpec:
    return ToolSpec(name="weather", description="", parameters={}, effect=Effect(outside=effect))  # type: ignore[arg-type]


def context(slept: list[float] | None = None, **environ: str) -> ToolContext:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    secrets = Secrets([EnvironmentSecrets(environ)], Redactor())
    return ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="the-key", sleep=sleep, secrets=secrets)


async def called(tool: Elsewhere, given: ToolContext | None = None, **arguments: Any) -> ToolResult:
    outcome = await tool.run(arguments, given or context())
    assert isinstance(outcome, ToolResult)
    return outcome


@pytest.mark.requirement("contract:http")
async def test_an_address_gets_the_arguments_and_its_answer_is_the_result() -> None:
    seen: list[tuple[bytes, str]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((await request.read(), request.headers["Idempotency-Key"]))
        return web.Response(text="sunny")

    async with serving(handle) as url:
        result = await called(Elsewhere(spec(), Http(url, private=True), Attempts()), city="Rome")
    assert (result.content, result.error) == ("sunny", None)
    assert seen == [(b'{"city":"Rome"}', "the-key")]


@pytest.mark.requirement("contract:external")
async def test_a_service_speaks_the_contract() -> None:
    async def handle(request: web.Request) -> web.Response:
        asked = await request.json()
        assert request.headers["X-Tool-Contract-Version"] == asked["tool_contract_version"] == "v1"
        assert (asked["tool"]["name"], asked["input"], asked["namespace"], asked["task_id"]) == (
            "weather", {"city": "Rome"}, "local", "s",
        )  # fmt: skip
        return web.json_response(
            {
                "tool_contract_version": "v1",
                "request_id": asked["request_id"],
                "status": "denied",
                "error": {"code": "permission_denied", "message": "not Rome"},
            }
        )

    async with serving(handle) as url:
        result = await called(Elsewhere(spec(), External(url, private=True), Attempts(most=3)), city="Rome")
    assert result.error is not None
    assert (result.error.code, result.error.status, result.error.retryable) == ("permission_denied", "denied", False)
    assert "message=not Rome" in result.content


@pytest.mark.requirement("contract:retries-by-effect")
@pytest.mark.parametrize(("effect", "tries"), [("none", 3), ("keyed", 3), ("unsafe", 1)])
async def test_only_what_may_happen_twice_is_tried_again(effect: str, tries: int) -> None:
    asked: list[int] = []

    async def handle(_: web.Request) -> web.Response:
        asked.append(1)
        return web.Response(status=503, text="busy")

    async with serving(handle) as url:
        slept = list[float]()
        tool = Elsewhere(spec(effect), Http(url, private=True), Attempts(most=3, backoff=1))
        result = await called(tool, context(slept))
    assert len(asked) == tries
    assert slept == [delay_before(Attempts(backoff=1), "weather", n) for n in range(2, tries + 1)]
    assert result.error is not None
    assert result.metadata == {"http_status": 503}
    assert "busy" in result.content


@pytest.mark.requirement("contract:retries-by-effect")
async def test_what_reached_nobody_is_tried_again_whatever_it_does() -> None:
    slept = list[float]()
    tool = Elsewhere(spec("unsafe"), Http("http://127.0.0.1:1/", private=True), Attempts(most=3))
    result = await called(tool, context(slept))
    assert len(slept) == 2
    assert result.error is not None


@pytest.mark.requirement("contract:outbound-guard")
async def test_a_private_address_is_not_dialled_unless_the_tool_was_declared_so() -> None:
    result = await called(Elsewhere(spec(), Http("http://127.0.0.1:9/"), Attempts(most=3)))
    assert result.error is not None
    assert result.error.code == "permission_denied"


@pytest.mark.requirement("contract:timeout")
async def test_an_attempt_that_takes_too_long_is_left() -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(handle) as url:
        result = await called(Elsewhere(spec("unsafe"), Http(url, private=True), Attempts(timeout=0.2, most=3)))
    assert result.error is not None
    assert result.error.code == "timeout"


@pytest.mark.requirement("contract:output-bound")
async def test_an_answer_without_end_is_not_read() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 3000)

    async with serving(handle) as url:
        result = await called(Elsewhere(spec(), Http(url, private=True), Attempts(), most=1000))
    assert result.error is not None
    assert "more than 1,000 bytes" in result.content


@pytest.mark.requirement("contract:auth-refresh")
async def test_a_refused_token_is_fetched_anew_once_and_the_secret_is_known_to_redaction() -> None:
    given: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            form = await request.post()
            assert (form["client_id"], form["client_secret"], form["scope"]) == ("me", "hush-hush", "a b")
            given.append(f"token-number-{len(given)}")
            return web.json_response({"access_token": given[-1], "expires_in": 3600})
        ok = request.headers["Authorization"] == "Bearer token-number-1"
        return web.Response(status=200 if ok else 401, text="fine" if ok else "expired")

    async with serving(handle) as url, HttpClient(TRUSTED) as client:
        auth = OAuth2(secret="svc", token_url=f"{url}/token", scopes=("a", "b"))
        tool = Elsewhere(
            spec("unsafe"), Http(url, private=True), Attempts(), Authenticator("weather", auth, client, SystemClock())
        )
        known = context(None, **{"SVC_CLIENT_ID": "me", "SVC_CLIENT_SECRET": "hush-hush"})
        result = await called(tool, known)
        again = await called(tool, known)
    assert (result.content, again.content, len(given)) == ("fine", "fine", 2)
    assert known.secrets is not None
    assert known.secrets.redactor.clean("hush-hush token-number-1") == f"{MARK} {MARK}"


@pytest.mark.requirement("contract:auth-missing")
async def test_a_missing_secret_is_said_and_nothing_is_sent() -> None:
    async with HttpClient(TRUSTED) as client:
        auth = Authenticator("weather", Bearer(secret="nope"), client, SystemClock())
        result = await called(Elsewhere(spec(), Http("http://127.0.0.1:1/", private=True), Attempts(most=3), auth))
    assert result.error == fault_of("secret_resolution_failed")
    assert "nope" in result.content


@pytest.mark.requirement("tools:error-taxonomy")
@pytest.mark.parametrize(("status", "code"), [(401, "auth_invalid"), (403, "auth_forbidden")])
async def test_who_is_refused_is_told_which_secret_was_sent_and_never_its_value(status: int, code: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status)

    note = AuthNote(profile="bearer", secret_ref="door")
    async with serving(handle) as url, HttpClient(TRUSTED) as client:
        auth = Authenticator("weather", Bearer(secret="door"), client, SystemClock())
        tool = Elsewhere(spec(), Http(url, private=True), Attempts(), auth, note)
        result = await called(tool, context(DOOR="sesame-open-1"))
        bare = await called(Elsewhere(spec(), Http(url, private=True), Attempts()))
    assert result.error == bare.error == fault_of(code)
    assert result.content == f"Sent with the secret 'door' (bearer), 'weather' failed: HTTP status {status}"
    assert bare.content == f"Sent without credentials, 'weather' failed: HTTP status {status}"


STATUSES = [
    (401, "auth_invalid", False),
    (403, "auth_forbidden", False),
    (404, "execution_failed", False),
    (408, "execution_failed", True),
    (429, "execution_failed", True),
    (500, "execution_failed", True),
    (503, "execution_failed", True),
    (302, "execution_failed", False),
]
KINDS: dict[str, Callable[..., Transport]] = {"http": Http, "external": External, "callback": Callback}


@pytest.mark.requirement("tools:error-taxonomy")
@pytest.mark.parametrize(("status", "code", "retryable"), STATUSES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_status_is_an_error_of_the_one_table(kind: str, status: int, code: str, retryable: bool) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text="why \n  not " + "x" * 900, headers={"Location": "/elsewhere"})

    async with serving(handle) as url:
        result = await called(Elsewhere(spec(), KINDS[kind](url, private=True), Attempts()))
    assert result.error == fault_of(code, retryable=retryable)
    assert result.metadata == {"http_status": status}
    assert f"{status}: why not xxx" in result.content
    assert len(result.content) < 500


@pytest.mark.requirement("tools:error-taxonomy")
async def test_a_call_that_is_cancelled_is_what_the_table_says() -> None:
    assert canceled("somebody said so").error == fault_of("canceled")


@pytest.mark.requirement("tools:error-taxonomy")
async def test_an_answer_by_the_contract_says_more_than_its_status() -> None:
    async def handle(request: web.Request) -> web.Response:
        asked = await request.json()
        fault = {"code": "invalid_input", "message": "no such city", "details": {"city": "Atlantis"}}
        said = {"tool_contract_version": "v1", "request_id": asked["request_id"], "status": "error", "error": fault}
        return web.json_response(said, status=422)

    async with serving(handle) as url:
        result = await called(Elsewhere(spec(), External(url, private=True), Attempts()))
    assert result.error == fault_of("invalid_input")
    assert told_in(result.content) == Told(fault_of("invalid_input"), "no such city", {"city": "Atlantis"})


@pytest.mark.requirement("contract:callback-polled")
async def test_a_pending_answer_is_asked_about_every_two_seconds_by_the_clock_of_the_run() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.raw_path}")
        if len(seen) < 4:
            return web.Response(status=204 if len(seen) == 2 else 202)
        said = {"tool_contract_version": "v1", "request_id": "the-key", "status": "ok", "output": {"result": "done"}}
        return web.json_response(said)

    async with serving(handle) as url:
        slept = list[float]()
        result = await called(Elsewhere(spec(), Callback(f"{url}/jobs", private=True), Attempts()), context(slept))
    assert (result.content, result.error) == ("done", None)
    assert seen == ["POST /jobs", *["GET /jobs/the-key"] * 3]
    assert slept == [2.0, 2.0, 2.0]


@pytest.mark.requirement("contract:callback-pushed")
async def test_an_answer_that_is_brought_is_waited_for_until_its_deadline() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=202)

    async with serving(handle) as url:
        transport = Callback(url, private=True, brought=True, patience=60)
        given = msgspec.structs.replace(context(), now=lambda: 1_000_000)
        outcome = await Elsewhere(spec(), transport, Attempts()).run({}, given)
    assert outcome == Wait("the-key", "remote", 61_000_000, "weather answers later", "weather")
    said = {"tool_contract_version": "v1", "request_id": "the-key", "status": "ok", "output": {"result": "hush-hush"}}
    body = msgspec.json.encode(said)
    assert delivered(body, "the-key").content == "hush-hush"
    assert delivered(body, "the-key", redactor=Redactor(["hush-hush"])).content == MARK
    assert delivered(body, "another").error == fault_of("runtime_policy_invalid")
    assert delivered(body, "the-key", most=10).error == fault_of("execution_failed", retryable=False)
