"""The serving side of the wire: what it understands and what it refuses."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.wire.chat.serving import parse_request, render_error, render_models
from holdfast.types import AssistantMessage, CallId, Text, Thinking, ToolCall, ToolMessage, UserMessage


def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": [{"type": "text", "text": "And kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 3,
        "seed": 1,
    }
    request = parse_request(json.dumps(body).encode())
    assert request.instructions == "Be brief.\n\nAnd kind."
    assert request.messages == (
        UserMessage((Text("ab"),)),
        AssistantMessage((Thinking("hm"), ToolCall(CallId("c"), "f", "{}")), "", "tool_calls"),
        ToolMessage(CallId("c"), "f", "r"),
    )
    assert (request.stream, request.include_usage, request.max_output_tokens) == (True, True, 3)
    assert [tool.name for tool in request.tools] == ["f"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a chat completion request"),
        (b"[" * 100_000, "not a chat completion request"),
        (b'{"model": "m"}', "messages"),
        (b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}', "image_url"),
        (b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"x"}]}]}', "lacks its id"),
        (b'{"model":"m","messages":[],"tools":[{"type":"function"}]}', "function"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (500, "server_error"), (400, "invalid_request_error")]
)
def test_an_error_names_its_kind_by_its_status_unless_told(status: int, kind: str) -> None:
    assert json.loads(render_error(status, "no"))["error"] == {
        "message": "no",
        "type": kind,
        "param": None,
        "code": None,
    }
    assert json.loads(render_error(status, "no", "mine", "c"))["error"]["type"] == "mine"


def test_models_are_listed_by_name() -> None:
    assert [model["id"] for model in json.loads(render_models(["a", "b"]))["data"]] == ["a", "b"]
