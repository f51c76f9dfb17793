"""Answers of servers that speak Cohere's Chat, well-formed, odd and hostile, as the parser reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playing import cut_bytes

from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelTimeout,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.failures import Origin
from holdfast.models.wire.cohere.serving import render_answer, render_error, render_failure, render_stream
from holdfast.models.wire.cohere.shapes import PLAN
from holdfast.models.wire.cohere.streaming import Parser
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Citation,
    Delta,
    Part,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

ORIGIN = Origin(provider="cohere", model="m", url="http://x")
ANSWER = AssistantMessage(
    (
        Thinking("hm"),
        Text("Hello wörld", citations=(Citation("doc:0", "Greetings", "wörld"), Citation("c9", "", "Hello"))),
        Thinking("I will call f.", PLAN),
        ToolCall(CallId("c1"), "f", '{"x": 1}'),
        ToolCall(CallId("c2"), "g", "{}"),
    ),
    "cohere/m",
    "tool_calls",
    Usage(100, 20, 40),
)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def said(kind: str, index: int = 0, **message: Any) -> bytes:
    return event(kind, index=index, delta={"message": message})


def texts(*pieces: str) -> bytes:
    begun = said("content-start", content={"type": "text", "text": ""})
    return begun + b"".join(said("content-delta", content={"text": piece}) for piece in pieces)


def end(reason: str = "COMPLETE", **usage: Any) -> bytes:
    usage = usage or {"tokens": {"input_tokens": 5, "output_tokens": 3}}
    return event("message-end", delta={"finish_reason": reason, "usage": usage})


START = said("message-start", role="assistant", content=[], tool_plan="", tool_calls=[], citations=[])


def read(data: bytes, **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, **options)
    deltas = parser.feed(data)
    deltas += parser.end()
    return parser.message(), deltas


def check(message: AssistantMessage, deltas: list[Delta]) -> None:
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        assert "".join(d.arguments for d in deltas if isinstance(d, CallDelta) and d.index == place) == call.arguments


@pytest.mark.requirement("cohere:both-ways")
@given(st.lists(st.integers(1, 3000)), st.none() | st.integers(1, 5))
def test_an_answer_is_the_same_however_its_bytes_are_cut(places: list[int], chunk: int | None) -> None:
    parser, deltas = Parser(ORIGIN), list[Delta]()
    for piece in cut_bytes(b"".join(render_stream(ANSWER, chunk=chunk)), places):
        deltas += parser.feed(piece)
    deltas += parser.end()
    assert parser.message() == ANSWER
    check(ANSWER, deltas)


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=9)
citations = st.lists(st.builds(Citation, words, words, words), max_size=2, unique=True).map(tuple)
content: st.SearchStrategy[list[Part]] = st.lists(
    st.builds(Text, words, citations=citations) | st.builds(Thinking, words), max_size=4
)


@pytest.mark.requirement("cohere:both-ways")
@given(content, words | st.none(), st.integers(0, 2), st.sampled_from(["stop", "length", "refusal"]), st.booleans())
def test_what_the_wire_writes_as_a_server_it_reads_as_a_client(
    parts: list[Part], plan: str | None, calls: int, stop: Any, streamed: bool
) -> None:
    parts += [Thinking(plan, PLAN)] if plan else []
    parts += [ToolCall(CallId(f"c{n}"), "f", '{"a":[1,"ü"]}') for n in range(calls)]
    stop = "tool_calls" if calls and stop == "stop" else stop
    message = AssistantMessage(tuple(parts), "cohere/m", stop, Usage(9, 4, 3))
    data = b"".join(render_stream(message, chunk=2)) if streamed else render_answer(message)
    again, deltas = read(data)
    assert again == message
    check(message, deltas)


def test_ten_thousand_events_in_bytes_of_any_size_are_one_answer() -> None:
    pieces = [f"wörd {n} " for n in range(10_000)]
    data = START + texts(*pieces) + said("content-end") + end()
    for size in (1 << 20, 4096, 7):
        parser, deltas = Parser(ORIGIN), list[Delta]()
        for start in range(0, len(data), size):
            deltas += parser.feed(data[start : start + size])
        deltas += parser.end()
        assert parser.message().text == "".join(pieces)
        check(parser.message(), deltas)


@pytest.mark.requirement("cohere:unknown-skipped")
def test_what_this_version_does_not_know_is_skipped_and_the_rest_is_read() -> None:
    hologram = {"type": "hologram", "text": {"deep": 1}}
    message, _ = read(
        START
        + event("weather", index="x", delta="sunny")
        + event("debug", prompt="p")
        + said("content-start", 0, content=hologram)
        + said("content-delta", 0, content={"text": {"deep": 2}})
        + said("content-delta", 0, content={"type": "hologram", "text": "no"})
        + said("content-end", 0)
        + said("content-start", 1, content={"type": "text", "text": "a"})
        + said("content-delta", 1, content={"text": "b"})
        + said("content-delta", 1, content=None)
        + end()
    )
    assert message.parts == (Text("ab"),)
    body = {"message": {"content": [hologram, {"type": "text", "text": "a"}]}, "finish_reason": "COMPLETE"}
    assert read(json.dumps(body).encode())[0].parts == (Text("a"),)


@pytest.mark.requirement("cohere:usage")
@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}}, Usage(5, 2)),
        (
            {
                "billed_units": {"input_tokens": 5, "output_tokens": 2},
                "tokens": {"input_tokens": 71.0, "output_tokens": 2.2},
                "cached_tokens": 64,
            },
            Usage(71, 3, 64),
        ),
        ({"tokens": {"input_tokens": 5, "output_tokens": -2}, "cached_tokens": 9}, Usage(5, 0, 5)),
        ({"tokens": {"input_tokens": 1e300}}, Usage(2**40)),
    ],
)
def test_usage_is_what_the_model_processed_else_what_is_billed(usage: dict[str, Any], counted: Usage) -> None:
    assert read(START + texts("a") + end(**usage))[0].usage == counted


def test_an_answer_without_counts_is_not_metered() -> None:
    parser = Parser(ORIGIN)
    parser.feed(START + texts("a") + event("message-end", delta={"finish_reason": "COMPLETE"}))
    assert parser.is_whole
    assert not parser.is_metered
    assert parser.usage is None


@pytest.mark.requirement("cohere:stop-reasons")
@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("ERROR_LIMIT", "length"),
        ("ERROR_TOXIC", "refusal"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_each_finish_reason_has_one_of_our_words(reason: str, stop: str) -> None:
    assert read(START + texts("a") + end(reason))[0].stop == stop


@pytest.mark.requirement("cohere:citations")
def test_citations_go_to_the_words_they_are_about_and_others_are_left_out() -> None:
    page = {"type": "document", "id": "doc:1", "document": {"url": "https://x.example", "title": "X", "text": "long"}}
    tool = {"type": "tool", "id": "f:0", "tool_output": {"n": 3}}
    data = (
        START
        + said("content-start", 0, content={"type": "thinking", "thinking": "t"})
        + said("citation-start", 0, citations={"text": "t", "sources": [page], "type": "THINKING_CONTENT"})
        + said("content-end", 0)
        + said("content-start", 1, content={"type": "text", "text": "one"})
        + said("content-end", 1)
        + said("citation-start", 0, citations={"text": "one", "sources": [page, tool], "content_index": 1})
        + said("citation-start", 1, citations={"text": "one", "sources": [page], "content_index": 1})
        + said("citation-start", 2, citations={"text": "p", "sources": [page], "type": "PLAN"})
        + end()
    )
    cited = (Citation("https://x.example", "X", "one"), Citation("f:0", "", "one"))
    assert read(data)[0].parts == (Thinking("t"), Text("one", citations=cited))


@pytest.mark.requirement("cohere:calls")
def test_calls_get_ids_nobody_has_and_the_names_of_their_tools() -> None:
    starts = [
        said("tool-call-start", n, tool_calls={"id": id, "function": {"name": "a_b", "arguments": "{"}})
        + said("tool-call-delta", n, tool_calls={"function": {"arguments": "}"}})
        for n, id in enumerate(["x", "x", "", "y"])
    ]
    options: dict[str, Any] = {"taken": frozenset({"y"}), "name_of": {"a_b": "a.b"}.get, "turn": 4}
    message, _ = read(START + b"".join(starts) + end("TOOL_CALL"), **options)
    assert [call.id for call in message.calls] == ["x", "call_4_1", "call_4_2", "call_4_3"]
    assert {(call.name, call.arguments) for call in message.calls} == {("a.b", "{}")}
    bare = said("tool-call-start", tool_calls={"id": "c", "function": {"name": "f"}})
    assert read(START + bare + end("TOOL_CALL"))[0].calls[0].arguments == "{}"


@pytest.mark.requirement("cohere:errors")
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("internal server error", ServerError),
        ("too many tokens: total number of tokens in the prompt cannot exceed 4081", ContextOverflow),
        ("rate limit exceeded", RateLimited),
        ("invalid api token", AuthFailed),
        ("the model is overloaded", Overloaded),
        ("the request timed out", ModelTimeout),
        ("invalid request: bad tool", InvalidRequest),
        ("model 'x' not found", InvalidRequest),
        ("?", ServerError),
    ],
)
def test_an_error_in_a_stream_or_in_its_place_is_ours(words: str, error: type[ModelError]) -> None:
    body = render_error(0, words)
    in_place = event("error", message=words)
    for data in (START + texts("half") + render_failure(words), START + in_place, b"data: " + body + b"\n\n", body):
        with pytest.raises(error, match="'cohere/m'"):
            read(data)
    with pytest.raises(ModelTimeout):
        read(START + texts("half") + end("TIMEOUT"))


@pytest.mark.requirement("cohere:one-outcome")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (START, ConnectionFailed),
        (START + texts("a"), ConnectionFailed),
        (START + texts("a") + event("message-end", delta={}), ConnectionFailed),
        (START + texts("a") + b"data: [DONE]\n\n", ConnectionFailed),
        (START + said("tool-call-delta", 3, tool_calls={"function": {"arguments": "x"}}) + end(), Malformed),
        (START + b'data: {"type": \n\n', Malformed),
        (START + b'data: {"no": "type"}\n\n', Malformed),
        (START + said("content-start", content={"type": "text", "text": 5}), Malformed),
        (START + said("tool-call-start", tool_calls={"id": 5}), Malformed),
        (START + b"data: \xff\xfe\n\n", Malformed),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', Malformed),
        (b"<html><title>Sign in</title>", Malformed),
        (b"{", Malformed),
        (b"{}", Malformed),
        (b"[" * 100_000, Malformed),
        (b'{"message":{"content":[{"type":"text","text":5}]}}', Malformed),
        (START + texts("a") + end(tokens={"input_tokens": "x"}), Malformed),
    ],
)
def test_what_is_no_whole_answer_is_one_error(data: bytes, error: type[ModelError]) -> None:
    with pytest.raises(error):
        read(data)


@pytest.mark.requirement("cohere:answer-bounded")
@pytest.mark.parametrize(
    "piece",
    [
        said("content-delta", content={"text": "x" * 100}),
        said("content-start", 1, content={"type": "text", "text": ""}),
        said("content-start", 1, content={"type": "hologram", "text": {}}),
        said("tool-plan-delta", tool_plan="x" * 100),
        said("tool-call-start", 1, tool_calls={"id": "c" * 100, "function": {"name": "f"}}),
        said("citation-start", citations={"text": "x", "sources": [{"type": "document", "id": "d"}]}),
        event("weather"),
        event("weather", index="x"),
        event("content-end", index=3),
        b": comment without end",
        b'{"message":{"content":[',
    ],
)
def test_an_endless_answer_is_cut_at_its_bound(piece: bytes) -> None:
    parser = Parser(ORIGIN, max_chars=5000)
    if not piece.startswith(b"{"):
        parser.feed(START + texts(""))
    with pytest.raises(Malformed, match="5000"):
        for _ in range(1000):
            parser.feed(piece)


ODD = [*render_stream(ANSWER, chunk=2), said("content-start", 1, content={"type": "thinking", "thinking": "t"})]
ODD_ONES = [
    *ODD,
    b"data: {}\n\n",
    b"\0",
    b"event: error\n",
    *map(event, ("content-end", "tool-call-end", "message-end")),
]


@given(st.lists(st.sampled_from(ODD_ONES), max_size=14))
def test_nothing_but_our_errors_comes_out_of_any_order_of_events(events: list[bytes]) -> None:
    parser, deltas = Parser(ORIGIN), list[Delta]()
    try:
        for data in events:
            deltas += parser.feed(data)
        deltas += parser.end()
        message = parser.message()
    except ModelError:
        return
    check(message, deltas)
