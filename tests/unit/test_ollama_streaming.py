"""Answers of Ollama servers, well-formed, odd and hostile, as the parser reads them."""

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
    ModelNotFound,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.failures import Origin
from holdfast.models.wire.ollama.serving import render_answer, render_failure, render_stream
from holdfast.models.wire.ollama.streaming import Parser
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

ORIGIN = Origin(provider="ollama", model="m", url="http://x")
ANSWER = AssistantMessage(
    (
        Thinking("hm\n\nwell"),
        Text("Hello wörld\u2028\n"),
        ToolCall(CallId("c1"), "f", '{"x": 1}'),
        ToolCall(CallId("c2"), "g", "{}"),
        Text("done"),
    ),
    "ollama/m",
    "tool_calls",
    Usage(100, 20),
)


def line(**message: Any) -> bytes:
    return json.dumps({"model": "m", "message": {"role": "assistant", **message}, "done": False}).encode() + b"\n"


def end(reason: str | None = "stop", **counts: Any) -> bytes:
    counts = counts or {"prompt_eval_count": 5, "eval_count": 3}
    return json.dumps({"message": {"content": ""}, "done": True, "done_reason": reason, **counts}).encode() + b"\n"


def call(**function: Any) -> dict[str, Any]:
    return {"function": {"name": "f", "arguments": {}, **function}}


def read(data: bytes, **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, **options)
    deltas = parser.feed(data)
    deltas += parser.end()
    return parser.message(), deltas


def check(message: AssistantMessage, deltas: list[Delta]) -> None:
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, made in enumerate(message.calls):
        assert "".join(d.arguments for d in deltas if isinstance(d, CallDelta) and d.index == place) == made.arguments


@pytest.mark.requirement("ollama:both-ways")
@given(st.lists(st.integers(1, 2000)), st.none() | st.integers(1, 5))
def test_an_answer_is_the_same_however_its_bytes_are_cut(places: list[int], chunk: int | None) -> None:
    parser, deltas = Parser(ORIGIN), list[Delta]()
    for piece in cut_bytes(b"".join(render_stream(ANSWER, chunk=chunk)), places):
        deltas += parser.feed(piece)
    deltas += parser.end()
    assert parser.message() == ANSWER
    check(ANSWER, deltas)


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=9)


@st.composite
def parts(draw: st.DrawFn) -> list[Part]:
    """Returns parts of which no two of a kind are neighbours, which the protocol could not tell apart."""
    kinds = draw(st.lists(st.sampled_from(["text", "thinking", "calls"]), max_size=5))
    found: list[Part] = []
    for number, kind in enumerate(k for k, before in zip(kinds, ["", *kinds], strict=False) if k != before):
        if kind == "text":
            found.append(Text(draw(words)))
        elif kind == "thinking":
            found.append(Thinking(draw(words)))
        else:
            given = ['{"a":[1,"ü"]}', "{}"]
            found += [ToolCall(CallId(f"c{number}_{n}"), "f", text) for n, text in enumerate(given)]
    return found


@pytest.mark.requirement("ollama:both-ways")
@given(parts(), st.sampled_from(["stop", "length"]), st.none() | st.integers(1, 3))
def test_what_the_wire_writes_as_a_server_it_reads_as_a_client(said: list[Part], stop: Any, chunk: int | None) -> None:
    called = any(isinstance(part, ToolCall) for part in said)
    message = AssistantMessage(
        tuple(said), "ollama/m", "tool_calls" if called and stop == "stop" else stop, Usage(9, 4)
    )
    again, deltas = read(b"".join(render_stream(message, chunk=chunk)))
    assert again == message
    check(message, deltas)
    whole, _ = read(render_answer(message))
    assert (whole.text, whole.calls, whole.usage) == (message.text, message.calls, message.usage)
    thought = [part.text for part in message.parts if isinstance(part, Thinking)]
    assert [part.text for part in whole.parts if isinstance(part, Thinking)] == (["".join(thought)] if thought else [])


def test_ten_thousand_lines_in_bytes_of_any_size_are_one_answer() -> None:
    pieces = [f"wörd {n} " for n in range(10_000)]
    data = b"".join(line(content=piece) for piece in pieces) + end()
    for size in (1 << 20, 4096, 7):
        parser, deltas = Parser(ORIGIN), list[Delta]()
        for start in range(0, len(data), size):
            deltas += parser.feed(data[start : start + size])
        deltas += parser.end()
        assert parser.message().text == "".join(pieces)
        check(parser.message(), deltas)


def test_lines_without_the_last_line_break_with_blanks_and_of_other_things_are_read() -> None:
    data = b"\r\n" + line(content="a").replace(b"\n", b"\r\n") + b"\n\n" + b'{"status":"busy"}\n'
    assert read(data + line(content="b") + end().rstrip())[0].parts == (Text("ab"),)
    assert read(line(content="a", tool_calls=None, images=None, thinking="") + end())[0].parts == (Text("a"),)


