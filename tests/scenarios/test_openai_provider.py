"""The OpenAI provider and the official client against real servers on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import openai
import pytest

from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelTimeout,
    RateLimited,
    ServerError,
)
from holdfast.models.port import ModelRequest
from holdfast.models.providers.finding import find_model
from holdfast.models.providers.openai import OpenAIModel
from holdfast.models.wire.chat.serving import parse_request, render_answer, render_error, render_models, render_stream
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage, CallId, Text, TextDelta, Thinking, ToolCall, Usage, UserMessage

Play = Callable[["Peer"], Awaitable[None]]
ANSWER = AssistantMessage(
    (Thinking("hm"), Text("Hello wörld"), ToolCall(CallId("c1"), "f", '{"x": 1}'), ToolCall(CallId("c2"), "g", "{}")),
    "openai/m",
    "tool_calls",
    Usage(100, 20, 40, 10, 5),
)
ASKED = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])


class Peer:
    """One request, and the connection to answer it on."""

    def __init__(self, head: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.line, *fields = head.strip().split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        self.body = body
        self.reader = reader
        self.writer = writer

    async def send(self, body: bytes, status: int = 200, kind: str = "text/event-stream", more: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def begin(self, *pieces: bytes) -> None:
        """Starts a stream that is not ended."""
        self.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self.writer.drain()

    async def gone(self) -> None:
        """Returns when the client has dropped the connection."""
        try:
            while await self.reader.read(1000):
                pass
        except ConnectionError:
            return


class Server:
    """Plays one answer to every request and remembers what was asked."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.asked: list[Peer] = []
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                sizes = [line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                peer = Peer(head, await reader.readexactly(int(sizes[0]) if sizes else 0), reader, writer)
                self.asked.append(peer)
                await self.play(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(play: Play) -> AsyncGenerator[Server, None]:
    before = asyncio.all_tasks()
    server = Server(play)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
        async with asyncio.timeout(5):
            while asyncio.all_tasks() - before:  # every connection was given back or dropped: nothing is left over
                await asyncio.wait(asyncio.all_tasks() - before)


@asynccontextmanager
async def model_at(server: Server, silence_timeout: float = 5.0) -> AsyncGenerator[OpenAIModel, None]:
    async with HttpClient(TRUSTED, NetSettings(silence_timeout=silence_timeout)) as client:
        yield OpenAIModel("m", client, url=server.url, key="sk-test")


async def outcome(model: OpenAIModel, request: ModelRequest = ASKED) -> AssistantMessage:
    items = [item async for item in model.stream(request)]
    (message,) = [item for item in items if isinstance(item, AssistantMessage)]
    assert items[-1] is message
    deltas = [delta for item in items if isinstance(item, list) for delta in item]
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == message.text
    return message


def stream_of(message: AssistantMessage, chunk: int | None = 3) -> bytes:
    return b"".join(render_stream(message, chunk=chunk))


async def answer_well(peer: Peer) -> None:
    await peer.send(stream_of(ANSWER))


@pytest.mark.requirement("models:keys-and-urls-as-vendors-read-them")
async def test_address_key_and_account_come_from_the_official_clients_variables() -> None:
    async with serving(answer_well) as server, HttpClient(TRUSTED) as client:
        env = {
            "OPENAI_BASE_URL": server.url + "/",
            "OPENAI_API_KEY": "sk-test\n",
            "OPENAI_ORG_ID": "org",
            "OPENAI_PROJECT_ID": "proj",
        }
        message = [item async for item in find_model("openai/m", client, env).stream(ASKED)][-1]
    assert message == ANSWER
    (asked,) = server.asked
    assert asked.line == "POST /v1/chat/completions HTTP/1.1"
    assert asked.headers["authorization"] == "Bearer sk-test"
    assert (asked.headers["openai-organization"], asked.headers["openai-project"]) == ("org", "proj")
    request = parse_request(asked.body)
    assert (request.model, request.stream, request.include_usage, request.instructions) == ("m", True, True, "Be kind.")


async def test_a_server_of_ones_own_is_called_without_a_key() -> None:
    async with serving(answer_well) as server, HttpClient(TRUSTED) as client:
        async for _ in find_model("openai/m", client, {"OPENAI_BASE_URL": server.url}).stream(ASKED):
            pass
    assert "authorization" not in server.asked[0].headers


@pytest.mark.requirement("models:key-missing")
@pytest.mark.parametrize("key", ["", " ", "sk-a\r\nx: y", "sk-ä"])
async def test_openai_is_not_called_without_a_usable_key(key: str) -> None:
    async with HttpClient(TRUSTED) as client:
        model = find_model("openai/gpt-4o", client, {"OPENAI_API_KEY": key})
        with pytest.raises(AuthFailed, match="OPENAI_API_KEY") as caught:
            await anext(model.stream(ASKED))
    assert "sk-" not in str(caught.value)


@pytest.mark.requirement("models:chat-oracle")
@pytest.mark.parametrize("chunk", [None, 1, 4])
async def test_the_official_client_and_ours_read_the_same_answer(chunk: int | None) -> None:
    async def play(peer: Peer) -> None:
        await peer.send(stream_of(ANSWER, chunk))

    async with serving(play) as server:
        async with model_at(server) as model:
            ours = await outcome(model)
        async with openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0) as official:
            text, usage, finish = "", None, None
            calls: dict[int, list[str]] = {}
            async for event in await official.chat.completions.create(model="m", messages=[], stream=True):
                usage = event.usage or usage
                for choice in event.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
                    for piece in choice.delta.tool_calls or ():
                        assert piece.function is not None
                        call = calls.setdefault(piece.index, [piece.id or "", piece.function.name or "", ""])
                        call[2] += piece.function.arguments or ""
    assert (text, finish) == (ours.text, ours.stop)
    assert list(calls.values()) == [[call.id, call.name, call.arguments] for call in ours.calls]
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert Usage(usage.prompt_tokens, usage.completion_tokens, 40, 10, 5) == ours.usage
    assert usage.prompt_tokens_details.cached_tokens == 40
    assert usage.completion_tokens_details.reasoning_tokens == 5


async def test_the_official_client_reads_whole_answers_models_and_errors_of_our_serving_side() -> None:
    async def play(peer: Peer) -> None:
        if peer.line.startswith("GET"):
            await peer.send(render_models(["a"]), kind="application/json")
        elif b'"nope"' in peer.body:
            await peer.send(render_error(404, "no such model", code="model_not_found"), 404, "application/json")
        else:
            await peer.send(render_answer(ANSWER), kind="application/json")

    async with (
        serving(play) as server,
        openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0) as official,
    ):
        answer = await official.chat.completions.create(model="m", messages=[])
        assert answer.choices[0].message.content == ANSWER.text
        assert [call.id for call in answer.choices[0].message.tool_calls or ()] == ["c1", "c2"]
        assert [model.id async for model in official.models.list()] == ["a"]
        with pytest.raises(openai.NotFoundError, match="no such model"):
            await official.chat.completions.create(model="nope", messages=[])
        async with model_at(server) as model:
            assert await outcome(model) == ANSWER


