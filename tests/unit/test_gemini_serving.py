"""The serving side of generateContent: what it understands and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.wire.gemini.serving import parse_request, render_error, render_failure, render_models
from holdfast.types import (
    AssistantMessage,
    CallId,
    Image,
    ProviderStep,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)


@pytest.mark.requirement("gemini:serving-requests")
def test_a_request_of_another_client_is_read_into_our_messages() -> None:
    body: dict[str, Any] = {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "And kind."}]},
        "contents": [
            {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "eA=="}}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "sig"},
                    {"text": "b"},
                    {"executableCode": {"code": "1"}, "thoughtSignature": "s"},
                    {"functionCall": {"name": "f", "args": {"a": 1}}},
                    {"functionCall": {"name": "f"}},
                    {"functionCall": {"name": "g", "id": "x", "args": {}}},
                ],
            },
            {
                "role": "function",
                "parts": [
                    {"functionResponse": {"name": "f", "response": {"output": "one"}}},
                    {"functionResponse": {"name": "f", "response": {"rows": [1]}}},
                    {"functionResponse": {"id": "x", "name": "g", "response": {"error": "no"}}},
                ],
            },
        ],
        "tools": [
            {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}, {"name": "g"}]},
            {"googleSearch": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"maxOutputTokens": 3, "temperature": 0.5, "topP": 1},
        "safetySettings": [],
    }
    request = parse_request(json.dumps(body).encode(), "gemini%2Fx", "stream")
    assert (request.model, request.instructions) == ("gemini/x", "Be brief.\n\nAnd kind.")
    assert request.messages == (
        UserMessage((Text("a"), Image("image/png", b"x"))),
        AssistantMessage(
            (
                Thinking("hm", "sig"),
                Text("b"),
                ProviderStep("executableCode", '{"executableCode":{"code": "1"},"thoughtSignature":"s"}'),
                ToolCall(CallId("call_0"), "f", '{"a": 1}'),
                ToolCall(CallId("call_1"), "f", "{}"),
                ToolCall(CallId("x"), "g", "{}"),
            ),
            "",
            "tool_calls",
        ),
        ToolMessage(CallId("call_0"), "f", "one"),
        ToolMessage(CallId("call_1"), "f", '{"rows":[1]}'),
        ToolMessage(CallId("x"), "g", "no", is_error=True),
    )
    assert (request.stream, request.max_output_tokens, request.temperature) == (True, 3, 0.5)
    assert ([tool.name for tool in request.tools], request.must_call) == (["f", "g"], "f")
    assert request.provider_tools == (ProviderTool("google_search"),)
    assert not parse_request(b'{"contents":[]}', "m").stream


def turn(part: str, role: str = "user") -> bytes:
    return b'{"contents":[{"role":"%b","parts":[%b]}]}' % (role.encode(), part.encode())


@pytest.mark.requirement("gemini:serving-requests")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a generateContent request"),
        (b"[" * 100_000, "not a generateContent request"),
        (b'{"contents":"\xff"}', "not a generateContent request"),
        (b"{}", "contents"),
        (turn('{"fileData":{"fileUri":"gs://x"}}'), "cannot be read here"),
        (turn('{"inlineData":{"mimeType":"image/bmp","data":"eA=="}}'), "image/bmp"),
        (turn('{"inlineData":{"mimeType":"image/png","data":"?"}}'), "image/png"),
        (turn('{"functionCall":{"name":"f","args":[]}}', "model"), "an object"),
        (turn('{"hologram":{}}', "model"), "cannot be read here"),
        (turn('{"text":"a"}', "system"), "role"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_request(body)
    assert caught.value.status == 400


def test_errors_and_lists_have_the_form_of_the_protocol() -> None:
    assert json.loads(render_error(429, "slow down"))["error"] == {
        "code": 429,
        "message": "slow down",
        "status": "RESOURCE_EXHAUSTED",
    }
    assert json.loads(render_error(418, "tea"))["error"]["status"] == "INVALID_ARGUMENT"
    assert json.loads(render_failure("x", "UNAVAILABLE")[6:])["error"]["code"] == 503
    assert [model["name"] for model in json.loads(render_models(["a", "b"]))["models"]] == ["models/a", "models/b"]
