"""A count of tokens is asked for like an answer: by its errors, its pace, its credentials and its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.running import soon

from holdfast.errors import (
    AuthFailed,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    Overloaded,
    RateLimited,
    ServerError,
    Unreachable,
)
from holdfast.flow.clock import SystemClock
from holdfast.models.access.access import Access
from holdfast.models.access.making import ModelMaker
from holdfast.models.counting import count_tokens
from holdfast.models.estimating import TokenEstimator
from holdfast.models.port import ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
from holdfast.models.providers.bedrock import BedrockModel
from holdfast.models.providers.talking import HttpModel
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing.clock import FakeClock
from holdfast.types import Text, UserMessage

HI = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])
COUNT = (200, b'{"input_tokens": 42}')
SILENT = (0, b"")


@dataclass
class Stub:
    """A server that gives each request the next of its answers, and the last of them ever after."""

    url: str
    heads: list[str] = field(default_factory=list[str])
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def lines(self) -> list[str]:
        return [head.partition("\r\n")[0] for head in self.heads]


@asynccontextmanager
async def stub(*answers: tuple[int, bytes]) -> AsyncGenerator[Stub]:
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
                await reader.readexactly(int(length[15:]))
                made.heads.append(head)
                made.asked.set()
                status, body = left.pop(0) if len(left) > 1 else left[0]
                if not status:
                    await reader.read()  # until the client hangs up
                    break
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nretry-after: 7\r\n\r\n" % (status, len(body)) + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    made = Stub(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    try:
        yield made
    finally:
        listener.close()
        await asyncio.sleep(0)


def error(kind: str) -> bytes:
    return b'{"type":"error","error":{"type":"%b","message":"The server says no."}}' % kind.encode()


@pytest.mark.requirement("counting:exchange")
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, error("authentication_error"), AuthFailed),
        (400, error("invalid_request_error"), InvalidRequest),
        (404, error("not_found_error"), ModelNotFound),
        (429, error("rate_limit_error"), RateLimited),
        (500, error("api_error"), ServerError),
        (529, error("overloaded_error"), Overloaded),
        (200, b"<html><title>Log in</title></html>", Malformed),
        (200, b'{"input_tokens": -1}', Malformed),
        (200, b"", Malformed),
        (200, b"[" * 1_000_000, Malformed),
    ],
)
async def test_each_failure_is_one_of_the_classes_that_calls_have(
    status: int, body: bytes, kind: type[ModelError]
) -> None:
    async with stub((status, body)) as server, HttpClient(TRUSTED) as client:
        model = AnthropicModel("m", client, url=server.url, key="secret-key")
        with pytest.raises(kind, match="'anthropic/m'") as caught:
            await soon(model.count(HI))
        assert "secret-key" not in str(caught.value)
        assert len(str(caught.value)) < 1500
        if kind is RateLimited:
            assert caught.value.retry_after == 7
        assert model.pace.active == 0


@pytest.mark.requirement("counting:exchange")
async def test_a_server_that_is_not_there_and_one_without_a_key() -> None:
    async with stub(COUNT) as server:
        pass
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(Unreachable):
            await soon(AnthropicModel("m", client, url=server.url, key="k").count(HI))
        with pytest.raises(AuthFailed, match="ANTHROPIC_API_KEY"):
            await AnthropicModel("m", client).count(HI)


@pytest.mark.requirement("counting:exchange")
async def test_a_server_that_does_not_come_to_an_end_with_counting_is_not_waited_for() -> None:
    clock = FakeClock()
    async with stub(SILENT) as server, HttpClient(TRUSTED) as client:
        model = AnthropicModel("m", client, url=server.url, key="k")
        model._clock = clock
        asked = asyncio.create_task(model.count(HI))
        await soon(server.asked.wait())
        await clock.advance(31)
        with pytest.raises(ModelTimeout, match="within 30 s"):
            await soon(asked)
        assert model.pace.active == 0
        found = asyncio.create_task(count_tokens(model, HI, TokenEstimator(), ask=True))
        server.asked.clear()
        await soon(server.asked.wait())
        await clock.advance(31)
        assert not (await soon(found)).exact


@pytest.mark.requirement("counting:exchange")
async def test_a_count_that_is_cancelled_gives_its_place_and_its_connection_back() -> None:
    async with stub(SILENT) as server, HttpClient(TRUSTED) as client:
        model = AnthropicModel("m", client, url=server.url, key="k")
        asked = asyncio.create_task(model.count(HI))
        await soon(server.asked.wait())
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(asked)
        assert model.pace.active == 0


@pytest.mark.requirement("counting:exchange")
async def test_a_refusal_for_the_rate_slows_every_use_of_the_key() -> None:
    async with stub((429, error("rate_limit_error")), COUNT) as server, HttpClient(TRUSTED) as client:
        model = AnthropicModel("m", client, url=server.url, key="k")
        with pytest.raises(RateLimited):
            await soon(model.count(HI))
        assert not model.pace.enter(), "the next one waits as long as the server asked"


class Turning(dict[str, str]):
    """An environment in which the key is another one as soon as a server was asked."""

    def __init__(self, server: Stub) -> None:
        super().__init__(ANTHROPIC_BASE_URL=server.url)
        self.server = server

    def get(self, key: str, default: Any = None) -> Any:
        if key == "ANTHROPIC_API_KEY":
            return "second" if self.server.heads else "first"
        return super().get(key, default)


@pytest.mark.requirement("counting:exchange")
async def test_a_key_that_was_renewed_meanwhile_is_tried_once_more() -> None:
    keys = iter(["first", "second", "third"])

    async def key() -> str:
        return next(keys)

    async with stub((401, error("authentication_error")), COUNT) as server, HttpClient(TRUSTED) as client:
        for access in (Access(), Access(keys={"anthropic": key})):
            maker = ModelMaker(client, SystemClock(), access=access, env=Turning(server))
            model = maker.find("anthropic/m")[0].fresh()
            assert await soon(model.count(HI)) == 42
    assert [line.split()[1] for line in server.lines()] == ["/v1/messages/count_tokens"] * 3
    assert [head.count("x-api-key: second") for head in server.heads] == [0, 1, 0]


@pytest.mark.requirement("counting:exchange")
async def test_a_key_that_stays_refused_is_asked_for_no_third_time() -> None:
    async with stub((401, error("authentication_error"))) as server, HttpClient(TRUSTED) as client:
        model = ModelMaker(client, SystemClock(), env=Turning(server)).find("anthropic/m")[0].fresh()
        with pytest.raises(AuthFailed):
            await soon(model.count(HI))
    assert [head.count("x-api-key: second") for head in server.heads] == [0, 1]


@pytest.mark.requirement("counting:exchange", "counting:bedrock")
async def test_bedrock_signs_what_it_asks_and_answers_are_asked_for_as_before() -> None:
    env = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    async with stub((200, b'{"inputTokens": 7}')) as server, HttpClient(TRUSTED) as client:
        model: HttpModel[Any] = BedrockModel("a.b:0", client, env=env, url=server.url, region="us-east-1")
        assert await soon(model.count(HI)) == 7
        assert await model._prepared(HI, b"{}") == f"{server.url}/model/a.b:0/converse-stream"
        bearer = BedrockModel("m", client, env={}, url=server.url, region="us-east-1", token="bearer-token")
        assert await soon(bearer.count(HI)) == 7
    lines: Sequence[str] = server.lines()
    assert lines[0].startswith("POST /model/a.b:0/count-tokens ")
    assert "AWS4-HMAC-SHA256" in server.heads[0]
    assert "Bearer bearer-token" in server.heads[1]
