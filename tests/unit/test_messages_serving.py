"""The serving side of Messages: what it understands and what it refuses."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.wire.messages.serving import parse_request, render_count, render_error, render_models
from holdfast.types import AssistantMessage, CallId, Document, Image, Text, Thinking, ToolCall, ToolMessage, UserMessage


def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    note = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "n"}
    body = {
        "model": "m",
        "max_tokens": 3,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "system", "content": "And kind."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "b"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "content": [{"type": "text", "text": "r"}],
                        "is_error": True,
                    },
                    image,
                    note,
                ],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": None}],
        "stream": True,
        "metadata": {"user_id": "u"},
    }
    request = parse_request(json.dumps(body).encode())
    assert request.instructions == "Be brief.\n\nAnd kind."
    assert request.messages == (
        UserMessage((Text("a"),)),
        AssistantMessage(
            (Thinking("hm", "sig"), Thinking("", redacted="x"), Text("b"), ToolCall(CallId("c"), "f", '{"a": 1}')),
            "",
            "tool_calls",
        ),
        ToolMessage(CallId("c"), "f", "r", is_error=True),
        UserMessage((Image("image/png", b"x"), Document("text/plain", b"hi", "n"))),
    )
    assert (request.stream, request.max_output_tokens, [tool.name for tool in request.tools]) == (True, 3, ["f"])


def turn(block: str, role: str = "user") -> bytes:
    return b'{"model":"m","messages":[{"role":"%b","content":[%b]}]}' % (role.encode(), block.encode())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a messages request"),
        (b"[" * 100_000, "not a messages request"),
        (b'{"model": "m"}', "messages"),
        (turn('{"type":"video"}'), "video"),
        (turn('{"type":"image","source":{"type":"url","url":"http://x"}}'), "'url'"),
        (turn('{"type":"image","source":{"type":"base64","media_type":"image/png","data":"?"}}'), "image/png"),
        (turn('{"type":"image","source":{"type":"base64","media_type":"image/bmp","data":"eA=="}}'), "image/bmp"),
        (turn('{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}'), "no bytes"),
        (turn('{"type":"tool_result","tool_use_id":"c","content":[{"type":"image"}]}'), "'image'"),
        (turn('{"type":"tool_use","id":"c","name":"f","input":[]}', "assistant"), "an object"),
        (turn('{"type":"hologram"}', "assistant"), "hologram"),
        (b'{"model":"m","messages":[],"tools":[{"type":"custom","name":"bash"}]}', "bash"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error"), (413, "request_too_large")],
)
def test_an_error_names_its_kind_by_its_status_unless_told(status: int, kind: str) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": None}
    assert json.loads(render_error(status, "no")) == error
    assert json.loads(render_error(status, "no", "mine"))["error"]["type"] == "mine"


def test_tokens_are_counted_and_models_are_listed() -> None:
    short = parse_request(b'{"model":"m","messages":[{"role":"user","content":"a"}]}')
    long = parse_request(b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"a" * 4000))
    first, second = (json.loads(render_count(request))["input_tokens"] for request in (short, long))
    assert 0 < first < second - 990
    assert [model["id"] for model in json.loads(render_models(["a", "b"]))["data"]] == ["a", "b"]
    assert json.loads(render_models([]))["first_id"] is None
