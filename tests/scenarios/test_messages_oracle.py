"""The official Anthropic client and ours read the same generated streams, over real connections, to the same answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import pytest
from anthropic import types as sdk
from anthropic.types.raw_message_delta_event import Delta
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.playing import cut_bytes, playing

from holdfast.models.port import ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
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

EXAMPLES = 250
ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])
STOPS: dict[sdk.StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "refusal",
}
"""Calls make a `tool_calls` of every `stop`."""

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SOME_WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
COUNTS = st.integers(0, 10**6)
MAYBE = st.none() | COUNTS
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
)
INPUTS = st.dictionaries(
    WORDS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)

Events = list[Any]


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Returns a text in a few pieces, some of them perhaps empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def more(index: int, delta: Any) -> sdk.RawContentBlockDeltaEvent:
    return sdk.RawContentBlockDeltaEvent(type="content_block_delta", index=index, delta=delta)


@st.composite
def text_blocks(draw: st.DrawFn, index: int) -> Events:
    first = draw(st.just("") | WORDS)
    events: Events = [sdk.TextBlock(type="text", text=first)]
    events += [more(index, sdk.TextDelta(type="text_delta", text=piece)) for piece in cut(draw, draw(WORDS))]
    if draw(st.booleans()):
        cited = sdk.CitationCharLocation(
            type="char_location",
            cited_text=draw(WORDS),
            document_index=draw(st.integers(0, 3)),
            document_title=draw(st.none() | WORDS),
            start_char_index=0,
            end_char_index=1,
        )
        place = draw(st.integers(1, len(events)))
        events.insert(place, more(index, sdk.CitationsDelta(type="citations_delta", citation=cited)))
    return events


@st.composite
def thinking_blocks(draw: st.DrawFn, index: int) -> Events:
    events: Events = [sdk.ThinkingBlock(type="thinking", thinking="", signature="")]
    events += [more(index, sdk.ThinkingDelta(type="thinking_delta", thinking=p)) for p in cut(draw, draw(WORDS))]
    if draw(st.booleans()):
        signature = draw(st.text("abcXYZ012+/=", min_size=1, max_size=40))
        events.append(more(index, sdk.SignatureDelta(type="signature_delta", signature=signature)))
    return events


@st.composite
def tool_blocks(draw: st.DrawFn, index: int) -> Events:
    given_input: dict[str, object] = {**draw(INPUTS)}
    whole = draw(st.booleans())
    name = draw(st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True))
    events: Events = [
        sdk.ToolUseBlock(type="tool_use", id=f"toolu_{index}", name=name, input=given_input if whole else {})
    ]
    if not whole:
        text = json.dumps(given_input, ensure_ascii=draw(st.booleans()))
        pieces = cut(draw, text)
        events += [more(index, sdk.InputJSONDelta(type="input_json_delta", partial_json=piece)) for piece in pieces]
    return events


def foreign_blocks(index: int) -> st.SearchStrategy[Events]:
    """Blocks that belong to tools the server runs itself."""
    caller = sdk.DirectCaller(type="direct")
    block = sdk.ServerToolUseBlock(
        type="server_tool_use", id=f"srv_{index}", name="web_search", input={}, caller=caller
    )
    delta = more(index, sdk.InputJSONDelta(type="input_json_delta", partial_json='{"query": "x"}'))
    return st.just((block, delta)).map(list)


def redacted_blocks(index: int) -> st.SearchStrategy[Events]:
    data = st.text("abcXYZ012+/=", min_size=1, max_size=40)
    return data.map(lambda data: [sdk.RedactedThinkingBlock(type="redacted_thinking", data=data)])


BLOCKS = (text_blocks, thinking_blocks, tool_blocks, redacted_blocks, foreign_blocks)


@st.composite
def bodies(draw: st.DrawFn) -> Events:
    """Returns blocks that begin in order and whose pieces may come in turns."""
    kinds = draw(st.lists(st.sampled_from(BLOCKS), max_size=5))
    waiting = [draw(kind(index)) for index, kind in enumerate(kinds)]
    alternate = draw(st.booleans())
    events: Events = []
    running: list[tuple[int, Events]] = []
    for index, (block, *rest) in enumerate(waiting):
        events.append(sdk.RawContentBlockStartEvent(type="content_block_start", index=index, content_block=block))
        running.append((index, [*rest, sdk.RawContentBlockStopEvent(type="content_block_stop", index=index)]))
        while running and (not alternate or index == len(waiting) - 1 or draw(st.booleans())):
            turn = draw(st.integers(0, len(running) - 1))
            events.append(running[turn][1].pop(0))
            if not running[turn][1]:
                running.pop(turn)
    return events


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], sdk.StopReason]:
    """Returns the bytes of a stream, cut anywhere, and its stop reason."""
    begun = sdk.Usage(
        input_tokens=draw(COUNTS),
        output_tokens=draw(st.integers(0, 5)),
        cache_creation_input_tokens=draw(MAYBE),
        cache_read_input_tokens=draw(MAYBE),
    )
    message = sdk.Message(id="msg_1", type="message", role="assistant", model="m", content=[], usage=begun)
    stop = draw(st.sampled_from(list(STOPS)))
    thought = draw(MAYBE)
    ended = sdk.MessageDeltaUsage(
        output_tokens=draw(COUNTS),
        input_tokens=draw(MAYBE),
        cache_creation_input_tokens=draw(MAYBE),
        cache_read_input_tokens=draw(MAYBE),
        output_tokens_details=None if thought is None else sdk.OutputTokensDetails(thinking_tokens=thought),
    )
    details = sdk.RefusalStopDetails(type="refusal", category="general_harms") if stop == "refusal" else None
    events: Events = [
        sdk.RawMessageStartEvent(type="message_start", message=message),
        *draw(bodies()),
        sdk.RawMessageDeltaEvent(
            type="message_delta", delta=Delta(stop_reason=stop, stop_details=details), usage=ended
        ),
        sdk.RawMessageStopEvent(type="message_stop"),
    ]
    lines = [f"event: {event.type}\ndata: {event.to_json(indent=None)}\n\n".encode() for event in events]
    for place in draw(st.lists(st.integers(0, len(lines) - 1), max_size=2)):
        lines.insert(place, b'event: ping\ndata: {"type": "ping"}\n\n')
    whole = b"".join(lines)
    return cut_bytes(whole, draw(st.lists(st.integers(1, len(whole) - 1), max_size=6))), stop


@dataclass
class Arena:
    """Both clients, and a server that plays the pieces of one stream to whoever asks."""

    official: anthropic.AsyncAnthropic
    ours: AnthropicModel
    pieces: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    async def compare(self, stream: tuple[list[bytes], sdk.StopReason]) -> None:
        self.pieces[:], stop = stream
        async with self.official.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as answer:
            theirs = await answer.get_final_message()
        items = [item async for item in self.ours.stream(ASKED)]
        ours = items[-1]
        assert isinstance(ours, AssistantMessage)
        check_deltas(ours, items)
        words = [part.text for part in ours.parts if isinstance(part, Text)]
        assert words == [block.text for block in theirs.content if block.type == "text" and block.text]
        assert cited(ours) == cited_of(theirs)
        assert steps(ours) == steps_of(theirs)
        assert reasoning(ours) == reasoning_of(theirs)
        calls = [(call.id, call.name, json.loads(call.arguments)) for call in ours.calls]
        assert calls == [(block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"]
        assert ours.usage == usage_of(theirs.usage)
        assert ours.usage == usage_of(theirs.usage)
        assert theirs.stop_reason == stop
        assert ours.stop == ("tool_calls" if calls and STOPS[stop] == "stop" else STOPS[stop])
        self.seen.update({stop, *(block.type for block in theirs.content)})


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


def reasoning(message: AssistantMessage) -> list[tuple[str, str, str]]:
    return [(part.text, part.signature, part.redacted) for part in message.parts if isinstance(part, Thinking)]


def reasoning_of(message: sdk.Message) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for block in message.content:
        if block.type == "thinking" and (block.thinking or block.signature):
            found.append((block.thinking, block.signature, ""))
        elif block.type == "redacted_thinking":
            found.append(("", "", block.data))
    return found


def cited(message: AssistantMessage) -> list[tuple[str, str]]:
    texts = [part for part in message.parts if isinstance(part, Text)]
    return [(each.title, each.quote) for part in texts for each in part.citations]


def cited_of(message: sdk.Message) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for block in message.content:
        if block.type == "text" and block.text:
            places = [place for place in block.citations or () if place.type == "char_location"]
            found += dict.fromkeys((place.document_title or "", place.cited_text) for place in places)
    return found


def steps(message: AssistantMessage) -> list[tuple[str, Any]]:
    return [(part.name, json.loads(part.data)) for part in message.parts if isinstance(part, ProviderStep)]


def steps_of(message: sdk.Message) -> list[tuple[str, Any]]:
    found = [block for block in message.content if block.type == "server_tool_use"]
    return [(block.name, json.loads(block.to_json(exclude_none=True, exclude_unset=False))) for block in found]


def usage_of(usage: sdk.Usage) -> Usage:
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    thought = details.thinking_tokens if details else 0
    return Usage(usage.input_tokens + read + written, usage.output_tokens, read, written, thought)


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    pieces: list[bytes] = []
    async with (
        playing(pieces, "text/event-stream") as url,
        HttpClient(TRUSTED) as client,
        anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as official,
    ):
        yield Arena(official, AnthropicModel("m", client, url=url, key="x"), pieces)


@pytest.mark.requirement("models:messages-oracle", "models:messages-stop-reasons", "models:messages-usage")
def test_the_official_client_and_ours_read_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(variable, raising=False)
    with asyncio.Runner() as runner:
        scope = arena()
        both = runner.run(scope.__aenter__())
        try:

            @settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
            )
            @given(streams())
            def agree(stream: tuple[list[bytes], sdk.StopReason]) -> None:
                runner.run(both.compare(stream))

            agree()
        finally:
            runner.run(scope.__aexit__(None, None, None))
    kinds = {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", *STOPS}
    assert both.seen.keys() >= kinds, "every kind of block and every stop reason was there"
