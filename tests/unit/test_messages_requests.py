"""What a Messages request looks like on the wire, where it is marked for the cache, and that it is encoded once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from holdfast.models.port import ModelRequest
from holdfast.models.wire import encoding
from holdfast.models.wire.chat import requests as chat
from holdfast.models.wire.messages.requests import Encoder
from holdfast.models.wire.messages.serving import parse_request
from holdfast.models.wire.naming import Names, sent_id
from holdfast.types import (
    AssistantMessage,
    CallId,
    Document,
    Image,
    Message,
    Part,
    ProviderStep,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)

OFFICIAL = TypeAdapter[Any](MessageCreateParamsStreaming)
MARK = {"type": "ephemeral"}
ADD = ToolSpec(name="add", description="Add.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
TALK: list[Message] = [
    UserMessage((Text("add "), Text("them"))),
    AssistantMessage(
        (
            Thinking("hm", "c2ln"),
            Thinking("", redacted="c2VjcmV0"),
            Text("I add."),
            ToolCall(CallId("c1"), "add", '{"a": 1}'),
            ToolCall(CallId("c2"), "add", '{"a": 2}'),
        ),
        "anthropic/m",
        "tool_calls",
    ),
    ToolMessage(CallId("c1"), "add", "2"),
    ToolMessage(CallId("c2"), "add", "no", is_error=True),
    UserMessage((Text("and?"),)),
]


def encoder() -> Encoder:
    return Encoder("m", owner="anthropic/m", longest_answer=64_000)


def request(messages: list[Message], **fields: Any) -> ModelRequest:
    return msgspec.structs.replace(ModelRequest(instructions="You add.", messages=messages), **fields)


def sent(messages: list[Message], **fields: Any) -> dict[str, Any]:
    return json.loads(encoder().encode(request(messages, **fields)))


def unmarked(value: Any) -> Any:
    """Returns JSON without the marks for the cache."""
    if isinstance(value, dict):
        return {key: unmarked(item) for key, item in value.items() if key != "cache_control"}
    return [unmarked(item) for item in value] if isinstance(value, list) else value


def marks(value: Any) -> int:
    return json.dumps(value).count('"cache_control"')


def accepted(body: dict[str, Any]) -> None:
    """Checks that the official client's types hold a body, and nothing in it that they do not know."""
    assert settled(OFFICIAL.validate_python(body)) == body


def settled(value: Any) -> Any:
    """Returns what was validated, lazy iterables read to their end."""
    if isinstance(value, Mapping):
        return {key: settled(item) for key, item in value.items()}
    return value if isinstance(value, str) or not isinstance(value, Iterable) else [settled(item) for item in value]


@pytest.mark.requirement("models:messages-request-shape", "models:messages-thinking-given-back")
def test_a_request_holds_everything_in_the_protocols_words() -> None:
    body = sent(TALK, tools=(ADD,), max_output_tokens=7)
    accepted(body)
    with pytest.raises(AssertionError):
        accepted({**body, "temperature": 1.0})  # a check that lets unknown fields pass would be none
    assert unmarked(body) == {
        "model": "m",
        "stream": True,
        "max_tokens": 7,
        "system": [{"type": "text", "text": "You add."}],
        "tools": [{"name": "add", "description": "Add.", "input_schema": ADD.parameters}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "add "}, {"type": "text", "text": "them"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "c2VjcmV0"},
                    {"type": "text", "text": "I add."},
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "add", "input": {"a": 2}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "2"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "no", "is_error": True},
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
    }


@pytest.mark.requirement("models:cache-marks")
def test_four_places_are_marked_and_the_last_two_move_with_the_conversation() -> None:
    body = sent(TALK, tools=(ADD,))
    assert marks(body) == 4
    assert body["tools"][-1]["cache_control"] == body["system"][-1]["cache_control"] == MARK
    assert body["messages"][0]["content"][-1]["cache_control"] == MARK, "where the request before this one ended"
    assert body["messages"][-1]["content"][-1]["cache_control"] == MARK
    one = sent(TALK[:1], tools=(ADD,))
    assert marks(one) == 3
    assert b"cache_control" not in chat.Encoder("m").encode(request(TALK, tools=(ADD,)))
    assert marks(sent(TALK[:1], instructions="")) == 1


