"""The official Cohere client and ours read the same generated streams, over real connections, to the same answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import cohere
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.playing import cut_bytes, playing

from holdfast.errors import ModelError
from holdfast.models.port import ModelRequest
from holdfast.models.providers.cohere import CohereModel
from holdfast.models.wire.cohere.shapes import PLAN
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    Citation,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Usage,
    UserMessage,
)

EXAMPLES = 220
ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])
STOPS = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "TOOL_CALL": "stop",
    "MAX_TOKENS": "length",
    "ERROR": "",
    "TIMEOUT": "",
}
"""Calls make a `tool_calls` of every `stop`; the last two are failures."""

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,19}", fullmatch=True)
COUNTS = st.integers(0, 10**6) | st.integers(0, 10**6).map(float)
Events = list[dict[str, Any]]


def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """Returns a text in a few pieces, some of them perhaps empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def said(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return {"type": kind, **place, "delta": {"message": message}}


@st.composite
def content(draw: st.DrawFn, index: int) -> Events:
    kind = draw(st.sampled_from(["text", "text", "thinking"]))
    events = [said("content-start", index, content={"type": kind, kind: draw(st.just("") | WORDS)})]
    events += [said("content-delta", index, content={kind: piece}) for piece in pieces_of(draw, draw(WORDS))]
    end = {"type": "content-end", "index": index}
    cited: Events = []
    for place in range(draw(st.integers(0, 2)) if kind == "text" else 0):
        about = {"start": 0, "end": 1, "text": draw(WORDS), "sources": draw(sources()), "type": "TEXT_CONTENT"}
        if draw(st.booleans()):
            about["content_index"] = index
        cited += [said("citation-start", place, citations=about), {"type": "citation-end", "index": place}]
    return [*events, *cited, end] if draw(st.booleans()) else [*events, end, *cited]


@st.composite
def sources(draw: st.DrawFn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 2))):
        id = draw(NAMES)
        if draw(st.booleans()):
            document = {"id": id, "title": draw(WORDS), "snippet": "s", "n": draw(st.integers(0, 3))}
            found.append({"type": "document", "id": id, "document": document})
        else:
            found.append({"type": "tool", "id": id, "tool_output": {"url": f"https://{id}.example", "x": [1]}})
    return found


@st.composite
def calls(draw: st.DrawFn, index: int) -> Events:
    text = json.dumps(draw(st.dictionaries(WORDS, st.integers() | WORDS, max_size=2)))
    call = {"id": f"{draw(NAMES)}_{index}", "type": "function", "function": {"name": draw(NAMES), "arguments": ""}}
    events = [said("tool-call-start", index, tool_calls=call)]
    events += [
        said("tool-call-delta", index, tool_calls={"function": {"arguments": piece}}) for piece in pieces_of(draw, text)
    ]
    return [*events, {"type": "tool-call-end", "index": index}]


@st.composite
def streams(draw: st.DrawFn, reason: str) -> list[bytes]:
    """Returns the bytes of a stream that ends for this reason, cut anywhere."""
    empty: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events: Events = [{"id": "x", **said("message-start", **empty)}]
    for index in range(draw(st.integers(0, 3))):
        events += draw(content(index))
    called = draw(st.integers(0, 3))
    if called and draw(st.booleans()):
        events += [said("tool-plan-delta", tool_plan=piece) for piece in pieces_of(draw, draw(WORDS))]
    for index in range(called):
        events += draw(calls(index))
    count = {"input_tokens": draw(COUNTS), "output_tokens": draw(COUNTS)}
    usage: dict[str, Any] = {"billed_units": {"input_tokens": draw(COUNTS), "output_tokens": draw(COUNTS)}}
    if draw(st.booleans()):
        usage["tokens"] = count
    if draw(st.booleans()):
        usage["cached_tokens"] = draw(COUNTS)
    error = {"error": "it broke"} if reason == "ERROR" else {}
    events.append({"type": "message-end", "id": "x", "delta": {"finish_reason": reason, "usage": usage, **error}})
    if draw(st.booleans()):
        events.insert(1, {"type": "debug", "prompt": "p"})
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    data = "".join([*lines, *(["data: [DONE]\n\n"] if draw(st.booleans()) else [])]).encode()
    return cut_bytes(data, draw(st.lists(st.integers(1, len(data)), max_size=6)))


