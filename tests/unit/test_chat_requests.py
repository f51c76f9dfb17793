"""What a request looks like on the wire, and that a conversation is encoded once."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from holdfast.models.port import ModelRequest
from holdfast.models.wire import encoding
from holdfast.models.wire.chat.requests import Encoder
from holdfast.models.wire.chat.serving import parse_request
from holdfast.types import (
    AssistantMessage,
    CallId,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

ADD = ToolSpec(name="add", description="Add.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
TALK: list[Message] = [
    UserMessage((Text("add "), Text("them"))),
    AssistantMessage((Thinking("hm"), ToolCall(CallId("c1"), "add", '{"a": 1}')), "openai/m", "tool_calls"),
    ToolMessage(CallId("c1"), "add", "2"),
    AssistantMessage((Text("two"),), "openai/m"),
]


def request(messages: list[Message], **fields: Any) -> ModelRequest:
    return msgspec.structs.replace(ModelRequest(instructions="You add.", messages=messages), **fields)


def sent(messages: list[Message], **fields: Any) -> dict[str, Any]:
    return json.loads(Encoder("m").encode(request(messages, **fields)))


@pytest.mark.requirement("models:chat-request-shape")
def test_a_request_holds_everything_in_the_protocols_words() -> None:
    assert sent(TALK, tools=(ADD,), max_output_tokens=7, temperature=0.5) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "You add."},
            {"role": "user", "content": "add them"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "assistant", "content": "two"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "add", "description": "Add.", "parameters": ADD.parameters},
            }
        ],
        "max_completion_tokens": 7,
        "temperature": 0.5,
    }


@pytest.mark.requirement("models:chat-request-shape")
def test_the_official_clients_types_accept_a_request() -> None:
    body = Encoder("m").encode(request(TALK, tools=(ADD,), max_output_tokens=7, temperature=0.5))
    official = TypeAdapter(CompletionCreateParamsStreaming).validate_json(body)
    assert [message["role"] for message in official["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert set(official) == set(json.loads(body))


@pytest.mark.requirement("models:chat-images-and-documents")
def test_the_official_clients_types_accept_images_and_documents_and_our_serving_side_reads_them() -> None:
    parts = (Image("image/webp", b"x"), Document("application/pdf", b"%PDF", "b.pdf"), Text("look"))
    body = Encoder("m").encode(request([UserMessage(parts)]))
    official = TypeAdapter[Any](CompletionCreateParamsStreaming)
    (_, prompt) = official.validate_json(body)["messages"]
    assert [part["type"] for part in prompt["content"]] == ["image_url", "file", "text"]
    assert parse_request(body).messages == (UserMessage(parts),)
    encoder = Encoder("m")
    encoder.encode(request([UserMessage(parts), UserMessage(parts)]))
    assert (encoder.images, encoder.pdfs) == (2, 2)
    encoder.encode(request([]))
    assert (encoder.images, encoder.pdfs) == (0, 0)


def test_what_is_not_set_is_not_sent() -> None:
    body = sent([UserMessage((Text("hi"),))], instructions="")
    assert set(body) == {"model", "stream", "stream_options", "messages"}
    assert body["messages"] == [{"role": "user", "content": "hi"}]


def test_an_answer_with_neither_words_nor_calls_has_an_empty_string_as_content() -> None:
    assert sent([AssistantMessage((Thinking("hm"),), "openai/m")])["messages"][1]["content"] == ""


@pytest.mark.requirement("models:chat-damaged-arguments-wrapped")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("", "{}"),
        (" ", "{}"),
        ('{"a": ', '{"invalid_arguments":"{\\"a\\": "}'),
        ("[1]", '{"invalid_arguments":"[1]"}'),
        ("\ud800", '{"invalid_arguments":"?"}'),
    ],
)
def test_arguments_that_are_no_object_are_wrapped(arguments: str, expected: str) -> None:
    call = ToolCall(CallId("c"), "f", arguments)
    body = sent([AssistantMessage((call,), "openai/m", "tool_calls")])
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == expected


def test_half_surrogates_become_question_marks() -> None:
    assert sent([UserMessage((Text("a\ud800b"),))])["messages"][1]["content"] == "a?b"


@pytest.mark.requirement("models:chat-history-encoded-once", "context:request-encoded-once")
def test_each_message_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []

    class Counting:
        def encode(self, value: object) -> bytes:
            encoded.append(value)
            return msgspec.json.encode(value)

    monkeypatch.setattr(encoding, "_json", Counting())
    encoder, messages, tools = Encoder("m"), list[Message](), (ADD,)
    for turn in range(200):
        messages.append(UserMessage((Text(str(turn)),)))
        body = encoder.encode(request(messages, tools=tools))
        assert len(json.loads(body)["messages"]) == turn + 2
    assert len(encoded) == 200 + 3  # the model's name, the instructions and the tools


def test_another_conversation_is_encoded_anew() -> None:
    encoder, other = Encoder("m"), UserMessage((Text("other"),))
    for messages in (list(TALK), [other, *TALK[1:]], TALK[2:], [other, *TALK], [], list(TALK)):
        assert encoder.encode(request(messages)) == Encoder("m").encode(request(messages))


def test_a_conversation_that_became_shorter_is_encoded_anew() -> None:
    encoder, messages = Encoder("m"), list(TALK)
    encoder.encode(request(messages))
    del messages[-1]
    assert encoder.encode(request(messages)) == Encoder("m").encode(request(messages))


def test_instructions_tools_and_settings_may_change_between_requests() -> None:
    encoder = Encoder("m")
    for fields in ({"tools": (ADD,)}, {"instructions": ""}, {"temperature": 1.0}, {"max_output_tokens": 5}):
        assert encoder.encode(request(TALK, **fields)) == Encoder("m").encode(request(TALK, **fields))


@pytest.mark.requirement("models:chat-request-shape")
def test_ids_of_other_models_that_are_too_long_are_sent_as_shorter_ones_that_pair_up() -> None:
    other, twin, own = (f"{begin}-{'a' * 40}" for begin in ("chatcmpl-tool", "chatcmpl-took", "functions.bash:0"))

    def turn(id: str, model: str) -> list[Message]:
        call = ToolCall(CallId(id), "add", "{}")
        return [AssistantMessage((call,), model, "tool_calls"), ToolMessage(CallId(id), "add", "ok")]

    messages = [UserMessage((Text("hi"),)), *turn(other, "vllm/x"), *turn(twin, "vllm/x"), *turn(own, "openai/m")]
    body = json.loads(Encoder("m", owner="openai/m").encode(request(messages)))
    called = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    assert called == [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    assert len(set(called)) == 3
    assert max(map(len, called[:2])) <= 40
    assert called[2] == own, "a model gets its own ids back as it gave them"


def test_the_encoder_knows_the_ids_of_the_conversations_calls() -> None:
    encoder = Encoder("m")
    encoder.encode(request(TALK))
    assert encoder.call_ids == {"c1"}
    encoder.encode(request([]))
    assert encoder.call_ids == set()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
someone = st.one_of(
    texts.map(lambda text: UserMessage((Text(text),))),
    texts.map(lambda text: AssistantMessage((Text(text),), "openai/m")),
    st.tuples(texts, texts).map(lambda pair: ToolMessage(CallId(pair[0]), "", pair[1])),
)


@pytest.mark.requirement("models:size-is-upper-bound")
@given(texts, st.lists(someone, max_size=5), st.booleans(), st.one_of(st.none(), st.floats(0, 2)))
def test_the_size_is_the_length_of_the_body_and_no_less_than_the_bytes_of_its_words(
    instructions: str, messages: list[Message], tools: bool, temperature: float | None
) -> None:
    asked = request(messages, instructions=instructions, tools=(ADD,) if tools else (), temperature=temperature)
    encoder = Encoder("m")
    size = encoder.size(asked)
    body = encoder.encode(asked)
    assert size == len(body)
    said = [instructions, *(m.content if isinstance(m, ToolMessage) else m.text for m in messages)]
    assert size >= sum(len(text.encode()) for text in said)
    parsed = parse_request(body)
    assert parsed.instructions == instructions
    assert [m.content if isinstance(m, ToolMessage) else m.text for m in parsed.messages] == said[1:]


def test_a_body_of_twenty_thousand_messages_grows_by_what_is_new() -> None:
    encoder = Encoder("m")
    messages: list[Message] = [UserMessage((Text(str(i)),)) for i in range(20_000)]
    before = encoder.encode(request(messages))
    messages.append(UserMessage((Text("new"),)))
    after = encoder.encode(request(messages))
    assert after == before[:-2] + b',{"role":"user","content":"new"}]}'
