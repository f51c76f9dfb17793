"""What stands beside the words of a Chat Completions answer: what they are from, and thinking in other forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import Malformed
from holdfast.models.failures import Origin
from holdfast.models.wire.chat.serving import render_answer, render_stream
from holdfast.models.wire.chat.streaming import Parser
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Citation,
    Delta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

ORIGIN = Origin(provider="openrouter", model="m")


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def read(*chunks: bytes, **options: Any) -> tuple[AssistantMessage, list[Delta]]:
    parser = Parser(ORIGIN, **options)
    deltas = [delta for chunk in chunks for delta in parser.feed(chunk)]
    deltas += parser.end()
    return parser.message(), deltas


def page(url: str, title: str = "") -> dict[str, Any]:
    return {"annotations": [{"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": 0}}]}


def test_pages_that_words_are_from_are_citations_each_once() -> None:
    message, deltas = read(
        event({"content": "a"}),
        event(page("http://x", "X")),
        event({"content": "b", **page("http://y")}),
        event(page("http://x", "X")),
        event({"annotations": [{"type": "file_citation"}]}),
        event(finish="stop"),
    )
    assert message.parts == (Text("ab", citations=(Citation("http://x", "X"), Citation("http://y"))),)
    assert deltas == [TextDelta("a"), TextDelta("b")]


@pytest.mark.parametrize("streamed", [True, False])
def test_citations_that_the_wire_writes_as_a_server_it_reads_as_a_client(streamed: bool) -> None:
    said = AssistantMessage((Text("a", citations=(Citation("http://x", "X"),)),), ORIGIN.name, "stop", Usage(1, 2))
    data = render_stream(said) if streamed else [render_answer(said)]
    assert read(*data)[0] == said


def test_thinking_in_details_is_kept_as_its_provider_wants_it_back_with_the_pieces_of_one_text_joined() -> None:
    def detail(**fields: Any) -> dict[str, Any]:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, **fields}]}

    message, deltas = read(
        event({"reasoning": "Let ", **detail(text="Let ", format="f")}),
        event({"reasoning": "me", **detail(text="me")}),
        event(detail(signature="sig")),
        event({"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "zz"}]}),
        event({"content": "a"}),
        event(finish="stop"),
    )
    thinking = message.parts[0]
    assert isinstance(thinking, Thinking)
    assert thinking.text == "Let me"
    assert json.loads(thinking.signature) == [
        {"type": "reasoning.text", "index": 0, "text": "Let me", "format": "f", "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "data": "zz"},
    ]
    assert deltas == [ThinkingDelta("Let "), ThinkingDelta("me"), TextDelta("a")]


def test_thinking_that_only_its_provider_can_read_is_kept_without_a_word() -> None:
    hidden = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "zz"}]}
    message, _ = read(event(hidden), event({"content": "a"}, "stop"))
    assert message.parts[0] == Thinking("", '[{"type":"reasoning.encrypted","data":"zz"}]')


def test_an_answer_in_parts_is_its_thinking_and_its_words() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm "}, {"type": "text", "text": "ok"}]}
    message, deltas = read(
        event({"content": [thought]}),
        event({"content": [{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}]}),
        event({"content": "b"}, "stop"),
    )
    assert message.parts == (Thinking("hm ok"), Text("ab"))
    assert [delta for delta in deltas if isinstance(delta, ThinkingDelta)] == [ThinkingDelta("hm ok")]


@pytest.mark.requirement("models:tool-names-mapped-back")
def test_a_tool_is_called_by_its_own_name_in_the_deltas_and_in_the_message() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "files_read", "arguments": "{}"}}
    message, deltas = read(
        event({"tool_calls": [call]}), event(finish="tool_calls"), name_of={"files_read": "files.read"}.__getitem__
    )
    assert message.calls == (ToolCall(CallId("c"), "files.read", "{}"),)
    assert deltas == [CallDelta(0, "c", "files.read", "{}")]


def test_what_deepseek_read_from_its_cache_is_counted() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 3}
    message, _ = read(event({"content": "a"}, "stop"), event(usage=usage))
    assert message.usage == Usage(9, 2, 6)


def test_thinking_that_a_server_counts_beside_the_completion_is_output_that_is_paid_for() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 94}}
    beside = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, **details}
    assert read(event({"content": "a"}, "stop"), event(usage=beside))[0].usage == Usage(32, 103, 0, 0, 94)
    within = {"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135, **details}
    assert read(event({"content": "a"}, "stop"), event(usage=within))[0].usage == Usage(32, 103, 0, 0, 94)


def test_notes_without_end_are_an_answer_that_is_too_long() -> None:
    chunk = event(
        {"reasoning_details": [{"type": "reasoning.text", "index": n, "text": "x" * 50} for n in range(1000)]}
    )
    with pytest.raises(Malformed, match="an answer of more than 100000 characters"):
        read(*[chunk] * 10, max_chars=100_000)