@dataclass
class Theirs:
    """What the official client's events come to."""

    content: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)
    plan: str = ""
    calls: list[list[str]] = field(default_factory=list)
    reason: str = ""
    usage: Any = None

    def take(self, event: Any) -> None:
        match event.type:
            case "content-start":
                piece = event.delta.message.content
                self.content[event.index] = (piece.type, [piece.text or piece.thinking or ""])
            case "content-delta":
                piece = event.delta.message.content
                self.content[event.index][1].append(piece.text or piece.thinking or "")
            case "citation-start":
                cited = event.delta.message.citations
                self.citations += [citation_of(cited.text, source) for source in cited.sources]
            case "tool-plan-delta":
                self.plan += event.delta.message.tool_plan
            case "tool-call-start":
                call = event.delta.message.tool_calls
                self.calls.append([call.id, call.function.name, call.function.arguments])
            case "tool-call-delta":
                self.calls[event.index][2] += event.delta.message.tool_calls.function.arguments
            case "message-end":
                self.reason, self.usage = event.delta.finish_reason, event.delta.usage
            case _:
                pass

    def words(self, kind: str) -> list[str]:
        return [text for k, pieces in self.content.values() if k == kind and (text := "".join(pieces))]


def citation_of(quote: str, source: Any) -> Citation:
    if source.type == "tool":
        return Citation(source.tool_output["url"], "", quote)
    return Citation(source.id, source.document["title"], quote)


def usage_of(usage: Any) -> Usage:
    """Returns the usage by the mapping that `wire/cohere/streaming.py` writes down."""
    counts = usage.tokens or usage.billed_units
    whole = int(counts.input_tokens)
    return Usage(whole, int(counts.output_tokens), min(whole, int(usage.cached_tokens or 0)))


@dataclass
class Arena:
    """Both clients, and what the server plays to whoever asks."""

    official: cohere.AsyncClientV2
    ours: CohereModel
    pieces: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    async def compare(self, stream: list[bytes]) -> None:
        self.pieces[:] = stream
        theirs = Theirs()
        async for event in self.official.chat_stream(model="m", messages=[cohere.UserChatMessageV2(content="hi")]):
            theirs.take(event)
        self.seen.update([theirs.reason, *(kind for kind, _ in theirs.content.values())])
        items: list[Any] = []
        try:
            async for item in self.ours.stream(ASKED):
                items.append(item)  # noqa: PERF401  what came before an error is wanted, too
        except ModelError:
            assert not STOPS[theirs.reason]
            return
        ours = items[-1]
        assert isinstance(ours, AssistantMessage)
        check_deltas(ours, items)
        assert [part.text for part in ours.parts if isinstance(part, Text)] == theirs.words("text")
        thoughts = [part for part in ours.parts if isinstance(part, Thinking)]
        assert [part.text for part in thoughts if not part.signature] == theirs.words("thinking")
        assert "".join([part.text for part in thoughts if part.signature == PLAN]) == theirs.plan
        assert [[call.id, call.name, call.arguments] for call in ours.calls] == theirs.calls
        found = [citation for part in ours.parts if isinstance(part, Text) for citation in part.citations]
        assert set(found) <= set(theirs.citations)
        if all("".join(pieces) for kind, pieces in theirs.content.values() if kind == "text"):
            assert set(found) == set(theirs.citations)
            self.seen["citations"] += len(found)
        assert ours.usage == usage_of(theirs.usage)
        stop = STOPS[theirs.reason]
        assert ours.stop == ("tool_calls" if theirs.calls and stop == "stop" else stop)
        self.seen.update(calls=len(theirs.calls), plan=len(theirs.plan))


def check_deltas(message: AssistantMessage, items: list[Any]) -> None:
    deltas = [delta for item in items[:-1] for delta in item]
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        pieces = [d for d in deltas if isinstance(d, CallDelta) and d.index == place]
        assert pieces[0].name == call.name
        assert "".join(d.arguments for d in pieces) == call.arguments


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    pieces: list[bytes] = []
    async with (
        playing(pieces, "text/event-stream") as url,
        HttpClient(TRUSTED) as client,
        cohere.AsyncClientV2(api_key="x", base_url=url, max_retries=0) as official,
    ):
        yield Arena(official, CohereModel("m", client, url=url, key="x"), pieces)


@pytest.mark.requirement("cohere:oracle", "cohere:usage", "cohere:stop-reasons")
def test_the_official_client_and_ours_read_the_same_streams() -> None:
    with asyncio.Runner() as runner:
        scope = arena()
        both = runner.run(scope.__aenter__())
        try:
            for number, reason in enumerate(STOPS):  # each its share: a draw of all leaves some out now and then

                @seed(number)
                @settings(
                    max_examples=EXAMPLES // len(STOPS) + 1,
                    deadline=None,
                    database=None,
                    suppress_health_check=[HealthCheck.too_slow],
                )
                @given(streams(reason))
                def agree(stream: list[bytes]) -> None:
                    runner.run(both.compare(stream))

                agree()
        finally:
            runner.run(scope.__aexit__(None, None, None))
    for kind in ("text", "thinking", "plan", "calls", "citations", *STOPS):
        assert both.seen[kind], f"{kind} was never there"
