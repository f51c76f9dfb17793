"""Answers of Gemini servers, well-formed, odd and hostile, as the parser reads them."""

from __future__ import annotations

import json
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
    Overloaded,
    RateLimited,
)
from holdfast.models.failures import Origin, failure_of
from holdfast.models.wire.gemini.serving import render_answer, render_error, render_stream
from holdfast.models.wire.gemini.streaming import Parser
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

ORIGIN = Origin(provider="google", model="m", url="http://x", secret="sk-1")
ANSWER = AssistantMessage(
    (
        Thinking("hm"),
        Thinking("", "c2ln"),
        Text("Hello wörld"),
        Text("", "dGV4dA=="),
        ProviderStep("code_execution", '{"executableCode":{"code":"1+1"},"thoughtSignature":"c3RlcA=="}', "1+1"),
        ToolCall(CallId("c1"), "f", '{"x":1}', "Y2FsbA=="),
        ToolCall(CallId("c2"), "g", "{}"),
    ),
    "google/m",
    "tool_calls",
    Usage(100, 20, 40, 0, 5),
)


def event(**fields: Any) -> bytes:
    return f"data: {json.dumps(fields)}\r\n\r\n".encode()


def said(*parts: dict[str, Any], finish: str | None = None, **beside: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, **beside}
    if finish:
        candidate["finishReason"] = finish
    return event(candidates=[candidate])


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


@pytest.mark.requirement("gemini:stream-cut-anywhere", "gemini:signatures-kept")
@given(st.lists(st.integers(0, 1500), max_size=30), st.none() | st.integers(1, 5))
def test_an_answer_is_the_same_however_its_bytes_are_cut(places: list[int], chunk: int | None) -> None:
    whole = b"".join(render_stream(ANSWER, chunk=chunk))
    cuts = sorted({place % (len(whole) + 1) for place in places})
    parser, deltas = Parser(ORIGIN), list[Delta]()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        deltas += parser.feed(whole[start:end])
    deltas += parser.end()
    assert parser.message() == ANSWER
    assert parser.is_metered
    check_deltas(ANSWER, deltas)


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
signatures = st.text("abcXYZ012+/", min_size=4, max_size=8)
objects = st.dictionaries(words, st.integers() | words | st.none(), max_size=3)
unsigned = st.builds(Text, words) | st.builds(Thinking, words)
signed = st.builds(Text, st.just("") | words, signatures) | st.builds(Thinking, st.just("") | words, signatures)
calls = st.builds(ToolCall, st.just(CallId("c")), words, objects.map(json.dumps), st.just("") | signatures)


def ran(code: str) -> ProviderStep:
    return ProviderStep("code_execution", json.dumps({"executableCode": {"code": code}}, separators=(",", ":")), code)


steps = words.map(ran)


@st.composite
def answers(draw: st.DrawFn) -> AssistantMessage:
    parts: list[Part] = []
    for number, part in enumerate(draw(st.lists(unsigned | signed | calls | steps, max_size=6))):
        last = parts[-1] if parts else None
        goes_on = isinstance(part, Text | Thinking) and type(last) is type(part) and not part.signature
        if goes_on and isinstance(last, Text | Thinking) and not last.signature:
            continue  # without a signature two of a kind are one
        if isinstance(part, ToolCall):
            parts.append(ToolCall(CallId(f"c{number}"), part.name, part.arguments, part.signature))
        else:
            parts.append(part)
    stops: list[StopReason] = ["stop", "length", "refusal"]
    stop = draw(st.sampled_from(stops))
    if stop == "stop" and any(isinstance(part, ToolCall) for part in parts):
        stop = "tool_calls"
    thought = draw(st.integers(0, 9))
    usage = Usage(draw(st.integers(0, 99)), thought + draw(st.integers(0, 9)), draw(st.integers(0, 9)), 0, thought)
    return AssistantMessage(tuple(parts), "google/m", stop, usage)


@pytest.mark.requirement("gemini:serving-round-trip")
@given(answers(), st.none() | st.integers(1, 4))
def test_what_the_wire_writes_as_a_server_it_reads_as_a_client(message: AssistantMessage, chunk: int | None) -> None:
    streamed, deltas = read(b"".join(render_stream(message, chunk=chunk)))
    whole, at_once = read(render_answer(message))
    assert streamed == whole == message
    check_deltas(message, deltas)
    check_deltas(message, at_once)


@pytest.mark.requirement("gemini:usage")
def test_thoughts_are_output_and_what_tools_brought_in_is_input() -> None:
    tokens = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 5,
        "toolUsePromptTokenCount": 30,
    }
    early = event(candidates=[], usageMetadata={"promptTokenCount": 100, "candidatesTokenCount": 99})
    message, _ = read(early + said({"text": "a"}, finish="STOP") + event(usageMetadata=tokens))
    assert message.usage == Usage(130, 12, 60, 0, 5)
    parser = Parser(ORIGIN)
    parser.feed(early + said({"text": "a"}, finish="STOP"))
    assert (parser.is_whole, parser.is_metered) == (True, False), "an early count is not that of the whole answer"


