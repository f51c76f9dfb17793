"""The Cohere provider and the official client against the scripted model server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import cohere
import pytest
from cohere.core.api_error import ApiError
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
)
from holdfast.models.port import ModelRequest
from holdfast.models.providers.cohere import DEFAULT_URL, CohereModel
from holdfast.models.wire.cohere.shapes import PLAN
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
VARIABLES = ("CO_API_KEY", "COHERE_API_KEY", "CO_API_URL")
HI: list[cohere.ChatMessageV2] = [cohere.UserChatMessageV2(content="hi")]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
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


@pytest.mark.requirement("cohere:environment")
@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({}, None),
        ({"CO_API_KEY": "k\n"}, "k"),
        ({"COHERE_API_KEY": "c"}, "c"),
        ({"CO_API_KEY": "k", "COHERE_API_KEY": "c"}, "k"),
        ({"CO_API_KEY": "", "COHERE_API_KEY": "c"}, None),
    ],
)
async def test_key_and_address_come_from_the_official_clients_variables(
    env: Mapping[str, str], key: str | None
) -> None:
    async with served(["hi"]) as (server, client):
        await outcome(CohereModel.from_env("m", client, {"CO_API_URL": f" {server.origin}/", **env}))
        (asked,) = server.requests
    assert asked.target == "/v2/chat"
    assert asked.headers.get("authorization") == (f"Bearer {key}" if key else None)


SHOWN = """
import json, cohere
client = cohere.ClientV2()
wrapper = client._client_wrapper
print(json.dumps([wrapper.get_base_url(), wrapper.get_headers().get("Authorization")]))
"""


def official_settings(env: dict[str, str]) -> list[str | None]:
    """Returns address and authorization of the official client, which reads its environment when it is imported."""
    run = subprocess.run([sys.executable, "-c", SHOWN], env=env, capture_output=True, check=True, timeout=60)
    return json.loads(run.stdout)


@pytest.mark.requirement("cohere:environment")
@pytest.mark.parametrize(
    "env",
    [
        {"CO_API_KEY": "k", "COHERE_API_KEY": "c", "CO_API_URL": "https://api.cohere.ai/v1"},
        {"CO_API_KEY": "", "COHERE_API_KEY": "c", "CO_API_URL": "http://x.example/v1"},
    ],
)
async def test_the_official_client_reads_the_environment_alike(env: dict[str, str]) -> None:
    address, authorization = official_settings(env)
    async with HttpClient(TRUSTED) as client:
        ours = CohereModel.from_env("m", client, env)
        assert ours._endpoint == f"{address}/v2/chat"
        assert ours._headers.get("authorization") == authorization


@pytest.mark.requirement("cohere:key-missing")
@pytest.mark.parametrize("key", ["", " ", "sk-a\r\nx: y", "sk-ä"])
async def test_cohere_is_not_called_without_a_usable_key(key: str) -> None:
    async with HttpClient(TRUSTED) as client:
        model = CohereModel.from_env("command-a-03-2025", client, {"CO_API_KEY": key})
        with pytest.raises(AuthFailed, match="CO_API_KEY") as caught:
            await anext(model.stream(ASKED))
        assert "sk-" not in str(caught.value)
        assert model._endpoint == f"{DEFAULT_URL}/v2/chat"
        CohereModel.from_env("m", client, {"CO_API_URL": "http://x.example"}).check()


TURN = Turn(
    text="Hello wörld",
    calls=[Call("f", {"x": 1}), Call("g", id="g_2")],
    thinking="hm",
    usage=Tokens(100, 20, 40),
    chunk=4,
)


@pytest.mark.requirement("cohere:serving", "cohere:both-ways")
async def test_our_client_and_the_official_one_read_the_same_script_streamed_and_whole() -> None:
    async with (
        served([TURN]) as (server, http),
        cohere.AsyncClientV2(api_key="x", base_url=server.origin, max_retries=0) as official,
    ):
        ours = await outcome(CohereModel("m", http, url=server.origin))
        kinds = [event.type async for event in official.chat_stream(model="m", messages=HI)]
        theirs = await official.chat(model="m", messages=HI)
    assert ours.usage == Usage(100, 20, 40)
    assert ours.parts[:2] == (Thinking("hm"), Text("Hello wörld"))
    assert (kinds[0], kinds[-1]) == ("message-start", "message-end")
    said, calls = theirs.message.content or [], theirs.message.tool_calls or []
    assert [part.type for part in said] == ["thinking", "text"]
    assert [(call.id, call.function and call.function.name) for call in calls] == [(c.id, c.name) for c in ours.calls]
    assert (theirs.finish_reason, ours.stop) == ("TOOL_CALL", "tool_calls")
    server.verify()


@pytest.mark.requirement("cohere:errors", "cohere:one-outcome")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reset(), ConnectionFailed),
        (Reset(after_events=3), ConnectionFailed),
        (Cut(after_bytes=200), ConnectionFailed),
        (Hang(after_events=3), ModelTimeout),
        (MalformedEvent(), Malformed),
        (Truncated(), Malformed),
        (Unfinished(), ConnectionFailed),
        (Empty(), Malformed),
        (WrongType(), Malformed),
        (GzipBomb(), Malformed),
        (StreamError(), Overloaded),
        (StreamError(type="", message="internal server error"), ServerError),
        (Status(status=400), InvalidRequest),
        (Status(status=400, message="too many tokens: size limit exceeded by 11326 tokens"), ContextOverflow),
        (Status(status=401), AuthFailed),
        (Status(status=404), ModelNotFound),
        (Status(status=422, message="unknown field"), InvalidRequest),
        (Status(status=422, message="No valid tool call or response generated"), ServerError),
        (Status(status=429, retry_after=7), RateLimited),
        (Status(status=500), ServerError),
        (Status(status=503), Overloaded),
        (Status(status=504), ModelTimeout),
    ],
    ids=str,
)
async def test_each_fault_of_the_server_is_its_one_error(fault: Fault, kind: type[ModelError]) -> None:
    async with served([Turn("Hello world", fault=fault)], silence=0.3) as (server, client):
        with pytest.raises(ModelError) as caught:
            await outcome(CohereModel("m", client, url=server.origin, key="sk-secret"))
    assert type(caught.value) is kind
    assert "sk-secret" not in str(caught.value)
    if isinstance(fault, Status):
        assert caught.value.retry_after == (7.0 if fault.retry_after else None)


@pytest.mark.requirement("cohere:errors")
async def test_the_official_client_sees_refusals_in_the_shape_it_knows() -> None:
    async with (
        served({"only": ["hi"]}) as (server, _),
        cohere.AsyncClientV2(api_key="x", base_url=server.origin, max_retries=0) as official,
    ):
        with pytest.raises(ApiError, match="no script is called 'm'"):
            await official.chat(model="m", messages=HI)


async def test_a_slow_answer_and_a_whole_one_are_read() -> None:
    async with served([Turn("Hello", fault=Drip(seconds=0.001, bytes=7))]) as (server, client):
        assert (await outcome(CohereModel("m", client, url=server.origin))).text == "Hello"
    body = '{"message":{"content":[{"type":"text","text":"plain"}]},"usage":{"billed_units":{"input_tokens":1}}}'
    async with served([Turn(raw=Canned(body=body))]) as (server, client):
        message = await outcome(CohereModel("m", client, url=server.origin))
        assert (message.text, message.stop, message.usage) == ("plain", "stop", Usage(1))


@pytest.mark.requirement("cohere:names-mapped-back")
async def test_a_tool_of_any_name_is_offered_and_called_by_its_own() -> None:
    offered = ToolSpec(name="files.read", description="", parameters={"type": "object"})
    async with served([Turn(calls=[Call("files_read")])]) as (server, client):
        request = ModelRequest(instructions="", messages=ASKED.messages, tools=(offered,))
        message = await outcome(CohereModel("m", client, url=server.origin), request)
    assert [call.name for call in message.calls] == ["files.read"]


@pytest.mark.requirement("cohere:size-is-upper-bound")
async def test_a_picture_is_bounded_by_what_it_can_cost() -> None:
    async with HttpClient(TRUSTED) as client:
        model = CohereModel("m", client)

        def size(*parts: Any) -> int:
            return model.size(ModelRequest(instructions="", messages=[UserMessage(parts)]))

        assert size(Text("a"), Image("image/png", b"x"), Image("image/png", b"y")) >= size(Text("a")) + 2 * 3328
        assert size(Text("a"), Document("text/plain", b"x" * 50)) < size(Text("a")) + 150


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@pytest.mark.requirement("cohere:run")
async def test_plan_and_parallel_calls_survive_into_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Turn(
        thinking="I add.", signature=PLAN, calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]
    )
    agent = Agent("cohere/command-a-03-2025", instructions="You add.", tools=[add])
    faulty = Turn("3 and 7.", chunk=3, fault=StreamError(after_events=4, times=2))
    async with scene([first, faulty], clock=HastyClock()) as s:
        monkeypatch.setenv("CO_API_URL", s.server.origin)
        run = await s.runtime.start(agent, "go", session="s")
        _, result = await soon(text_of(run))
        log = await s.log()
        s.server.verify()
        sent = json.loads(s.server.requests[1].body)["messages"]
    assert (result.output, result.status) == ("3 and 7.", "completed")
    assert all_answered(log)
    assert of(ModelFinished, log)[0].message.parts[0] == Thinking("I add.", PLAN)
    assert [failed.code for failed in of(ModelFailed, log)] == ["overloaded"] * 2
    assert sent[2]["tool_plan"] == "I add."
    assert [turn["content"] for turn in sent[3:]] == ["3", "7"]
    assert [turn["tool_call_id"] for turn in sent[3:]] == [call["id"] for call in sent[2]["tool_calls"]]
