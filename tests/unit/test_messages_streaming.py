"""Answers of Messages servers, well-formed, odd and hostile, as the parser reads them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelNotFound,
    NoCredit,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.failures import Origin
from holdfast.models.wire.messages.serving import render_answer, render_error, render_stream
from holdfast.models.wire.messages.streaming import Parser
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Delta,
    Part,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

ORIGIN = Origin(provider="anthropic", model="m", url="http://x")
ANSWER = AssistantMessage(
    (
        Thinking("hm", "c2ln"),
        Thinking("", redacted="c2VjcmV0"),
        Text("Hello wörld"),
        ToolCall(CallId("c1"), "f", '{"x": 1}'),
        ToolCall(CallId("c2"), "g", "{}"),
    ),
    "anthropic/m",
    "tool_calls",
    Usage(100, 20, 40, 10, 5),
)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def begin(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def more(index: int, **delta: Any) -> bytes:
    return event("content_block_delta", index=index, delta=delta)


START = event("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 1}})
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}) + event("message_stop")


def read(data: bytes, *, taken: frozenset[str] = frozenset(), **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, taken=taken, **options)
    deltas = parser.feed(data)
    deltas += parser.end()
    return parser.message(), deltas


def texts(*pieces: str) -> bytes:
    return begin(0, type="text", text="") + b"".join(more(0, type="text_delta", text=piece) for piece in pieces)


@pytest.mark.requirement("models:messages-both-ways")
@given(st.lists(st.integers(1, 2000)), st.none() | st.integers(1, 5))
def test_an_answer_is_the_same_however_its_bytes_are_cut(places: list[int], chunk: int | None) -> None:
    data = b"".join(render_stream(ANSWER, chunk=chunk))
    parser, deltas = Parser(ORIGIN), list[Delta]()
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        deltas += parser.feed(data[start:end])
    deltas += parser.end()
    assert parser.message() == ANSWER
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == ANSWER.text
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "hm"
    calls = [d for d in deltas if isinstance(d, CallDelta)]
    assert "".join(d.arguments for d in calls if d.index == 0) == '{"x": 1}'
    assert [d.name for d in calls if d.name] == ["f", "g"]


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=9)
parts: st.SearchStrategy[list[Part]] = st.lists(
    st.builds(Text, words)
    | st.builds(Thinking, words, st.just("") | st.just("c2ln"))
    | st.builds(Thinking, st.just(""), redacted=words),
    max_size=4,
)


@pytest.mark.requirement("models:messages-both-ways")
@given(parts, st.integers(0, 2), st.sampled_from(["stop", "length", "refusal"]), st.booleans())
def test_what_the_wire_writes_as_a_server_it_reads_as_a_client(
    said: list[Part], calls: int, stop: Any, streamed: bool
) -> None:
    said += [ToolCall(CallId(f"c{n}"), "f", '{"a":[1,"ü"]}') for n in range(calls)]
    stop = "tool_calls" if calls and stop == "stop" else stop
    message = AssistantMessage(tuple(said), "anthropic/m", stop, Usage(9, 4, 3, 2, 1))
    data = b"".join(render_stream(message, chunk=2)) if streamed else render_answer(message)
    assert read(data)[0] == message


@pytest.mark.requirement("models:messages-unknown-skipped")
def test_what_this_version_does_not_know_is_skipped_and_the_rest_is_read() -> None:
    message, _ = read(
        START
        + event("weather", delta="sunny", index="x", error=None)
        + begin(0, type="hologram", text={"deep": 1}, input=3)
        + more(0, type="hologram_delta", text=["x"])
        + event("content_block_stop", index=0)
        + begin(1, type="text", text="a")
        + more(1, type="citations_delta", citation={"type": "char_location"})
        + more(1, type="sparkle_delta", text={"not": "text"})
        + more(1, type="text_delta", text="b")
        + begin(2, type="web_of_dreams", tool_use_id="s", content=[{"type": "x"}])
        + END
    )
    assert message.parts == (Text("ab"),)
    body = {"type": "message", "content": [{"type": "hologram", "text": {}}, {"type": "text", "text": "a"}]}
    assert read(json.dumps(body).encode())[0].parts == (Text("a"),)


@pytest.mark.requirement("models:messages-usage")
def test_input_counts_everything_that_went_in_and_later_counts_go_before_earlier() -> None:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 1}
    begun = event("message_start", message={"usage": usage})
    assert read(begun + texts("a") + END)[0].usage == Usage(325, 3, 300, 20)
    last = {"output_tokens": 9, "input_tokens": 7, "cache_read_input_tokens": 0}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=last)
    assert read(begun + texts("a") + end)[0].usage == Usage(27, 9, 0, 20)


def test_an_answer_whose_last_count_never_came_is_not_metered() -> None:
    parser = Parser(ORIGIN)
    parser.feed(START + texts("a") + event("message_delta", delta={"stop_reason": "end_turn"}))
    assert parser.is_whole
    assert not parser.is_metered


@pytest.mark.requirement("models:messages-stop-reasons")
@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "refusal"),
        ("something_new", "stop"),
    ],
)
def test_each_stop_reason_has_one_of_our_words(reason: str, stop: str) -> None:
    end = event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 3})
    assert read(START + texts("a") + end)[0].stop == stop


def test_arguments_that_came_with_the_beginning_are_taken_when_no_others_come() -> None:
    whole = begin(0, type="tool_use", id="c", name="f", input={"a": 1})
    message, deltas = read(START + whole + END)
    assert json.loads(message.calls[0].arguments) == {"a": 1}
    assert "".join(d.arguments for d in deltas if isinstance(d, CallDelta)) == message.calls[0].arguments
    none = begin(0, type="tool_use", id="c", name="f", input={}) + more(0, type="input_json_delta", partial_json="")
    assert read(START + none + END)[0].calls[0].arguments == "{}"


@pytest.mark.requirement("models:messages-tool-names-mapped-back")
def test_calls_get_ids_nobody_has_and_the_names_of_their_tools() -> None:
    data = b"".join(begin(n, type="tool_use", id=id, name="a_b", input={}) for n, id in enumerate(["x", "x", "", "y"]))
    message, _ = read(START + data + END, taken=frozenset({"y"}), name_of={"a_b": "a.b"}.get, turn=4)
    assert [call.id for call in message.calls] == ["x", "call_4_1", "call_4_2", "call_4_3"]
    assert {call.name for call in message.calls} == {"a.b"}


@pytest.mark.requirement("models:messages-errors")
@pytest.mark.parametrize(
    ("kind", "words", "error"),
    [
        ("overloaded_error", "Overloaded", Overloaded),
        ("rate_limit_error", "slow down", RateLimited),
        ("api_error", "Internal server error", ServerError),
        ("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextOverflow),
        ("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2", ContextOverflow),
        ("invalid_request_error", "tools.0: no", InvalidRequest),
        ("invalid_request_error", "Your credit balance is too low to access the Anthropic API.", NoCredit),
        ("authentication_error", "invalid x-api-key", AuthFailed),
        ("billing_error", "pay", NoCredit),
        ("permission_error", "no", AuthFailed),
        ("not_found_error", "model: x", ModelNotFound),
        ("something_new", "?", ServerError),
    ],
)
def test_an_error_in_a_stream_or_in_its_place_is_ours(kind: str, words: str, error: type[ModelError]) -> None:
    body = render_error(0, words, kind)
    for data in (START + texts("half") + b"event: error\ndata: " + body + b"\n\n" + END, body):
        with pytest.raises(error, match="'anthropic/m'") as caught:
            read(data)
        assert type(caught.value) is error


@pytest.mark.requirement("models:stream-one-terminal-outcome", "models:error-malformed")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (START, ConnectionFailed),
        (START + texts("a"), ConnectionFailed),
        (START + texts("a") + event("message_stop"), ConnectionFailed),
        (START + more(3, type="text_delta", text="a") + END, Malformed),
        (START + b'event: x\ndata: {"type": \n\n', Malformed),
        (START + b'event: x\ndata: {"no": "type"}\n\n', Malformed),
        (START + begin(0, type="text", text=5), Malformed),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', Malformed),
        (b"<html><title>Sign in</title>", Malformed),
        (b"{", Malformed),
        (b"{}", Malformed),
        (b"[" * 100_000, Malformed),
        (b'{"type":"message","content":[{"type":"text","text":5}]}', Malformed),
        (START + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": "x"}), Malformed),
    ],
)
def test_what_is_no_whole_answer_is_one_error(data: bytes, error: type[ModelError]) -> None:
    with pytest.raises(error):
        read(data)


@pytest.mark.requirement("models:messages-answer-bounded")
@pytest.mark.parametrize(
    "piece",
    [
        more(0, type="text_delta", text="x" * 100),
        begin(1, type="text", text=""),
        begin(1, type="tool_use", id="c" * 100, name="f", input={}),
        begin(1, type="redacted_thinking", data="x" * 100),
        begin(1, type="hologram"),
        b": comment without end",
        b'{"type":"message","content":[',
    ],
)
def test_an_endless_answer_is_cut_at_its_bound(piece: bytes) -> None:
    parser = Parser(ORIGIN, max_chars=5000)
    if not piece.startswith(b"{"):
        parser.feed(START + texts(""))
    with pytest.raises(Malformed, match="5000"):
        for _ in range(1000):
            parser.feed(piece)


@given(
    st.lists(st.sampled_from([*render_stream(ANSWER, chunk=2), b"data: {}\n\n", b"\0", b"event: error\n"]), max_size=12)
)
def test_nothing_but_our_errors_comes_out_of_any_order_of_events(events: list[bytes]) -> None:
    parser, deltas = Parser(ORIGIN), list[Delta]()
    try:
        for data in events:
            deltas += parser.feed(data)
        deltas += parser.end()
        message = parser.message()
    except ModelError:
        return
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    for place, call in enumerate(message.calls):
        assert "".join(d.arguments for d in deltas if isinstance(d, CallDelta) and d.index == place) == call.arguments


@pytest.mark.requirement("models:messages-work-bounded")
def test_stop_reasons_without_number_after_blocks_without_number_cost_their_bytes() -> None:
    parser = Parser(ORIGIN, max_chars=64_000_000)
    parser.feed(START + begin(0, type="text") * 20_000)
    began = time.process_time()
    parser.feed(event("message_delta", delta={"stop_reason": "end_turn"}) * 5_000)
    assert time.process_time() - began < 2  # it took 8
    parser.feed(begin(7, type="text", text="more") + END)
    assert parser.message().parts == ()  # what begins after the stop reason is no part of the answer


@pytest.mark.requirement("models:messages-whole-after-stop")
@pytest.mark.parametrize(
    "after",
    [
        b"event: error\ndata: " + render_error(0, "Overloaded", "overloaded_error") + b"\n\n",
        more(0, type="text_delta", text="late"),
        more(9, type="text_delta", text="late"),
    ],
)
def test_an_answer_that_has_its_stop_reason_and_usage_is_whole_whatever_comes_after(after: bytes) -> None:
    stop = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})
    for rest in (after, after + END, after * 3):
        message, deltas = read(START + texts("all of it") + event("content_block_stop", index=0) + stop + rest)
        assert (message.text, message.stop, message.usage.total_tokens) == ("all of it", "stop", 8)
        assert deltas == [TextDelta("all of it")]
