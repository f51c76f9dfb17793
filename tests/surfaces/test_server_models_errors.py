"""What goes wrong at the doors for models is told so that clients of the providers understand it."""

from __future__ import annotations

import random
from typing import Any

import anthropic
import openai
import pytest
from tests.model_doors import MODEL, doors, offered
from tests.running import HastyClock

from holdfast.ledger.amounts import Amount, Cap
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import EVERYTHING, Principal
from holdfast.testing import Turn
from holdfast.testing.faults import Cut, Reset, Status, StreamError
from holdfast.tools.authorising.policy import Policy
from holdfast.types import TenantId

HI: list[Any] = [{"role": "user", "content": "hi"}]


class Keys:
    """Knows two keys: one of everything, and one that may only look, or only ask one agent."""

    async def identify(self, asked: Asked) -> Principal | None:
        """Returns whose key it is."""
        key = asked.headers.get("authorization", "").removeprefix("Bearer ") or asked.headers.get("x-api-key", "")
        if key not in ("all", "looks", "few", "other"):
            return None
        return Principal(
            tenant=TenantId("other" if key == "other" else "local"),
            user="ada",
            scopes=frozenset(("sessions:read",)) if key == "looks" else EVERYTHING,
            how="key",
            agents=("helper",) if key == "few" else None,
        )

    async def close(self) -> None:
        """Holds nothing."""


async def raised(here: Any, model: str = MODEL, streamed: bool = False, **more: Any) -> list[Any]:
    """Returns what the client of each protocol raises."""
    found: list[Any] = []
    for ask in (
        lambda: here.openai.chat.completions.create(model=model, messages=HI, stream=streamed, **more),
        lambda: here.openai.responses.create(model=model, input="hi", stream=streamed, **more),
        lambda: here.anthropic.messages.create(model=model, messages=HI, max_tokens=9, stream=streamed, **more),
    ):
        try:
            answer = await ask()
            if streamed:
                async for _ in answer:
                    pass
            found.append(None)
        except (openai.APIError, anthropic.APIError) as error:
            found.append(error)
    return found


@pytest.mark.requirement("server_models:errors")
@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        ("none", (openai.AuthenticationError, openai.AuthenticationError, anthropic.AuthenticationError)),
        ("looks", (openai.PermissionDeniedError, openai.PermissionDeniedError, anthropic.PermissionDeniedError)),
        ("few", (openai.PermissionDeniedError, openai.PermissionDeniedError, anthropic.PermissionDeniedError)),
    ],
)
async def test_whoever_may_not_is_told_in_their_own_protocol(key: str, kinds: tuple[type, ...]) -> None:
    async with doors([Turn("never")], access=Keys(), key=key) as here:
        found = await raised(here)
        assert [type(each) for each in found] == list(kinds)
        assert found[2].body["type"] == "error"
        assert found[0].type in ("authentication_error", "permission_error")
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:errors")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "first", "second"),
    [
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (400, openai.BadRequestError, anthropic.BadRequestError),
        (404, openai.NotFoundError, anthropic.NotFoundError),
        (503, openai.InternalServerError, anthropic.InternalServerError),
        (401, openai.InternalServerError, anthropic.InternalServerError),
    ],
)
async def test_what_a_provider_refuses_has_its_status_here_too(
    status: int, first: type, second: type, streamed: bool
) -> None:
    async with doors([Turn(fault=Status(status=status))], clock=HastyClock()) as here:
        found = await raised(here, streamed=streamed)
        assert [isinstance(each, kind) for each, kind in zip(found, (first, first, second), strict=True)] == [True] * 3
        if status in (429, 503):
            assert all(int(each.response.headers["retry-after"]) >= 1 for each in found)


@pytest.mark.requirement("server_models:errors")
async def test_a_client_tries_again_by_itself_and_is_answered() -> None:
    turns = [Turn("well", fault=Status(status=503, times=4))]
    async with doors(turns, retries=2, clock=HastyClock()) as here:
        whole = await here.openai.chat.completions.create(model=MODEL, messages=HI)
        assert whole.choices[0].message.content == "well"