@pytest.mark.requirement("gemini:stop-reasons")
@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOO_MANY_TOOL_CALLS", "length"),
        *[(reason, "refusal") for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")],
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_each_stop_reason_has_one_of_our_words(reason: str, stop: StopReason) -> None:
    assert read(said({"text": "a"}, finish=reason))[0].stop == stop
    assert read(said({"functionCall": {"name": "f"}}, finish="STOP"))[0].stop == "tool_calls"


@pytest.mark.requirement("gemini:broken-calls")
@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("MALFORMED_FUNCTION_CALL", Malformed),
        ("UNEXPECTED_TOOL_CALL", Malformed),
        ("MALFORMED_RESPONSE", Malformed),
        ("OTHER", Malformed),
        ("MISSING_THOUGHT_SIGNATURE", InvalidRequest),
    ],
)
def test_a_call_the_provider_calls_malformed_is_an_error_and_never_a_call(reason: str, error: type[ModelError]) -> None:
    data = said({"functionCall": {"name": "f", "args": {}}}, finish=reason, finishMessage="no sk-1")
    with pytest.raises(error, match=r"no \*\*\*") as caught:
        read(data)
    assert caught.value.retry == ("now" if error is Malformed else "never")


@pytest.mark.requirement("gemini:blocked-prompt")
def test_a_prompt_that_is_blocked_is_a_refusal() -> None:
    message, _ = read(event(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={"promptTokenCount": 4}))
    assert (message.parts, message.stop, message.usage) == ((), "refusal", Usage(4, 0))


@pytest.mark.requirement("gemini:citations", "gemini:provider-steps")
def test_what_an_answer_rests_on_becomes_citations_and_a_step() -> None:
    web = {"web": {"uri": "https://a", "title": "A"}}
    store = {"retrievedContext": {"title": "notes.md", "text": "the words"}}
    grounding = {"groundingChunks": [web, store, web, {"image": {}}], "webSearchQueries": ["a?", "b?"]}
    again = {"webSearchQueries": ["b?", "c?"]}
    quoted = {"citationSources": [{"uri": "https://b"}, {}]}
    data = said({"text": "One."}) + said({"functionCall": {"name": "f"}}, groundingMetadata=grounding)
    message, deltas = read(data + said(groundingMetadata=again, citationMetadata=quoted, finish="STOP"))
    text, call, step = message.parts
    assert isinstance(text, Text)
    assert text.citations == (
        Citation("https://a", "A"),
        Citation("notes.md", "notes.md", "the words"),
        Citation("https://b"),
    )
    assert isinstance(call, ToolCall)
    queries = {"groundingMetadata": {"webSearchQueries": ["a?", "b?", "c?"]}}
    assert isinstance(step, ProviderStep)
    assert (step.name, json.loads(step.data), step.text) == ("google_search", queries, "a?, b?, c?")
    check_deltas(message, deltas)
    served, _ = read(b"".join(render_stream(message)))
    assert [part for part in served.parts if isinstance(part, Text)] == [text]


@pytest.mark.requirement("gemini:provider-steps")
def test_what_the_provider_ran_itself_is_kept_whole() -> None:
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "c2ln"},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "x", "args": {"queries": ["q"]}}},
        {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": "x", "response": {}}},
    ]
    message, _ = read(said(*parts) + said({"text": "1"}, finish="STOP"))
    steps = [part for part in message.parts if isinstance(part, ProviderStep)]
    assert [json.loads(step.data) for step in steps] == parts
    assert [(step.name, step.text) for step in steps] == [
        ("code_execution", "print(1)"),
        ("code_execution_result", "1\n"),
        ("google_search_web", '{"queries":["q"]}'),
        ("google_search_web_result", ""),
    ]


@pytest.mark.requirement("gemini:call-ids")
def test_calls_get_ids_nobody_has_and_the_names_of_their_tools() -> None:
    parts = [{"functionCall": {"name": "f", "id": id} if id else {"name": "f"}} for id in ("", "a", "a", "old", "")]
    message, _ = read(
        said(*parts, finish="STOP"), taken=frozenset(("old", "call_3_0")), turn=3, name_of=lambda name: name + "!"
    )
    ids = [call.id for call in message.calls]
    assert len({*ids, "old", "call_3_0"}) == len(ids) + 2
    assert ids[1] == "a"
    assert {(call.name, call.arguments) for call in message.calls} == {("f!", "{}")}


