"""OpenAI and Azure by Responses, and Azure by Chat Completions, as they are reached: addresses, keys, errors, runs."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import all_answered, of, scene, soon, text_of

from holdfast import Agent, tool
from holdfast.engine.events import ModelFinished
from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    ModelError,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.port import Model, ModelRequest
from holdfast.models.providers import finding
from holdfast.models.providers.azure import AzureModel, AzureResource, AzureResponsesModel
from holdfast.models.providers.responses import DEFAULT_URL, ResponsesModel
from holdfast.models.wire.chat.serving import render_stream as render_chat
from holdfast.models.wire.responses.serving import render_error, render_stream
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import Call, Tokens, Turn
from holdfast.testing.faults import Cut, StreamError
from holdfast.types import AssistantMessage, CallId, Text, Thinking, ToolCall, Usage, UserMessage

SAID = AssistantMessage(
    (Thinking("hm"), Text("Hello wörld"), ToolCall(CallId("c1"), "f", '{"x": 1}')),
    "m",
    "tool_calls",
    Usage(100, 20, 40, 10, 5),
)
ASKED = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])
EVENTS = "Content-Type: text/event-stream\r\n"


@asynccontextmanager
async def answering(body: bytes, status: str = "200 OK", headers: str = EVENTS) -> AsyncGenerator[Server]:
    async def play(request: Request, writer: Any, server: Server) -> None:
        writer.write(answer(body, status, headers))

    async with serving(play) as server:
        yield server


async def outcome(model: Model) -> AssistantMessage:
    items = [item async for item in model.stream(ASKED)]
    (message,) = [item for item in items if isinstance(item, AssistantMessage)]
    return message


def stream_of(message: AssistantMessage) -> bytes:
    return b"".join(render_stream(message, chunk=3))


@pytest.mark.requirement("responses:keys-and-urls")
async def test_address_key_and_account_come_from_the_official_clients_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with answering(stream_of(SAID)) as server, HttpClient(TRUSTED) as client:
        env = {
            "OPENAI_BASE_URL": server.url + "/v1/",
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_ORG_ID": "org",
            "OPENAI_PROJECT_ID": "proj",
            "OPENAI_CUSTOM_HEADERS": "X-Team: blue\nno header\nX-Other : 1",
        }
        message = await outcome(ResponsesModel.from_env("m", client, env))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        async with openai.AsyncOpenAI(max_retries=0) as official:
            await official.responses.create(model="m", input="hi", stream=True)
    assert message.parts == SAID.parts
    assert (message.model, message.usage) == ("openai-responses/m", SAID.usage)
    ours, theirs = server.requests
    assert ours.line == theirs.line == "POST /v1/responses HTTP/1.1"
    names = ("authorization", "openai-organization", "openai-project", "x-team", "x-other", "content-type")
    assert [ours.headers[name] for name in names] == [theirs.headers[name] for name in names]


@pytest.mark.requirement("responses:keys-and-urls")
async def test_a_key_among_a_persons_headers_goes_before_the_one_that_was_set_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = render_error(401, "bad key secret-one of Bearer secret-one")
    async with answering(body, "401 Unauthorized", "") as server, HttpClient(TRUSTED) as client:
        env = {
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer secret-one",
        }
        with pytest.raises(AuthFailed, match="OPENAI_CUSTOM_HEADERS") as caught:
            await outcome(ResponsesModel.from_env("m", client, env))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        async with openai.AsyncOpenAI(max_retries=0) as official:
            with pytest.raises(openai.AuthenticationError):
                await official.responses.create(model="m", input="hi")
    assert "secret-one" not in str(caught.value)
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer secret-one"] * 2


@pytest.mark.requirement("responses:keys-and-urls")
async def test_only_openai_itself_is_not_called_without_a_key() -> None:
    async with HttpClient(TRUSTED) as client, answering(stream_of(SAID)) as server:
        with pytest.raises(AuthFailed, match="OPENAI_API_KEY"):
            ResponsesModel.from_env("m", client, {"OPENAI_BASE_URL": DEFAULT_URL}).check()
        await outcome(ResponsesModel.from_env("m", client, {"OPENAI_BASE_URL": server.url}))
    assert "authorization" not in server.requests[0].headers


@pytest.mark.requirement("responses:errors")
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("400 Bad Request", render_error(400, "x", code="context_length_exceeded"), ContextOverflow),
        ("400 Bad Request", render_error(400, "Unknown parameter"), InvalidRequest),
        ("401 Unauthorized", render_error(401, "x"), AuthFailed),
        ("404 Not Found", b'{"error":{"code":"DeploymentNotFound","message":"x"}}', InvalidRequest),
        ("404 Not Found", b'{"statusCode":404,"message":"Resource not found"}', InvalidRequest),
        ("429 Too Many", render_error(429, "x"), RateLimited),
        ("500 Oops", b"<html>oops</html>", ServerError),
        ("503 Busy", b"", Overloaded),
    ],
)
async def test_statuses_are_classified(status: str, body: bytes, error: type[ModelError]) -> None:
    async with answering(body, status, "") as server, HttpClient(TRUSTED) as client:
        with pytest.raises(error):
            await outcome(ResponsesModel("m", client, url=server.url, key="k"))


def azure(server: Server, **more: str) -> dict[str, str]:
    return {"AZURE_OPENAI_ENDPOINT": server.url + "/", **more}


@asynccontextmanager
async def official_azure(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Any]:
    for name in (
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_AD_TOKEN",
        "OPENAI_BASE_URL",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with openai.AsyncAzureOpenAI(max_retries=0) as client:
        yield client


@pytest.mark.requirement("responses:azure-as-the-official-client")
@pytest.mark.parametrize(
    "keys",
    [
        {"AZURE_OPENAI_API_KEY": "key"},
        {"AZURE_OPENAI_AD_TOKEN": "token"},
        {"AZURE_OPENAI_API_KEY": "key", "AZURE_OPENAI_AD_TOKEN": "token"},
        {"AZURE_OPENAI_API_KEY": "key", "OPENAI_CUSTOM_HEADERS": "api-key: other"},
        {"AZURE_OPENAI_AD_TOKEN": "token", "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer other"},
    ],
)
async def test_azure_is_asked_where_and_as_whom_the_official_client_asks_it(
    keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = b"".join(render_chat(SAID, chunk=3, include_usage=True, id="x"))
    async with answering(chat) as one, answering(stream_of(SAID)) as two, HttpClient(TRUSTED) as client:
        for server, make in ((one, AzureModel.from_env), (two, AzureResponsesModel.from_env)):
            env = azure(server, OPENAI_API_VERSION="2025-04-01-preview", **keys)
            message = await outcome(make("my deployment", client, env))
            assert message.parts == SAID.parts
            async with official_azure(env, monkeypatch) as official:
                if server is one:
                    await official.chat.completions.create(
                        model="my deployment", messages=[{"role": "user", "content": "hi"}], stream=True
                    )
                else:
                    await official.responses.create(model="my deployment", input="hi", stream=True)
            ours, theirs = server.requests
            assert ours.line == theirs.line
            for name in ("api-key", "authorization"):
                assert ours.headers.get(name) == theirs.headers.get(name)
            assert json.loads(ours.body)["model"] == json.loads(theirs.body)["model"] == "my deployment"
    assert "/openai/deployments/my%20deployment/chat/completions?api-version=" in one.requests[0].line


@pytest.mark.requirement("responses:azure-versions")
@pytest.mark.parametrize(
    ("version", "chat", "responses"),
    [
        ("", "/openai/deployments/d/chat/completions?api-version=2024-10-21", "/openai/v1/responses"),
        ("v1", "/openai/v1/chat/completions", "/openai/v1/responses"),
        ("preview", "/openai/v1/chat/completions?api-version=preview", "/openai/v1/responses?api-version=preview"),
        (
            "2025-03-01",
            "/openai/deployments/d/chat/completions?api-version=2025-03-01",
            "/openai/responses?api-version=2025-03-01",
        ),
    ],
)
@pytest.mark.parametrize("pasted", ["", "/", "/openai", "/openai/v1/"])
async def test_the_version_says_where_a_deployment_is_asked(
    version: str, chat: str, responses: str, pasted: str
) -> None:
    async with answering(b"{}", headers="") as server, HttpClient(TRUSTED) as client:
        env = azure(server, AZURE_OPENAI_API_KEY="k", OPENAI_API_VERSION=version)
        env["AZURE_OPENAI_ENDPOINT"] = server.url + pasted
        for model in (AzureModel.from_env("d", client, env), AzureResponsesModel.from_env("d", client, env)):
            with pytest.raises(ModelError):
                await outcome(model)
    assert [request.line.split()[1] for request in server.requests] == [chat, responses]


@pytest.mark.requirement("responses:azure-as-the-official-client")
@pytest.mark.parametrize("make", [AzureModel, AzureResponsesModel])
async def test_azure_is_not_asked_without_endpoint_or_key(make: Callable[..., Model]) -> None:
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(InvalidRequest, match="AZURE_OPENAI_ENDPOINT"):
            make("d", client, AzureResource(endpoint="", key="k")).check()
        with pytest.raises(AuthFailed, match="AZURE_OPENAI_API_KEY"):
            make("d", client, AzureResource(endpoint="https://x.example", headers={"x-team": "blue"})).check()
        make("d", client, AzureResource(endpoint="https://x.example", token="t")).check()


# ---- whole runs -----------------------------------------------------------------------------------------------


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the providers known that are tried here."""
    made = {"openai-responses": ResponsesModel, "azure": AzureModel, "azure-responses": AzureResponsesModel}
    for name, model in made.items():
        monkeypatch.setitem(finding.PROVIDERS, name, model.from_env)  # type: ignore[arg-type] - a dict


