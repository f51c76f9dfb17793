"""The official OpenAI client and ours read the same generated Responses streams to the same answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, cast

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from tests.playing import cut_bytes, playing

from holdfast.models.port import ModelRequest
from holdfast.models.providers.responses import ResponsesModel
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
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
VALID: set[str] = set()
"""The kinds of events of which one was valid by the official types."""
ENDS = {"": "stop", "max_output_tokens": "length", "content_filter": "refusal", "max_messages": "length"}
"""How answers end, and what it is here; a refusal and calls make other words of `stop`."""

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SOME_WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
COUNTS = st.integers(0, 10**6)
Fields = dict[str, Any]
Events = list[tuple[str, Fields]]


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Returns a text in a few pieces, some of them perhaps empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def citations(draw: st.DrawFn) -> Fields:
    if draw(st.booleans()):
        url = "https://" + draw(SOME_WORDS)
        return {"type": "url_citation", "url": url, "title": draw(WORDS), "start_index": 0, "end_index": 1}
    return {"type": "file_citation", "file_id": draw(SOME_WORDS), "filename": draw(WORDS), "index": 0}


@st.composite
def messages(draw: st.DrawFn, id: str) -> tuple[Fields, Events]:
    events: Events = []
    content: list[Fields] = []
    for place in range(draw(st.integers(0, 2))):
        at = {"item_id": id, "content_index": place}
        text = draw(WORDS)
        if draw(st.integers(0, 4)) == 0:
            part: Fields = {"type": "refusal", "refusal": text}
            events.append(("response.content_part.added", {**at, "part": {**part, "refusal": ""}}))
            events += [("response.refusal.delta", {**at, "delta": piece}) for piece in cut(draw, text)]
            events.append(("response.refusal.done", {**at, "refusal": text}))
        else:
            places = draw(st.lists(citations(), max_size=2))
            part = {"type": "output_text", "text": text, "annotations": places, "logprobs": []}
            events.append(("response.content_part.added", {**at, "part": {**part, "text": "", "annotations": []}}))
            deltas = [{**at, "delta": piece, "logprobs": []} for piece in cut(draw, text)]
            events += [("response.output_text.delta", delta) for delta in deltas]
            for number, annotation in enumerate(places):
                more = {**at, "annotation_index": number, "annotation": annotation}
                events.append(("response.output_text.annotation.added", more))
            events.append(("response.output_text.done", {**at, "text": text, "logprobs": []}))
        events.append(("response.content_part.done", {**at, "part": part}))
        content.append(part)
    phase = draw(st.sampled_from(({}, {"phase": "commentary"})))
    return {"type": "message", "id": id, "role": "assistant", "content": content, **phase}, events


@st.composite
def reasonings(draw: st.DrawFn, id: str) -> tuple[Fields, Events]:
    events: Events = []
    summary = [{"type": "summary_text", "text": text} for text in draw(st.lists(SOME_WORDS, max_size=2))]
    for place, part in enumerate(summary):
        at = {"item_id": id, "summary_index": place}
        events.append(("response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}))
        deltas = [{**at, "delta": piece} for piece in cut(draw, part["text"])]
        events += [("response.reasoning_summary_text.delta", delta) for delta in deltas]
        events.append(("response.reasoning_summary_text.done", {**at, "text": part["text"]}))
        events.append(("response.reasoning_summary_part.done", {**at, "part": part}))
    item: Fields = {"type": "reasoning", "id": id, "summary": summary}
    if not summary and draw(st.booleans()):
        text = draw(SOME_WORDS)
        at = {"item_id": id, "content_index": 0}
        events += [("response.reasoning_text.delta", {**at, "delta": piece}) for piece in cut(draw, text)]
        item["content"] = [{"type": "reasoning_text", "text": text}]
    return {**item, "encrypted_content": draw(st.none() | SOME_WORDS)}, events


@st.composite
def calls(draw: st.DrawFn, id: str) -> tuple[Fields, Events]:
    arguments = json.dumps(draw(st.dictionaries(WORDS, WORDS | COUNTS, max_size=2)), ensure_ascii=draw(st.booleans()))
    pieces = cut(draw, arguments) if draw(st.booleans()) else []
    name = draw(st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True))
    events: Events = [("response.function_call_arguments.delta", {"item_id": id, "delta": piece}) for piece in pieces]
    events.append(("response.function_call_arguments.done", {"item_id": id, "arguments": arguments, "name": name}))
    return {"type": "function_call", "id": id, "call_id": f"call_{id}", "name": name, "arguments": arguments}, events


@st.composite
def steps(draw: st.DrawFn, id: str) -> tuple[Fields, Events]:
    """Returns tools that the provider ran itself."""
    word = draw(WORDS)
    kinds: tuple[Fields, ...] = (
        {"type": "web_search_call", "action": {"type": "search", "query": word}},
        {"type": "file_search_call", "queries": [word], "results": None},
        {"type": "code_interpreter_call", "code": word, "container_id": "c", "outputs": []},
        {"type": "image_generation_call", "result": "aGk="},
        {"type": "mcp_call", "name": "n", "server_label": "s", "arguments": word, "output": word},
    )
    item = {**draw(st.sampled_from(kinds)), "id": id}
    kind = item["type"]
    events: Events = [(f"response.{kind}.in_progress", {"item_id": id})] if kind != "image_generation_call" else []
    if kind == "code_interpreter_call":
        events += [
            ("response.code_interpreter_call_code.delta", {"item_id": id, "delta": piece}) for piece in cut(draw, word)
        ]
    return item, events


@st.composite
def outputs(draw: st.DrawFn) -> tuple[list[Fields], Events]:
    """Returns items that begin in order and whose events may come in turns."""
    kinds = draw(st.lists(st.sampled_from((messages, reasonings, calls, steps)), max_size=5))
    made = [draw(kind(f"i{index}")) for index, kind in enumerate(kinds)]
    alternate = kinds.count(messages) < 2 and draw(st.booleans())  # words of two messages never come in turns
    items: list[Fields] = []
    events: Events = []
    running: list[tuple[int, Events]] = []
    for index, (bare, between) in enumerate(made):
        item = {**bare, "status": "completed"}
        items.append(item)
        begun = {**item, "status": "in_progress"}
        begun |= (
            {"content": []} if item["type"] == "message" else {"summary": []} if item["type"] == "reasoning" else {}
        )
        begun |= {"arguments": ""} if item["type"] == "function_call" else {}
        events.append(("response.output_item.added", {"output_index": index, "item": begun}))
        waiting = [(kind, {**fields, "output_index": index}) for kind, fields in between]
        running.append((index, [*waiting, ("response.output_item.done", {"output_index": index, "item": item})]))
        while running and (not alternate or index == len(made) - 1 or draw(st.booleans())):
            turn = draw(st.integers(0, len(running) - 1))
            events.append(running[turn][1].pop(0))
            if not running[turn][1]:
                running.pop(turn)
    return items, events


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[Fields], str]:
    """Returns the bytes of a stream, cut anywhere, its items and why it ended."""
    items, events = draw(outputs())
    why = draw(st.sampled_from(sorted(ENDS)))
    frame = {"id": "r", "object": "response", "created_at": 0, "model": "m", "tools": [], "tool_choice": "auto"}
    frame |= {"parallel_tool_calls": True, "instructions": "x" * 50}
    given, made = draw(COUNTS), draw(COUNTS)
    usage = {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": draw(COUNTS), "cache_write_tokens": draw(COUNTS)},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": draw(COUNTS)},
        "total_tokens": given + made,
    }
    status = "incomplete" if why else "completed"
    details = {"reason": why} if why else None
    begun = {**frame, "status": "in_progress", "output": []}
    whole = {**frame, "status": status, "output": items, "usage": usage, "incomplete_details": details}
    events = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        *events,
        (f"response.{status}", {"response": whole}),
    ]
    lines: list[bytes] = []
    for number, (kind, fields) in enumerate(events):
        data = {"type": kind, "sequence_number": number, **fields}
        if kind not in VALID:
            VALID.add(EVENT.validate_python(data).type)
        lines.append(f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=draw(st.booleans()))}\n\n".encode())
    for place in draw(st.lists(st.integers(0, len(lines) - 1), max_size=2)):
        lines.insert(place, b": keep alive\n\n")
    return cut_bytes(b"".join(lines), draw(st.lists(st.integers(1, 20_000), max_size=6))), items, why


async def read_officially(client: openai.AsyncOpenAI) -> Response:
    async with client.responses.stream(model="m", input="hi") as stream:
        events = [cast("Any", event) async for event in stream]
    ended = [event.response for event in events if event.type in ("response.completed", "response.incomplete")]
    (response,) = ended
    return response


def check(ours: AssistantMessage, theirs: Response, items: list[Fields], why: str) -> None:
    contents = [part for item in theirs.output if item.type == "message" for part in item.content]
    words = [part.text if part.type == "output_text" else part.refusal for part in contents]
    assert [part.text for part in ours.parts if isinstance(part, Text)] == [text for text in words if text]
    cited = [[place_of(a) for a in part.annotations] for part in contents if part.type == "output_text" and part.text]
    refusals = [part.refusal for part in contents if part.type == "refusal"]
    told = [[(c.source, c.title) for c in part.citations] for part in ours.parts if isinstance(part, Text)]
    assert [each for each in told if each] == [list(dict.fromkeys(each)) for each in cited if each]
    check_reasoning(ours, theirs)
    called = [(call.id, call.name, call.arguments) for call in ours.calls]
    assert called == [(i.call_id, i.name, i.arguments) for i in theirs.output if i.type == "function_call"]
    kinds = ("message", "reasoning", "function_call")
    done = [json.loads(part.data) for part in ours.parts if isinstance(part, ProviderStep)]
    assert done == [item for item in items if item["type"] not in kinds]
    usage = theirs.usage
    assert usage is not None
    given, made = usage.input_tokens_details, usage.output_tokens_details
    assert ours.usage == Usage(
        usage.input_tokens,
        usage.output_tokens,
        given.cached_tokens,
        given.cache_write_tokens,
        made.reasoning_tokens,
    )
    plain = "refusal" if refusals else "tool_calls" if called else "stop"
    assert ours.stop == (ENDS[why] if why else plain)


def place_of(annotation: Any) -> tuple[str, str]:
    place = annotation.to_dict()
    return place.get("url") or place["file_id"], place.get("title") or place.get("filename") or ""


def check_reasoning(ours: AssistantMessage, theirs: Response) -> None:
    said: list[str] = []
    kept: list[Fields] = []
    for item in theirs.output:
        if item.type == "reasoning":
            text = "\n\n".join([part.text for part in item.summary or item.content or ()])
            back = bool(item.encrypted_content or item.content)
            said += [text] if text or back else []
            kept += [item.to_dict()] if back else []
    thinking = [part for part in ours.parts if isinstance(part, Thinking)]
    assert [part.text for part in thinking] == said
    signatures = [json.loads(part.signature) for part in thinking if part.signature]
    for back, item in zip(signatures, kept, strict=True):
        assert back.items() <= item.items()
        assert {"id", "summary"} <= back.keys()


def check_deltas(message: AssistantMessage, items: list[Any]) -> None:
    deltas = [delta for item in items[:-1] for delta in item]
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        said = [d for d in deltas if isinstance(d, CallDelta) and d.index == place]
        assert "".join(d.arguments for d in said) == call.arguments


@pytest.mark.requirement("responses:oracle")
def test_the_official_client_and_ours_read_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(variable, raising=False)
    seen: Counter[str] = Counter()
    pieces: list[bytes] = []

    async def compare(stream: tuple[list[bytes], list[Fields], str]) -> None:
        pieces[:], items, why = stream
        theirs = await read_officially(official)
        read = [item async for item in ours.stream(ASKED)]
        message = read[-1]
        assert isinstance(message, AssistantMessage)
        check_deltas(message, read)
        check(message, theirs, items, why)
        seen.update({why, *(item["type"] for item in items)})

    with asyncio.Runner() as runner:
        scope = playing(pieces, "text/event-stream")
        url = runner.run(scope.__aenter__()) + "/v1"
        client = HttpClient(TRUSTED)
        official = openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0)
        ours = ResponsesModel("m", client, url=url, key="x")
        try:

            @settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
            )
            @given(streams())
            def agree(stream: tuple[list[bytes], list[Fields], str]) -> None:
                runner.run(compare(stream))

            agree()
        finally:
            runner.run(official.close())
            runner.run(client.close())
            runner.run(scope.__aexit__(None, None, None))
    kinds = {"message", "reasoning", "function_call", "web_search_call", "file_search_call", "mcp_call"}
    assert seen.keys() >= kinds | set(ENDS), "every kind of item and every way to end was there"
