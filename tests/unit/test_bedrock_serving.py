"""The serving side of Converse: what it understands and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.wire.bedrock.serving import error_kind, parse_request, render_error
from holdfast.types import (
    AssistantMessage,
    CallId,
    Document,
    Image,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)


@pytest.mark.requirement("bedrock:serving-requests")
def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    point = {"cachePoint": {"type": "default"}}
    body: dict[str, Any] = {
        "system": [{"text": "Be brief."}, point, {"text": "And kind."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "a"},
                    {"image": {"format": "png", "source": {"bytes": "eA=="}}},
                    {"document": {"format": "pdf", "name": "n", "source": {"bytes": "eA=="}}},
                    {"document": {"name": "t", "source": {"text": "hi"}}},
                    point,
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    {"reasoningContent": {"redactedContent": "eA=="}},
                    {"text": "b"},
                    {"toolUse": {"toolUseId": "c", "name": "f", "input": {"a": 1}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "c", "content": [{"text": "r"}, {"json": [1]}], "status": "error"}},
                    {"text": "go on"},
                ],
            },
        ],
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}},
                {"systemTool": {"name": "nova_grounding"}},
                point,
            ],
            "toolChoice": {"any": {}},
        },
        "inferenceConfig": {"maxTokens": 3, "temperature": 0.5},
        "guardrailConfig": {},
    }
    request = parse_request(json.dumps(body).encode(), "us.anthropic.claude%3A0", "stream")
    assert (request.model, request.instructions) == ("us.anthropic.claude:0", "Be brief.\n\nAnd kind.")
    pdf, plain = Document("application/pdf", b"x", "n"), Document("text/plain", b"hi", "t")
    assert request.messages == (
        UserMessage((Text("a"), Image("image/png", b"x"), pdf, plain)),
        AssistantMessage(
            (Thinking("hm", "sig"), Thinking("", redacted="eA=="), Text("b"), ToolCall(CallId("c"), "f", '{"a": 1}')),
            "",
            "tool_calls",
        ),
        ToolMessage(CallId("c"), "f", "r\n\n[1]", is_error=True),
        UserMessage((Text("go on"),)),
    )
    assert (request.stream, request.max_output_tokens, request.temperature) == (True, 3, 0.5)
    assert ([tool.name for tool in request.tools], request.must_call) == (["f"], "")
    assert request.provider_tools == (ProviderTool("nova_grounding"),)


def turn(block: str, role: str = "user") -> bytes:
    return b'{"messages":[{"role":"%b","content":[%b]}]}' % (role.encode(), block.encode())


@pytest.mark.requirement("bedrock:serving-requests")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a Converse request"),
        (b"[" * 100_000, "not a Converse request"),
        (b'{"messages":"\xff"}', "not a Converse request"),
        (turn('{"video":{}}'), "cannot be read here"),
        (turn('{"image":{"format":"bmp","source":{"bytes":"eA=="}}}'), "image/bmp"),
        (turn('{"image":{"format":"png","source":{"s3Location":{}}}}'), "no bytes"),
        (turn('{"document":{"format":"docx","name":"n","source":{"bytes":"eA=="}}}'), "docx"),
        (turn('{"toolResult":{"toolUseId":"c","content":[{"image":{}}]}}'), "neither text nor JSON"),
        (turn('{"toolUse":{"toolUseId":"c","name":"f","input":[]}}', "assistant"), "an object"),
        (turn('{"hologram":{}}', "assistant"), "cannot be read here"),
        (turn('{"text":"a"}', "robot"), "role"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


def test_errors_have_the_form_of_the_protocol() -> None:
    assert json.loads(render_error("slow down")) == {"message": "slow down"}
    assert [error_kind(status) for status in (429, 418, 599)] == [
        "ThrottlingException",
        "ValidationException",
        "InternalServerException",
    ]
