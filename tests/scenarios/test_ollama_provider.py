"""The Ollama provider and the official client against the scripted model server."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama._client import _parse_host  # pyright: ignore[reportPrivateUsage]  what ours has to agree with
from tests.running import HastyClock, all_answered, of, scene, soon, text_of

from holdfast import Agent, tool
from holdfast.engine.events import ModelFailed, ModelFinished
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
    Unreachable,
    UsageError,
)
from holdfast.models.port import ModelRequest
from holdfast.models.providers.described.hosts import ollama_url
from holdfast.models.providers.ollama import DEFAULT_URL, OllamaModel
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
from holdfast.types import AssistantMessage, Image, Text, Thinking, Usage, UserMessage

ASKED = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])
HOSTS = [
    "",
    " ",
    "1.2.3.4",
    ":56789",
    "1.2.3.4:56789",
    "http://1.2.3.4",
    "https://1.2.3.4",
    "https://1.2.3.4:56789",
    "example.com",
    "example.com:56789",
    "http://example.com/",
    "https://example.com:56789/path/",
    "example.com/path",
    "example.com:56789/path",
    "[0001:002:003:0004::1]",
    "[0001:002:003:0004::1]:56789/path",
    "https://[::1]",
    "https://user:secret@example.com",
    "EXAMPLE.com:0",
]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OLLAMA_HOST", "OLLAMA_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


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


@pytest.mark.requirement("ollama:host")
@pytest.mark.parametrize("host", HOSTS)
def test_a_host_means_the_address_that_the_official_client_makes_of_it(host: str) -> None:
    assert ollama_url(host) == _parse_host(host.strip())


@pytest.mark.requirement("ollama:host")
@given(st.text("htps:/.[]@12a-?#", max_size=14))
def test_a_host_of_any_letters_means_the_same_or_is_refused(host: str) -> None:
    try:
        ours = ollama_url(host)
    except UsageError as error:
        assert "OLLAMA_HOST" in str(error)
        return
    assert ours == _parse_host(host.strip())


@pytest.mark.requirement("ollama:host")
@pytest.mark.parametrize("host", ["0.0.0.0", "http://0.0.0.0:11434", "[::]"])
async def test_an_address_that_a_server_listens_on_is_one_that_may_be_asked(host: str) -> None:
    async with HttpClient(TRUSTED) as client:
        endpoint = OllamaModel.from_env("m", client, {"OLLAMA_HOST": host})._endpoint
    assert endpoint in ("http://127.0.0.1:11434/api/chat", "http://[::1]:11434/api/chat")


@pytest.mark.requirement("ollama:host")
async def test_address_and_key_come_from_the_official_clients_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HttpClient(TRUSTED) as client:
        local = OllamaModel.from_env("m", client, {})
        assert local._endpoint == f"{DEFAULT_URL}/api/chat"
        local.check()
        with pytest.raises(UsageError, match=r"'http://x:port'.*host:port"):
            OllamaModel.from_env("m", client, {"OLLAMA_HOST": "http://x:port"})
        with pytest.raises(AuthFailed, match="OLLAMA_API_KEY"):
            OllamaModel.from_env("m", client, {"OLLAMA_API_KEY": "ä"}).check()
    async with served(["hi"]) as (server, client):
        monkeypatch.setenv("OLLAMA_API_KEY", "k")
        host = server.origin.removeprefix("http://")
        await outcome(OllamaModel.from_env("m", client, {"OLLAMA_HOST": host, "OLLAMA_API_KEY": "k"}))
        await outcome(OllamaModel.from_env("m", client, {"OLLAMA_HOST": host}))
        async with ollama.AsyncClient(server.origin) as official:
            await official.chat("m", [{"role": "user", "content": "hi"}])
        keys = [(asked.target, asked.headers.get("authorization")) for asked in server.requests]
    assert keys == [("/api/chat", "Bearer k"), ("/api/chat", None), ("/api/chat", "Bearer k")]


@pytest.mark.requirement("ollama:serving", "ollama:both-ways")
async def test_our_client_and_the_official_one_read_the_same_script_streamed_and_whole() -> None:
    calls = [Call("f", {"x": 1}), Call("g")]
    turn = Turn(text="Hello wörld", calls=calls, thinking="hm", usage=Tokens(100, 20), chunk=4)
    async with served([turn]) as (server, http), ollama.AsyncClient(server.origin) as official:
        ours = await outcome(OllamaModel("m", http, url=server.origin))
        asked = [{"role": "user", "content": "hi"}]
        parts = [part async for part in await official.chat("m", asked, stream=True)]
        whole = await official.chat("m", asked)
    assert (ours.usage, ours.stop) == (Usage(100, 20), "tool_calls")
    assert ours.parts[:2] == (Thinking("hm"), Text("Hello wörld"))
    assert "".join([part.message.content or "" for part in parts]) == whole.message.content == ours.text
    assert whole.message.thinking == "hm"
    assert [call.function.name for call in whole.message.tool_calls or ()] == [call.name for call in ours.calls]
    assert len([part for part in parts if part.message.tool_calls]) == 1, "several calls are one line"
    server.verify()


@pytest.mark.requirement("ollama:errors", "ollama:one-outcome")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reset(), ConnectionFailed),
        (Reset(after_events=2), ConnectionFailed),
        (Cut(after_bytes=200), ConnectionFailed),
        (Hang(after_events=2), ModelTimeout),
        (MalformedEvent(), Malformed),
        (Truncated(), Malformed),
        (Unfinished(), ConnectionFailed),
        (Empty(), Malformed),
        (WrongType(), Malformed),
        (GzipBomb(), Malformed),
        (StreamError(), Overloaded),
        (StreamError(type="", message="unexpected EOF"), ServerError),
        (Status(status=400, message='"m" does not support tools'), InvalidRequest),
        (Status(status=400, message="the prompt is longer than the context length available"), ContextOverflow),
        (Status(status=401, message="unauthorized"), AuthFailed),
        (Status(status=404, message="model 'm' not found"), ModelNotFound),
        (Status(status=404, message="404 page not found"), ModelNotFound),
        (Status(status=429, retry_after=7), RateLimited),
        (Status(status=500), ServerError),
        (Status(status=503, message="server busy, please try again"), Overloaded),
    ],
    ids=str,
)
async def test_each_fault_of_the_server_is_its_one_error(fault: Fault, kind: type[ModelError]) -> None:
    async with served([Turn("Hello world", chunk=4, fault=fault)], silence=0.3) as (server, client):
        with pytest.raises(ModelError) as caught:
            await outcome(OllamaModel("m", client, url=server.origin, key="sk-secret"))
    assert type(caught.value) is kind
    said = str(caught.value)
    assert "sk-secret" not in said
    assert ("run 'ollama pull m'" in said) == (isinstance(fault, Status) and fault.message == "model 'm' not found")
    assert ("num_ctx" in said) == (kind is ContextOverflow)


@pytest.mark.requirement("ollama:errors")
async def test_a_server_that_does_not_run_is_unreachable_and_the_official_client_sees_our_refusals() -> None:
    async with served({"only": ["hi"]}) as (server, client):
        with pytest.raises(ModelNotFound, match="no script is called 'm'"):
            await outcome(OllamaModel("m", client, url=server.origin))
        async with ollama.AsyncClient(server.origin) as official:
            with pytest.raises(ollama.ResponseError, match="no script is called 'm'"):
                await official.chat("m", [{"role": "user", "content": "hi"}])
        gone = server.origin
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(Unreachable):
            await outcome(OllamaModel("m", client, url=gone))


async def test_a_slow_answer_and_one_without_counts_are_read() -> None:
    async with served([Turn("Hello", fault=Drip(seconds=0.001, bytes=7))]) as (server, client):
        assert (await outcome(OllamaModel("m", client, url=server.origin))).text == "Hello"
    body = '{"message":{"content":"plain"},"done":true,"eval_count":2}'
    async with served([Turn(raw=Canned(body=body))]) as (server, client):
        message = await outcome(OllamaModel("m", client, url=server.origin))
    assert (message.text, message.stop) == ("plain", "stop")
    assert message.usage.input_tokens > 50, "what a server does not say is bounded"


@pytest.mark.requirement("ollama:size-is-upper-bound")
async def test_a_picture_is_bounded_by_what_it_can_cost() -> None:
    async with HttpClient(TRUSTED) as client:
        model = OllamaModel("m", client)

        def size(*parts: Any) -> int:
            return model.size(ModelRequest(instructions="", messages=[UserMessage(parts)]))

        assert size(Text("a"), Image("image/png", b"x"), Image("image/png", b"y")) >= size(Text("a")) + 2 * 16_384


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@pytest.mark.requirement("ollama:run")
async def test_thinking_and_parallel_calls_survive_into_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Turn(thinking="Two sums.", calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})])
    last = Turn("3 and 7.", chunk=3, fault=StreamError(after_events=2, times=2))
    async with scene([first, last], clock=HastyClock()) as s:
        monkeypatch.setenv("OLLAMA_HOST", s.server.origin)
        run = await s.runtime.start(Agent("ollama/qwen3", instructions="You add.", tools=[add]), "go", session="s")
        _, result = await soon(text_of(run))
        log = await s.log()
        s.server.verify()
        sent = json.loads(s.server.requests[1].body)["messages"]
    assert (result.output, result.status) == ("3 and 7.", "completed")
    assert all_answered(log)
    assert of(ModelFinished, log)[0].message.parts[0] == Thinking("Two sums.")
    assert [failed.code for failed in of(ModelFailed, log)] == ["overloaded"] * 2
    assert sent[2]["thinking"] == "Two sums."
    assert [(turn["tool_name"], turn["content"]) for turn in sent[3:]] == [("add", "3"), ("add", "7")]