@pytest.mark.requirement("models:cache-marks")
def test_each_request_begins_with_all_that_the_one_before_it_had_marked() -> None:
    messages: list[Message] = [UserMessage((Text("go"),))]
    one, before = encoder(), [Any]
    for step in range(30):
        body = json.loads(one.encode(request(messages, tools=(ADD,))))
        assert marks(body) == (3 if step == 0 else 4)
        blocks = [block for message in body["messages"] for block in message["content"]]
        marked = [place for place, block in enumerate(blocks) if "cache_control" in block]
        if step:
            assert unmarked(blocks[: len(before)]) == unmarked(before)
            assert marked == [len(before) - 1, len(blocks) - 1], "the one is read, the other is written"
        before = blocks
        calls = tuple([ToolCall(CallId(f"c{step}_{n}"), "add", "{}") for n in range(25)])
        messages.append(AssistantMessage(calls, "anthropic/m", "tool_calls"))
        messages += [ToolMessage(call.id, "add", "ok") for call in calls]


@pytest.mark.requirement("models:messages-thinking-given-back")
def test_thinking_goes_back_to_its_own_model_only_and_only_with_its_signature() -> None:
    other = msgspec.structs.replace(TALK[1], model="anthropic/other")
    kinds = [block["type"] for block in sent([TALK[0], other, *TALK[2:]])["messages"][1]["content"]]
    assert kinds == ["text", "tool_use", "tool_use"]
    unsigned = AssistantMessage((Thinking("hm"), Text("yes")), "anthropic/m")
    assert [b["type"] for b in sent([TALK[0], unsigned])["messages"][1]["content"]] == ["text"]
    silent = AssistantMessage((Thinking("hm", "sig"),), "anthropic/m", "length")
    assert [m["role"] for m in sent([TALK[0], silent, TALK[0]])["messages"]] == ["user"], "thinking alone is no answer"


def test_what_the_provider_began_and_never_ended_is_not_given_back() -> None:
    begun = '{"type":"server_tool_use","id":"s%d","name":"web_search","input":{}}'
    found = '{"type":"web_search_tool_result","tool_use_id":"s1","content":[]}'
    foreign = '{"type":"web_search_call","id":"ws_1","status":"completed"}'
    said = [ProviderStep("web_search", data) for data in (begun % 1, found, begun % 2, foreign, "nonsense")]
    prompt = UserMessage((Text("go on"),))
    body = sent([prompt, AssistantMessage((Text("I look."), *said), "anthropic/m", "length"), prompt])
    (answer,) = [unmarked(message["content"]) for message in body["messages"] if message["role"] == "assistant"]
    assert answer == [{"type": "text", "text": "I look."}, json.loads(begun % 1), json.loads(found)]
    alone = sent([prompt, AssistantMessage((said[2],), "anthropic/m", "length"), prompt])
    assert [message["role"] for message in alone["messages"]] == ["user"]


@pytest.mark.requirement("models:messages-roles-merged")
def test_results_stand_before_everything_else_a_turn_holds() -> None:
    late = [*TALK[:2], UserMessage((Text("wait"),)), *TALK[2:]]
    (turn,) = sent(late)["messages"][2:]
    assert [block["type"] for block in turn["content"]] == ["tool_result", "tool_result", "text", "text"]
    assert [block.get("tool_use_id") for block in turn["content"][:2]] == ["c1", "c2"]
    assert turn["content"][-1]["cache_control"] == MARK


@pytest.mark.requirement("models:messages-images-and-documents")
def test_images_and_documents_are_sent_as_blocks() -> None:
    parts: tuple[UserPart, ...] = (
        Image("image/png", b"\x89PNG"),
        Document("application/pdf", b"%PDF", "a.pdf"),
        Document("text/plain", "wörds".encode()),
        Text("read"),
    )
    body = sent([UserMessage(parts)])
    accepted(body)
    assert unmarked(body["messages"][0]["content"]) == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF").decode()},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "wörds"}},
        {"type": "text", "text": "read"},
    ]
    assert parse_request(json.dumps(body).encode()).messages == (UserMessage(parts),)


