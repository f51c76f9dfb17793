"""The Google provider and the official client against the scripted model server."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types as sdk
from tests.running import scene, soon

from holdfast import Agent, tool
from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelTimeout,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.catalogue import ModelCard
from holdfast.models.port import ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
from holdfast.models.providers.google import GoogleModel
from holdfast.models.providers.openai import OpenAIModel
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
from holdfast.types import AssistantMessage, Text, Thinking, ThinkingLevel, Usage, UserMessage

ASKED = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])
TURN = Turn(
    text="Hello wörld",
    calls=[Call("f", {"x": 1}), Call("g", id="call-2")],
    thinking="hm",
    signature="c2ln",
    usage=Tokens(100, 20, 40, 0, 5),
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


@pytest.mark.requirement("gemini:provider-end-to-end")
async def test_an_answer_comes_back_whole() -> None:
    async with served([TURN]) as (server, client):
        message = await outcome(GoogleModel("gemini-3-pro", client, url=server.origin, key="k"))
        (asked,) = server.requests
        server.verify()
    assert message.parts[:2] == (Thinking("hm", "c2ln"), Text("Hello wörld"))
    assert [(call.id, call.name, call.arguments) for call in message.calls] == [
        ("call_0_0", "f", '{"x":1}'),
        ("call-2", "g", "{}"),
    ]
    assert (message.stop, message.usage) == ("tool_calls", Usage(100, 20, 40, 0, 5))
    assert asked.target == "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"
    assert asked.headers["x-goog-api-key"] == "k"


@pytest.mark.requirement("gemini:environment")
@pytest.mark.parametrize(
    ("env", "key", "path"),
    [
        ({"GOOGLE_API_KEY": "a", "GEMINI_API_KEY": "b"}, "a", "/v1beta/models/m"),
        ({"GOOGLE_API_KEY": " ", "GEMINI_API_KEY": " b\n"}, "b", "/v1beta/models/m"),
        ({"GEMINI_API_KEY": "b", "GOOGLE_GENAI_API_VERSION": "v1"}, "b", "/v1/models/m"),
        ({"GEMINI_API_KEY": "b", "GOOGLE_GENAI_API_VERSION": "beta"}, "b", "/v1beta/models/m"),
        ({}, None, "/v1beta/models/m"),
    ],
)
async def test_the_environment_says_what_the_official_client_reads_there(
    env: Mapping[str, str], key: str | None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(lambda _: "ok") as (server, client):
        given = {**env, "GOOGLE_GEMINI_BASE_URL": server.origin + "/"}
        await outcome(GoogleModel.from_env("m", client, given))
        for variable in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_API_VERSION", "GOOGLE_GEMINI_BASE_URL"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in given.items():
            if value.strip():
                monkeypatch.setenv(variable, value)
        if key is not None:
            async with httpx.AsyncClient() as http:
                official = genai.Client(http_options=sdk.HttpOptions(httpx_async_client=http)).aio
                await official.models.generate_content(model="m", contents="hi")
        first, *others = server.requests
    assert first.headers.get("x-goog-api-key") == key
    assert first.target.startswith(path + ":")
    for other in others:
        assert other.headers["x-goog-api-key"] == key
        assert "GOOGLE_GENAI_API_VERSION" not in env or other.target.startswith(path + ":")


@pytest.mark.requirement("gemini:environment")
async def test_without_a_key_google_is_not_asked_and_the_variable_is_named() -> None:
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(AuthFailed, match="GOOGLE_API_KEY"):
            await outcome(GoogleModel.from_env("m", client, {}))
        with pytest.raises(AuthFailed, match="GEMINI_API_KEY"):
            await outcome(GoogleModel.from_env("m", client, {"GEMINI_API_KEY": "a b\nc"}))


@pytest.mark.requirement("gemini:model-in-path")
@pytest.mark.parametrize(
    ("name", "path", "model"),
    [
        ("tunedModels/mine", "/v1beta/tunedModels/mine:", None),
        ("models/m", "/v1beta/models/m:", "m"),
        ("../files", "/v1beta/models/..%2Ffiles:", "../files"),
        ("a?b&c#d", "/v1beta/models/a%3Fb&c%23d:", "a?b&c#d"),
    ],
)
async def test_a_models_name_stays_one_step_of_the_path(name: str, path: str, model: str | None) -> None:
    async with served(lambda request: request.model) as (server, client):
        one = GoogleModel(name, client, url=server.origin)
        if model is None:
            with pytest.raises(InvalidRequest):
                await outcome(one)
        else:
            assert (await outcome(one)).text == model
        assert server.requests[0].target.replace("%26", "&").startswith(path)


async def test_the_official_client_reads_what_the_scripted_server_says() -> None:
    async with served([TURN]) as (server, _):
        async with httpx.AsyncClient() as http:
            options = sdk.HttpOptions(base_url=server.origin, api_version="v1beta", httpx_async_client=http)
            official = genai.Client(api_key="k", http_options=options).aio
            asked: Any = {"model": "m", "contents": "hi"}
            whole = await official.models.generate_content(**asked)
            pieces = [piece async for piece in await official.models.generate_content_stream(**asked)]
            listed = [model.name async for model in await official.models.list()]
        server.verify()
    assert listed == ["models/scripted"]
    said = [part for piece in pieces for part in (piece.candidates or [])[0].content.parts or []]  # type: ignore[union-attr]
    for parts in (whole.candidates[0].content.parts, said):  # type: ignore[index,union-attr]
        assert "".join(part.text for part in parts if part.text and not part.thought) == "Hello wörld"  # type: ignore[union-attr]
        assert [part.function_call.name for part in parts if part.function_call] == ["f", "g"]  # type: ignore[union-attr]


@pytest.mark.requirement("models:wires-agree")
async def test_one_talk_comes_out_the_same_through_three_wires() -> None:
    calls = [Call("f", {"x": 1}, id="call_1"), Call("g", id="call_2")]
    talk = Turn("Hello wörld", thinking="hm", calls=calls, usage=Tokens(100, 20, 40, 0, 5), chunk=4)
    async with served(lambda _: talk) as (server, client):
        answers = [
            await outcome(GoogleModel("m", client, url=server.origin)),
            await outcome(AnthropicModel("m", client, url=server.origin)),
            await outcome(OpenAIModel("m", client, url=server.base_url)),
        ]
    for answer in answers:
        thoughts = [part.text for part in answer.parts if isinstance(part, Thinking)]
        assert (answer.text, thoughts, answer.stop) == ("Hello wörld", ["hm"], "tool_calls")
        assert [(call.id, call.name, json.loads(call.arguments)) for call in answer.calls] == [
            ("call_1", "f", {"x": 1}),
            ("call_2", "g", {}),
        ]
        assert answer.usage == Usage(100, 20, 40, 0, 5)


FAULTS: list[tuple[Fault, type[ModelError]]] = [
    (Reset(), ConnectionFailed),
    (Reset(after_events=2), ConnectionFailed),
    (Cut(after_bytes=150), ConnectionFailed),
    (Unfinished(), ConnectionFailed),
    (Hang(after_events=1), ModelTimeout),
    (MalformedEvent(), Malformed),
    (Truncated(), Malformed),
    (StreamError(type="RESOURCE_EXHAUSTED"), RateLimited),
    (StreamError(type="UNAVAILABLE"), Overloaded),
    (StreamError(), Overloaded),
    (Empty(), Malformed),
    (WrongType(), Malformed),
    (GzipBomb(megabytes=16), Malformed),
    (Status(status=400, message="The input token count exceeds the maximum"), ContextOverflow),
    (Status(status=403), AuthFailed),
    (Status(status=404), InvalidRequest),
    (Status(status=500), ServerError),
    (Status(status=503), Overloaded),
]


@pytest.mark.requirement("gemini:errors-by-status", "gemini:hostile-answers")
@pytest.mark.parametrize(("fault", "error"), FAULTS, ids=lambda value: getattr(value, "__name__", str(value)[:40]))
async def test_each_fault_is_one_clear_error(fault: Fault, error: type[ModelError]) -> None:
    async with served([Turn("Hello there", chunk=3, fault=fault)], silence=0.2) as (server, client):
        model = GoogleModel("m", client, url=server.origin, key="secret-key", max_chars=1 << 20)
        with pytest.raises(error) as caught:
            await outcome(model)
    assert str(caught.value).startswith("'google/m': ")
    assert "secret-key" not in str(caught.value)


async def test_a_slow_answer_is_whole_and_a_limit_says_how_long_to_wait() -> None:
    script = [Turn("Hello", fault=[Status(status=429, retry_after=7, times=1), Drip(seconds=0.0, bytes=3)])]
    async with served(script) as (server, client):
        model = GoogleModel("m", client, url=server.origin)
        with pytest.raises(RateLimited) as caught:
            await outcome(model)
        assert caught.value.retry_after == 7
        assert (await outcome(GoogleModel("m", client, url=server.origin))).text == "Hello"


@pytest.mark.requirement("gemini:thinking-levels")
async def test_a_level_is_what_the_card_says_the_model_takes() -> None:
    async with served(lambda _: "ok") as (server, client):
        both: tuple[tuple[ThinkingLevel, ...], ...] = (("low", "high"), ())
        for levels in both:
            card = ModelCard(name="google/gemini-3-pro", thinking=levels)
            model = GoogleModel("gemini-3-pro", client, url=server.origin, card=card)
            await outcome(model, ModelRequest(instructions="", messages=ASKED.messages, thinking="medium"))
        told, untold = (json.loads(exchange.body) for exchange in server.requests)
    assert told["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "includeThoughts": True}
    assert "generationConfig" not in untold


@pytest.mark.requirement("gemini:usage")
async def test_usage_that_never_came_is_bounded_from_above() -> None:
    body = b'data: {"candidates":[{"content":{"parts":[{"text":"yes"}]},"finishReason":"STOP"}]}\n\n'
    async with served([Turn(raw=Canned(headers={"content-type": "text/event-stream"}, data=body))]) as (server, client):
        message = await outcome(GoogleModel("m", client, url=server.origin))
    assert message.text == "yes"
    assert message.usage.input_tokens >= len("Be kind.hi")
    assert message.usage.output_tokens > 0


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@pytest.mark.requirement("gemini:provider-end-to-end", "gemini:signatures-given-back")
async def test_a_run_calls_its_tools_and_gives_back_what_the_model_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]
    script = [Turn(thinking="hm", signature="c2ln", calls=calls), "3 and 7"]
    async with scene(script) as s:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", s.server.origin)
        run = await s.runtime.start(Agent("google/gemini-3-pro", instructions="Add.", tools=[add]), "go", session="s")
        assert (await soon(run.result())).output == "3 and 7"
        s.server.verify()
        contents = json.loads(s.server.requests[1].body)["contents"]
    assert [turn["role"] for turn in contents] == ["user", "model", "user"]
    assert contents[1]["parts"][0] == {"text": "hm", "thought": True, "thoughtSignature": "c2ln"}
    assert [part["functionResponse"]["response"]["output"] for part in contents[2]["parts"]] == ["3", "7"]
