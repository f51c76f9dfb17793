"""The serving side of Responses: what it understands and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from holdfast.errors import InvalidRequest
from holdfast.models.wire.responses.serving import (
    parse_request,
    render_answer,
    render_error,
    render_failure,
    render_stream,
)
from holdfast.types import (
    AssistantMessage,
    CallId,
    Citation,
    Document,
    Image,
    ProviderStep,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
)

REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}

ITEMS: list[dict[str, Any]] = [
    {"role": "developer", "content": "And kind."},
    {"role": "user", "content": "a"},
    {**REASONING, "encrypted_content": "gAAA"},
    SEARCH,
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "commentary",
        "content": [
            {"type": "output_text", "text": "b", "annotations": []},
            {"type": "refusal", "refusal": "no"},
        ],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "auto"},
            {"type": "input_file", "filename": "n", "file_data": "data:application/pdf;base64,eA=="},
        ],
    },
    {"role": "assistant", "content": "c"},
]


def body_of(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}, separators=(",", ":")).encode()


@pytest.mark.requirement("responses:serving")
def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    tools = [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"type": "web_search", "search_context_size": "low"},
    ]
    request = parse_request(
        body_of(input=ITEMS, instructions="Be brief.", tools=tools, stream=True, max_output_tokens=3, temperature=0.5)
    )
    assert request.instructions == "Be brief.\n\nAnd kind."
    signature = (
        '{"type":"reasoning","id":"rs_1","summary":[{"text":"hm","type":"summary_text"}],"encrypted_content":"gAAA"}'
    )
    assert request.messages == (
        UserMessage((Text("a"),)),
        AssistantMessage(
            (
                Thinking("hm", signature),
                ProviderStep("web_search", json.dumps(SEARCH, separators=(",", ":")), "q"),
                Text("b", "commentary"),
                Text("no", "commentary"),
                ToolCall(CallId("c"), "f", '{"a":1}'),
            ),
            "",
            "tool_calls",
        ),
        ToolMessage(CallId("c"), "f", "r"),
        UserMessage((Text("look"), Image("image/png", b"x"), Document("application/pdf", b"x", "n"))),
        AssistantMessage((Text("c"),), ""),
    )
    assert request.tools == (ToolSpec(name="f", description="d", parameters={"type": "object"}),)
    assert request.provider_tools == (ProviderTool("web_search", {"search_context_size": "low"}),)
    assert (request.stream, request.max_output_tokens, request.temperature) == (True, 3, 0.5)
    assert parse_request(body_of()).messages == (UserMessage((Text("hi"),)),)


@pytest.mark.requirement("responses:serving")
@pytest.mark.parametrize(
    ("choice", "may", "must"),
    [
        (None, True, None),
        ("auto", True, None),
        ("none", False, None),
        ("required", True, ""),
        ({"type": "function", "name": "f"}, True, "f"),
    ],
)
def test_which_tools_may_and_must_be_called_is_understood(choice: Any, may: bool, must: str | None) -> None:
    request = parse_request(body_of(tool_choice=choice))
    assert (request.may_call, request.must_call) == (may, must)


@pytest.mark.requirement("responses:serving")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a responses request"),
        (b"[" * 100_000, "not a responses request"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": "\xff"}', "not a responses request"),
        (body_of(input=[5]), "not a responses request"),
        (body_of(input=[{"type": "item_reference", "id": "x"}]), "referred to"),
        (body_of(previous_response_id="resp_1"), "whole conversation"),
        (body_of(conversation="conv_1"), "whole conversation"),
        (body_of(input=[{"role": "tool", "content": "x"}]), "'tool'"),
        (body_of(input=[{"role": "user", "content": [{"type": "video"}]}]), "video"),
        (body_of(input=[{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]), "data URLs"),
        (body_of(input=[{"role": "assistant", "content": [{"type": "video"}]}]), "video"),
        (body_of(input=[{"role": "system", "content": [{"type": "input_image"}]}]), "input_image"),
        (body_of(input=[{"type": "function_call", "call_id": "c", "arguments": "{}"}]), "call_id or its name"),
        (body_of(tools=[{"type": "function", "name": 5}]), "a tool cannot be read"),
        (body_of(tools=[{"type": "function"}]), "no name"),
        (body_of(tools=[{"name": "f"}]), "no type"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


@pytest.mark.requirement("responses:serving")
def test_what_is_written_is_what_the_official_types_say() -> None:
    signature = json.dumps({**REASONING, "encrypted_content": "gAAA"})
    parts = (
        Thinking("hm", signature),
        Thinking("words"),
        Thinking("w", "opaque"),
        ProviderStep("web_search", json.dumps(SEARCH), "q"),
        ProviderStep("other", "no json"),
        Text("b", "commentary", (Citation("https://a", "A"), Citation("f", "a.txt"))),
        ToolCall(CallId("c"), "f", "{}"),
    )
    event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for stop in ("tool_calls", "length", "refusal"):
        message = AssistantMessage(parts, "x/m", stop, Usage(10, 5, 3, 2, 1))
        for data in render_stream(message, chunk=1):
            head, _, said = data.decode().partition("\ndata: ")
            assert head == f"event: {event.validate_python(json.loads(said)).type}"
        answer = Response.model_validate_json(render_answer(message))
        kinds = [item.type for item in answer.output]
        assert kinds == ["reasoning"] * 3 + ["web_search_call", "message", "function_call"]
    assert event.validate_python(json.loads(render_failure("m", "t").partition(b"data: ")[2])).message == "m"
    assert json.loads(render_error(429, "m"))["error"]["type"] == "rate_limit_error"