@pytest.mark.requirement("server_models:errors")
async def test_what_is_too_large_not_json_or_nobody_is_told_in_the_protocol_of_the_door() -> None:
    async with doors([Turn("never")]) as here:
        client = here.served.client
        for path, kind in (("/v1/chat/completions", "error"), ("/v1/responses", "error"), ("/v1/messages", "type")):
            async with client.post(path, data=b"{", headers={"content-type": "application/json"}) as answer:
                body = await answer.json()
                assert (answer.status, kind in body, bool(body["error"]["message"])) == (400, True, True)
            headers = {"content-type": "application/json", "content-length": str(1 << 30), "connection": "close"}
            async with client.post(path, data=b"", headers=headers) as answer:
                assert answer.status == 413
        found = await raised(here, model="nobody-goes-by-that")
        assert [each.status_code for each in found] == [404, 404, 404]
        assert found[0].code == "model_not_found"


@pytest.mark.requirement("server_models:restarted-is-an-error")
@pytest.mark.parametrize("fault", [Cut(after_events=3), Reset(after_events=3), StreamError(after_events=3)])
async def test_an_answer_that_breaks_off_and_begins_again_is_an_error_in_the_middle_of_the_stream(fault: Any) -> None:
    async with doors([Turn("one two three four five", chunk=4, fault=fault)]) as here:
        for ask in (
            here.openai.chat.completions.create(model=MODEL, messages=HI, stream=True),
            here.anthropic.messages.create(model=MODEL, messages=HI, max_tokens=9, stream=True),
        ):
            told: list[Any] = []
            with pytest.raises((openai.APIError, anthropic.APIError)):
                async for event in await ask:
                    told.append(event)  # noqa: PERF401 - what came before the error counts
            assert told
        events = [each async for each in await here.openai.responses.create(model=MODEL, input="hi", stream=True)]
        assert events[-1].type == "response.failed"


@pytest.mark.requirement("server_models:capped")
async def test_a_cap_of_the_user_is_kept_by_every_door_and_told_as_a_quota() -> None:
    async with doors([Turn("never")], access=Keys(), key="all") as here:
        await here.served.runtime.ledger.set_caps(("local", "ada"), [Cap(tokens=5)])
        found = await raised(here)
        assert [each.status_code for each in found] == [429] * 3
        assert found[0].code == "insufficient_quota"
        assert found[2].body["error"]["type"] == "billing_error"
        with pytest.raises(openai.RateLimitError):
            await here.openai.embeddings.create(model="hashing", input="some words that are too many")
        assert not here.scene.server.requests


@pytest.mark.requirement("server_models:when-told")
async def test_a_cap_of_a_window_says_in_how_long_it_is_worth_asking_again_and_no_client_is_told_to_raise_it() -> None:
    async with doors([Turn("well")] * 2, access=Keys(), key="all") as here:
        ledger = here.served.runtime.ledger
        await ledger.set_caps(("local", "ada"), [Cap(tokens=50_000, window=60_000_000)])
        await ledger.settle("before", Amount(tokens=49_999), path=("local", "ada", "s", "r"))
        for ask in (
            here.openai.chat.completions.create(model=MODEL, messages=HI),
            here.openai.embeddings.create(model="hashing", input="some words that are too many"),
        ):
            with pytest.raises(openai.RateLimitError) as refused:
                await ask
            seconds = refused.value.response.headers["retry-after"]
            assert 1 <= int(seconds) <= 61
            assert f"ask again in {seconds} s" in str(refused.value), refused.value
            assert "raise" not in str(refused.value)


@pytest.mark.requirement("server_models:capped")
async def test_what_a_door_spends_is_booked_under_the_caps_of_whoever_asks() -> None:
    async with doors([Turn("well")], access=Keys(), key="all") as here:
        ledger = here.served.runtime.ledger
        await ledger.set_caps(("local", "ada"), [Cap(tokens=100_000)])
        await here.openai.chat.completions.create(model=MODEL, messages=HI)
        await here.openai.embeddings.create(model="hashing", input="a")
        balance = await ledger.balance(("local", "ada"))
        assert (balance.settled.tokens >= 120, balance.open.tokens) == (True, 0)


