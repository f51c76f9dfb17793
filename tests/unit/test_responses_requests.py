"""Bodies of Responses requests: what they say, what they leave out, and that they are what the server's types want."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire.responses.requests import Encoder
from holdfast.models.wire.responses.serving import parse_request
from holdfast.types import (
    AssistantMessage,
    CallId,
    Document,
    Image,
    Message,
    OutputShape,
    ProviderStep,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

OWN = "openai-responses/m"
TYPES: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
REASONING = '{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}'
SEARCH = '{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}}'
OPEN = {"type": "object", "properties": {"a": {"type": "integer"}}}
CLOSED = {**OPEN, "required": ["a"], "additionalProperties": False}
TOOL = ToolSpec(name="f", description="Does f.", parameters=OPEN)
ASKED = UserMessage((Text("hi"),))
CALL = ToolCall(CallId("c1"), "f", '{"a":1}')
RESULT = ToolMessage(CallId("c1"), "f", "1")


def body_of(request: ModelRequest, **options: Any) -> dict[str, Any]:
    body = Encoder("m", owner=OWN, **options).encode(request)
    said = json.loads(body)
    # Iterables in the types are validated when they are walked.
    walked = TYPES.validate_python(said)
    assert json.loads(TYPES.dump_json(walked, warnings="error")) is not None
    return said


def asked(*messages: Message, **fields: Any) -> ModelRequest:
    return ModelRequest(instructions=fields.pop("instructions", ""), messages=list(messages), **fields)


def items_of(*messages: Message) -> list[dict[str, Any]]:
    return body_of(asked(*messages))["input"]


def answer(*parts: Any, model: str = OWN) -> AssistantMessage:
    return AssistantMessage(tuple(parts), model)


@pytest.mark.requirement("responses:request-shape")
def test_a_request_holds_the_whole_conversation_and_has_nothing_kept() -> None:
    body = body_of(asked(ASKED, answer(Text("ok"), CALL), RESULT, instructions="Be kind.", tools=(TOOL,)))
    assert body == {
        "model": "m",
        "stream": True,
        "store": False,
        "truncation": "disabled",
        "instructions": "Be kind.",
        "tools": [
            {"type": "function", "name": "f", "description": "Does f.", "parameters": OPEN, "strict": False},
        ],
        "input": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "ok"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
        ],
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.requirement("responses:request-shape")
def test_settings_are_said_where_the_protocol_has_them() -> None:
    shape = OutputShape("An answer!", {"type": "object"})
    body = body_of(
        asked(
            ASKED,
            tools=(msgspec.structs.replace(TOOL, name="f", parameters=CLOSED),),
            provider_tools=(ProviderTool("web_search", {"search_context_size": "low"}),),
            must_call="f",
            max_output_tokens=100,
            temperature=0.5,
            thinking="xhigh",
            output=shape,
            options={"service_tier": "flex", "text": {"verbosity": "low"}, "include": ["file_search_call.results"]},
        )
    )
    assert [tool.get("strict") for tool in body["tools"]] == [True, None]
    assert body["tools"][1] == {"type": "web_search", "search_context_size": "low"}
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert (body["max_output_tokens"], body["temperature"]) == (100, 0.5)
    assert body["reasoning"] == {"effort": "xhigh", "summary": "auto"}
    form = body["text"].pop("format")
    assert (form["type"], form["name"], form["strict"]) == ("json_schema", "An_answer", False)
    assert body["text"] == {"verbosity": "low"}
    assert body["include"] == ["reasoning.encrypted_content", "file_search_call.results"]
    assert body["service_tier"] == "flex"


@pytest.mark.requirement("responses:request-shape")
def test_an_answer_is_held_to_a_schema_that_says_all() -> None:
    form = body_of(asked(ASKED, output=OutputShape("n", CLOSED)))["text"]["format"]
    assert (form["schema"], form["strict"]) == (CLOSED, True)


@pytest.mark.requirement("responses:request-shape")
@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"may_call": False}, "none"),
        ({"must_call": ""}, "required"),
        ({"must_call": "my tool"}, {"type": "function", "name": "my_tool"}),
        ({"must_call": "", "may_call": False}, "none"),
    ],
)
def test_which_tools_are_called_is_said_only_where_it_is_not_free(fields: dict[str, Any], choice: Any) -> None:
    tool = msgspec.structs.replace(TOOL, name="my tool")
    assert body_of(asked(ASKED, tools=(tool,), **fields)).get("tool_choice") == choice
    assert "tool_choice" not in body_of(asked(ASKED, **fields))


@pytest.mark.requirement("responses:thinking-levels")
def test_thinking_is_said_only_when_somebody_asked_for_it() -> None:
    assert "reasoning" not in body_of(asked(ASKED))
    assert body_of(asked(ASKED, thinking="off"))["reasoning"] == {"effort": "none"}
    assert body_of(asked(ASKED, thinking="minimal"))["reasoning"] == {"effort": "minimal", "summary": "auto"}
    own = {"reasoning": {"summary": "detailed"}}
    told = body_of(asked(ASKED, thinking="low", options=own))
    assert told["reasoning"] == {"effort": "low", "summary": "detailed"}
    assert "include" not in body_of(asked(ASKED), thinks=False)


@pytest.mark.requirement("responses:request-shape")
@pytest.mark.parametrize("name", ["model", "store", "input", "truncation", "previous_response_id"])
def test_an_option_that_is_ours_to_say_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=repr(name)):
        body_of(asked(ASKED, options={name: "x"}))
    with pytest.raises(InvalidRequest, match="no list"):
        body_of(asked(ASKED, options={"include": "file_search_call.results"}))
    with pytest.raises(InvalidRequest, match=r"reasoning\.effort"):
        body_of(asked(ASKED, thinking="low", options={"reasoning": {"effort": "high"}}))


@pytest.mark.requirement("responses:given-back")
def test_what_only_the_model_can_read_goes_back_to_it_verbatim_and_to_no_other() -> None:
    parts = (
        Thinking("hm", REASONING),
        ProviderStep("web_search", SEARCH, "q"),
        Thinking("", REASONING),
        Text("ok", "commentary"),
    )
    body = Encoder("m", owner=OWN).encode(asked(ASKED, answer(*parts)))
    assert f",{REASONING},{SEARCH},{REASONING},".encode() in body
    assert items_of(answer(*parts))[-1] == {"role": "assistant", "content": "ok", "phase": "commentary"}
    assert items_of(answer(*parts, model="openai/m")) == [{"role": "assistant", "content": "ok"}]


@pytest.mark.requirement("responses:given-back")
def test_reasoning_that_nothing_follows_is_left_out() -> None:
    assert items_of(answer(Thinking("a", REASONING)), ASKED) == [{"role": "user", "content": "hi"}]
    kinds = [item.get("type") for item in items_of(answer(CALL, Thinking("a", REASONING), Text(" ")), RESULT)]
    assert kinds == ["function_call", "function_call_output"]


@pytest.mark.requirement("responses:given-back")
@pytest.mark.parametrize("odd", ["c2ln", "{}", "[]", '{"type":"reasoning"}', "\ud800", '{"type":"thinking","id":"x"}'])
def test_signatures_and_steps_of_another_protocol_are_left_out(odd: str) -> None:
    step = ProviderStep("x", "no json" if odd == "{}" else odd.replace("type", "kind"))
    assert items_of(answer(Thinking("hm", odd), step, Text("ok", "c2ln"))) == [{"role": "assistant", "content": "ok"}]


@pytest.mark.requirement("responses:attachments")
def test_images_and_documents_are_sent_in_the_prompt() -> None:
    parts = (
        Text("look"),
        Text(" "),
        Image("image/png", b"png"),
        Document("application/pdf", b"pdf"),
        Document("text/plain", b"words", "a.txt"),
    )
    request = asked(UserMessage(parts))
    content = body_of(request)["input"][0]["content"]
    assert content == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,cG5n", "detail": "auto"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,cGRm"},
        {"type": "input_text", "text": '<document name="a.txt">\nwords\n</document>'},
    ]
    encoder = Encoder("m", owner=OWN)
    encoder.encode(request)
    assert (encoder.images, encoder.pdfs) == (1, 1)


@pytest.mark.requirement("responses:request-shape")
def test_what_servers_trip_over_is_mended() -> None:
    long = "x" * 100
    sent = items_of(
        UserMessage((Text(" "), Text(""))),
        answer(Text("\n"), ToolCall(CallId(long), "f", "not json"), ToolCall(CallId("d"), "g", "")),
        ToolMessage(CallId(long), "f", "", is_error=True),
        ToolMessage(CallId("d"), "g", ""),
        UserMessage((Text("a\ud800"),)),
    )
    assert sent[0] == {"role": "user", "content": "(no text)"}
    assert (sent[1]["arguments"], sent[2]["arguments"]) == ('{"invalid_arguments":"not json"}', "{}")
    assert sent[1]["call_id"] == sent[3]["call_id"] != long
    assert len(sent[1]["call_id"]) <= 64
    assert (sent[3]["output"], sent[4]["output"]) == ("(no output)", "")
    assert sent[5] == {"role": "user", "content": "a?"}


@pytest.mark.requirement("responses:tool-names", "models:tool-names-mapped-back")
def test_names_the_provider_would_refuse_are_sent_as_others_and_mapped_back() -> None:
    tools = (TOOL, ToolSpec(name="a.b/ü", description="", parameters={}))
    encoder = Encoder("m", owner=OWN)
    request = asked(ASKED, answer(ToolCall(CallId("c"), "a.b/ü", "{}")), tools=tools)
    body = json.loads(encoder.encode(request))
    assert [tool["name"] for tool in body["tools"]] == ["f", "a_b"]
    assert body["input"][1]["name"] == "a_b"
    assert encoder.names.own("a_b") == "a.b/ü"


TEXTS = st.text(max_size=20)
PROMPTS = st.lists(TEXTS.map(Text), max_size=3).map(lambda parts: UserMessage(tuple(parts)))
PARTS = st.lists(
    st.builds(Text, TEXTS, st.sampled_from(("", "commentary")))
    | st.builds(Thinking, TEXTS, st.sampled_from(("", REASONING, "c2ln")))
    | st.builds(ToolCall, TEXTS.map(CallId), TEXTS, TEXTS)
    | st.just(ProviderStep("web_search", SEARCH)),
    max_size=4,
)
ANSWERS = st.builds(AssistantMessage, PARTS.map(tuple), st.sampled_from((OWN, "anthropic/x")))
RESULTS = st.builds(ToolMessage, TEXTS.map(CallId), TEXTS, TEXTS, st.booleans())
TALKS = st.lists(PROMPTS | ANSWERS | RESULTS, min_size=1, max_size=8)


@pytest.mark.requirement("responses:requests-always-fit")
@given(TALKS, st.integers(0, 8))
def test_a_conversation_gives_the_same_valid_bytes_however_it_grew(talk: list[Message], first: int) -> None:
    grown: list[Message] = talk[:first]
    encoder = Encoder("m", owner=OWN)
    encoder.encode(ModelRequest(instructions="i", messages=grown, tools=(TOOL,)))
    grown.extend(talk[first:])
    request = ModelRequest(instructions="i", messages=grown, tools=(TOOL,))
    body = encoder.encode(request)
    assert body == Encoder("m", owner=OWN).fresh().encode(request)
    assert len(body) <= encoder.size(request)
    TYPES.validate_python(json.loads(body))
    served = parse_request(body)
    assert (served.model, served.instructions, served.stream) == ("m", "i", True)
    calls = [call.arguments for m in served.messages if isinstance(m, AssistantMessage) for call in m.calls]
    assert all(json.loads(arguments) is not None for arguments in calls)
