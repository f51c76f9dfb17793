"""The official clients and ours ask for the same counts of tokens, with the same bytes, and read the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anthropic
import boto3
import httpx
import msgspec
import openai
import pytest
from anthropic.types import MessageCountTokensParams
from botocore.config import Config
from google import genai
from google.genai import types as google
from openai.types.responses import InputTokenCountParams
from pydantic import TypeAdapter

from holdfast.models.port import ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
from holdfast.models.providers.bedrock import BedrockModel
from holdfast.models.providers.google import GoogleModel
from holdfast.models.providers.responses import ResponsesModel
from holdfast.models.providers.talking import HttpModel
from holdfast.models.wire.counting import CONVERSE, MESSAGES, RESPONSES
from holdfast.models.wire.gemini.requests import Encoder
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.recording import Exchange
from holdfast.types import (
    AssistantMessage,
    CallId,
    Document,
    Image,
    Message,
    OutputShape,
    Text,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test"}
SHAPE = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
LOOK = ToolSpec(name="look", description="Looks.", parameters=SHAPE)
HI = UserMessage((Text("hi ☃"),))
TURNS: list[Message] = [
    HI,
    AssistantMessage((Text("I look."), ToolCall(CallId("c1"), "look", '{"x": 1}')), "other/model"),
    ToolMessage(CallId("c1"), "look", "seen"),
    UserMessage((Text("and?"),)),
]
ASKED: dict[str, ModelRequest] = {
    "plain": ModelRequest(instructions="", messages=[HI]),
    "tools": ModelRequest(instructions="Be kind.", messages=TURNS, tools=(LOOK,), max_output_tokens=50),
    "forced": ModelRequest(instructions="Be kind.", messages=[HI], tools=(LOOK,), must_call="look"),
    "thinking": ModelRequest(instructions="Be kind.", messages=TURNS, tools=(LOOK,), thinking="high"),
    "warm": ModelRequest(instructions="Be kind.", messages=[HI], temperature=0.5),
    "shaped": ModelRequest(instructions="", messages=[HI], output=OutputShape("answer", SHAPE)),
}
ATTACHED = (Text("see"), Image("image/png", PNG), Document("text/plain", b"words"))
SEEN = ModelRequest(instructions="", messages=[UserMessage(ATTACHED)])


@dataclass
class Arena:
    """A server, and one model of each provider there."""

    server: ScriptedModelServer
    client: HttpClient

    def model(self, provider: str) -> HttpModel[Any]:
        at, client = self.server, self.client
        match provider:
            case "anthropic":
                return AnthropicModel("m", client, url=at.origin, key="k")
            case "openai":
                return ResponsesModel("m", client, url=at.base_url, key="k")
            case "google":
                return GoogleModel("m", client, url=at.origin, key="k")
            case _:
                return BedrockModel("m", client, env=KEYS, url=at.origin, region="us-east-1")

    async def sent(self, provider: str, request: ModelRequest) -> tuple[Exchange, int]:
        """Returns what our model asked, and the count it read."""
        tokens = await self.model(provider).count(request)
        assert tokens is not None
        return self.server.requests[-1], tokens

    def last(self) -> Exchange:
        return self.server.requests[-1]


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    async with ScriptedModelServer([Turn("hi")]) as server, HttpClient(TRUSTED) as client:
        yield Arena(server, client)
        server.verify(complete=False)


def body(exchange: Exchange) -> dict[str, Any]:
    return cast("dict[str, Any]", exchange.json())


Ask = Callable[[dict[str, Any]], Awaitable[int]]


async def agree(a: Arena, provider: str, ask: Ask, requests: Sequence[ModelRequest]) -> list[dict[str, Any]]:
    """Sees that the official client, given the fields we send, sends the same, there; returns what was sent."""
    sent: list[dict[str, Any]] = []
    for request in requests:
        ours, tokens = await a.sent(provider, request)
        assert await ask(body(ours)) == tokens > 0
        theirs = a.last()
        assert (theirs.method, theirs.target) == (ours.method, ours.target)
        assert body(theirs) == body(ours)
        sent.append(body(ours))
    return sent


@pytest.mark.requirement("counting:anthropic", "counting:served")
async def test_anthropic_is_asked_as_its_official_client_asks() -> None:
    accepts = TypeAdapter[Any](MessageCountTokensParams)
    async with arena() as a, anthropic.AsyncAnthropic(base_url=a.server.origin, api_key="k", max_retries=0) as official:

        async def ask(fields: dict[str, Any]) -> int:
            return (await official.messages.count_tokens(**fields)).input_tokens

        for sent in await agree(a, "anthropic", ask, [*ASKED.values(), SEEN]):
            accepts.validate_python(sent, extra="forbid")
            assert sent.keys().isdisjoint(("stream", "max_tokens", "temperature"))
    beta = {"context_management", "mcp_servers"}
    assert MESSAGES.fields - beta <= MessageCountTokensParams.__annotations__.keys()


@pytest.mark.requirement("counting:openai", "counting:served")
async def test_openai_is_asked_as_its_official_client_asks() -> None:
    accepts = TypeAdapter[Any](InputTokenCountParams)
    async with arena() as a, openai.AsyncOpenAI(base_url=a.server.base_url, api_key="k", max_retries=0) as official:

        async def ask(fields: dict[str, Any]) -> int:
            return (await official.responses.input_tokens.count(**fields)).input_tokens

        for sent in await agree(a, "openai", ask, [*ASKED.values(), SEEN]):
            accepts.validate_python(sent, extra="forbid")
            assert sent.keys().isdisjoint(("stream", "store", "include", "max_output_tokens"))
    assert RESPONSES.fields <= InputTokenCountParams.__annotations__.keys()


@pytest.mark.requirement("counting:bedrock", "counting:served")
async def test_bedrock_is_asked_as_its_official_client_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    async with arena() as a:
        official: Any = boto3.client(  # type: ignore[reportUnknownMemberType]
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=a.server.origin,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )

        async def ask(fields: dict[str, Any]) -> int:
            said = await asyncio.to_thread(official.count_tokens, modelId="m", input=fields["input"])
            return cast("int", said["inputTokens"])

        await agree(a, "bedrock", ask, list(ASKED.values()))
        ours, theirs = a.server.requests[-2:]
        scope = "/us-east-1/bedrock/aws4_request"
        assert scope in ours.headers["authorization"] and scope in theirs.headers["authorization"]
        members = official.meta.service_model.operation_model("CountTokens").input_shape.members["input"].members
        official.close()
    assert CONVERSE.fields == set(members["converse"].members)


@pytest.mark.requirement("counting:google", "counting:served")
async def test_google_is_asked_where_its_official_client_asks_with_the_whole_request() -> None:
    async with arena() as a, httpx.AsyncClient() as http, AsyncExitStack() as stack:
        options = google.HttpOptions(base_url=a.server.origin, api_version="v1beta", httpx_async_client=http)
        official = genai.Client(api_key="k", http_options=options).aio
        stack.push_async_callback(official.aclose)
        for request in [*ASKED.values(), SEEN]:
            ours, tokens = await a.sent("google", request)
            whole = body(ours)["generateContentRequest"]
            assert whole.pop("model") == "models/m"
            assert whole == msgspec.json.decode(Encoder("m", owner="google/m").encode(request))
            if request is SEEN:
                continue  # the official client writes what is attached another way
            asked = await official.models.count_tokens(model="m", contents=whole["contents"])
            theirs = a.last()
            assert (theirs.method, theirs.target) == (ours.method, ours.target)
            assert body(theirs)["contents"] == whole["contents"]
            if request is ASKED["plain"]:
                assert asked.total_tokens == tokens, "with nothing but contents both ask for the same"