def test_blank_texts_are_left_out_and_a_prompt_never_is() -> None:
    assert sent([UserMessage((Text(" "), Text("a")))])["messages"][0]["content"][0]["text"] == "a"
    assert sent([UserMessage((Text("\n"),))])["messages"][0]["content"][0]["text"] == "(no text)"
    assert "system" not in sent(TALK, instructions=" ")
    empty = ToolMessage(CallId("c"), "t", "", is_error=True)
    assert sent([empty])["messages"][0]["content"][0]["content"] == "(no output)"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ('{"a": ', {"invalid_arguments": '{"a": '}),
        ("\ud800", {"invalid_arguments": "?"}),
    ],
)
def test_arguments_that_are_no_object_are_wrapped(arguments: str, expected: object) -> None:
    call = ToolCall(CallId("c"), "add", arguments)
    assert sent([AssistantMessage((call,), "x/y", "tool_calls")])["messages"][0]["content"][0]["input"] == expected


def test_an_answer_without_a_cap_gets_the_one_that_is_reserved_and_a_temperature_is_sent() -> None:
    assert sent(TALK)["max_tokens"] == 32_000
    assert json.loads(Encoder("m", owner="a/m").encode(request(TALK)))["max_tokens"] == 4096
    assert sent(TALK, temperature=0.5)["temperature"] == 0.5


@pytest.mark.requirement("models:messages-tool-names-mapped-back")
def test_names_that_would_be_refused_are_sent_under_others_and_come_back() -> None:
    odd = ["files.read", "files_read", "日本", "a" * 200, "", "ok-1", "files/read"]
    names = Names(odd, 128)
    wire = [names.sent(name) for name in odd]
    assert len(set(wire)) == len(odd)
    assert [names.own(name) for name in wire] == odd
    assert (wire[1], wire[5]) == ("files_read", "ok-1"), "what is allowed stays"
    tools = tuple([ToolSpec(name=name, description="", parameters={"type": "object"}) for name in odd])
    call = ToolCall(CallId("c"), "files.read", "{}")
    body = sent([TALK[0], AssistantMessage((call,), "x/y", "tool_calls")], tools=tools)
    accepted(body)
    assert [tool["name"] for tool in body["tools"]] == wire
    assert body["messages"][1]["content"][0]["name"] == wire[0]


def test_ids_of_other_providers_are_made_to_fit_and_still_pair_up() -> None:
    ids = ["call_1|x", "call_1/x", "x" * 500, "ü"]
    talk: list[Message] = [AssistantMessage(tuple([ToolCall(CallId(i), "t", "{}") for i in ids]), "openai/m")]
    talk += [ToolMessage(CallId(i), "t", "r") for i in ids]
    calls, results = (message["content"] for message in sent(talk)["messages"])
    assert [call["id"] for call in calls] == [result["tool_use_id"] for result in results]
    assert len({call["id"] for call in calls}) == len(ids)
    assert sent_id("toolu_01-A") == "toolu_01-A"


@pytest.mark.requirement("models:messages-history-encoded-once", "context:request-encoded-once")
def test_each_message_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []

    class Counting:
        def encode(self, value: object) -> bytes:
            encoded.append(value)
            return msgspec.json.encode(value)

    monkeypatch.setattr(encoding, "_json", Counting())
    one, messages, tools = encoder(), list[Message](), (ADD,)
    for turn in range(200):
        messages.append(UserMessage((Text(str(turn)),)))
        messages.append(AssistantMessage((Text("yes"),), "x/y"))
        assert len(json.loads(one.encode(request(messages, tools=tools)))["messages"]) == 2 * turn + 2
    assert len(encoded) == 400 + 3  # the model's name, the instructions and the tools


