"""Answers of Responses servers, well-formed, odd and hostile, as the parser reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    ConnectionFailed,
    ModelError,
)
from holdfast.models.failures import Origin
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.responses.serving import render_answer, render_stream
from holdfast.models.wire.responses.streaming import Parser
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Citation,
    Delta,
    Part,
    ProviderStep,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

ORIGIN = Origin(provider="openai-responses", model="m", url="http://x")
SEARCH = '{"type":"web_search_call","id":"ws","status":"completed","action":{"type":"search","query":"q"}}'
REASONING = '{"type":"reasoning","id":"rs","summary":[{"text":"hm","type":"summary_text"}],"encrypted_content":"gAAA"}'
ANSWER = AssistantMessage(
    (
        Thinking("hm", REASONING),
        ProviderStep("web_search", SEARCH, "q"),
        Text("Hello wörld", "commentary", (Citation("https://a", "A"), Citation("file-1", "a.txt"))),
        ToolCall(CallId("c1"), "f", '{"x": 1}'),
        ToolCall(CallId("c2"), "g", "{}"),
    ),
    "openai-responses/m",
    "tool_calls",
    Usage(100, 20, 40, 10, 5),
)


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), bytes_of({"type": kind, **fields}))


def added(index: int, kind: str, **item: Any) -> bytes:
    return event("response.output_item.added", output_index=index, item={"type": kind, **item})


def done(index: int, kind: str, **item: Any) -> bytes:
    return event("response.output_item.done", output_index=index, item={"type": kind, **item})


def says(*pieces: str, index: int = 0, place: int = 0) -> bytes:
    kind = "response.output_text.delta"
    return b"".join(event(kind, output_index=index, content_index=place, delta=piece) for piece in pieces)


def over(status: str = "completed", **response: Any) -> bytes:
    usage = {"input_tokens": 5, "output_tokens": 3}
    return event(f"response.{status}", response={"status": status, "usage": usage, **response})


def read(data: bytes, *, taken: frozenset[str] = frozenset(), **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, taken=taken, **options)
    deltas = parser.feed(data)
    deltas += parser.end()
    return parser.message(), deltas


def check_deltas(message: AssistantMessage, deltas: list[Delta]) -> None:
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        said = [d for d in deltas if isinstance(d, CallDelta) and d.index == place]
        assert (said[0].name, {d.id for d in said}) == (call.name, {call.id})
        assert "".join(d.arguments for d in said) == call.arguments


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
COUNTS = st.integers(0, 10**6)


@st.composite
def thoughts(draw: st.DrawFn) -> Thinking:
    """Returns reasoning as this protocol carries it: unsigned words, or a summary with what it encrypts."""
    words = draw(st.lists(WORDS, max_size=2))
    if draw(st.booleans()):
        return Thinking(draw(WORDS))
    summary = [{"text": each, "type": "summary_text"} for each in words]
    item = {"type": "reasoning", "id": draw(WORDS), "summary": summary, "encrypted_content": draw(WORDS)}
    return Thinking("\n\n".join(words), bytes_of(item).decode())


@st.composite
def steps(draw: st.DrawFn) -> ProviderStep:
    word = draw(WORDS)
    kind, said = draw(
        st.sampled_from((("web_search", {"action": {"query": word}}), ("code_interpreter", {"code": word})))
    )
    return ProviderStep(kind, bytes_of({"type": f"{kind}_call", "id": draw(WORDS), **said}).decode(), word)


CITATIONS = st.builds(Citation, WORDS.map("https://{}".format), WORDS)
TEXTS = st.builds(
    Text, WORDS, st.sampled_from(("", "commentary")), st.lists(CITATIONS, unique=True, max_size=2).map(tuple)
)
CALLS = st.builds(ToolCall, st.uuids().map(lambda id: CallId(str(id))), WORDS, WORDS | st.just("{}"))
PARTS: st.SearchStrategy[Part] = thoughts() | TEXTS | CALLS | steps()


@st.composite
def answers(draw: st.DrawFn) -> AssistantMessage:
    parts = tuple(draw(st.lists(PARTS, max_size=5)))
    called = any(isinstance(part, ToolCall) for part in parts)
    stop = draw(st.sampled_from(("length", "refusal", "tool_calls" if called else "stop")))
    return AssistantMessage(
        parts, "openai-responses/m", stop, Usage(draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(COUNTS))
    )


@pytest.mark.requirement("responses:both-ways")
@given(answers(), st.none() | st.integers(1, 5), st.booleans())
def test_what_the_wire_writes_it_reads_back_to_an_equal_message(
    message: AssistantMessage, chunk: int | None, streamed: bool
) -> None:
    body = b"".join(render_stream(message, chunk=chunk)) if streamed else render_answer(message)
    back, deltas = read(body)
    assert back == message
    check_deltas(back, deltas)


@pytest.mark.requirement("responses:any-cut")
@given(st.lists(st.integers(1, 6000), max_size=20))
def test_an_answer_is_the_same_however_its_bytes_are_cut(places: list[int]) -> None:
    data = b"".join(render_stream(ANSWER, chunk=3))
    parser, deltas = Parser(ORIGIN), list[Delta]()
    ends = sorted({place for place in places if place < len(data)} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        deltas += parser.feed(data[start:end])
    deltas += parser.end()
    assert parser.message() == ANSWER
    check_deltas(ANSWER, deltas)


@pytest.mark.requirement("responses:any-cut")
def test_an_answer_that_breaks_off_at_any_byte_is_never_whole_and_says_nothing_else() -> None:
    data = b"".join(render_stream(ANSWER, chunk=3))
    for size in range(len(data) - 2):
        parser, deltas = Parser(ORIGIN), list[Delta]()
        with pytest.raises(ModelError):
            deltas += parser.feed(data[:size])
            deltas += parser.end()
            parser.message()
        assert not parser.is_whole
        assert ANSWER.text.startswith("".join(d.text for d in deltas if isinstance(d, TextDelta)))


@pytest.mark.requirement("responses:reasoning-kept")
def test_reasoning_is_kept_as_the_item_that_has_to_be_given_back() -> None:
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    kind = "response.reasoning_summary_text.delta"
    data = (
        added(0, "reasoning", id="rs_1", summary=[], encrypted_content="not all of it")
        + event(kind, output_index=0, summary_index=0, delta="a")
        + event(kind, output_index=0, summary_index=1, delta="b")
        + done(0, "reasoning", id="rs_1", summary=summary, encrypted_content="gAAA", status="completed")
        + over()
    )
    message, deltas = read(data)
    (thinking,) = message.parts
    assert isinstance(thinking, Thinking)
    assert thinking.text == "a\n\nb"
    assert json.loads(thinking.signature) == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": summary,
        "encrypted_content": "gAAA",
    }
    check_deltas(message, deltas)


@pytest.mark.requirement("responses:reasoning-kept")
def test_reasoning_that_nobody_encrypted_is_kept_only_if_its_own_words_are_there() -> None:
    summary = [{"type": "summary_text", "text": "a"}]
    bare, _ = read(done(0, "reasoning", id="rs_1", summary=summary, encrypted_content=None) + over())
    assert bare.parts == (Thinking("a"),)
    content = [{"type": "reasoning_text", "text": "w"}]
    own, deltas = read(
        event("response.reasoning_text.delta", output_index=0, content_index=0, delta="w")
        + done(0, "reasoning", id="rs_1", content=content)
        + over()
    )
    (thinking,) = own.parts
    assert isinstance(thinking, Thinking)
    assert (thinking.text, json.loads(thinking.signature)["content"]) == ("w", content)
    check_deltas(own, deltas)


@pytest.mark.requirement("responses:provider-steps")
@pytest.mark.parametrize(
    ("item", "name", "text"),
    [
        ({"type": "web_search_call", "action": {"type": "search", "queries": ["a", "b"]}}, "web_search", "a, b"),
        ({"type": "web_search_call", "action": {"type": "open_page", "url": "https://a"}}, "web_search", "https://a"),
        ({"type": "file_search_call", "queries": ["a"], "results": None}, "file_search", "a"),
        ({"type": "code_interpreter_call", "code": "1+1", "outputs": []}, "code_interpreter", "1+1"),
        ({"type": "image_generation_call", "result": "aGk=", "revised_prompt": "a cat"}, "image_generation", "a cat"),
        ({"type": "mcp_call", "name": "look", "arguments": "{}", "output": "x"}, "look", "{}"),
        ({"type": "mcp_list_tools", "tools": []}, "mcp_list_tools", ""),
        ({"type": "compaction", "encrypted_content": "x"}, "compaction", ""),
        ({"type": "something_new_call", "queries": 5, "action": "odd"}, "something_new", ""),
    ],
)
def test_what_the_provider_did_itself_is_kept_whole(item: dict[str, Any], name: str, text: str) -> None:
    kind = item.pop("type")
    begun = {"id": "i", "name": item.get("name"), "status": "in_progress"}
    data = added(0, kind, **begun) + done(0, kind, id="i", **item) + says("ok", index=1) + over()
    message, _ = read(data)
    step, words = message.parts
    assert words == Text("ok")
    assert isinstance(step, ProviderStep)
    assert (step.name, step.text) == (name, text)
    assert {"id": "i", **item}.items() <= json.loads(step.data).items()
    assert message.stop == "stop"


@pytest.mark.requirement("responses:provider-steps")
def test_what_waits_for_a_client_that_can_do_it_is_left_out() -> None:
    message, _ = read(done(0, "computer_call", call_id="c") + says("ok", index=1) + over())
    assert message.parts == (Text("ok"),)


@pytest.mark.requirement("responses:citations")
def test_where_words_come_from_is_told_once() -> None:
    places = [
        {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 1},
        {"type": "container_file_citation", "file_id": "f", "filename": "a.txt", "container_id": "c"},
        {"type": "file_path", "file_id": "g"},
        {"type": "something_new"},
    ]
    kind = "response.output_text.annotation.added"
    data = (
        event(kind, output_index=0, content_index=0, annotation=places[0])
        + says("words")
        + event(kind, output_index=0, content_index=0, annotation=None)
        + done(0, "message", content=[{"type": "output_text", "text": "words", "annotations": places}])
        + over()
    )
    message, _ = read(data)
    cited = (Citation("https://a", "A"), Citation("f", "a.txt"), Citation("g"))
    assert message.parts == (Text("words", citations=cited),)


@pytest.mark.requirement("responses:stop-reasons")
def test_a_refusal_is_said_and_named() -> None:
    kind = "response.refusal.delta"
    data = event(kind, output_index=0, content_index=0, delta="No.")
    data += done(0, "message", content=[{"type": "refusal", "refusal": "No."}]) + over()
    message, deltas = read(data)
    assert (message.parts, message.stop) == ((Text("No."),), "refusal")
    check_deltas(message, deltas)
    silent, _ = read(done(0, "message", content=[{"type": "refusal", "refusal": "No."}]) + over())
    assert silent == message


@pytest.mark.requirement("responses:stop-reasons")
@pytest.mark.parametrize(
    ("end", "stop"),
    [
        (over(), "stop"),
        (over("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (over("incomplete", incomplete_details={"reason": "content_filter"}), "refusal"),
        (over("incomplete", incomplete_details={"reason": "steered"}), "length"),
        (over("incomplete", incomplete_details=None), "length"),
        (event("response.completed", response={}), "stop"),
    ],
)
def test_an_answer_ends_for_the_reason_the_server_gives(end: bytes, stop: str) -> None:
    message, _ = read(says("a") + end)
    assert (message.text, message.stop) == ("a", stop)


@pytest.mark.requirement("responses:stop-reasons")
def test_an_answer_without_an_end_is_broken_off() -> None:
    with pytest.raises(ConnectionFailed, match="broke off"):
        read(says("a") + done(0, "message", content=[{"type": "output_text", "text": "a"}]))


@pytest.mark.requirement("responses:usage")
def test_usage_counts_cached_and_reasoning_tokens_as_parts() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    message, _ = read(says("a") + over(usage=usage))
    assert message.usage == Usage(10, 7, 4, 2, 3)
    parser = Parser(ORIGIN)
    parser.feed(says("a") + over(usage=None))
    assert (parser.is_metered, parser.is_whole) == (False, True)


@pytest.mark.requirement("responses:calls")
def test_calls_whose_arguments_come_in_turns_or_late_are_whole() -> None:
    kind = "response.function_call_arguments.delta"
    data = (
        added(0, "function_call", id="fc_1", call_id="c", name="f", arguments="")
        + added(1, "function_call", id="fc_2", call_id="c", name="g", arguments="")
        + event(kind, output_index=1, delta='{"b":')
        + event(kind, output_index=0, delta='{"a":1}')
        + event(kind, output_index=1, delta="2}")
        + done(0, "function_call", id="fc_1", call_id="c", name="f", arguments='{"a":1}')
        + done(1, "function_call", id="fc_2", call_id="c", name="g", arguments='{"b":2}')
        + added(2, "function_call", call_id=None, name="h")
        + done(2, "function_call", call_id=None, name="h", arguments='{"c":3}')
        + added(3, "function_call", call_id="d", name="none", arguments="")
        + done(3, "function_call", call_id="d", name="none", arguments="")
        + over()
    )
    message, deltas = read(data, taken=frozenset({"d"}), turn=4)
    called = [(call.name, call.arguments) for call in message.calls]
    assert called == [("f", '{"a":1}'), ("g", '{"b":2}'), ("h", '{"c":3}'), ("none", "{}")]
    assert message.calls[0].id == "c"
    assert len({call.id for call in message.calls} | {"d", ""}) == 6
    assert message.stop == "tool_calls"
    check_deltas(message, deltas)


@pytest.mark.requirement("responses:odd-servers")
def test_an_answer_whose_items_come_only_at_the_end_is_read_from_there() -> None:
    for body in (over(output=json.loads(render_answer(ANSWER))["output"]), render_answer(ANSWER)):
        message, deltas = read(body)
        assert message.parts == ANSWER.parts
        check_deltas(message, deltas)


@pytest.mark.requirement("responses:odd-servers")
def test_kinds_of_events_that_nobody_knows_are_skipped() -> None:
    odd = (
        event("response.created", response={"instructions": "x" * 1000, "tools": [{"type": 5}]})
        + event("response.content_part.added", part={"type": "output_text"}, delta={"a": 1})
        + event("response.something_new.delta", delta={"not": "text"}, output_index=3)
        + added(9, "message", content=None)
        + event("response.output_item.added", output_index=8, item=None)
        + event("keepalive", sequence_number=3)
    )
    message, _ = read(odd + says("a") + odd + over() + says("never") + b"data: [DONE]\n\n")
    assert message.parts == (Text("a"),)


@pytest.mark.requirement("responses:odd-servers")
def test_pieces_of_a_message_keep_their_order_also_when_a_second_one_begins() -> None:
    content = [{"type": "output_text", "text": t} for t in ("a", "b", "c")]
    message, deltas = read(says("a") + says("b", place=1) + done(0, "message", content=content) + over())
    assert message.parts == (Text("a"), Text("b"), Text("c"))
    check_deltas(message, deltas)
