"""The Anthropic provider and the official client against the scripted model server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest

from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.catalogue import lookup
from holdfast.models.port import ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import Call, Canned, ScriptedModelServer, Tokens, Turn
from holdfast.testing.faults import (
    Cut,
    Drip,
    Empty,
    Fault,
    GzipBomb,
    Hang,
    Reset,
    Status,
    StreamError,
    Truncated,
    Unfinished,
    WrongType,
)
from holdfast.testing.faults import Malformed as MalformedEvent
from holdfast.types import AssistantMessage, Document, Image, Text, Thinking, ToolSpec, Usage, UserMessage

ASKED = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])
TURN = Turn(
    text="Hello wörld",
    calls=[Call("f", {"x": 1}), Call("g", id="toolu_2")],
    thinking="hm",
    signature="c2ln",
    redacted="c2VjcmV0",
    usage=Tokens(100, 20, 40, 10, 5),
    chunk=4,
)


@asynccontextmanager
async def served(script: Any, silence: float = 5.0) -> AsyncGenerator[tuple[ScriptedModelServer, HttpClient]]:
    async with (
        ScriptedModelServer(script) as server,
        HttpClient(TRUSTED, NetSettings(silence_timeout=silence)) as client,
    ):
        yield server, client


async def outcome(model: Any, request: ModelRequest = ASKED) -> AssistantMessage:
    *_, message = [item async for item in model.stream(request)]
    assert isinstance(message, AssistantMessage)
    return message


def official(server: ScriptedModelServer, retries: int = 0) -> anthropic.AsyncAnthropic:
    """Returns the vendor's own client, which reads nothing of its user's environment."""
    return anthropic.AsyncAnthropic(base_url=server.origin, api_key="sk", max_retries=retries)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("BASE_URL", "API_KEY", "AUTH_TOKEN", "CUSTOM_HEADERS", "PROFILE", "CONFIG_DIR"):
        monkeypatch.delenv(f"ANTHROPIC_{variable}", raising=False)


async def headers_of(env: Mapping[str, str], **fields: Any) -> dict[str, str]:
    async with served(["hi"]) as (server, client):
        model = find_model("anthropic/m", client, {"ANTHROPIC_BASE_URL": server.origin, **env})
        await outcome(model, ModelRequest(instructions="", messages=ASKED.messages, **fields))
        (asked,) = server.requests
        assert asked.target == "/v1/messages"
        return asked.headers


@pytest.mark.requirement("models:keys-and-urls-as-vendors-read-them")
async def test_key_token_and_headers_come_from_the_official_clients_variables() -> None:
    keyed = await headers_of({"ANTHROPIC_API_KEY": "sk\n", "ANTHROPIC_AUTH_TOKEN": "t"})
    assert (keyed["x-api-key"], "authorization" in keyed) == ("sk", False), "a key goes before a token"
    token = await headers_of({"ANTHROPIC_AUTH_TOKEN": "t"})
    assert (token["authorization"], "x-api-key" in token) == ("Bearer t", False)
    bearer = await headers_of({"ANTHROPIC_API_KEY": "sk", "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer mine"})
    assert (bearer["authorization"], "x-api-key" in bearer) == ("Bearer mine", False)
    lines = "X-Team: a: b\nnonsense\nAnthropic-Beta: one,two\nX-API-Key: other\n: empty"
    given = await headers_of({"ANTHROPIC_API_KEY": "sk", "ANTHROPIC_CUSTOM_HEADERS": lines})
    assert (given["x-team"], given["anthropic-beta"], given["x-api-key"]) == ("a: b", "one,two", "other")


@pytest.mark.requirement("models:messages-version")
async def test_requests_speak_the_official_clients_version_and_with_a_temperature_the_one_before() -> None:
    async with served(["hi"]) as (server, _), official(server) as client:
        await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        theirs = server.requests[0].headers["anthropic-version"]
    assert (await headers_of({}))["anthropic-version"] == theirs
    assert (await headers_of({}, temperature=0.5))["anthropic-version"] == "2023-06-01"
    pinned = {"ANTHROPIC_CUSTOM_HEADERS": "anthropic-version: 2030-01-01"}
    assert (await headers_of(pinned, temperature=0.5))["anthropic-version"] == "2030-01-01"


@pytest.mark.requirement("models:key-missing")
@pytest.mark.parametrize("key", ["", " ", "sk-a\r\nx: y", "sk-ä"])
async def test_anthropic_is_not_called_without_a_usable_key(key: str) -> None:
    async with HttpClient(TRUSTED) as client:
        model = find_model("anthropic/claude-opus-5-5", client, {"ANTHROPIC_API_KEY": key})
        with pytest.raises(AuthFailed, match="ANTHROPIC_API_KEY") as caught:
            await anext(model.stream(ASKED))
        assert "sk-" not in str(caught.value)
        with pytest.raises(AuthFailed, match="ANTHROPIC_AUTH_TOKEN"):
            find_model("anthropic/m", client, {"ANTHROPIC_AUTH_TOKEN": "ä"}).check()
        find_model("anthropic/m", client, {"ANTHROPIC_CUSTOM_HEADERS": "x-api-key: mine"}).check()
        with pytest.raises(AuthFailed, match="ANTHROPIC_CUSTOM_HEADERS"):
            find_model("anthropic/m", client, {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer ä"}).check()


@pytest.mark.requirement("testing:server-messages", "models:messages-both-ways")
async def test_our_client_and_the_official_one_read_the_same_script_streamed_and_whole() -> None:
    async with served([TURN]) as (server, http), official(server) as client:
        ours = await outcome(AnthropicModel("m", http, url=server.origin))
        async with client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        count = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hi"}])
        assert [model.id async for model in client.models.list()] == ["scripted"]
    assert ours.usage == Usage(100, 20, 40, 10, 5)
    assert [part for part in ours.parts if isinstance(part, Thinking)] == [
        Thinking("hm", "c2ln"),
        Thinking("", redacted="c2VjcmV0"),
    ]
    for theirs in (streamed, whole):
        content: list[Any] = list(theirs.content)
        thinking, redacted, text, *calls = content
        assert (thinking.type, redacted.type, text.type) == ("thinking", "redacted_thinking", "text")
        assert thinking.signature == "c2ln"
        assert text.text == ours.text == "Hello wörld"
        assert [(c.id, c.name) for c in calls] == [(c.id, c.name) for c in ours.calls]
        assert (theirs.stop_reason, ours.stop) == ("tool_use", "tool_calls")
        assert (theirs.usage.input_tokens, theirs.usage.cache_read_input_tokens) == (50, 40)
    assert count.input_tokens > 0
    server.verify()


@pytest.mark.requirement("testing:server-messages")
async def test_the_official_client_sees_refusals_and_tries_again_what_passes() -> None:
    turn = Turn("done", fault=[Status(status=529, times=1), Status(status=429, retry_after=0, times=1)])
    async with served([turn]) as (server, _), official(server, retries=2) as client:
        answer = await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert answer.content[0].type == "text"
        assert [each.status for each in server.requests] == [529, 429, 200]
        with pytest.raises(anthropic.BadRequestError, match="not a messages request"):
            await client.messages.create(model="m", max_tokens=9, messages=[], extra_body={"messages": 5})
    async with served({"only": ["hi"]}) as (server, _), official(server) as client:
        with pytest.raises(anthropic.NotFoundError, match="no script is called 'm'") as caught:
            await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert caught.value.request_id == "req_scripted"


@pytest.mark.requirement("testing:server-messages", "models:messages-errors")
async def test_an_error_in_the_middle_of_a_stream_reaches_both_clients() -> None:
    async with served([Turn("Hello", fault=StreamError(after_events=4))]) as (server, http), official(server) as client:
        with pytest.raises(Overloaded, match="The script wanted it so"):
            await outcome(AnthropicModel("m", http, url=server.origin))
        with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
            async with client.messages.stream(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
            ) as stream:
                await stream.get_final_message()


@pytest.mark.requirement("models:messages-errors", "testing:server-messages", "models:stream-one-terminal-outcome")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reset(), ConnectionFailed),
        (Reset(after_events=3), ConnectionFailed),
        (Cut(after_bytes=200), ConnectionFailed),
        (Hang(), ModelTimeout),
        (Hang(after_events=3), ModelTimeout),
        (MalformedEvent(), Malformed),
        (Truncated(), Malformed),
        (Unfinished(), ConnectionFailed),
        (Empty(), Malformed),
        (WrongType(), Malformed),
        (GzipBomb(), Malformed),
        (StreamError(), Overloaded),
        (StreamError(type="api_error"), ServerError),
        (Status(status=400), InvalidRequest),
        (Status(status=400, message="prompt is too long: 3 tokens > 2 maximum"), ContextOverflow),
        (Status(status=401), AuthFailed),
        (Status(status=403), AuthFailed),
        (Status(status=404), ModelNotFound),
        (Status(status=413), ContextOverflow),
        (Status(status=429, retry_after=7), RateLimited),
        (Status(status=500), ServerError),
        (Status(status=529), Overloaded),
    ],
    ids=str,
)
async def test_each_fault_of_the_server_is_its_one_error(fault: Fault, kind: type[ModelError]) -> None:
    async with served([Turn("Hello world", fault=fault)], silence=0.3) as (server, client):
        with pytest.raises(ModelError) as caught:
            await outcome(AnthropicModel("m", client, url=server.origin, key="sk"))
    assert type(caught.value) is kind
    if isinstance(fault, Status):
        assert "request req_scripted" in str(caught.value)
        assert caught.value.retry_after == (7.0 if fault.retry_after else None)


@pytest.mark.requirement("models:errors-hold-no-secret")
@pytest.mark.parametrize(
    ("lines", "secrets"),
    [
        ("X-Gateway-Key: gw-secret-123\nAuthorization: bearer tok-456", ["gw-secret-123", "tok-456"]),
        ("Authorization: BEARER tok-456", ["tok-456"]),
        ("authorization: Basic dXNlcjpwYXNz", ["dXNlcjpwYXNz"]),
        ("X-API-Key: k2", ["k2"]),
        ("Cookie: session=abcdef12; route=gh34567", ["abcdef12", "gh34567"]),
        ("X-Pair: first-half second-half", ["first-half", "second-half", "first-half second-half"]),
        ("X-Env: prod", ["prod"]),
        ("", []),
    ],
)
async def test_no_error_repeats_a_key_a_token_or_the_value_of_a_header(lines: str, secrets: list[str]) -> None:
    env = {"ANTHROPIC_API_KEY": "sk-main", "ANTHROPIC_AUTH_TOKEN": "at-main", "ANTHROPIC_CUSTOM_HEADERS": lines}
    secrets = [*secrets, "sk-main", "at-main"]
    said = "bad headers: " + " and ".join(f"<{secret}>" for secret in secrets)
    faults: list[Fault] = [Status(status=401, message=said), StreamError(message=said)]
    for fault in faults:
        async with served([Turn("Hello world", fault=fault)]) as (server, client):
            model = find_model("anthropic/m", client, {"ANTHROPIC_BASE_URL": server.origin, **env})
            with pytest.raises(ModelError, match="bad headers") as caught:
                await outcome(model)
        shown = str(caught.value)
        assert [secret for secret in secrets if secret in shown] == []
        assert shown.count("<***>") + shown.count("<*** ***>") == len(secrets)


async def test_a_slow_answer_a_whole_one_and_a_server_that_ends_nothing_are_read() -> None:
    async with served([Turn("Hello", fault=Drip(seconds=0.001, bytes=7))]) as (server, client):
        assert (await outcome(AnthropicModel("m", client, url=server.origin))).text == "Hello"
    body = '{"type":"message","content":[{"type":"text","text":"plain"}],"usage":{"input_tokens":1,"output_tokens":2}}'
    async with served([Turn(raw=Canned(body=body))]) as (server, client):
        message = await outcome(AnthropicModel("m", client, url=server.origin))
        assert (message.text, message.stop, message.usage) == ("plain", "stop", Usage(1, 2))


@pytest.mark.requirement("models:messages-tool-names-mapped-back")
async def test_a_tool_of_any_name_is_offered_and_called_by_its_own() -> None:
    tool = ToolSpec(name="files.read", description="", parameters={"type": "object"})
    async with served([Turn(calls=[Call("files_read")])]) as (server, client):
        request = ModelRequest(instructions="", messages=ASKED.messages, tools=(tool,))
        message = await outcome(AnthropicModel("m", client, url=server.origin), request)
    assert [call.name for call in message.calls] == ["files.read"]


@pytest.mark.requirement("models:size-is-upper-bound", "models:messages-images-and-documents")
async def test_images_and_documents_are_bounded_by_what_they_can_cost() -> None:
    async with HttpClient(TRUSTED) as client:
        model = AnthropicModel("m", client, card=lookup("anthropic/claude-opus-4-5"))

        def size(*parts: Any) -> int:
            return model.size(ModelRequest(instructions="", messages=[UserMessage(parts)]))

        plain = size(Text("a"))
        assert size(Text("a"), Image("image/png", b"x"), Image("image/png", b"y")) >= plain + 2 * 4784
        assert size(Text("a"), Document("application/pdf", b"x")) >= plain + 200_000
        assert size(Text("a"), Document("text/plain", b"x" * 50)) < plain + 300


@pytest.mark.requirement("models:price-known", "models:messages-cards")
def test_claude_has_prices_for_its_cache_and_a_longest_answer() -> None:
    card = lookup("anthropic/claude-opus-5-5")
    assert card is not None
    assert card.price is not None
    assert card.price.cost(Usage(1_000_000, 0, 600_000, 300_000)) == 400_000_000 + 120_000_000 + 1_500_000_000
    assert (card.context_window, card.max_output_tokens) == (1_000_000, 128_000)
    tiered = lookup("anthropic/claude-haiku-5-5")
    assert tiered is not None
    assert tiered.price is not None
    assert tiered.price.cost(Usage(100_001)) == 100_001 * 500
    assert lookup("anthropic/claude-opus-9") is None
