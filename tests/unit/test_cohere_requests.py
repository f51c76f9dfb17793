"""What a request of Cohere's Chat looks like on the wire, to the official client's types, too, and that it is kept."""

from __future__ import annotations

import inspect
import json
from typing import Any

import cohere
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from holdfast.errors import InvalidRequest, MediaUnsupported
from holdfast.models.port import ModelRequest
from holdfast.models.wire.cohere.requests import Encoder
from holdfast.models.wire.cohere.serving import parse_request
from holdfast.models.wire.cohere.shapes import PLAN
from holdfast.types import (
    AssistantMessage,
    CallId,
    Document,
    Image,
    Message,
    OutputShape,
    Part,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

OWNER = "cohere/m"
ADD = ToolSpec(name="add", description="Add.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
SUB = ToolSpec(name="sub", description="", parameters={"type": "object"})
FIELDS = {
    "messages": TypeAdapter[Any](list[cohere.ChatMessageV2]),
    "tools": TypeAdapter[Any](list[cohere.ToolV2]),
    "documents": TypeAdapter[Any](list[cohere.Document]),
    "thinking": TypeAdapter[Any](cohere.Thinking),
    "response_format": TypeAdapter[Any](cohere.JsonObjectResponseFormatV2),
}


def asked(*messages: Message, **fields: Any) -> ModelRequest:
    return ModelRequest(instructions=fields.pop("instructions", ""), messages=messages, **fields)


def user(*parts: UserPart | str) -> UserMessage:
    return UserMessage(tuple(Text(part) if isinstance(part, str) else part for part in parts))


def answer(*parts: Part, model: str = OWNER) -> AssistantMessage:
    return AssistantMessage(parts, model)


def encoded(request: ModelRequest) -> dict[str, Any]:
    encoder = Encoder("m", owner=OWNER)
    body = encoder.encode(request)
    assert encoder.fresh().encode(request) == body
    assert len(body) <= encoder.size(request) <= len(body) + 64
    sent = json.loads(body)
    known = {*inspect.signature(cohere.ClientV2.chat_stream).parameters, "stream"}
    assert known >= set(sent), "the official client would send these fields, too"
    for name, adapter in FIELDS.items():
        if name in sent:
            no_extras(adapter.validate_python(sent[name], strict=True))
    return sent


def no_extras(value: Any) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, value
        for name in type(value).model_fields:
            no_extras(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            no_extras(item)


CALL = ToolCall(CallId("c1"), "add", '{"a": 1}')


@pytest.mark.requirement("cohere:requests")
def test_a_conversation_is_what_the_official_client_would_send() -> None:
    request = asked(
        user("add ", "them"),
        answer(Thinking("hm"), Thinking("I add.", PLAN), CALL),
        ToolMessage(CallId("c1"), "add", "2"),
        answer(Text("2")),
        user("look", Image("image/png", b"x")),
        instructions="Be kind.",
        tools=(ADD,),
        max_output_tokens=50,
        temperature=0.2,
        options={"seed": 7, "safety_mode": "STRICT"},
    )
    function = {"name": "add", "arguments": '{"a": 1}'}
    assert encoded(request) == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "add them"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}],
                "tool_plan": "I add.",
                "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "assistant", "content": "2"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
                ],
            },
        ],
        "tools": [
            {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": ADD.parameters}}
        ],
        "max_tokens": 50,
        "temperature": 0.2,
        "seed": 7,
        "safety_mode": "STRICT",
    }


@pytest.mark.requirement("cohere:tool-choice")
def test_the_tool_that_must_be_called_is_the_only_one_on_offer() -> None:
    both = {"tools": (ADD, SUB)}

    def chosen(**fields: Any) -> tuple[list[str], str | None]:
        sent = encoded(asked(user("x"), **both, **fields))
        return [tool["function"]["name"] for tool in sent["tools"]], sent.get("tool_choice")

    assert chosen() == (["add", "sub"], None)
    assert chosen(must_call="") == (["add", "sub"], "REQUIRED")
    assert chosen(must_call="sub") == (["sub"], "REQUIRED")
    assert chosen(may_call=False) == (["add", "sub"], "NONE")
    assert chosen(may_call=False, must_call="sub") == (["add", "sub"], "NONE")
    with pytest.raises(InvalidRequest, match="'mul'"):
        chosen(must_call="mul")
    with pytest.raises(InvalidRequest, match="web_search"):
        chosen(provider_tools=(ProviderTool("web_search"),))