@pytest.mark.requirement("ollama:usage")
@pytest.mark.parametrize(
    ("counts", "counted"),
    [
        ({"prompt_eval_count": 5, "eval_count": 3}, Usage(5, 3)),
        ({"prompt_eval_count": 5}, Usage(5, 0)),
        ({"prompt_eval_count": -1, "eval_count": -1}, Usage(0, 0)),
        ({"eval_count": 3}, None),
        ({"total_duration": 1}, None),
    ],
)
def test_usage_is_all_that_went_in_and_out_where_both_are_known(counts: Any, counted: Usage | None) -> None:
    parser = Parser(ORIGIN)
    parser.feed(line(content="a") + end(**counts))
    assert parser.is_whole
    assert (parser.usage, parser.is_metered) == (counted, counted is not None)


@pytest.mark.requirement("ollama:stop-reasons")
@pytest.mark.parametrize(("reason", "stop"), [("stop", "stop"), ("length", "length"), ("load", "stop"), (None, "stop")])
def test_each_reason_to_be_done_has_one_of_our_words(reason: str | None, stop: str) -> None:
    assert read(line(content="a") + end(reason))[0].stop == stop
    called = read(line(tool_calls=[call()]) + end(reason))[0].stop
    assert called == ("length" if stop == "length" else "tool_calls")


@pytest.mark.requirement("ollama:calls")
def test_calls_come_whole_get_ids_nobody_has_and_the_names_of_their_tools() -> None:
    several = [call(name="a_b", arguments={"ü": [1]}), call(arguments=None), {"id": "y", **call(arguments='{"s":1}')}]
    data = line(content="x", tool_calls=several) + line(tool_calls=[{}, call(arguments="")]) + end()
    names: Any = {"a_b": "a.b"}
    message, deltas = read(data, taken=frozenset({"y"}), name_of=lambda name: names.get(name, name), turn=4)
    assert [made.id for made in message.calls] == [f"call_4_{n}" for n in range(5)]
    assert [made.name for made in message.calls] == ["a.b", "f", "f", "", "f"]
    assert [json.loads(made.arguments) for made in message.calls] == [{"ü": [1]}, {}, {"s": 1}, {}, {}]
    check(message, deltas)


@pytest.mark.requirement("ollama:errors")
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("an error was encountered while running the model: unexpected EOF", ServerError),
        ("model 'm' not found", ModelNotFound),
        ('"m" does not support tools', InvalidRequest),
        ("the prompt is longer than the context length currently available to the model", ContextOverflow),
        ('{"error":{"message":"request (88 tokens) exceeds the available context size (40 tokens)"}}', ContextOverflow),
        ("server busy, please try again", Overloaded),
        ("unauthorized", AuthFailed),
        ("too many requests", RateLimited),
    ],
)
def test_an_error_in_a_stream_or_in_its_place_is_ours(words: str, error: type[ModelError]) -> None:
    for data in (line(content="half") + render_failure(words), render_failure(words).rstrip()):
        with pytest.raises(error, match="'ollama/m'") as caught:
            read(data)
        assert type(caught.value) is error
    with pytest.raises(ServerError, match="odd"):
        read(b'{"error":{"message":"odd"}}')


@pytest.mark.requirement("ollama:one-outcome")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (line(content="a"), ConnectionFailed),
        (line(content="a") + b"[DONE]\n", ConnectionFailed),
        (line(content="a") + end()[:20], Malformed),
        (line(content=5), Malformed),
        (line(content="a") + b"oops\n", Malformed),
        (line(content="a").replace(b'"a"', b'"\xff"'), Malformed),
        (line(tool_calls=[call(name=5)]), Malformed),
        (end(prompt_eval_count="x"), Malformed),
        (b'{"choices":[{"delta":{"content":"a"}}]}\n', Malformed),
        (b'data: {"message":{"content":"a"}}\n\n', Malformed),
        (b"<html><title>Sign in</title>", Malformed),
        (b"404 page not found", Malformed),
        (b"{}", Malformed),
        (b"[" * 100_000, Malformed),
        (b'{"a":' * 100_000 + b"\n", Malformed),
    ],
)
def test_what_is_no_whole_answer_is_one_error(data: bytes, error: type[ModelError]) -> None:
    with pytest.raises(error):
        read(data)


@pytest.mark.requirement("ollama:answer-bounded")
@pytest.mark.parametrize(
    "piece",
    [
        line(content="x" * 100),
        line(thinking="x" * 100),
        line(content="x", thinking="y"),
        line(tool_calls=[call(arguments={"x": "y" * 100})]),
        line(tool_calls=[call()] * 9),
        line(content=""),
        b'{"status":"pulling"}\n',
        b'{"message":{"content":"',
        b"  \n",
        b"[1,",
    ],
)
def test_an_endless_answer_is_cut_at_its_bound(piece: bytes) -> None:
    parser = Parser(ORIGIN, max_chars=5000)
    if piece.startswith(b'{"status'):
        parser.feed(line(content="a"))
    with pytest.raises(Malformed, match="5000"):
        for _ in range(5000):
            parser.feed(piece)


ODD = [*render_stream(ANSWER, chunk=2), b"{}\n", b"\n", b"null\n", b"\0", line(content="x")[:9], line(), end()]


@given(st.lists(st.sampled_from(ODD), max_size=14))
def test_nothing_but_our_errors_comes_out_of_any_order_of_lines(lines: list[bytes]) -> None:
    parser, deltas = Parser(ORIGIN), list[Delta]()
    try:
        for data in lines:
            deltas += parser.feed(data)
        deltas += parser.end()
        message = parser.message()
    except ModelError:
        return
    check(message, deltas)
