"""What a request to Ollama looks like on the wire, to the official client's types, too, and that it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama._types import ChatRequest

from holdfast.errors import InvalidRequest, MediaUnsupported
from holdfast.models.port import ModelRequest
from holdfast.models.wire.gemini.requests import Encoder as GeminiEncoder
from holdfast.models.wire.ollama.requests import Encoder
from holdfast.models.wire.ollama.serving import parse_request
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

OWNER = "ollama/m"
ADD = ToolSpec(name="add", description="Add.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
SUB = ToolSpec(name="sub", description="", parameters={"type": "object"})
CALL = ToolCall(CallId("c1"), "add", '{"a": 1}')
BEYOND = {"truncate", "shift"}
"""Fields that servers know and the official client does not."""


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
    assert len(body) <= encoder.size(request) <= len(body) + 72
    sent = json.loads(body)
    assert set(ChatRequest.model_fields) | BEYOND >= set(sent)
    ChatRequest.model_validate(sent, strict=True)
    for turn in sent["messages"]:
        assert set(ollama.Message.model_fields) >= set(turn)
    return sent


@pytest.mark.requirement("ollama:requests")
def test_a_conversation_is_what_the_official_client_would_send() -> None:
    request = asked(
        user("add ", "them"),
        answer(Thinking("hm"), Text("I add."), CALL, ToolCall(CallId("c2"), "add", "")),
        ToolMessage(CallId("c1"), "add", "2"),
        ToolMessage(CallId("c2"), "add", "", is_error=True),
        answer(Text("2")),
        user("look", Image("image/png", b"x"), Image("image/jpeg", b"y")),
        instructions="Be kind.",
        tools=(ADD,),
        max_output_tokens=50,
        temperature=0.2,
        options={"keep_alive": "5m", "options": {"num_ctx": 8192}},
    )
    calls = [{"function": {"name": "add", "arguments": arguments}} for arguments in ({"a": 1}, {})]
    assert encoded(request) == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "add them"},
            {"role": "assistant", "content": "I add.", "thinking": "hm", "tool_calls": calls},
            {"role": "tool", "tool_name": "add", "content": "2"},
            {"role": "tool", "tool_name": "add", "content": "(no output)"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "look", "images": ["eA==", "eQ=="]},
        ],
        "tools": [
            {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": ADD.parameters}}
        ],
        "truncate": False,
        "shift": False,
        "options": {"num_predict": 50, "temperature": 0.2, "num_ctx": 8192},
        "keep_alive": "5m",
    }


@pytest.mark.requirement("ollama:never-cut-silently")
def test_a_server_is_told_not_to_cut_a_prompt_unless_a_person_wants_it() -> None:
    sent = encoded(asked(user("x")))
    assert (sent["truncate"], sent["shift"]) == (False, False)
    sent = encoded(asked(user("x"), options={"truncate": True, "shift": True}))
    assert (sent["truncate"], sent["shift"]) == (True, True)


@pytest.mark.requirement("ollama:tool-choice")
def test_tools_that_may_not_be_called_are_not_offered_nor_others_than_the_one_that_must() -> None:
    def chosen(**fields: Any) -> list[str]:
        sent = encoded(asked(user("x"), **{"tools": (ADD, SUB), **fields}))
        return [tool["function"]["name"] for tool in sent.get("tools", [])]

    assert chosen() == chosen(must_call="") == ["add", "sub"]
    assert chosen(must_call="sub") == ["sub"]
    assert chosen(may_call=False) == chosen(tools=()) == []
    with pytest.raises(InvalidRequest, match="'mul'"):
        chosen(must_call="mul")
    with pytest.raises(InvalidRequest, match="web_search"):
        chosen(provider_tools=(ProviderTool("web_search"),))


@pytest.mark.requirement("ollama:thinking")
def test_thinking_is_said_in_the_words_there_are_and_goes_back_to_the_model_that_thought_it() -> None:
    levels: list[Any] = [None, "off", "minimal", "low", "medium", "high", "xhigh"]
    said = [encoded(asked(user("x"), thinking=level)).get("think") for level in levels]
    assert said == [None, False, "low", "low", "medium", "high", "high"]
    own = encoded(asked(answer(Thinking("hm"), Text("a"), Thinking("so"))))["messages"][0]
    assert (own["thinking"], own["content"]) == ("hmso", "a")
    assert "thinking" not in encoded(asked(answer(Thinking("hm"), Text("a"), model="x/y")))["messages"][0]


@pytest.mark.requirement("ollama:output")
def test_an_answer_is_held_to_a_schema_where_no_tool_can_be_called() -> None:
    shape = OutputShape("o", {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    assert encoded(asked(user("x"), output=shape))["format"]["properties"]["a"] == {"type": "string"}
    assert "format" in encoded(asked(user("x"), output=shape, tools=(ADD,), may_call=False))
    assert "format" not in encoded(asked(user("x"), output=shape, tools=(ADD,)))


@pytest.mark.requirement("ollama:options")
def test_an_option_that_is_written_here_already_is_refused_by_its_name() -> None:
    for options, name in (
        ({"model": "x"}, "model"),
        ({"stream": False}, "stream"),
        ({"think": True}, "think"),
        ({"options": {"temperature": 1}}, r"options\.temperature"),
    ):
        with pytest.raises(InvalidRequest, match=name):
            encoded(asked(user("x"), thinking="low", temperature=0.5, options=options))
    assert encoded(asked(user("x"), options={"options": {"temperature": 1}}))["options"] == {"temperature": 1}


@pytest.mark.requirement("ollama:documents")
def test_a_plain_text_document_is_text_between_tags_and_any_other_is_refused() -> None:
    sent = encoded(asked(user("read", Document("text/plain", "Größe".encode(), 'n".txt'))))
    assert sent["messages"][0]["content"] == 'read<document name="n\\".txt">\nGröße\n</document>\n'
    with pytest.raises(MediaUnsupported, match=r"'application/pdf'.*'text/plain'"):
        encoded(asked(user(Document("application/pdf", b"x"))))


@pytest.mark.requirement("ollama:names-mapped-back")
def test_what_servers_trip_over_is_sent_as_something_they_take() -> None:
    sent = encoded(
        asked(
            user("", " "),
            answer(Text(" "), Thinking("x"), model="x/y"),
            answer(ToolCall(CallId("a"), "files.read", '{"a": ')),
            ToolMessage(CallId("a"), "files.read", "ok"),
            user("half \ud800 done"),
            user(Image("image/png", b"x")),
            tools=(ToolSpec(name="files.read", description="", parameters={}),),
        )
    )
    first, call, result, last, picture = sent["messages"]
    assert (first["content"], last["content"], picture["content"]) == ("(no text)", "half ? done", "")
    assert call["tool_calls"] == [{"function": {"name": "files_read", "arguments": {"invalid_arguments": '{"a": '}}}]
    assert result["tool_name"] == sent["tools"][0]["function"]["name"] == "files_read"


@pytest.mark.requirement("ollama:encoded-once", "context:request-encoded-once")
def test_a_conversation_that_grew_is_encoded_like_one_that_was_always_so_long() -> None:
    talk: list[Message] = [user("x"), answer(Thinking("hm"), CALL), ToolMessage(CallId("c1"), "add", "2")]
    encoder = Encoder("m", owner=OWNER)
    messages: list[Message] = []
    for message in talk:
        messages.append(message)
        for fields in ({}, {"tools": (ADD,)}, {"instructions": "Be."}, {"max_output_tokens": 10**9}):
            request = msgspec.structs.replace(asked(**fields), messages=messages)
            assert encoder.encode(request) == Encoder("m", owner=OWNER).encode(request)
            assert encoder.size(request) == encoder.size(msgspec.structs.replace(request, max_output_tokens=None))
            assert encoder.size(request) >= len(encoder.encode(request))
    assert encoder.call_ids == {"c1"}


words = st.text(max_size=9)
prompts = st.builds(lambda parts: UserMessage(tuple(parts)), st.lists(st.builds(Text, words), max_size=2))
parts = st.lists(
    st.builds(Text, words) | st.builds(Thinking, words) | st.builds(ToolCall, words.map(CallId), words, words),
    max_size=3,
)
turns = st.builds(lambda parts, m: AssistantMessage(tuple(parts), m), parts, st.sampled_from([OWNER, "x/y"]))
results = st.builds(ToolMessage, words.map(CallId), words, words)


@given(st.lists(prompts | turns | results, max_size=5), st.sampled_from([None, "off", "low"]), st.booleans())
def test_whatever_was_said_is_a_request_that_the_official_types_and_our_server_take(
    talk: list[Message], thinking: Any, tools: bool
) -> None:
    request = asked(*talk, thinking=thinking, tools=(ADD,) if tools else ())
    encoded(request)
    parse_request(Encoder("m", owner=OWNER).encode(request))


@pytest.mark.parametrize(
    "make", [lambda: Encoder("m", owner="o/m"), lambda: GeminiEncoder("gemini-3-pro", owner="o/m")]
)
def test_half_surrogates_beside_a_call_become_question_marks(make: Callable[[], Encoder | GeminiEncoder]) -> None:
    call = ToolCall(CallId("c"), "add", '{"a": [1, "x"]}', "\ud800")
    body = make().encode(ModelRequest(instructions="", messages=[AssistantMessage((Text("\udfff"), call), "o/m")]))
    assert b'"?"' in body
    assert b'{"a":[1,"x"]}' in body.replace(b" ", b"")