@pytest.mark.requirement("cohere:thinking-levels")
@pytest.mark.parametrize(
    ("level", "cap", "longest", "thinking", "most"),
    [
        (None, None, None, None, None),
        ("off", 100, None, {"type": "disabled"}, 100),
        ("low", None, None, {"type": "enabled", "token_budget": 2048}, None),
        ("medium", 100, 32_000, {"type": "enabled", "token_budget": 8192}, 8292),
        ("high", 100, 8000, {"type": "enabled", "token_budget": 6976}, 8000),
        ("high", 100, 1000, {"type": "disabled"}, 100),
    ],
)
def test_a_level_is_a_number_of_tokens_to_think(
    level: Any, cap: int | None, longest: int | None, thinking: Any, most: int | None
) -> None:
    request = asked(user("x"), thinking=level, max_output_tokens=cap)
    encoder = Encoder("m", owner=OWNER, longest_answer=longest)
    sent = json.loads(encoder.encode(request))
    assert (sent.get("thinking"), sent.get("max_tokens")) == (thinking, most)
    assert encoder.size(request) >= len(encoder.encode(request))
    bare = msgspec.structs.replace(request, max_output_tokens=None)
    assert encoder.size(request) == encoder.size(bare)


@pytest.mark.requirement("cohere:thinking-given-back")
def test_thinking_goes_back_to_the_model_that_thought_it_and_not_where_thinking_is_off() -> None:
    said = (Thinking("hm"), Thinking("first f", PLAN), Text("Now."), CALL)
    thought = {"type": "thinking", "thinking": "hm"}

    def turn(model: str, *parts: Part, **fields: Any) -> dict[str, Any]:
        sent = encoded(asked(user("x"), answer(*parts, model=model), user("y"), **fields))
        return {name: value for name, value in sent["messages"][1].items() if name in ("content", "tool_plan")}

    beside = {"type": "thinking", "thinking": "Now."}
    assert turn(OWNER, *said) == {"content": [thought, beside], "tool_plan": "first f"}
    assert turn(OWNER, *said, thinking="off") == {"tool_plan": "first fNow."}
    assert turn("openai/m", *said) == {"tool_plan": "Now."}
    assert turn(OWNER, Thinking("hm"), Text("a"), Text("b")) == {
        "content": [thought, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    }
    assert turn("openai/m", Thinking("hm"), Text("a")) == {"content": "a"}


@pytest.mark.requirement("cohere:documents")
def test_documents_can_be_cited_unless_tools_or_a_form_stand_in_the_way() -> None:
    note = Document("text/plain", "Größe".encode(), "n.txt")
    talk = (user("read", note, Document("text/plain", b"")), answer(Text("ok")), user("and", note))
    sent = encoded(asked(*talk))
    assert sent["documents"] == [
        {"id": "doc:0", "data": {"title": "n.txt", "text": "Größe"}},
        {"id": "doc:1", "data": {"title": "document 2", "text": "(no text)"}},
        {"id": "doc:2", "data": {"title": "n.txt", "text": "Größe"}},
    ]
    assert [turn["content"] for turn in sent["messages"]] == ["read", "ok", "and"]
    shape = OutputShape("o", {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    for fields in ({"tools": (ADD,)}, {"output": shape}):
        sent = encoded(asked(*talk, **fields))
        assert "documents" not in sent
        assert sent["messages"][2]["content"] == 'and<document name="n.txt">\nGröße\n</document>\n'
    with pytest.raises(MediaUnsupported, match=r"'application/pdf'.*'text/plain'"):
        encoded(asked(user(Document("application/pdf", b"x"))))


@pytest.mark.requirement("cohere:output")
def test_an_answer_is_held_to_a_schema_where_the_protocol_can() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}, "required": ["a"]}
    sent = encoded(asked(user("x"), output=OutputShape("o", schema)))["response_format"]
    assert sent["type"] == "json_object"
    assert sent["json_schema"]["properties"]["a"]["type"] == "string"
    assert "minLength" not in sent["json_schema"]["properties"]["a"]
    assert "response_format" not in encoded(asked(user("x"), output=OutputShape("o", schema), tools=(ADD,)))
    assert "response_format" not in encoded(asked(user("x"), output=OutputShape("o", {"type": "array"})))


@pytest.mark.requirement("cohere:options")
def test_an_option_that_is_written_here_already_is_refused_by_its_name() -> None:
    for options in ({"model": "x"}, {"stream": False}, {"thinking": {"type": "disabled"}}):
        with pytest.raises(InvalidRequest, match=next(iter(options))):
            encoded(asked(user("x"), thinking="low", options=options))
    assert encoded(asked(user("x"), options={"thinking": {"type": "disabled"}}))["thinking"] == {"type": "disabled"}


def test_what_servers_trip_over_is_sent_as_something_they_take() -> None:
    sent = encoded(
        asked(
            user("", " "),
            answer(Text(" "), Thinking("x"), model="openai/m"),
            answer(ToolCall(CallId("a:b/ö"), "files.read", '{"a": ')),
            ToolMessage(CallId("a:b/ö"), "files.read", ""),
            user("half \ud800 done"),
            instructions=" ",
        )
    )
    first, call, result, last = sent["messages"]
    assert (first["content"], result["content"], last["content"]) == ("(no text)", "(no output)", "half ? done")
    (made,) = call["tool_calls"]
    assert made["id"] == result["tool_call_id"]
    assert made["function"] == {"name": "files_read", "arguments": '{"invalid_arguments":"{\\"a\\": "}'}
    assert "content" not in call


@pytest.mark.requirement("cohere:names-mapped-back")
def test_names_are_sent_as_they_are_taken_and_come_back_as_they_were() -> None:
    tools = tuple(ToolSpec(name=name, description="", parameters={}) for name in ("a.b", "a_b", "ö"))
    encoder = Encoder("m", owner=OWNER)
    sent = json.loads(encoder.encode(asked(user("x"), tools=tools, must_call="a.b")))
    (only,) = [tool["function"]["name"] for tool in sent["tools"]]
    assert encoder.names.own(only) == "a.b"
    assert len({encoder.names.sent(tool.name) for tool in tools}) == 3


@pytest.mark.requirement("cohere:encoded-once", "context:request-encoded-once")
def test_a_conversation_that_grew_is_encoded_like_one_that_was_always_so_long() -> None:
    talk: list[Message] = [user("x"), answer(Thinking("hm"), CALL), ToolMessage(CallId("c1"), "add", "2")]
    encoder = Encoder("m", owner=OWNER)
    messages: list[Message] = []
    for message in talk:
        messages.append(message)
        for fields in ({}, {"tools": (ADD,)}, {"thinking": "off"}, {"instructions": "Be."}):
            request = asked(**{"tools": (), **fields})
            request = msgspec.structs.replace(request, messages=messages)
            assert encoder.encode(request) == Encoder("m", owner=OWNER).encode(request)
    assert encoder.call_ids == {"c1"}


words = st.text(max_size=9)
prompts = st.builds(lambda parts: UserMessage(tuple(parts)), st.lists(st.builds(Text, words), max_size=2))
parts = st.lists(
    st.builds(Text, words) | st.builds(Thinking, words, st.sampled_from(["", PLAN, "sig"]))
    | st.builds(ToolCall, words.map(CallId), words, words),
    max_size=3,
)  # fmt: skip
turns = st.builds(lambda parts, m: AssistantMessage(tuple(parts), m), parts, st.sampled_from([OWNER, "x/y"]))
results = st.builds(ToolMessage, words.map(CallId), words, words)


@given(st.lists(prompts | turns | results, max_size=5), st.sampled_from([None, "off", "low"]), st.booleans())
def test_whatever_was_said_is_a_request_that_the_official_types_and_our_server_take(
    talk: list[Message], thinking: Any, tools: bool
) -> None:
    request = asked(*talk, thinking=thinking, tools=(ADD,) if tools else ())
    encoded(request)
    parse_request(Encoder("m", owner=OWNER).encode(request))
