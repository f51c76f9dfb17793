"""The official Bedrock client and ours read the same generated streams, over real connections, to the same answer."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import Malformed, ModelError
from holdfast.flow.clock import SystemClock
from holdfast.models.pacing import Pace
from holdfast.models.port import ModelRequest
from holdfast.models.providers.bedrock import BedrockModel
from holdfast.models.wire.bedrock.framing import frame_of
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Usage,
    UserMessage,
)

EXAMPLES = 200
ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "made up"}
STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
}
"""Calls make a `tool_calls` of every `stop`."""
BROKEN = ("malformed_tool_use", "malformed_model_output")
THROWN = "throttlingException"
ENDINGS = (*STOPS, *BROKEN, THROWN)

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
COUNTS = st.integers(0, 10**6)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
)
INPUTS = st.dictionaries(
    WORDS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
Frames = list[bytes]


def event(name: str, **fields: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame_of(headers, json.dumps(fields).encode())


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Returns a text in a few pieces, some of them perhaps empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def blocks(draw: st.DrawFn, index: int) -> Frames:
    kind = draw(st.sampled_from(["text", "text", "reasoning", "redacted", "call"]))
    begun: Frames = []
    pieces: list[Any]
    if kind == "text":
        pieces = [{"text": piece} for piece in cut(draw, draw(WORDS))]
        if draw(st.booleans()):
            pieces.append({"citation": {"title": "A", "location": {"web": {"url": "https://a"}}}})
    elif kind == "reasoning":
        pieces = [{"reasoningContent": {"text": piece}} for piece in cut(draw, draw(WORDS))]
        if draw(st.booleans()):
            signature = draw(st.text("abcXYZ012+/=", min_size=1, max_size=40))
            pieces.append({"reasoningContent": {"signature": signature}})
    elif kind == "redacted":
        data = draw(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=2))
        pieces = [{"reasoningContent": {"redactedContent": base64.b64encode(each).decode()}} for each in data]
    else:
        name = draw(st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True))
        start = {"toolUse": {"toolUseId": f"tooluse_{index}", "name": name}}
        begun.append(event("contentBlockStart", contentBlockIndex=index, start=start))
        text = json.dumps(draw(INPUTS), ensure_ascii=draw(st.booleans()))
        pieces = [{"toolUse": {"input": piece}} for piece in cut(draw, text)]
    begun += [event("contentBlockDelta", contentBlockIndex=index, delta=piece) for piece in pieces]
    return [*begun, event("contentBlockStop", contentBlockIndex=index)]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], str]:
    """Returns the bytes of a stream, cut anywhere, and its stop reason or the exception it ends with."""
    frames = [event("messageStart", role="assistant")]
    for index in range(draw(st.integers(0, 5))):
        frames += draw(blocks(index))
    stop = ENDINGS[zlib.crc32(b"".join(frames)) % len(ENDINGS)]  # each as often as any other
    if stop == THROWN:
        headers = {":exception-type": THROWN, ":content-type": "application/json", ":message-type": "exception"}
        frames.append(frame_of(headers, b'{"message":"slow down"}'))
    else:
        usage = {"inputTokens": draw(COUNTS), "outputTokens": draw(COUNTS), "totalTokens": 1}
        for name in ("cacheReadInputTokens", "cacheWriteInputTokens"):
            if draw(st.booleans()):
                usage[name] = draw(COUNTS)
        frames.append(event("messageStop", stopReason=stop))
        frames.append(event("metadata", usage=usage, metrics={"latencyMs": 1}))
    whole = b"".join(frames)
    places = sorted(draw(st.lists(st.integers(1, len(whole) - 1), max_size=6)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)], stop


@dataclass
class Answer:
    """What the events of the official client say, put together."""

    texts: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, list[Any]] = field(default_factory=dict)
    calls: dict[int, list[str]] = field(default_factory=dict)
    cited: dict[int, list[str]] = field(default_factory=dict)
    stop: str = ""
    usage: dict[str, int] = field(default_factory=dict)

    def take(self, said: dict[str, Any]) -> None:
        if "contentBlockStart" in said:
            tool = said["contentBlockStart"]["start"]["toolUse"]
            self.calls[said["contentBlockStart"]["contentBlockIndex"]] = [tool["toolUseId"], tool["name"], ""]
        elif "contentBlockDelta" in said:
            self.more(said["contentBlockDelta"]["contentBlockIndex"], said["contentBlockDelta"]["delta"])
        elif "messageStop" in said:
            self.stop = said["messageStop"]["stopReason"]
        elif "metadata" in said:
            self.usage = said["metadata"]["usage"]

    def more(self, index: int, delta: dict[str, Any]) -> None:
        if "text" in delta:
            self.texts[index] = self.texts.get(index, "") + delta["text"]
        elif "toolUse" in delta:
            self.calls[index][2] += delta["toolUse"]["input"]
        elif "citation" in delta:
            self.cited.setdefault(index, []).append(delta["citation"]["location"]["web"]["url"])
        else:
            piece = delta["reasoningContent"]
            whole = self.reasoning.setdefault(index, ["", "", b""])
            whole[0] += piece.get("text", "")
            whole[1] += piece.get("signature", "")
            whole[2] += piece.get("redactedContent", b"")


@dataclass
class Arena:
    """Both clients, and a server that plays the pieces of one stream to whoever asks."""

    official: Any
    ours: BedrockModel
    pieces: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    def ask(self) -> Answer | EventStreamError:
        messages = [{"role": "user", "content": [{"text": "hi"}]}]
        answer = Answer()
        stream = self.official.converse_stream(modelId="m", messages=messages)["stream"]
        try:
            for said in stream:
                answer.take(said)
        except EventStreamError as error:
            stream.close()
            return error
        return answer

    async def compare(self, stream: tuple[list[bytes], str]) -> None:
        self.pieces[:], stop = stream
        asked = asyncio.ensure_future(asyncio.to_thread(self.ask))
        items: list[Any] = []
        try:
            items += [item async for item in self.ours.stream(ASKED)]
        except ModelError as error:
            theirs = await asked
            self.seen[stop] += 1
            thrown = stop == THROWN
            assert isinstance(theirs, EventStreamError) == thrown
            assert thrown or (stop in BROKEN and isinstance(error, Malformed))
            assert not thrown or "slow down" in str(error)
            self.ours.pace = Pace(SystemClock())  # nobody heeds it here: the next stream would come a second later
            return
        theirs = await asked
        assert isinstance(theirs, Answer)
        ours = items[-1]
        assert isinstance(ours, AssistantMessage)
        check_deltas(ours, items)
        texts = [part for part in ours.parts if isinstance(part, Text)]
        assert [(part.text, [each.source for each in part.citations]) for part in texts] == [
            (text, theirs.cited.get(index, [])) for index, text in theirs.texts.items() if text
        ]
        assert [
            [part.text, part.signature, base64.b64decode(part.redacted)]
            for part in ours.parts
            if isinstance(part, Thinking)
        ] == [each for each in theirs.reasoning.values() if any(each)]
        assert [[call.id, call.name, call.arguments] for call in ours.calls] == list(theirs.calls.values())
        assert ours.usage == usage_of(theirs.usage)
        assert theirs.stop == stop
        assert ours.stop == ("tool_calls" if theirs.calls and STOPS[stop] == "stop" else STOPS[stop])
        self.seen.update({stop, *[name for name in ("texts", "reasoning", "calls") if getattr(theirs, name)]})


def check_deltas(message: AssistantMessage, items: list[Any]) -> None:
    deltas = [delta for item in items[:-1] for delta in item]
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        said = [d for d in deltas if isinstance(d, CallDelta) and d.index == place]
        assert said[0].name == call.name
        assert {d.id for d in said} == {call.id}
        assert "".join(d.arguments for d in said) == call.arguments


def usage_of(usage: dict[str, int]) -> Usage:
    """Returns it after the mapping that `streaming.py` writes down."""
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return Usage(usage["inputTokens"] + read + written, usage["outputTokens"], read, written)


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    pieces: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length[15:]))
                kind = b"application/vnd.amazon.eventstream"
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind)
                for piece in pieces:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                    await writer.drain()
                    await asyncio.sleep(0)  # the clients get to read in between
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    official: Any = boto3.client(  # type: ignore[reportUnknownMemberType]
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    async with HttpClient(TRUSTED) as client:
        yield Arena(official, BedrockModel("m", client, env=CREDENTIALS, url=url, region="us-east-1"), pieces)
    official.close()
    listener.close()
    await asyncio.sleep(0)


@pytest.mark.requirement("bedrock:oracle", "bedrock:stop-reasons", "bedrock:usage")
def test_the_official_client_and_ours_read_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    with asyncio.Runner() as runner:
        scope = arena()
        both = runner.run(scope.__aenter__())
        try:

            @settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
            )
            @given(streams())
            def agree(stream: tuple[list[bytes], str]) -> None:
                runner.run(both.compare(stream))

            agree()
        finally:
            runner.run(scope.__aexit__(None, None, None))
    kinds = {"texts", "reasoning", "calls", *ENDINGS}
    assert both.seen.keys() >= kinds, "every kind of block and every ending was there"
