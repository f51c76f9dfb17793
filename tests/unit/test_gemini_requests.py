"""What a Gemini request looks like on the wire, and that each message is encoded once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from google.genai import types as sdk
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire import encoding
from holdfast.models.wire.gemini.requests import Encoder
from holdfast.models.wire.gemini.serving import parse_request
from holdfast.types import (
    LEVELS,
    AssistantMessage,
    CallId,
    Document,
    Image,
    Message,
    OutputShape,
    Part,
    ProviderStep,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

ADD = ToolSpec(name="add", description="Add.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
OWN = "google/gemini-3-pro"
TALK: list[Message] = [
    UserMessage((Text("add "), Text("them"))),
    AssistantMessage(
        (
            Thinking("hm"),
            Thinking("", "c2ln"),
            Text("I add.", "dGV4dA=="),
            ProviderStep("code_execution", '{"executableCode":{"code":"1"},"thoughtSignature":"c3RlcA=="}'),
            ToolCall(CallId("c1"), "add", '{"a": 1}', "Y2FsbA=="),
            ToolCall(CallId("c2"), "add", '{"a": 2}'),
        ),
        OWN,
        "tool_calls",
    ),
    ToolMessage(CallId("c1"), "add", "2"),
    ToolMessage(CallId("c2"), "add", "no", is_error=True),
    UserMessage((Text("and?"),)),
]


class _Body(BaseModel):
    """The request as the official client's own types describe it."""

    model_config = ConfigDict(extra="forbid")
    contents: list[sdk.Content]
    systemInstruction: sdk.Content | None = None
    tools: list[sdk.Tool] | None = None
    toolConfig: sdk.ToolConfig | None = None
    generationConfig: sdk.GenerationConfig | None = None
    safetySettings: list[sdk.SafetySetting] | None = None


def accepted(body: dict[str, Any]) -> _Body:
    return _Body.model_validate(body)


def request(messages: Iterable[Message], **fields: Any) -> ModelRequest:
    given_messages = messages if isinstance(messages, list) else list(messages)
    everything: dict[str, Any] = {"instructions": "Be brief.", "messages": given_messages, **fields}
    return ModelRequest(**everything)


def encoder(model: str = "gemini-3-pro", longest: int | None = 65_536) -> Encoder:
    return Encoder(model, owner=f"google/{model}", longest_answer=longest)


def sent(messages: Iterable[Message], model: str = "gemini-3-pro", **fields: Any) -> dict[str, Any]:
    body = json.loads(encoder(model).encode(request(messages, **fields)))
    accepted(body)
    return body


@pytest.mark.requirement("gemini:request-shape", "gemini:signatures-given-back")
def test_a_conversation_is_sent_in_turns_with_everything_its_own_model_wants_back() -> None:
    body = sent(TALK, tools=(ADD,), max_output_tokens=100, temperature=0.5)
    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "add "}, {"text": "them"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "", "thought": True, "thoughtSignature": "c2ln"},
                    {"text": "I add.", "thoughtSignature": "dGV4dA=="},
                    {"executableCode": {"code": "1"}, "thoughtSignature": "c3RlcA=="},
                    {
                        "functionCall": {"name": "add", "args": {"a": 1}, "id": "c1"},
                        "thoughtSignature": "Y2FsbA==",
                    },
                    {"functionCall": {"name": "add", "args": {"a": 2}, "id": "c2"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "add", "response": {"output": "2"}}},
                    {"functionResponse": {"id": "c2", "name": "add", "response": {"error": "no"}}},
                    {"text": "and?"},
                ],
            },
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "add", "description": "Add.", "parametersJsonSchema": ADD.parameters},
                ]
            }
        ],
        "generationConfig": {"maxOutputTokens": 100, "temperature": 0.5},
    }


@pytest.mark.requirement("gemini:signatures-given-back")
def test_another_model_gets_neither_thoughts_nor_signatures_nor_steps() -> None:
    other = msgspec.structs.replace(TALK[1], model="google/gemini-2.5-pro")
    parts = sent([TALK[0], other, *TALK[2:]])["contents"][1]["parts"]
    assert [[*part] for part in parts] == [["text"], ["functionCall", "thoughtSignature"], ["functionCall"]]
    assert parts[1]["thoughtSignature"] == "skip_thought_signature_validator", "since Gemini 3 the first needs one"
    older = sent([TALK[0], TALK[1], *TALK[2:]], "gemini-2.5-flash")["contents"][1]["parts"]
    assert [[*part] for part in older] == [["text"], ["functionCall"], ["functionCall"]]
    silent = AssistantMessage((Thinking("hm", "sig"),), OWN, "length")
    assert [turn["role"] for turn in sent([TALK[0], silent, TALK[0]])["contents"]] == ["user"]


