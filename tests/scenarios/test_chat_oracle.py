"""The official OpenAI client and ours read the same generated streams of Chat Completions to the same answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import chat as sdk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter
from tests.playing import cut_bytes, playing

from holdfast.models.port import ModelRequest
from holdfast.models.providers.openai import OpenAIModel
from holdfast.models.wire.chat.requests import Encoder
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Image,
    Message,
    OutputShape,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
)

EXAMPLES = 220
ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])
FINISHES = {"stop": "stop", "length": "length", "tool_calls": "stop", "content_filter": "refusal"}
"""Calls make a `tool_calls` of every `stop`."""

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SOME = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
COUNTS = st.integers(0, 10**6)
ARGUMENTS = st.dictionaries(WORDS, st.none() | st.booleans() | st.integers() | WORDS | st.lists(WORDS, max_size=2))


def cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def deltas(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Returns what the chunks add: words, reasoning and calls, in any order, calls also in turns."""
    found: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    found += [{"reasoning_content": piece} for piece in cut(draw, draw(WORDS))]
    found += [{"content": piece} for piece in cut(draw, draw(WORDS))]
    lines: list[list[dict[str, Any]]] = []
    for index in range(draw(st.integers(0, 3))):
        name = draw(st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True))
        first = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        text = json.dumps(draw(ARGUMENTS), ensure_ascii=draw(st.booleans()))
        rest = [{"index": index, "function": {"arguments": piece}} for piece in cut(draw, text)]
        found.append({"tool_calls": [first]})
        lines.append(rest)
    while any(lines):
        line = draw(st.sampled_from([each for each in lines if each]))
        found.append({"tool_calls": [line.pop(0)]})
    if draw(st.booleans()):
        found.append({"refusal": draw(SOME)})
    return found


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], str]:
    """Returns the bytes of a stream, cut anywhere, and its finish reason."""
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    finish = draw(st.sampled_from(sorted(FINISHES)))
    chunks: list[dict[str, Any]] = [
        {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in draw(deltas())
    ]
    chunks.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    cached, thought = draw(COUNTS), draw(COUNTS)
    usage = {"prompt_tokens": draw(COUNTS), "completion_tokens": draw(COUNTS), "total_tokens": 0}
    if draw(st.booleans()):
        usage |= {
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": thought},
        }
    chunks.append({**frame, "choices": [], "usage": usage})
    whole = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    return cut_bytes(whole, draw(st.lists(st.integers(1, len(whole) - 1), max_size=6))), finish


@dataclass
class Arena:
    """Both clients, and a server that plays the pieces of one stream to whoever asks."""

    official: openai.AsyncOpenAI
    ours: OpenAIModel
    pieces: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    async def compare(self, stream: tuple[list[bytes], str]) -> None:
        self.pieces[:], finish = stream
        thought = ""
        async with self.official.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "hi"}], stream_options={"include_usage": True}
        ) as answer:
            try:
                async for event in answer:
                    if event.type == "chunk" and event.chunk.choices:
                        extra = event.chunk.choices[0].delta.model_extra or {}
                        thought += extra.get("reasoning_content") or ""
                theirs = await answer.get_final_completion()
                choice, usage = theirs.choices[0], theirs.usage
            except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
                snapshot = answer.current_completion_snapshot
                choice, usage = snapshot.choices[0], None
        items = [item async for item in self.ours.stream(ASKED)]
        ours = items[-1]
        assert isinstance(ours, AssistantMessage)
        check_deltas(ours, items)
        message = choice.message
        assert ours.text == (message.content or "") + (message.refusal or "")
        assert "".join(part.text for part in ours.parts if isinstance(part, Thinking)) == thought
        calls = [(call.id, call.name, call.arguments) for call in ours.calls]
        theirs_calls = [each for each in message.tool_calls or () if each.type == "function"]
        assert calls == [(each.id, each.function.name, each.function.arguments) for each in theirs_calls]
        if usage is not None:
            assert ours.usage == usage_of(usage)
        wanted = "refusal" if message.refusal else FINISHES[finish]
        assert ours.stop == ("tool_calls" if calls and wanted == "stop" else wanted)
        self.seen.update({finish, "call" if calls else "no call", "refusal" if message.refusal else "no refusal"})


def check_deltas(message: AssistantMessage, items: list[Any]) -> None:
    said = [delta for item in items[:-1] for delta in item]
    assert "".join(d.text for d in said if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in said if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        assert "".join(d.arguments for d in said if isinstance(d, CallDelta) and d.index == place) == call.arguments


def usage_of(usage: Any) -> Usage:
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    thought = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else 0
    return Usage(usage.prompt_tokens, usage.completion_tokens, cached or 0, 0, thought or 0)


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    pieces: list[bytes] = []
    async with (
        playing(pieces, "text/event-stream") as url,
        HttpClient(TRUSTED) as client,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as official,
    ):
        yield Arena(official, OpenAIModel("m", client, url=f"{url}/v1", key="x"), pieces)


@pytest.mark.requirement("models:chat-oracle")
def test_the_official_client_and_ours_read_the_same_streams() -> None:
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
    assert both.seen.keys() >= {*FINISHES, "call", "no call", "refusal", "no refusal"}


@pytest.mark.requirement("models:chat-oracle")
def test_our_requests_are_what_the_official_client_would_send() -> None:
    tool = ToolSpec(name="add", description="Adds.", parameters={"type": "object", "properties": {}})
    shape = OutputShape("sum", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    talk: list[Message] = [
        UserMessage((Text("a"), Image("image/png", b"x"))),
        AssistantMessage((Thinking("t"), Text("b"), ToolCall(CallId("c"), "add", "{}")), "openai/m", "tool_calls"),
        ToolMessage(CallId("c"), "add", "1"),
    ]
    accepts = TypeAdapter(CompletionCreateParamsStreaming)
    changes: list[dict[str, Any]] = [
        {},
        {"tools": (tool,), "must_call": ""},
        {"tools": (tool,), "must_call": "add"},
        {"tools": (tool,), "may_call": False},
        {"output": shape, "thinking": "xhigh", "max_output_tokens": 9, "temperature": 0.5},
        {"options": {"service_tier": "flex"}},
    ]
    for fields in changes:
        request = ModelRequest(instructions="i", messages=talk, **fields)
        sent = json.loads(Encoder("m").encode(request))
        accepted = accepts.validate_python(sent, extra="forbid")
        assert {*accepted} == {*sent}
    finishes = get_args(sdk.chat_completion.Choice.model_fields["finish_reason"].annotation)
    assert {*FINISHES, "function_call"} == {*finishes}
