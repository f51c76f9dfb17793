"""Calls of tools elsewhere whose answers repeat secrets, or whose pending answers fail."""

from __future__ import annotations

from contextlib import AsyncExitStack

import msgspec
import pytest
from aiohttp import web
from tests.unit.test_elsewhere import called, context, serving, spec

from holdfast.flow.clock import SystemClock
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.tools.access.applying import Authenticator
from holdfast.tools.access.profiles import Auth, Basic, Bearer, OAuth2
from holdfast.tools.contract.messages import Asked
from holdfast.tools.contract.messages import Request as Envelope
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere
from holdfast.tools.transports.callback import Callback
from holdfast.tools.transports.external import External
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Errand, Transport

SECRET = "hunter2hunter2hunter2hunter2"


def known_to(transport: Transport, auth: Auth, effect: str = "none", attempts: Attempts | None = None) -> Elsewhere:
    authenticator = Authenticator("weather", auth, HttpClient(TRUSTED), SystemClock())
    return Elsewhere(spec(effect), transport, attempts or Attempts(), authenticator)


@pytest.mark.requirement("safety:redaction-values")
@pytest.mark.parametrize("kind", [Http, External])
@pytest.mark.parametrize("by", ["status", "contract"])
async def test_a_secret_that_an_error_repeats_is_hidden_also_where_the_error_is_cut(
    kind: type[Http | External], by: str
) -> None:
    words = f"{'x' * 385} {SECRET}"

    async def handle(request: web.Request) -> web.Response:
        if by == "status":
            return web.Response(status=403, text=words)
        error = {"code": "auth_forbidden", "message": words, "details": {"said": words}}
        said = {"tool_contract_version": "v1", "request_id": "the-key", "status": "error", "error": error}
        return web.json_response(said)

    async with serving(handle) as url:
        result = await called(known_to(kind(url, private=True), Bearer(secret="p")), context(P=SECRET))
    assert result.error is not None
    assert result.error.code == "auth_forbidden"
    assert "hunter" not in result.content


@pytest.mark.requirement("safety:redaction-values")
async def test_a_password_is_hidden_without_its_user_too() -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=f"logged in with {SECRET}")

    async with serving(handle) as url:
        result = await called(known_to(Http(url, private=True), Basic(secret="p")), context(P=f"me:{SECRET}"))
    assert result.content == "logged in with [REDACTED]"


@pytest.mark.requirement("safety:redaction-values")
def test_what_goes_out_is_not_shown_with_its_credentials() -> None:
    request = Envelope(request_id="r", tool=Asked(name="weather"))
    shown = repr(Errand(request=request, headers={"Authorization": f"Bearer {SECRET}"}, context=context()))
    assert shown == "Errand('weather', 'r')"


@pytest.mark.requirement("contract:callback-polled")
@pytest.mark.parametrize("look", ["refused", "unreached"])
async def test_a_call_that_was_taken_is_not_sent_again_when_looking_for_its_answer_fails(look: str) -> None:
    seen: list[str] = []
    tokens: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            tokens.append(f"token-number-{len(tokens)}")
            return web.json_response({"access_token": tokens[-1]})
        seen.append(request.method)
        if request.method == "GET":
            return web.Response(status=401)
        return web.Response(status=202)

    async with serving(handle) as url, AsyncExitStack() as jobs:
        place = await jobs.enter_async_context(serving(handle))

        async def gone(_: float) -> None:
            await jobs.aclose()

        given = context([], SVC_CLIENT_ID="me", SVC_CLIENT_SECRET="hush-hush")
        if look == "unreached":
            given = msgspec.structs.replace(given, sleep=gone)
        auth = OAuth2(secret="svc", token_url=f"{url}/token")
        tool = known_to(Callback(f"{place}/jobs", private=True), auth, "unsafe", Attempts(most=3))
        result = await called(tool, given)
    assert result.error is not None
    assert seen.count("POST") == 1
    assert result.error.code == ("auth_invalid" if look == "refused" else "execution_failed")


@pytest.mark.requirement("contract:callback-polled")
async def test_an_address_with_a_query_is_asked_with_it() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.raw_path}")
        if request.method == "POST":
            return web.Response(status=202)
        said = {"tool_contract_version": "v1", "request_id": "the-key", "status": "ok", "output": {"result": "done"}}
        return web.json_response(said)

    async with serving(handle) as url:
        tool = Elsewhere(spec(), Callback(f"{url}/jobs/?tenant=a", private=True), Attempts())
        assert (await called(tool, context([]))).content == "done"
    assert seen == ["POST /jobs/?tenant=a", "GET /jobs/the-key?tenant=a"]


@pytest.mark.requirement("contract:retries-by-effect")
async def test_a_token_server_that_fails_once_costs_no_call_that_may_happen_once() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.path)
        if request.path == "/token":
            return web.json_response({"access_token": "token-number-1"}, status=503 if len(seen) == 1 else 200)
        return web.Response(text="done")

    async with serving(handle) as url:
        auth = OAuth2(secret="svc", token_url=f"{url}/token")
        tool = known_to(Http(f"{url}/call", private=True), auth, "unsafe", Attempts(most=2))
        result = await called(tool, context([], SVC_CLIENT_ID="me", SVC_CLIENT_SECRET="hush-hush"))
    assert (result.content, seen) == ("done", ["/token", "/token", "/call"])
