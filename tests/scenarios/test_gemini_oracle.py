"""The official Google client and ours read the same generated streams, over real connections, to the same answer."""

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

import httpx
import pytest
from google import genai
from google.genai import types as sdk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import Malformed
from holdfast.models.port import ModelRequest
from holdfast.models.providers.google import GoogleModel
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    ProviderStep,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Usage,
    UserMessage,
)

EXAMPLES = 200
ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])
REFUSED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE")
STOPS = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(REFUSED, "refusal")}
"""Calls make a `tool_calls` of every `stop`."""
BROKEN = "MALFORMED_FUNCTION_CALL"
ENDINGS = (*STOPS, BROKEN)

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SIGNATURES = st.binary(min_size=1, max_size=12).map(lambda data: base64.b64encode(data).decode())
COUNTS = st.integers(0, 10**6)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
)
INPUTS = st.dictionaries(
    WORDS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True)

Json = dict[str, Any]


@st.composite
def parts(draw: st.DrawFn) -> Json:
    kind = draw(st.sampled_from(["text", "text", "text", "thought", "thought", "call", "code", "result"]))
    part: Json
    if kind in ("text", "thought"):
        part = {"text": draw(WORDS)} | ({"thought": True} if kind == "thought" else {})
    elif kind == "call":
        call: Json = {"name": draw(NAMES)}
        if draw(st.booleans()):
            call["args"] = draw(INPUTS)
        if draw(st.booleans()):
            call["id"] = f"call-{draw(st.uuids())}"
        part = {"functionCall": call}
    elif kind == "code":
        part = {"executableCode": {"language": "PYTHON", "code": draw(WORDS)}}
    else:
        part = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": draw(WORDS)}}
    if draw(st.integers(0, 3)) == 0:
        part["thoughtSignature"] = draw(SIGNATURES)
    return part


@st.composite
def usages(draw: st.DrawFn) -> Json:
    names = ("cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
    counts: Json = {"promptTokenCount": draw(COUNTS)}
    return counts | {name: draw(COUNTS) for name in names if draw(st.booleans())} | {"totalTokenCount": 1}


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], str]:
    """Returns the bytes of a stream, cut anywhere, and its stop reason."""
    events: list[Json] = []
    for some in draw(st.lists(st.lists(parts(), max_size=3), max_size=6)):
        events.append({"candidates": [{"content": {"parts": some, "role": "model"}, "index": 0}]})
        if draw(st.booleans()):
            events[-1]["usageMetadata"] = draw(usages())
    stop = ENDINGS[zlib.crc32(repr(events).encode()) % len(ENDINGS)]  # each as often as any other
    last: Json = {"finishReason": stop}
    if draw(st.booleans()):
        last["content"] = {"parts": [draw(parts())], "role": "model"}
    events.append({"candidates": [last], "usageMetadata": draw(usages()), "modelVersion": "m"})
    end = draw(st.sampled_from(["\r\n\r\n", "\n\n"]))
    ascii = draw(st.booleans())
    whole = "".join([f"data: {json.dumps(event, ensure_ascii=ascii)}{end}" for event in events]).encode()
    places = sorted(draw(st.lists(st.integers(1, len(whole) - 1), max_size=6)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)], stop


@dataclass
class Arena:
    """Both clients, and a server that plays the pieces of one stream to whoever asks."""

    official: Any
    ours: GoogleModel
    pieces: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    async def compare(self, stream: tuple[list[bytes], str]) -> None:
        self.pieces[:], stop = stream
        theirs = [piece async for piece in await self.official.models.generate_content_stream(model="m", contents="hi")]
        said: list[sdk.Part] = [
            part for piece in theirs for part in (piece.candidates[0].content or sdk.Content()).parts or []
        ]
        items: list[Any] = []
        try:
            items += [item async for item in self.ours.stream(ASKED)]
        except Malformed:
            assert stop == BROKEN
            self.seen[BROKEN] += 1
            return
        ours = items[-1]
        assert isinstance(ours, AssistantMessage)
        check_deltas(ours, items)
        assert ours.text == "".join([part.text for part in said if part.text and not part.thought])
        thoughts = "".join([part.text for part in ours.parts if isinstance(part, Thinking)])
        assert thoughts == "".join([part.text for part in said if part.text and part.thought])
        assert signatures(ours) == [part.thought_signature for part in said if part.thought_signature]
        calls = [(call.name, json.loads(call.arguments)) for call in ours.calls]
        called = [part.function_call for part in said if part.function_call]
        assert calls == [(call.name, call.args or {}) for call in called]
        given = [call.id for call in called]
        assert [mine.id for mine, id in zip(ours.calls, given, strict=True) if id] == [id for id in given if id]
        assert [step.text for step in ours.parts if isinstance(step, ProviderStep)] == [
            part.executable_code.code if part.executable_code else part.code_execution_result.output  # type: ignore[union-attr]
            for part in said
            if part.executable_code or part.code_execution_result
        ]
        assert ours.usage == usage_of(theirs[-1].usage_metadata)
        assert theirs[-1].candidates[0].finish_reason == stop
        assert ours.stop == ("tool_calls" if calls and STOPS[stop] == "stop" else STOPS[stop])
        self.seen.update({stop, *(next(iter(part.model_dump(exclude_none=True))) for part in said)})


def signatures(message: AssistantMessage) -> list[bytes]:
    found: list[bytes] = []
    for part in message.parts:
        said = json.loads(part.data).get("thoughtSignature", "") if isinstance(part, ProviderStep) else part.signature
        if said:
            found.append(base64.b64decode(said))
    return found


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


def usage_of(usage: sdk.GenerateContentResponseUsageMetadata) -> Usage:
    """Returns it after the mapping that `streaming.py` writes down."""
    thought = usage.thoughts_token_count or 0
    return Usage(
        (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        (usage.candidates_token_count or 0) + thought,
        usage.cached_content_token_count or 0,
        0,
        thought,
    )


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    pieces: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length[15:]))
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for piece in pieces:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                    await writer.drain()
                    await asyncio.sleep(0)  # the clients, in the same loop, get to read in between
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with HttpClient(TRUSTED) as client, httpx.AsyncClient() as http:
        options = sdk.HttpOptions(base_url=url, httpx_async_client=http)
        official = genai.Client(api_key="x", http_options=options).aio
        yield Arena(official, GoogleModel("m", client, url=url, key="x"), pieces)
    listener.close()
    await asyncio.sleep(0)


@pytest.mark.requirement("gemini:oracle", "gemini:stop-reasons", "gemini:usage")
def test_the_official_client_and_ours_read_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_API_VERSION"):
        monkeypatch.delenv(variable, raising=False)
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
    kinds = {"text", "function_call", "executable_code", "code_execution_result", *ENDINGS}
    assert both.seen.keys() >= kinds, "every kind of part and every stop reason was there"
