"""The serving side of Cohere's Chat: what it understands and what it refuses."""

from __future__ import annotations

import json

import cohere
import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.wire.cohere.serving import parse_request, render_answer, render_error
from holdfast.models.wire.cohere.shapes import PLAN
from holdfast.types import (
    AssistantMessage,
    CallId,
    Citation,
    Document,
    Image,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.requirement("cohere:serving")
def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}}
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "system", "content": "And kind."},
            {"role": "user", "content": "a"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}],
                "tool_plan": "f first",
                "tool_calls": [CALL],
            },
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "document", "document": {"data": {"n": 1}}}, {"type": "text", "text": "r"}],
            },
            {"role": "user", "content": [{"type": "text", "text": "look"}, picture]},
        ],
        "documents": ["plain", {"id": "d", "data": {"title": "T", "text": "words"}}, {"data": {"k": "v"}}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "REQUIRED",
        "stream": True,
        "max_tokens": 3,
        "citation_options": {"mode": "FAST"},
    }
    request = parse_request(json.dumps(body).encode())
    assert request.instructions == "Be brief.\n\nAnd kind."
    documents = [("plain", ""), ("words", "T"), ('{"k":"v"}', "")]
    assert request.messages == (
        UserMessage((Text("a"),)),
        AssistantMessage(
            (Thinking("hm"), Text("b"), Thinking("f first", PLAN), ToolCall(CallId("c"), "f", '{"a": 1}')),
            "",
            "tool_calls",
        ),
        ToolMessage(CallId("c"), "f", '{"n":1}\n\nr'),
        UserMessage(
            (
                Text("look"),
                Image("image/png", b"x"),
                *(Document("text/plain", text.encode(), name) for text, name in documents),
            )
        ),
    )
    assert (request.stream, request.max_output_tokens, request.must_call) == (True, 3, "")
    assert [tool.name for tool in request.tools] == ["f"]


def turn(content: str, role: str = "user", more: str = "") -> bytes:
    return b'{"model":"m","messages":[{"role":"%b","content":%b%b}]}' % (role.encode(), content.encode(), more.encode())


@pytest.mark.requirement("cohere:serving")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a chat request"),
        (b"[" * 100_000, "not a chat request"),
        (b"\xff", "not a chat request"),
        (b'{"model": "m"}', "messages"),
        (turn('[{"type":"video"}]'), "video"),
        (turn('[{"type":"image_url","image_url":{"url":"http://x"}}]'), "data URLs"),
        (turn('[{"type":"image_url","image_url":{"url":5}}]'), "data URLs"),
        (turn('[{"type":"image_url","image_url":{"url":"data:image/png;base64,?"}}]'), "image/png"),
        (turn('[{"type":"hologram"}]', "assistant"), "hologram"),
        (turn('[{"type":"image_url"}]', "tool"), "only text"),
        (turn('"x"', "assistant", ',"tool_calls":[{"id":"c"}]'), "its name"),
        (b'{"model":"m","messages":[],"documents":["x"]}', "beside no message"),
        (b'{"model":"m","messages":[],"tools":[{"type":"web","function":{"name":"x"}}]}', "'web'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


@pytest.mark.requirement("cohere:serving")
def test_a_whole_answer_is_one_that_the_official_client_reads() -> None:
    message = AssistantMessage(
        (
            Thinking("hm"),
            Text("It is 20°C.", citations=(Citation("doc:0", "W", "20°C"),)),
            Thinking("f first", PLAN),
            ToolCall(CallId("c"), "f", "{}"),
        ),
        "cohere/m",
        "tool_calls",
        Usage(9, 4, 3),
    )
    read = cohere.V2ChatResponse.model_validate_json(render_answer(message))
    assert read.finish_reason == "TOOL_CALL"
    assert read.message.content is not None
    assert [part.type for part in read.message.content] == ["thinking", "text"]
    assert read.message.tool_plan == "f first"
    (cited,) = read.message.citations or [None]
    assert cited is not None
    assert (cited.start, cited.end, cited.content_index) == (6, 10, 1)
    assert json.loads(render_error(429, "slow")) == {"id": "error-1", "message": "slow"}