def test_a_growing_other_or_shorter_conversation_is_sent_as_it_is_and_changes_of_tools_count() -> None:
    one, messages = encoder(), list[Message]()
    for message in TALK:
        messages.append(message)
        assert one.encode(request(messages)) == encoder().encode(request(list(messages)))
    odd = ToolSpec(name="a.b", description="", parameters={"type": "object"})
    called = [AssistantMessage((ToolCall(CallId("c"), "a.b", "{}"),), "x/y"), ToolMessage(CallId("c"), "a.b", "r")]
    changes: list[dict[str, Any]] = [
        {"tools": (ADD,)},
        {"tools": (odd, ToolSpec(name="a_b", description="", parameters={"type": "object"}))},
        {"instructions": ""},
        {"messages": messages[:-1]},
        {"messages": [TALK[-1], *called]},
    ]
    for fields in changes:
        asked = msgspec.structs.replace(request(messages), **fields)
        assert one.encode(asked) == encoder().encode(asked)
        assert one.fresh().encode(asked) == encoder().encode(asked)


texts = st.text(max_size=20)
names = st.text("ab._-/ü", max_size=5)
thoughts = st.builds(Thinking, texts, st.sampled_from(["", "sig"])) | st.builds(Thinking, st.just(""), redacted=texts)
answer_parts: st.SearchStrategy[Part] = (
    st.builds(Text, texts) | thoughts | st.builds(ToolCall, names.map(CallId), names, texts | st.just('{"a": [1]}'))
)
prompt_parts: st.SearchStrategy[UserPart] = (
    st.builds(Text, texts)
    | st.builds(Image, st.sampled_from(["image/png", "image/webp"]), st.binary(max_size=9))
    | st.builds(Document, st.sampled_from(["application/pdf", "text/plain"]), st.binary(max_size=9), texts)
)
someone: st.SearchStrategy[Message] = (
    st.builds(UserMessage, st.lists(prompt_parts, max_size=3).map(tuple))
    | st.builds(
        AssistantMessage, st.lists(answer_parts, max_size=4).map(tuple), st.sampled_from(["anthropic/m", "x/y"])
    )
    | st.builds(ToolMessage, names.map(CallId), names, texts, st.booleans())
)


@pytest.mark.requirement("models:messages-request-shape", "models:messages-roles-merged", "models:size-is-upper-bound")
@given(
    texts, st.lists(someone, max_size=8), st.lists(names, max_size=3, unique=True), st.none() | st.integers(1, 10**9)
)
def test_every_conversation_is_a_request_the_official_types_accept(
    instructions: str, messages: list[Message], tools: list[str], cap: int | None
) -> None:
    specs = tuple([ToolSpec(name=name, description="", parameters={"type": "object"}) for name in tools])
    asked = request(messages, instructions=instructions, tools=specs, max_output_tokens=cap)
    one = encoder()
    size, data = one.size(asked), one.encode(asked)
    assert size >= len(data)
    body = json.loads(data)
    accepted(body)
    assert marks(body) <= 4
    roles = [message["role"] for message in body["messages"]]
    assert all(first != second for first, second in pairwise(roles))
    for message in body["messages"]:
        results = [block["type"] == "tool_result" for block in message["content"]]
        assert message["content"]
        assert results == sorted(results, reverse=True)
        assert all(block["text"].strip() for block in message["content"] if block["type"] == "text")


def test_a_body_of_twenty_thousand_messages_grows_by_what_is_new() -> None:
    one = encoder()
    messages: list[Message] = []
    for i in range(10_000):
        messages += [UserMessage((Text(str(i)),)), AssistantMessage((Text("yes"),), "x/y")]
    messages.append(UserMessage((Text("old"),)))
    before = one.encode(request(messages))
    messages += [AssistantMessage((Text("yes"),), "x/y"), UserMessage((Text("new"),))]
    after = one.encode(request(messages))
    turn = '{"role":"%s","content":[{"type":"text","text":"%s"}]}'
    added = f",{turn % ('assistant', 'yes')},{turn % ('user', 'new')}"
    assert len(after) - len(before) == len(added)
