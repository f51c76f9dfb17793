"""What a Chat Completions stream, of any server and cut in any way, is read to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    ConnectionFailed,
    ContextOverflow,
    Malformed,
    ModelError,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.failures import Origin
from holdfast.models.wire.chat.serving import render_answer, render_stream
from holdfast.models.wire.chat.streaming import Parser
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Delta,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

ORIGIN = Origin(provider="openai", model="m", url="http://host/v1", url_variable="OPENAI_BASE_URL")


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def read(data: bytes, step: int = 0, **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, **options)
    deltas: list[Delta] = []
    for start in range(0, len(data), step or max(1, len(data))):
        deltas += parser.feed(data[start : start + (step or len(data))])
    deltas += parser.end()
    return parser.message(), deltas


def calls_of(*chunks: bytes, **options: Any) -> list[tuple[str, str, str]]:
    message, _ = read(b"".join(chunks) + event(finish="tool_calls"), **options)
    return [(call.id, call.name, call.arguments) for call in message.calls]


def piece(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
calls = st.builds(lambda name, arguments: (name, arguments), texts.filter(bool), texts)
counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@st.composite
def messages(draw: st.DrawFn) -> AssistantMessage:
    parts: list[Text | Thinking | ToolCall] = [
        *(Thinking(text) for text in draw(st.lists(texts, max_size=2))),
        *(Text(text) for text in draw(st.lists(texts, max_size=2))),
        *(ToolCall(CallId(f"id{i}"), *call) for i, call in enumerate(draw(st.lists(calls, max_size=3)))),
    ]
    parts = draw(st.permutations(parts))
    ends: StopReason = "tool_calls" if any(isinstance(part, ToolCall) for part in parts) else "stop"
    stops: list[StopReason] = [ends, "length", "refusal"]
    stop = draw(st.sampled_from(stops))
    return AssistantMessage(tuple(parts), "openai/m", stop, draw(usages))


def words(message: AssistantMessage) -> tuple[object, ...]:
    thinking = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    return message.text, thinking, message.calls, message.usage, message.stop, message.model


@pytest.mark.requirement("models:chat-both-ways", "models:chat-text", "models:stream-final-equals-deltas")
@given(messages(), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 5)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_rendered_answer_is_read_back_however_it_is_cut(
    message: AssistantMessage, step: int, chunk: int | None, end: bytes
) -> None:
    data = b"".join(render_stream(message, chunk=chunk)).replace(b"\n", end)
    got, deltas = read(data, step)
    assert words(got) == words(message)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == message.text
    assert "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta)) == words(message)[1]
    arguments = ["".join(d.arguments for d in deltas if isinstance(d, CallDelta) and d.index == i) for i in range(3)]
    assert arguments[: len(message.calls)] == [call.arguments for call in message.calls]


@pytest.mark.requirement("models:chat-dialects")
@given(messages(), st.integers(1, 50))
def test_a_plain_json_answer_is_read_like_a_stream(message: AssistantMessage, step: int) -> None:
    got, deltas = read(render_answer(message), step)
    assert words(got) == words(message)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == message.text


@pytest.mark.requirement("models:chat-parallel-tool-calls", "models:tool-arguments-tolerant-parse")
def test_words_that_come_together_are_one_delta_and_stay_in_order_with_the_rest() -> None:
    said = [{"content": "a"}, {"content": "b"}, {"reasoning": "hm"}, {"content": "c"}, {"content": "d"}]
    together = b"".join(event(each) for each in said) + event(finish="stop")
    message, deltas = read(together)
    assert deltas == [TextDelta("ab"), ThinkingDelta("hm"), TextDelta("cd")]
    alone, one_by_one = read(together, step=1)
    assert (alone, len(one_by_one)) == (message, 5)


@pytest.mark.parametrize("torn", [b'{},{"choices":[]}', b'"choices":[]},{', b"]", b"[1,2]", b"\xff"])
def test_what_came_before_an_event_that_is_none_counts(torn: bytes) -> None:
    parser = Parser(ORIGIN)
    data = event({"content": "a"}) + b"data: " + torn + b"\n\n" + event({"content": "b"}, "stop")
    assert parser.feed(data) == [TextDelta("a")]
    with pytest.raises(Malformed):
        parser.end()


def test_interleaved_calls_come_out_whole_and_in_order() -> None:
    got = calls_of(
        event(piece(index=0, id="a", function={"name": "f", "arguments": ""})),
        event(piece(index=1, id="b", function={"name": "g", "arguments": '{"y"'})),
        event(piece(index=0, function={"arguments": '{"x": 1'})),
        event(piece(index=1, function={"arguments": ": 2}"})),
        event(piece(index=0, function={"arguments": "oops"})),
    )
    assert got == [("a", "f", '{"x": 1oops'), ("b", "g", '{"y": 2}')]


@pytest.mark.requirement("models:chat-dialects")
def test_a_server_that_repeats_id_and_name_in_every_piece_makes_one_call() -> None:
    pieces = [piece(index=0, id="a", function={"name": "f", "arguments": part}) for part in ('{"x"', ": 1", "}", "")]
    message, deltas = read(b"".join(map(event, pieces)) + event(finish="stop"))
    assert message.calls == (ToolCall(CallId("a"), "f", '{"x": 1}'),)
    assert message.stop == "tool_calls"
    assert [delta.name for delta in deltas if isinstance(delta, CallDelta)] == ["f", "", ""]


@pytest.mark.requirement("models:chat-dialects")
@pytest.mark.parametrize("mark", [{}, {"index": 0}])
def test_whole_calls_without_ids_or_all_at_index_0_stay_apart_and_get_ids(mark: dict[str, Any]) -> None:
    whole = [{**mark, "function": {"name": "f", "arguments": f'{{"x": {i}}}'}} for i in range(3)]
    ids = ["call_7_0", "call_7_1", "call_7_2"]
    arguments = ['{"x": 0}', '{"x": 1}', '{"x": 2}']
    expected = [(id, "f", text) for id, text in zip(ids, arguments, strict=True)]
    assert calls_of(*(event({"tool_calls": [call]}) for call in whole), turn=7) == expected
    assert calls_of(event({"tool_calls": whole}), turn=7) == expected


@pytest.mark.requirement("models:chat-dialects")
def test_pieces_without_an_index_follow_their_id_or_the_last_call() -> None:
    got = calls_of(
        event(piece(id="a", function={"name": "f", "arguments": "{"})),
        event(piece(id="b", function={"name": "f", "arguments": "["})),
        event(piece(id="a", function={"arguments": "}"})),
        event(piece(function={"arguments": "]"})),
    )
    assert got == [("a", "f", "{}"), ("b", "f", "[]")]


@pytest.mark.requirement("models:chat-call-ids")
def test_calls_with_an_id_that_is_taken_get_another_that_is_the_same_every_time() -> None:
    chunks = [event(piece(index=i, id="x", function={"name": "f", "arguments": "{}"})) for i in range(2)]
    first = calls_of(*chunks, turn=3, taken={"x", "call_3_0"})
    assert [id for id, _, _ in first] == ["call_3_0_1", "call_3_1"]
    assert first == calls_of(*chunks, turn=3, taken={"x", "call_3_0"})


def test_arguments_sent_as_an_object_become_its_text() -> None:
    assert calls_of(event(piece(id="a", function={"name": "f", "arguments": {"x": [1]}}))) == [("a", "f", '{"x":[1]}')]


def test_the_old_form_of_a_call_is_a_call() -> None:
    data = event({"function_call": {"name": "f", "arguments": "{"}}) + event({"function_call": {"arguments": "}"}})
    message, _ = read(data + event(finish="function_call"))
    assert [(call.name, call.arguments) for call in message.calls] == [("f", "{}")]
    assert message.stop == "tool_calls"


@pytest.mark.requirement("models:chat-thinking")
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_is_kept_apart_from_the_answer(field: str) -> None:
    data = event({field: "hm "}) + event({field: "so"}) + event({"content": "42"}) + event(finish="stop")
    message, deltas = read(data)
    assert message.parts == (Thinking("hm so"), Text("42"))
    assert deltas == [ThinkingDelta("hm "), ThinkingDelta("so"), TextDelta("42")]


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "refusal"), ("tool_calls", "stop"), ("eos", "stop")],
)
def test_finish_reasons_become_stop_reasons(finish: str, stop: str) -> None:
    assert read(event({"content": "x"}) + event(finish=finish))[0].stop == stop


def test_a_refusal_is_words_with_the_stop_reason_refusal() -> None:
    message, deltas = read(event({"refusal": "No."}) + event(finish="stop"))
    assert (message.text, message.stop, deltas) == ("No.", "refusal", [TextDelta("No.")])


def test_text_after_calls_is_kept() -> None:
    chunk = event(piece(index=0, id="a", function={"name": "f", "arguments": "{}"}))
    message, _ = read(event({"content": "one "}) + chunk + event({"content": "two"}) + event(finish="tool_calls"))
    assert (message.text, len(message.calls)) == ("one two", 1)


@pytest.mark.requirement("models:chat-usage")
def test_usage_comes_from_the_last_chunk_that_has_one() -> None:
    tokens = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    early = event({"content": "x"}, usage={"prompt_tokens": 9, "completion_tokens": 1})
    last = b"data: " + json.dumps({"choices": [], "usage": tokens}).encode() + b"\n\n"
    message, _ = read(early + event(finish="stop") + last + b"data: [DONE]\n\n")
    assert message.usage == Usage(9, 5, 4, 2, 3)


def test_usage_below_zero_counts_as_zero() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 2}
    assert read(event(finish="stop", usage=usage))[0].usage == Usage(0, 2)


@pytest.mark.requirement("models:chat-dialects")
@pytest.mark.parametrize("tail", [b"", b"data: [DONE]", b"data: [DONE]\n\ndata: {junk\n\n", b": bye\n\n"])
def test_an_answer_with_a_finish_reason_is_whole_whatever_ends_the_stream(tail: bytes) -> None:
    assert read(event({"content": "x"}) + event(finish="stop") + tail)[0].text == "x"


def test_comments_event_names_missing_blanks_and_many_data_lines_are_read() -> None:
    data = (
        b"\xef\xbb\xbf: PROCESSING\n\n"
        b'event: message\ndata:{"choices":[{"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":\ndata: [{"delta":{"content":"b"},"finish_reason":"stop"}]}\n\n'
        b"data: \n\ndata: [DONE]\n\n"
    )
    for step in (0, 1, 2, 7):
        assert read(data, step)[0].text == "ab"


@pytest.mark.requirement("models:stream-one-terminal-outcome")
@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n"])
def test_an_answer_without_a_finish_reason_broke_off(tail: bytes) -> None:
    with pytest.raises(ConnectionFailed, match="broke off"):
        read(event({"content": "half"}) + tail)


@pytest.mark.requirement("models:error-malformed")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n  \r\n",
        event() + b'data: {"choices": [{"delta": {"content": oops\n\n' + event(finish="stop"),
        event() + b'data: {"choices": [{"del',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"<!doctype html><title>Sign in</title>",
        b'{"choices": []}',
        b'{"choices": [',
        b"[1]",
        b"data: \xff\n\n",
    ],
)
def test_what_is_not_the_protocol_is_malformed_and_says_where_to_look(data: bytes) -> None:
    with pytest.raises(Malformed, match="OPENAI_BASE_URL"):
        read(data)


@pytest.mark.requirement("models:error-overloaded")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow down", "type": "rate_limit_error"}, RateLimited),
        ({"message": "too many tokens per minute", "code": "rate_limit_exceeded"}, RateLimited),
        ({"message": "busy", "type": "overloaded_error"}, Overloaded),
        ({"message": "busy", "code": 529}, Overloaded),
        ({"message": "it exceeds the context window", "code": 400}, ContextOverflow),
        ({"message": "boom"}, ServerError),
        ("boom", ServerError),
    ],
)
def test_an_error_inside_a_stream_or_a_body_ends_it(error: object, kind: type[ModelError]) -> None:
    body = json.dumps({"error": error}).encode()
    for data in (event({"content": "x"}) + b"data: " + body + b"\n\n", b"event: error\ndata: " + body + b"\n\n", body):
        with pytest.raises(kind):
            read(data)


def test_an_error_object_without_the_word_error_in_front_ends_the_stream() -> None:
    with pytest.raises(ContextOverflow):
        read(b'data: {"object": "error", "message": "maximum context length is 10 tokens", "code": 400}\n\n')


@pytest.mark.parametrize(
    ("finish", "kind"),
    [
        ("model_context_window_exceeded", ContextOverflow),
        ("insufficient_system_resource", Overloaded),
        ("error", ServerError),
    ],
)
def test_finish_reasons_that_are_failures_are_errors(finish: str, kind: type[ModelError]) -> None:
    with pytest.raises(kind):
        read(event({"content": "x"}) + event(finish=finish))


@pytest.mark.requirement("models:chat-answer-bounded")
@pytest.mark.parametrize(
    "chunk",
    [
        event({"content": "x" * 100}),
        event({"reasoning": "x" * 100}),
        event(piece(index=0, function={"arguments": "x" * 100})),
        event(piece(function={"name": "f", "arguments": "{}"})),
        b"data: " + b"x" * 100,
        b"\n" * 100,
        b"{" + b" " * 100,
    ],
)
def test_an_endless_answer_is_cut_at_its_bound(chunk: bytes) -> None:
    parser = Parser(ORIGIN, max_chars=10_000)
    with pytest.raises(Malformed, match="10000 characters"):
        for _ in range(1000):
            parser.feed(chunk)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_random_bytes_end_in_a_message_or_a_model_error(pieces: list[bytes]) -> None:
    parser = Parser(ORIGIN)
    try:
        for data in pieces:
            parser.feed(data)
        parser.end()
        parser.message()
    except ModelError:
        pass