def test_what_this_version_does_not_know_is_skipped_and_the_rest_is_read() -> None:
    data = (
        event(modelStatus={"modelStage": "NEW"})
        + said({"hologram": {"x": 1}}, {"inlineData": {"mimeType": "image/png", "data": "eA=="}}, {"text": "a"})
        + event(candidates=[{"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "SAFETY"}])
        + event(candidates=[{"content": {}, "finishReason": "FINISH_REASON_UNSPECIFIED"}])
        + said({"text": "b", "partMetadata": {"x": 1}}, finish="STOP")
    )
    message, _ = read(data)
    assert (message.text, message.stop) == ("ab", "stop")
    assert read(b"[" + b",".join(piece[6:-4] for piece in render_stream(ANSWER)) + b"]")[0] == ANSWER


@pytest.mark.requirement("gemini:errors-in-streams")
@pytest.mark.parametrize(
    ("code", "status", "words", "error"),
    [
        (429, "RESOURCE_EXHAUSTED", "quota", RateLimited),
        (503, "UNAVAILABLE", "The model is overloaded.", Overloaded),
        (None, "RESOURCE_EXHAUSTED", "quota", RateLimited),
        (401, "UNAUTHENTICATED", "no", AuthFailed),
        (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens", ContextOverflow),
        (400, "INVALID_ARGUMENT", "bad", InvalidRequest),
    ],
)
def test_an_error_in_a_stream_or_in_its_place_is_ours(
    code: int | None, status: str, words: str, error: type[ModelError]
) -> None:
    body = {"error": {"code": code, "message": words, "status": status}}
    for data in (
        event(**body),
        said({"text": "a"}) + event(**body),
        json.dumps([body]).encode(),
        json.dumps(body).encode(),
    ):
        with pytest.raises(error):
            read(data)
    assert read(said({"text": "a"}, finish="STOP") + event(**body))[0].text == "a", "what was whole stays whole"


@pytest.mark.requirement("gemini:errors-by-status")
def test_a_key_that_is_none_and_the_wait_a_server_asks_for_are_read_from_the_details() -> None:
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    said = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [reason]}
    assert type(failure_of(ORIGIN, 400, {}, json.dumps({"error": said}).encode())) is AuthFailed
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    limited = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [wait]}
    error = failure_of(ORIGIN, 429, {}, json.dumps([{"error": limited}]).encode())
    assert (type(error), error.retry_after) == (RateLimited, 34.5)
    assert "quota" in str(error)
    assert isinstance(failure_of(ORIGIN, 404, {}, render_error(404, "models/x is not found")), InvalidRequest)


@pytest.mark.requirement("gemini:hostile-answers")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (b"<!doctype html><title>Sign in</title>", Malformed),
        (b"{}", Malformed),
        (b"data: 1\n\n", Malformed),
        (b'data: {"candidates": oops\n\n', Malformed),
        (b"data: " + b'{"candidates":[' * 5000 + b"\n\n", Malformed),
        (b'data: {"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}\n\n', Malformed),
        (said({"text": "a"}), ConnectionFailed),
        (said({"functionCall": {"name": "f", "willContinue": True}}, finish="STOP"), Malformed),
        (said({"executableCode": [1]}, finish="STOP"), Malformed),
    ],
)
def test_what_is_no_whole_answer_is_one_error(data: bytes, error: type[ModelError]) -> None:
    with pytest.raises(ModelError) as caught:
        read(data)
    assert type(caught.value) is error


@pytest.mark.requirement("gemini:hostile-answers")
@pytest.mark.parametrize(
    "piece",
    [
        said({"text": "x" * 50}),
        said({"text": "", "thoughtSignature": "s"}),
        said({"functionCall": {"name": "f"}}),
        said({"executableCode": {"code": "x"}}),
        said({"text": "a"}, groundingMetadata={"groundingChunks": [{"web": {"uri": "u"}}]}),
        b" ",
        b"data: " + b"x" * 100,
    ],
)
def test_an_endless_answer_is_cut_at_its_bound(piece: bytes) -> None:
    parser, fed = Parser(ORIGIN, max_chars=20_000), 0
    with pytest.raises(Malformed, match="20000"):
        while fed < 2_000_000:
            parser.feed(piece)
            fed += len(piece)
    assert fed < 400_000


part_values = st.sampled_from([None, "", "a", 1, [], {}, {"name": "f"}, {"code": "x"}, True])
odd_parts = st.dictionaries(
    st.sampled_from(["text", "thought", "thoughtSignature", "functionCall", "executableCode", "toolCall"]), part_values
)
odd_candidates = st.fixed_dictionaries(
    {},
    optional={
        "content": st.none() | st.fixed_dictionaries({}, optional={"parts": st.lists(odd_parts, max_size=3)}),
        "finishReason": st.sampled_from(["STOP", "SAFETY", "OTHER", None, "", 3]),
        "groundingMetadata": st.sampled_from([None, {}, {"groundingChunks": [{}]}, {"webSearchQueries": ["q", ""]}]),
        "index": st.sampled_from([0, 1, None, "0"]),
    },
)
odd_events = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(odd_candidates, max_size=2),
        "usageMetadata": st.sampled_from([None, {}, {"promptTokenCount": -4}, {"candidatesTokenCount": 3}]),
        "promptFeedback": st.sampled_from([None, {}, {"blockReason": "X"}]),
    },
)


@given(st.lists(odd_events.map(lambda fields: event(**fields)), max_size=6))
def test_nothing_but_our_errors_comes_out_of_any_order_of_events(events: list[bytes]) -> None:
    try:
        message, deltas = read(b"".join(events))
    except ModelError:
        return
    check_deltas(message, deltas)
    assert message.usage.input_tokens >= 0