@pytest.mark.requirement("models:connection-kept")
async def test_one_connection_serves_call_after_call_also_when_its_end_comes_late() -> None:
    async def play(peer: Peer) -> None:
        await peer.begin(*render_stream(ANSWER))
        for _ in range(50):  # the client, in the same loop, has long read the end mark by then
            await asyncio.sleep(0)
        peer.writer.write(b"0\r\n\r\n")

    async with serving(play) as server, model_at(server) as model:
        for _ in range(5):
            assert await outcome(model) == ANSWER
    assert server.connections == 1


async def test_a_server_that_never_ends_its_stream_costs_the_connection_and_not_the_answer() -> None:
    async def play(peer: Peer) -> None:
        await peer.begin(*render_stream(ANSWER))
        await peer.gone()

    async with serving(play) as server, model_at(server) as model:
        async with asyncio.timeout(5):
            assert await outcome(model) == ANSWER
            assert await outcome(model) == ANSWER
    assert server.connections == 2


@pytest.mark.requirement("models:stream-early-close")
async def test_closing_a_stream_early_drops_its_connection() -> None:
    gone = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.begin(render_stream(ANSWER)[1])
        await peer.gone()
        gone.set()

    async with serving(play) as server, model_at(server) as model:
        async with aclosing(model.stream(ASKED)) as items:
            assert isinstance(await anext(items), list)
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.requirement("models:stream-early-close")
async def test_cancelling_a_call_drops_its_connection() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def play(peer: Peer) -> None:
        asked.set()
        await peer.gone()
        gone.set()

    async with serving(play) as server, model_at(server) as model:
        task = asyncio.create_task(outcome(model))
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