@pytest.mark.requirement("gemini:provider-steps")
def test_what_was_searched_for_or_is_no_step_is_not_sent_back() -> None:
    steps = [
        ProviderStep("google_search", '{"groundingMetadata":{"webSearchQueries":["q"]}}'),
        ProviderStep("x", "not json"),
        ProviderStep("x", "\ud800"),
    ]
    message = AssistantMessage((Text("a"), *steps), OWN)
    assert sent([TALK[0], message])["contents"][1]["parts"] == [{"text": "a"}]


@pytest.mark.requirement("gemini:roles-take-turns")
def test_results_stand_before_everything_else_a_turn_holds() -> None:
    late = [*TALK[:2], UserMessage((Text("wait"),)), *TALK[2:]]
    (turn,) = sent(late)["contents"][2:]
    assert [next(iter(part)) for part in turn["parts"]] == ["functionResponse", "functionResponse", "text", "text"]
    assert [turn["role"] for turn in sent([*TALK, AssistantMessage((Text("I th"),), OWN)])["contents"]][-1] == "model"


@pytest.mark.requirement("gemini:images-and-documents")
def test_images_and_documents_are_sent_as_bytes_and_plain_text_as_words() -> None:
    parts: tuple[UserPart, ...] = (
        Image("image/png", b"\x89PNG"),
        Document("application/pdf", b"%PDF", "a.pdf"),
        Document("text/plain", "wörds".encode(), "a.txt"),
        Text("read"),
    )
    one = encoder()
    body = json.loads(one.encode(request([UserMessage(parts)])))
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}},
        {"inlineData": {"mimeType": "application/pdf", "data": base64.b64encode(b"%PDF").decode()}},
        {"text": '<document name="a.txt">\nwörds\n</document>'},
        {"text": "read"},
    ]
    assert (one.images, one.pdfs) == (1, 1)
    accepted(body)
    (heard,) = parse_request(json.dumps(body).encode()).messages
    assert isinstance(heard, UserMessage)
    assert heard.parts[:1] == parts[:1]


def test_blank_texts_are_left_out_and_a_prompt_never_is() -> None:
    assert sent([UserMessage((Text(" "), Text("a")))])["contents"][0]["parts"] == [{"text": "a"}]
    assert sent([UserMessage((Text("\n"),))])["contents"][0]["parts"] == [{"text": "(no text)"}]
    assert "systemInstruction" not in sent(TALK, instructions=" ")
    signed = AssistantMessage((Text("yes"), Text("", "c2ln")), OWN)
    assert sent([TALK[0], signed])["contents"][1]["parts"][1] == {"text": "", "thoughtSignature": "c2ln"}


@pytest.mark.requirement("gemini:tool-choice")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"may_call": False}, {"mode": "NONE"}),
        ({"must_call": ""}, {"mode": "ANY"}),
        ({"must_call": "files.read"}, {"mode": "ANY", "allowedFunctionNames": ["files_read"]}),
        ({}, None),
    ],
)
def test_whether_tools_may_or_must_be_called_is_said(fields: dict[str, Any], expected: object) -> None:
    tools = (ADD, ToolSpec(name="files.read", description="", parameters={"type": "object"}))
    body = sent(TALK, tools=tools, **fields)
    assert body.get("toolConfig", {}).get("functionCallingConfig") == expected
    served = parse_request(json.dumps(body).encode())
    wire = {"files.read": "files_read"}.get(fields.get("must_call", ""), fields.get("must_call"))
    assert (served.may_call, served.must_call) == (fields.get("may_call", True), wire)