REASONING = '{"type":"reasoning","id":"rs_9","summary":[],"encrypted_content":"gAAA"}'
FIRST = Turn("I look.", signature=REASONING, calls=[Call("add", {"a": 1, "b": 2})] * 2, usage=Tokens(100, 50, 0, 10))


@pytest.mark.requirement("responses:run")
async def test_reasoning_and_parallel_calls_survive_into_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    agent = Agent("openai-responses/gpt-5", instructions="You add.", tools=[add])
    async with scene([FIRST, Turn("Both are done.", chunk=3)]) as s:
        run = await s.runtime.start(agent, "go", session="s")
        _, result = await soon(text_of(run))
        log = await s.log()
        s.server.verify()
        second = json.loads(s.server.requests[1].body)
    assert (result.output, result.status) == ("Both are done.", "completed")
    assert all_answered(log)
    assert of(ModelFinished, log)[0].message.parts[0] == Thinking("", REASONING)
    assert second["input"][1] == json.loads(REASONING)
    kinds = [item.get("type", item.get("role")) for item in second["input"]]
    assert kinds == ["user", "reasoning", "assistant", *["function_call"] * 2, *["function_call_output"] * 2]
    ids = [item["call_id"] for item in second["input"] if "call_id" in item]
    assert ids[:2] == ids[2:]
    assert [item["output"] for item in second["input"][-2:]] == ["3", "3"]


@pytest.mark.requirement("responses:run")
@pytest.mark.parametrize("model", ["azure/d", "azure-responses/d"])
async def test_deployments_in_azure_run_with_tools(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    agent = Agent(model, instructions="You add.", tools=[add])
    async with scene([Turn(calls=[Call("add", {"a": 1, "b": 2})]), Turn("3")]) as s:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", s.server.origin)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
        run = await s.runtime.start(agent, "go", session="s")
        _, result = await soon(text_of(run))
        s.server.verify()
    assert (result.output, result.status) == ("3", "completed")


@pytest.mark.requirement("responses:errors")
@pytest.mark.parametrize(
    ("fault", "error"),
    [(StreamError(after_events=4), Overloaded), (Cut(after_events=4), ConnectionFailed), (Cut(), ModelError)],
)
async def test_a_stream_that_fails_in_its_middle_is_one_clear_error(fault: Any, error: type[ModelError]) -> None:
    async with scene([Turn("Hello there", chunk=3, fault=fault)]) as s, HttpClient(TRUSTED) as client:
        with pytest.raises(error):
            await outcome(ResponsesModel("m", client, url=s.server.base_url))
