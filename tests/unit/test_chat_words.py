"""Events that say only words are read by a shorter way; it comes to the same as the long one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.models.failures import Origin
from holdfast.models.wire.chat.streaming import Parser
from holdfast.types import AssistantMessage, Delta, TextDelta, ThinkingDelta, Usage

ORIGIN = Origin(provider="openai", model="m", url="http://host/v1", url_variable="OPENAI_BASE_URL")
LONG = b'data: {"comment":"an event without choices, which only the long way takes"}\n\n'
USED = {"prompt_tokens": 7, "completion_tokens": 3}

words = st.sampled_from(["", "a", "é ", "data: ", '"tool_calls":[']).map(lambda text: {"content": text})
more = st.sampled_from(
    [
        {},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": None},
        {"content": [{"type": "text", "text": "part"}]},
        {"reasoning_content": "hm"},
        {"reasoning": "so"},
        {"refusal": "no"},
        {"annotations": []},
        {"annotations": [{"url_citation": {"url": "http://page", "title": "T"}}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "why"}]},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{}"}}]},
        {"function_call": {"name": "old", "arguments": "{}"}},
    ]
)
reads = st.lists(st.lists(st.one_of(words, words, more), min_size=1, max_size=4), max_size=5)


def event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}
    return b"data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def answer(reads: list[bytes]) -> tuple[AssistantMessage, list[Delta]]:
    parser, deltas = Parser(ORIGIN), list[Delta]()
    for data in reads:
        deltas += parser.feed(data)
    deltas += parser.end()
    return parser.message(), deltas


@given(reads, st.booleans())
@example([[{"content": "a"}, {"content": "b"}], [{"reasoning_content": "hm"}], [{"content": "c"}]], True)
def test_words_are_read_alike_whichever_way_they_are_read(pieces: list[list[dict[str, Any]]], used_last: bool) -> None:
    last = event({}, "stop", usage=USED) if used_last else event({}, "stop")
    sent = [b"".join([event(delta) for delta in read]) for read in pieces] + [last, b"data: [DONE]\n\n"]
    message, deltas = answer(sent)
    at_length = answer([LONG + data for data in sent])
    assert (message, deltas) == at_length
    assert message.usage == (Usage(7, 3) if used_last else Usage())


def test_a_read_of_words_is_one_delta_and_thinking_before_them_is_its_own() -> None:
    thought = event({"reasoning_content": "hm"}) + event({"content": "a"}) + event({"content": "b"})
    message, deltas = answer([thought, event({"content": "c"}) + event({"content": "d"}, "stop")])
    assert deltas == [ThinkingDelta("hm"), TextDelta("ab"), TextDelta("cd")]
    assert message.text == "abcd"