@pytest.mark.requirement("gemini:provider-tools")
def test_tools_of_the_provider_are_offered_beside_ours() -> None:
    provided = (ProviderTool("google_search"), ProviderTool("codeExecution"), ProviderTool("url_context", {"x": 1}))
    with_ours = json.loads(encoder().encode(request(TALK, tools=(ADD,), provider_tools=provided)))
    assert with_ours["tools"][1:] == [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {"x": 1}}]
    assert with_ours["toolConfig"] == {"includeServerSideToolInvocations": True}
    alone = sent(TALK, provider_tools=provided[:2])
    assert (alone["tools"], alone.get("toolConfig")) == ([{"googleSearch": {}}, {"codeExecution": {}}], None)
    assert len(sent(TALK, tools=(ADD,), provider_tools=provided, may_call=False)["tools"]) == 1


@pytest.mark.requirement("gemini:thinking-levels")
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gemini-3-pro", ["LOW", "LOW", "LOW", "MEDIUM", "HIGH", "HIGH"]),
        ("gemini-3.8-flash", ["MINIMAL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "HIGH"]),
        ("gemini-flash-latest", ["MINIMAL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "HIGH"]),
        ("gemini-2.5-flash", [0, 1024, 2048, 8192, 16_384, 16_384]),
        ("gemini-2.5-pro", [128, 1024, 2048, 8192, 16_384, 16_384]),
        ("gemini-2.0-flash", [None] * 6),
        ("gemma-4", [None] * 6),
    ],
)
def test_each_level_of_thinking_is_said_in_the_way_of_the_model(model: str, said: list[Any]) -> None:
    for level, expected in zip(LEVELS, said, strict=True):
        config = sent(TALK, model, thinking=level).get("generationConfig", {}).get("thinkingConfig")
        key = "thinkingLevel" if isinstance(expected, str) else "thinkingBudget"
        assert config == (None if expected is None else {key: expected, "includeThoughts": level != "off"})
    assert "generationConfig" not in sent(TALK, model)


@pytest.mark.requirement("gemini:thinking-levels")
def test_a_budget_to_think_is_added_to_the_answer_and_leaves_room_for_it() -> None:
    config = sent(TALK, "gemini-2.5-flash", thinking="high", max_output_tokens=1000)["generationConfig"]
    assert (config["maxOutputTokens"], config["thinkingConfig"]["thinkingBudget"]) == (17_384, 16_384)
    small = Encoder("gemini-2.5-flash", owner="x", longest_answer=8192)
    config = json.loads(small.encode(request(TALK, thinking="high", max_output_tokens=1000)))["generationConfig"]
    assert (config["maxOutputTokens"], config["thinkingConfig"]["thinkingBudget"]) == (8192, 7168)


@pytest.mark.requirement("gemini:structured-output")
def test_a_shape_is_sent_as_the_provider_takes_it() -> None:
    schema = {"type": "object", "properties": {"a": {"const": "x"}}, "required": ["a"]}
    config = sent(TALK, output=OutputShape("answer", schema))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["a"]["enum"] == ["x"]


@pytest.mark.requirement("gemini:options")
def test_options_go_into_the_body_and_what_is_said_already_is_refused_by_name() -> None:
    options = {"generationConfig": {"topP": 0.5}, "safetySettings": []}
    body = sent(TALK, max_output_tokens=5, options=options)
    assert body["generationConfig"] == {"maxOutputTokens": 5, "topP": 0.5}
    assert body["safetySettings"] == []
    for bad in ({"contents": []}, {"tools": []}, {"generationConfig": {"maxOutputTokens": 9}}):
        with pytest.raises(InvalidRequest, match=next(iter(bad))):
            sent(TALK, max_output_tokens=5, options=bad)


@pytest.mark.requirement("gemini:tool-names")
def test_names_that_would_be_refused_are_sent_under_others_and_come_back() -> None:
    odd = ["files.read", "files_read", "1st", "-x", "日本", "a" * 200, "", "ok-1"]
    tools = tuple([ToolSpec(name=name, description="", parameters={"type": "object"}) for name in odd])
    one = encoder()
    call = AssistantMessage((ToolCall(CallId("c"), "1st", "{}"),), "x/y", "tool_calls")
    body = json.loads(one.encode(request([TALK[0], call, ToolMessage(CallId("c"), "1st", "r")], tools=tools)))
    wire = [tool["name"] for tool in body["tools"][0]["functionDeclarations"]]
    assert len(set(wire)) == len(odd)
    assert [one.names.own(name) for name in wire] == odd
    assert all(len(name) <= 128 and (name[0].isalpha() or name[0] == "_") for name in wire)
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == wire[2]
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == wire[2]


@pytest.mark.requirement("gemini:history-encoded-once", "context:request-encoded-once")
def test_each_message_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []

    class Counting:
        def encode(self, value: object) -> bytes:
            encoded.append(value)
            return msgspec.json.encode(value)

    monkeypatch.setattr(encoding, "_json", Counting())
    one, messages, tools = encoder(), list[Message](), (ADD,)
    for turn in range(100):
        messages.append(UserMessage((Text(str(turn)),)))
        messages.append(AssistantMessage((Text("yes"),), "x/y"))
        assert len(json.loads(one.encode(request(messages, tools=tools)))["contents"]) == 2 * turn + 2
    assert len(encoded) == 200 + 2  # the instructions and the tools


def test_a_growing_other_or_shorter_conversation_is_sent_as_it_is_and_changes_of_tools_count() -> None:
    one, messages = encoder(), list[Message]()
    for message in TALK:
        messages.append(message)
        assert one.encode(request(messages)) == encoder().encode(request(list(messages)))
    odd = ToolSpec(name="a.b", description="", parameters={"type": "object"})
    changes: list[dict[str, Any]] = [
        {"tools": (ADD,)},
        {"tools": (odd, ToolSpec(name="a_b", description="", parameters={"type": "object"}))},
        {"provider_tools": (ProviderTool("google_search"),)},
        {"instructions": ""},
        {"messages": messages[:-1]},
    ]
    for fields in changes:
        asked = msgspec.structs.replace(request(messages), **fields)
        assert one.encode(asked) == encoder().encode(asked)
        assert one.fresh().encode(asked) == encoder().encode(asked)


texts = st.text(max_size=20)
names = st.text("ab._-/ü1", max_size=5)
signatures = st.sampled_from(["", "c2ln"])
answer_parts: st.SearchStrategy[Part] = (
    st.builds(Text, texts, signatures)
    | st.builds(Thinking, texts, signatures)
    | st.builds(Thinking, st.just(""), redacted=texts)
    | st.builds(ToolCall, names.map(CallId), names, texts | st.just('{"a": [1]}'), signatures)
    | st.builds(ProviderStep, names, texts | st.just('{"codeExecutionResult": {"output": "1"}}'))
)
prompt_parts: st.SearchStrategy[UserPart] = (
    st.builds(Text, texts)
    | st.builds(Image, st.sampled_from(["image/png", "image/webp"]), st.binary(max_size=9))
    | st.builds(Document, st.sampled_from(["application/pdf", "text/plain"]), st.binary(max_size=9), texts)
)
someone: st.SearchStrategy[Message] = (
    st.builds(UserMessage, st.lists(prompt_parts, max_size=3).map(tuple))
    | st.builds(AssistantMessage, st.lists(answer_parts, max_size=4).map(tuple), st.sampled_from([OWN, "x/y"]))
    | st.builds(ToolMessage, names.map(CallId), names, texts, st.booleans())
)


@pytest.mark.requirement("gemini:request-shape", "gemini:roles-take-turns", "gemini:size-is-upper-bound")
@given(
    texts,
    st.lists(someone, max_size=8),
    st.lists(names, max_size=3, unique=True),
    st.none() | st.integers(1, 10**9),
    st.none() | st.sampled_from(LEVELS),
    st.sampled_from(["gemini-3-pro", "gemini-2.5-flash"]),
)
def test_every_conversation_is_a_request_the_official_types_accept(
    instructions: str, messages: list[Message], tools: list[str], cap: int | None, level: Any, model: str
) -> None:
    specs = tuple([ToolSpec(name=name, description="", parameters={"type": "object"}) for name in tools])
    asked = request(messages, instructions=instructions, tools=specs, max_output_tokens=cap, thinking=level)
    one = encoder(model)
    size, data = one.size(asked), one.encode(asked)
    assert size >= len(data)
    body = json.loads(data)
    accepted(body)
    assert all(first["role"] != second["role"] for first, second in pairwise(body["contents"]))
    for turn in body["contents"]:
        results = ["functionResponse" in part for part in turn["parts"]]
        assert results
        assert results == sorted(results, reverse=True)
        assert all(part["text"].strip() or "thought" in str(part) for part in turn["parts"] if "text" in part)
