"""The serving side of Ollama's chat: what it understands and what it refuses."""

from __future__ import annotations

import json

import ollama
import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.wire.ollama.serving import parse_request, render_answer, render_error, render_stream
from holdfast.types import (
    AssistantMessage,
    CallId,
    Image,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)

PNG = "iVBORw0KGgo="


@pytest.mark.requirement("ollama:serving")
def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    calls = [{"function": {"name": name, "arguments": {"n": 1}}} for name in ("f", "g", "f")]
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "thinking": "hm", "tool_calls": calls},
            {"role": "tool", "tool_name": "g", "content": "second"},
            {"role": "tool", "tool_name": "f", "content": "first"},
            {"role": "tool", "content": "third"},
            {"role": "tool", "content": "of nobody"},
            {"role": "assistant", "tool_calls": [{"id": "mine", "function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "tool_call_id": "mine", "content": "r"},
            {"role": "user", "content": "look", "images": [PNG]},
            {"role": "user", "images": [PNG]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "options": {"num_predict": 3, "num_ctx": 9},
        "keep_alive": 0,
    }
    request = parse_request(json.dumps(body).encode())
    made = [ToolCall(CallId(f"call_{n}"), name, '{"n": 1}') for n, name in enumerate(("f", "g", "f"))]
    picture = Image("image/png", b"\x89PNG\r\n\x1a\n")
    assert request.instructions == "Be brief."
    assert request.messages == (
        UserMessage((Text("a"),)),
        AssistantMessage((Thinking("hm"), Text("b"), *made), "", "tool_calls"),
        ToolMessage(CallId("call_1"), "g", "second"),
        ToolMessage(CallId("call_0"), "f", "first"),
        ToolMessage(CallId("call_2"), "f", "third"),
        ToolMessage(CallId(""), "", "of nobody"),
        AssistantMessage((ToolCall(CallId("mine"), "f", "{}"),), "", "tool_calls"),
        ToolMessage(CallId("mine"), "f", "r"),
        UserMessage((Text("look"), picture)),
        UserMessage((picture,)),
    )
    assert (request.stream, request.max_output_tokens) == (True, 3)
    assert not parse_request(b'{"model":"m","messages":[],"stream":false}').stream


def turn(fields: str, role: str = "user") -> bytes:
    return b'{"model":"m","messages":[{"role":"%b",%b}]}' % (role.encode(), fields.encode())


@pytest.mark.requirement("ollama:serving")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a chat request"),
        (b"[" * 100_000, "not a chat request"),
        (b"\xff", "not a chat request"),
        (b'{"model": "m"}', "messages"),
        (turn('"content":[{"type":"text"}]'), "not a chat request"),
        (turn('"images":["eA=="]'), "neither PNG"),
        (turn('"images":["iVBORw0KGgo?"]'), "image/png"),
        (turn('"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]', "assistant"), "an object"),
        (turn('"tool_calls":[{}]', "assistant"), "its name"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


@pytest.mark.requirement("ollama:serving")
def test_answers_are_such_as_the_official_client_reads_one_line_each() -> None:
    message = AssistantMessage(
        (Text("a\nb"), ToolCall(CallId("c"), "f", '{"a":\n[1,\r\n2]}'), ToolCall(CallId("d"), "g", "oops")),
        "ollama/m",
        "tool_calls",
        Usage(9, 4),
    )
    lines = render_stream(message)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    read = [ollama.ChatResponse.model_validate_json(line) for line in (*lines, render_answer(message))]
    called = [each.message.tool_calls for each in read if each.message.tool_calls]
    assert len(called) == 2
    for calls in called:
        assert [dict(call.function.arguments) for call in calls] == [{"a": [1, 2]}, {"invalid_arguments": "oops"}]
    assert (read[-1].message.content, read[-1].done_reason, read[-1].prompt_eval_count) == ("a\nb", "stop", 9)
    assert json.loads(render_error("no")) == {"error": "no"}