@pytest.mark.requirement("server_models:tenants")
async def test_no_door_goes_on_with_what_another_tenant_said() -> None:
    async with doors([Turn("secret of one"), Turn("two")], access=Keys(), key="all") as here:
        first = await here.openai.responses.create(model=MODEL, input="hi")
        other = here.openai.with_options(api_key="other")
        for ask in (
            other.responses.retrieve(first.id),
            other.responses.create(model=MODEL, input="on", previous_response_id=first.id),
            other.responses.input_items.list(first.id),
            other.responses.cancel(first.id),
            other.responses.delete(first.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await ask
        messages: list[Any] = [
            *HI,
            {"role": "assistant", "content": "secret of one"},
            {"role": "user", "content": "on"},
        ]
        await other.chat.completions.create(model=MODEL, messages=messages)
        assert len(await here.sessions()) == 1
        assert (await here.openai.responses.retrieve(first.id)).output_text == "secret of one"


@pytest.mark.requirement("server_models:provider-tools")
async def test_tools_of_a_provider_are_refused_unless_a_policy_decides() -> None:
    tools: Any = [{"type": "web_search"}]
    async with doors([Turn("never")]) as here:
        with pytest.raises(openai.PermissionDeniedError, match="policy"):
            await here.openai.responses.create(model="openai-responses/scripted", input="hi", tools=tools)
    async with doors([Turn("found")], policy=Policy(blocked_tools=("code_interpreter",))) as here:
        whole = await here.openai.responses.create(model="openai-responses/scripted", input="hi", tools=tools)
        assert whole.output_text == "found"
        with pytest.raises(openai.PermissionDeniedError):
            blocked: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]
            await here.openai.responses.create(model="openai-responses/scripted", input="hi", tools=blocked)


@pytest.mark.requirement("server_models:refused-by-name")
@pytest.mark.parametrize(
    "more",
    [{"n": 2}, {"logprobs": True}, {"functions": []}, {"tool_choice": {"type": "function", "function": {"name": "x"}}}],
)
async def test_what_no_door_does_is_refused_by_its_name(more: dict[str, Any]) -> None:
    async with doors([Turn("never")]) as here:
        with pytest.raises(openai.BadRequestError) as found:
            await here.openai.chat.completions.create(model=MODEL, messages=HI, tools=[offered()], **more)
        assert any(each in str(found.value) for each in ("n:", "logprobs", "functions", "'x'"))
        assert not here.scene.server.requests


FIELDS = (
    *("messages", "input", "system", "instructions", "tools", "tool_choice", "max_tokens", "temperature", "thinking"),
    *("response_format", "text", "reasoning", "metadata", "stop", "n", "stream_options", "previous_response_id"),
)


@pytest.mark.requirement("server_models:errors")
async def test_no_body_of_any_kind_is_more_than_refused() -> None:
    async with doors([Turn("well")], seconds=60) as here:

        async def send(path: str, body: Any) -> None:
            async with here.served.client.post(path, json=body) as answer:
                await answer.read()
                assert answer.status < 500, body

        good: dict[str, Any] = {
            "/v1/chat/completions": {"model": MODEL, "messages": HI},
            "/v1/responses": {"model": MODEL, "input": "hi"},
            "/v1/messages": {"model": MODEL, "messages": HI, "max_tokens": 9},
            "/v1/embeddings": {"model": "hashing", "input": "a"},
        }
        chance = random.Random(4711)
        for _ in range(150):
            path = chance.choice(list(good))
            wrong = {chance.choice(FIELDS): made(chance) for _ in range(chance.randrange(1, 3))}
            await send(path, {**good[path], **wrong})
            await send(path, made(chance))
        deep = "[" * 5000 + "]" * 5000
        for path in good:
            data = b'{"model": "openai/scripted", "messages": [{"role": "user", "content": ' + deep.encode() + b"}]}"
            async with here.served.client.post(path, data=data, headers={"content-type": "application/json"}) as answer:
                assert answer.status == 400
        for id in ("x", "resp_", "resp_s-0000_k0000_r0", "resp_s-" + "0" * 10 + "_k0000_a" + "9" * 15, "..", "%00"):
            for method, more in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
                async with here.served.client.request(method, f"/v1/responses/{id}{more}") as answer:
                    assert answer.status in (404, 405), id


def made(chance: random.Random, depth: int = 0) -> Any:
    """Returns some JSON."""
    plain: tuple[Any, ...] = (
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        "",
        "user",
        "\u0000",
        "tool",
        MODEL,
        "data:image/png;base64,!",
    )
    if depth > 3 or chance.random() < 0.4:
        return chance.choice(plain)
    names = ("type", "role", "content", "name", "function", "text", "image_url", "url", "id", "call_id", "schema", "x")
    if chance.random() < 0.5:
        return [made(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice(names): made(chance, depth + 1) for _ in range(chance.randrange(4))}