async def reset(peer: Peer) -> None:
    peer.writer.transport.abort()


async def break_off(peer: Peer) -> None:
    await peer.begin(render_stream(ANSWER)[1])
    peer.writer.close()


async def stay_silent(peer: Peer) -> None:
    await peer.begin(render_stream(ANSWER)[1])
    await peer.gone()


def saying(body: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> Play:
    async def play(peer: Peer) -> None:
        await peer.send(body, status, kind, more)

    return play


@pytest.mark.requirement("models:stream-one-terminal-outcome", "models:error-connection", "models:error-timeout")
@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (reset, ConnectionFailed),
        (break_off, ConnectionFailed),
        (stay_silent, ModelTimeout),
        (saying(b"".join(render_stream(ANSWER)[:3])), ConnectionFailed),
        (saying(b"", kind="text/event-stream"), Malformed),
        (saying(b"<html><title>Sign in</title>", kind="text/html"), Malformed),
        (saying(b"not gzip", more="content-encoding: gzip\r\n"), ModelError),
        (saying(b"x" * 200_000, 500), ServerError),
        (saying(b"", 400), ContextOverflow),
        (saying(render_error(400, "bad tool"), 400), InvalidRequest),
        (saying(render_error(429, "slow"), 429, more="Retry-After: 7\r\n"), RateLimited),
        (saying(b"", 307, more="location: http://127.0.0.1:1/\r\n"), InvalidRequest),
    ],
)
async def test_each_way_to_fail_is_one_error_and_leaves_nothing_behind(play: Play, kind: type[ModelError]) -> None:
    async with serving(play) as server, model_at(server, silence_timeout=0.3) as model:
        with pytest.raises(kind) as caught:
            await outcome(model)
        assert isinstance(caught.value, ModelError)
        if kind is RateLimited:
            assert caught.value.retry_after == 7.0


async def test_a_refused_connection_says_where_nobody_listens() -> None:
    async with serving(answer_well) as server:
        url = server.url
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1"):
            await outcome(OpenAIModel("m", client, url=url, key="x"))


@pytest.mark.requirement("models:chat-usage-missing-at-bound")
async def test_usage_that_is_not_reported_is_taken_at_its_bound_even_if_the_connection_breaks() -> None:
    async def play(peer: Peer) -> None:
        await peer.begin(*render_stream(ANSWER)[:-2])
        peer.writer.close()

    async with serving(play) as server, model_at(server) as model:
        message = await outcome(model)
        assert message.text == ANSWER.text
        assert message.usage.input_tokens == model.size(ASKED)
        assert message.usage.output_tokens >= len(ANSWER.text)


async def test_two_megabytes_of_conversation_arrive_whole() -> None:
    words = "wörd " * 400_000
    async with serving(answer_well) as server, model_at(server) as model:
        await outcome(model, ModelRequest(instructions="", messages=[UserMessage((Text(words),))]))
    assert json.loads(server.asked[0].body)["messages"][0]["content"] == words


async def test_fifty_models_at_once_each_get_their_own_answer() -> None:
    async def play(peer: Peer) -> None:
        name = parse_request(peer.body).model
        await peer.send(stream_of(AssistantMessage((Text(name),), "openai/x", usage=Usage(1, 1))))

    async with serving(play) as server, HttpClient(TRUSTED) as client:
        models = [OpenAIModel(f"m{i}", client, url=server.url) for i in range(50)]
        answers = await asyncio.gather(*(outcome(model) for model in models))
    assert [answer.text for answer in answers] == [f"m{i}" for i in range(50)]
