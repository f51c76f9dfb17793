"""Answers of Bedrock, well-formed, odd and hostile, as the parser reads them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models.failures import Origin, failure_of
from holdfast.models.wire.bedrock.framing import frame_of
from holdfast.models.wire.bedrock.serving import render_answer, render_failure, render_stream
from holdfast.models.wire.bedrock.streaming import Parser
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Citation,
    Delta,
    Part,
    ProviderStep,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

ORIGIN = Origin(provider="bedrock", model="m", url="http://x")
ANSWER = AssistantMessage(
    (
        Thinking("hm", "c2ln"),
        Thinking("", redacted="c2VjcmV0"),
        Text("Hello wörld", citations=(Citation("https://a", "A", "words"),)),
        ToolCall(CallId("c1"), "f", '{"x": 1}'),
        ToolCall(CallId("c2"), "g", "{}"),
    ),
    "bedrock/m",
    "tool_calls",
    Usage(100, 20, 40, 10),
)


def event(name: str, **fields: Any) -> bytes:
    return frame_of({":event-type": name, ":message-type": "event"}, json.dumps(fields).encode())


def more(index: int, **delta: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=delta)


def begin(index: int, **start: Any) -> bytes:
    return event("contentBlockStart", contentBlockIndex=index, start=start)


def close(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


def stop(reason: str = "end_turn") -> bytes:
    return event("messageStop", stopReason=reason)


def used(**usage: int) -> bytes:
    return event("metadata", usage={"inputTokens": 1, "outputTokens": 1, "totalTokens": 2, **usage}, metrics={})


def read(data: bytes, *, taken: frozenset[str] = frozenset(), **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, taken=taken, **options)
    deltas = parser.feed(data) + parser.end()
    return parser.message(), deltas


def check_deltas(message: AssistantMessage, deltas: list[Delta]) -> None:
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        pieces = [d for d in deltas if isinstance(d, CallDelta) and d.index == place]
        assert (pieces[0].name, "".join(d.arguments for d in pieces)) == (call.name, call.arguments)


@pytest.mark.requirement("bedrock:stream-cut-anywhere")
@given(st.lists(st.integers(0, 3000), max_size=30), st.none() | st.integers(1, 5))
def test_an_answer_is_the_same_however_its_bytes_are_cut(places: list[int], chunk: int | None) -> None:
    whole = b"".join(render_stream(ANSWER, chunk=chunk))
    cuts = sorted({place % (len(whole) + 1) for place in places})
    parser, deltas = Parser(ORIGIN), list[Delta]()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        deltas += parser.feed(whole[start:end])
    deltas += parser.end()
    assert parser.message() == ANSWER
    assert parser.done
    check_deltas(ANSWER, deltas)


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
signatures = st.text("abcXYZ012+/", min_size=4, max_size=8)
objects = st.dictionaries(words, st.integers() | words | st.none(), max_size=3).map(json.dumps)


def searched(query: str) -> ProviderStep:
    call = {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use", "input": {"query": query}}
    data = json.dumps({"toolUse": call}, separators=(",", ":"), ensure_ascii=False)
    return ProviderStep("nova_grounding", data, json.dumps({"query": query}, separators=(",", ":"), ensure_ascii=False))


parts: st.SearchStrategy[Part] = (
    st.builds(Text, words)
    | st.builds(Thinking, words, st.just("") | signatures)
    | st.binary(min_size=1, max_size=9).map(lambda data: Thinking("", redacted=base64.b64encode(data).decode()))
    | st.builds(ToolCall, st.just(CallId("c")), words, objects)
    | st.text("abc ", min_size=1, max_size=9).map(searched)
)


@st.composite
def answers(draw: st.DrawFn) -> AssistantMessage:
    found = [
        ToolCall(CallId(f"c{number}"), part.name, part.arguments) if isinstance(part, ToolCall) else part
        for number, part in enumerate(draw(st.lists(parts, max_size=6)))
    ]
    stops: list[StopReason] = ["stop", "length", "refusal"]
    why = draw(st.sampled_from(stops))
    if why == "stop" and any(isinstance(part, ToolCall) for part in found):
        why = "tool_calls"
    read, written = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    usage = Usage(draw(st.integers(0, 99)) + read + written, draw(st.integers(0, 99)), read, written)
    return AssistantMessage(tuple(found), "bedrock/m", why, usage)


@pytest.mark.requirement("bedrock:serving-round-trip")
@given(answers(), st.none() | st.integers(1, 4))
def test_what_the_wire_writes_as_a_server_it_reads_as_a_client(message: AssistantMessage, chunk: int | None) -> None:
    streamed, deltas = read(b"".join(render_stream(message, chunk=chunk)))
    whole, at_once = read(render_answer(message))
    assert streamed == whole == message
    check_deltas(message, deltas)
    check_deltas(message, at_once)


@pytest.mark.requirement("bedrock:usage")
def test_input_counts_what_the_cache_gave_and_took() -> None:
    counts = used(inputTokens=3, outputTokens=7, cacheReadInputTokens=60, cacheWriteInputTokens=10)
    assert read(more(0, text="a") + stop() + counts)[0].usage == Usage(73, 7, 60, 10)
    parser = Parser(ORIGIN)
    parser.feed(more(0, text="a") + stop())
    assert (parser.is_whole, parser.is_metered, parser.done) == (True, False, False), "usage comes after the stop"


@pytest.mark.requirement("bedrock:stop-reasons")
@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "refusal"),
        ("content_filtered", "refusal"),
        ("something_new", "stop"),
    ],
)
def test_each_stop_reason_has_one_of_our_words(reason: str, ours: StopReason) -> None:
    assert read(more(0, text="a") + stop(reason))[0].stop == ours
    call = begin(0, toolUse={"toolUseId": "a", "name": "f"})
    assert read(call + stop("tool_use"))[0].stop == "tool_calls"


@pytest.mark.requirement("bedrock:broken-calls")
@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output"])
def test_a_call_the_provider_calls_malformed_is_an_error_and_never_a_call(reason: str) -> None:
    with pytest.raises(Malformed, match=reason) as caught:
        read(begin(0, toolUse={"toolUseId": "a", "name": "f"}) + stop(reason))
    assert caught.value.retry == "now"


@pytest.mark.requirement("bedrock:provider-steps")
def test_what_the_provider_ran_itself_is_kept_whole() -> None:
    call = {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use"}
    result = {"toolUseId": "s1", "type": "nova_grounding_result", "status": "success"}
    data = (
        begin(0, toolUse=call)
        + more(0, toolUse={"input": '{"que'})
        + more(0, toolUse={"input": 'ry": "q"}'})
        + close(0)
        + begin(1, toolResult=result)
        + more(1, toolResult=[{"text": "one"}])
        + more(1, toolResult=[{"json": {"a": [1]}}])
        + more(2, text="So.")
        + stop()
    )
    message, deltas = read(data)
    first, second, text = message.parts
    assert isinstance(first, ProviderStep)
    assert isinstance(second, ProviderStep)
    assert (first.name, json.loads(first.data)) == ("nova_grounding", {"toolUse": {**call, "input": {"query": "q"}}})
    content = [{"text": "one"}, {"json": {"a": [1]}}]
    assert (second.name, json.loads(second.data)) == ("tool_result", {"toolResult": {**result, "content": content}})
    assert (text, message.stop, deltas) == (Text("So."), "stop", [TextDelta("So.")])


@pytest.mark.requirement("bedrock:citations")
def test_citations_of_each_kind_of_place_are_in_our_words() -> None:
    places = [
        {"title": "A", "location": {"web": {"url": "https://a"}}, "sourceContent": [{"text": "x"}, {"text": "y"}]},
        {"location": {"documentPage": {"documentIndex": 2, "start": 1, "end": 2}}},
        {"source": "s", "location": {"hologram": {}}},
    ]
    message, _ = read(more(0, text="a") + b"".join([more(0, citation=each) for each in places]) + stop())
    (text,) = message.parts
    assert isinstance(text, Text)
    assert text.citations == (Citation("https://a", "A", "xy"), Citation("document 2"), Citation("s"))


@pytest.mark.requirement("bedrock:call-ids")
def test_calls_get_ids_nobody_has_and_the_names_of_their_tools() -> None:
    ids = ("", "a", "a", "old", "")
    data = b"".join([begin(place, toolUse={"toolUseId": id, "name": "f"}) for place, id in enumerate(ids)])
    message, _ = read(data + stop("tool_use"), taken=frozenset(("old",)), turn=3, name_of=lambda name: name + "!")
    found = [call.id for call in message.calls]
    assert len({*found, "old"}) == len(ids) + 1
    assert found[1] == "a"
    assert {(call.name, call.arguments) for call in message.calls} == {("f!", "{}")}


def test_what_this_version_does_not_know_is_skipped_and_the_rest_is_read() -> None:
    data = (
        event("initial-response")
        + event("messageStart", role="assistant", p="abcd")
        + begin(0, image={"format": "png"})
        + more(0, image={"source": {"bytes": "eA=="}})
        + close(0)
        + begin(1, hologram={})
        + more(1, hologram={})
        + event("contentBlockGlow", contentBlockIndex=1)
        + more(2, text="a", p="xyz")
        + close(9)
        + stop()
        + used()
    )
    message, _ = read(data)
    assert message == AssistantMessage((Text("a"),), "bedrock/m", "stop", Usage(1, 1))


@pytest.mark.requirement("bedrock:errors-in-streams")
@pytest.mark.parametrize(
    ("kind", "words", "error"),
    [
        ("throttlingException", "Too many requests", RateLimited),
        ("serviceUnavailableException", "later", Overloaded),
        ("internalServerException", "oops", ServerError),
        ("modelStreamErrorException", "oops", ServerError),
        ("validationException", "bad", InvalidRequest),
        ("validationException", "Input is too long for requested model.", ContextOverflow),
        ("brandNewException", "hm", ServerError),
    ],
)
def test_an_exception_in_a_stream_is_ours(kind: str, words: str, error: type[ModelError]) -> None:
    thrown = render_failure(words, kind)
    for before in (b"", more(0, text="a")):
        with pytest.raises(error, match=words):
            read(before + thrown)
    assert read(more(0, text="a") + stop() + thrown)[0].text == "a", "what was whole stays whole"
    failed = frame_of({":message-type": "error", ":error-code": kind, ":error-message": words}, b"")
    with pytest.raises(error, match=words):
        read(failed)


@pytest.mark.requirement("bedrock:errors-in-streams")
def test_an_exception_of_the_model_behind_says_what_that_said() -> None:
    headers = {":message-type": "exception", ":exception-type": "modelStreamErrorException"}
    said = {"originalStatusCode": 429, "originalMessage": "slow down"}
    with pytest.raises(RateLimited, match="slow down"):
        read(frame_of(headers, json.dumps(said).encode()))


@pytest.mark.requirement("bedrock:errors-by-status")
@pytest.mark.parametrize(
    ("status", "kind", "body", "error"),
    [
        (429, "ThrottlingException", b'{"message":"Too many tokens, please wait"}', RateLimited),
        (403, "AccessDeniedException", b'{"Message":"no"}', ModelError),
        (400, "ValidationException", b'{"message":"Input is too long for requested model."}', ContextOverflow),
        (400, "ValidationException", b'{"message":"The provided model identifier is invalid."}', InvalidRequest),
        (424, "ModelErrorException", b'{"message":"oops"}', ServerError),
    ],
)
def test_an_error_by_status_keeps_its_words_and_request(
    status: int, kind: str, body: bytes, error: type[ModelError]
) -> None:
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/", "x-amzn-requestid": "req-1"}
    found = failure_of(ORIGIN, status, headers, body)
    assert isinstance(found, error)
    assert "req-1" in str(found)
    assert next(iter(json.loads(body).values())) in str(found)


@pytest.mark.requirement("bedrock:hostile-answers")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (b"<!doctype html><title>Sign in</title>", Malformed),
        (b"{}", Malformed),
        (b'{"output":{"message":{"content":[{"text":"\xff"}]}}}', Malformed),
        (b"event: message_start\ndata: {}\n\n", Malformed),
        (event("contentBlockDelta", contentBlockIndex="x"), Malformed),
        (frame_of({":event-type": "contentBlockDelta"}, b"{oops"), Malformed),
        (frame_of({":event-type": "contentBlockDelta"}, b'{"delta":{"text":"\xff"}}'), Malformed),
        (frame_of({":event-type": "contentBlockDelta"}, b'{"delta":' * 9000), Malformed),
        (more(0, toolUse={"input": "{}"}), Malformed),
        (more(0, reasoningContent={"redactedContent": "?"}), Malformed),
        (more(0, text="a"), ConnectionFailed),
        (more(0, text="a") + stop()[:-3], ConnectionFailed),
        (more(0, text="a") + b"\0\0", ConnectionFailed),
    ],
)
def test_what_is_no_whole_answer_is_one_error(data: bytes, error: type[ModelError]) -> None:
    with pytest.raises(ModelError) as caught:
        read(data)
    assert type(caught.value) is error


@pytest.mark.requirement("bedrock:hostile-answers")
def test_bytes_that_go_bad_after_the_stop_reason_take_nothing_away() -> None:
    assert read(more(0, text="a") + stop())[0].text == "a"
    parser = Parser(ORIGIN)
    parser.feed(more(0, text="a") + stop())
    assert parser.feed(b"<html>" * 9) == []
    assert (parser.done, parser.message().text) == (True, "a")


@pytest.mark.requirement("bedrock:hostile-answers")
@pytest.mark.parametrize(
    "piece",
    [
        more(0, text="x" * 50),
        begin(0, toolUse={"toolUseId": "a", "name": "f"}),
        begin(0, toolUse={"toolUseId": "a", "name": "f", "type": "server_tool_use"}) + more(0, toolUse={"input": "x"}),
        more(0, reasoningContent={"redactedContent": "eA=="}),
        begin(0, toolResult={"toolUseId": "a"}) + more(0, toolResult=[{"text": "x"}]),
        more(0, citation={"source": "s"}),
        b" ",
    ],
)
def test_an_endless_answer_is_cut_at_its_bound(piece: bytes) -> None:
    parser, fed = Parser(ORIGIN, max_chars=20_000), 0
    with pytest.raises(Malformed, match="20000"):
        while fed < 4_000_000:
            parser.feed(piece)
            fed += len(piece)
    assert fed < 1_600_000


odd = st.sampled_from([None, "", "a", 1, [], {}, "{}", "eA=="])
indexes = st.integers(0, 2)
odd_events = (
    st.builds(lambda i, k, v: more(i, **{k: v}), indexes, st.sampled_from(["text", "toolUse", "citation"]), odd)
    | st.builds(lambda i, t: more(i, text=t), indexes, st.text(max_size=3))
    | st.builds(lambda i, k, v: more(i, reasoningContent={k: v}), indexes, st.sampled_from(["text", "signature"]), odd)
    | st.builds(lambda i, n: begin(i, toolUse={"toolUseId": n, "name": n}), indexes, st.text("ab", max_size=1))
    | st.builds(lambda i: more(i, toolUse={"input": "{}"}), indexes)
    | st.builds(close, indexes)
    | st.builds(stop, st.sampled_from(["end_turn", "tool_use", ""]))
    | st.just(used(inputTokens=-4))
)


@given(st.lists(odd_events, max_size=8))
def test_nothing_but_our_errors_comes_out_of_any_order_of_events(events: list[bytes]) -> None:
    try:
        message, deltas = read(b"".join(events))
    except ModelError:
        return
    check_deltas(message, deltas)
    assert message.usage.input_tokens >= 0
