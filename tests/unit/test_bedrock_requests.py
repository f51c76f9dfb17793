"""What a Converse request looks like on the wire, where it is marked for the cache, and that it is encoded once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire import encoding
from holdfast.models.wire.bedrock.requests import Encoder
from holdfast.models.wire.bedrock.serving import parse_request
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
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OWN = f"bedrock/{CLAUDE}"
POINT = {"cachePoint": {"type": "default"}}
SEARCH = '{"toolUse":{"toolUseId":"s1","name":"nova_grounding","type":"server_tool_use","input":{}}}'
TALK: list[Message] = [
    UserMessage((Text("add "), Text("them"))),
    AssistantMessage(
        (
            Thinking("hm", "c2ln"),
            Thinking("", redacted="c2VjcmV0"),
            Thinking("unsigned"),
            Text("I add."),
            ProviderStep("nova_grounding", SEARCH),
            ToolCall(CallId("c1"), "add", '{"a": 1}'),
            ToolCall(CallId("c2"), "add", '{"a": 2}'),
        ),
        OWN,
        "tool_calls",
    ),
    ToolMessage(CallId("c1"), "add", "2"),
    ToolMessage(CallId("c2"), "add", " ", is_error=True),
    UserMessage((Text("and?"),)),
]


@lru_cache
def operation() -> Any:
    model = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")
    return model.operation_model("ConverseStream").input_shape


def accepted(body: dict[str, Any]) -> None:
    """Checks a body as the official client checks what it is asked for; bytes go in base64."""
    report = ParamValidator().validate({"modelId": "m", **body}, operation())
    assert not report.has_errors(), report.generate_report()
    known = operation().members
    assert body.keys() <= known.keys()


def request(messages: Iterable[Message], **fields: Any) -> ModelRequest:
    given_messages = messages if isinstance(messages, list) else list(messages)
    everything: dict[str, Any] = {"instructions": "Be brief.", "messages": given_messages, **fields}
    return ModelRequest(**everything)


def encoder(model: str = CLAUDE, longest: int | None = 64_000) -> Encoder:
    return Encoder(model, owner=f"bedrock/{model}", longest_answer=longest)


def sent(messages: Iterable[Message], model: str = CLAUDE, **fields: Any) -> dict[str, Any]:
    body = json.loads(encoder(model).encode(request(messages, **fields)))
    accepted(body)
    return body


@pytest.mark.requirement("bedrock:request-shape", "bedrock:reasoning-given-back", "bedrock:cache-points")
def test_a_conversation_is_sent_in_turns_with_everything_its_own_model_wants_back() -> None:
    body = sent(TALK, tools=(ADD,), max_output_tokens=100, temperature=0.5)
    assert body == {
        "messages": [
            {"role": "user", "content": [{"text": "add "}, {"text": "them"}, POINT]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                    {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
                    {"text": "I add."},
                    json.loads(SEARCH),
                    {"toolUse": {"toolUseId": "c1", "name": "add", "input": {"a": 1}}},
                    {"toolUse": {"toolUseId": "c2", "name": "add", "input": {"a": 2}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [{"text": "2"}]}},
                    {"toolResult": {"toolUseId": "c2", "content": [{"text": "(no output)"}], "status": "error"}},
                    {"text": "and?"},
                    POINT,
                ],
            },
        ],
        "system": [{"text": "Be brief."}, POINT],
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "add", "inputSchema": {"json": ADD.parameters}, "description": "Add."}},
                POINT,
            ]
        },
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5},
    }


@pytest.mark.requirement("bedrock:cache-points")
@pytest.mark.parametrize(
    ("model", "points"),
    [
        (CLAUDE, 4),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", 4),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", 4),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", 0),
        ("amazon.nova-pro-v1:0", 3),
        ("meta.llama4-scout-17b-instruct-v1:0", 0),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", 0),
    ],
)
def test_only_models_that_have_a_cache_get_marks(model: str, points: int) -> None:
    body = sent(TALK, model, tools=(ADD,))
    assert json.dumps(body).count("cachePoint") == points
    prefilled = sent([*TALK, AssistantMessage((Text("I th"),), OWN)])
    assert prefilled["messages"][-1] == {"role": "assistant", "content": [{"text": "I th"}]}


@pytest.mark.requirement("bedrock:reasoning-given-back")
def test_another_model_gets_neither_reasoning_nor_steps() -> None:
    other = msgspec.structs.replace(TALK[1], model="bedrock/other")
    content = sent([TALK[0], other, *TALK[2:]])["messages"][1]["content"]
    assert [next(iter(block)) for block in content] == ["text", "toolUse", "toolUse"]
    silent = AssistantMessage((Thinking("hm", "sig"),), OWN, "length")
    assert [turn["role"] for turn in sent([TALK[0], silent, TALK[0]])["messages"]] == ["user"]
    bad = AssistantMessage((Text("a"), ProviderStep("x", "not json"), ProviderStep("x", '{"y":1}')), OWN)
    assert sent([TALK[0], bad])["messages"][1]["content"] == [{"text": "a"}]


@pytest.mark.requirement("bedrock:roles-take-turns")
def test_results_stand_before_everything_else_a_turn_holds() -> None:
    late = [*TALK[:2], UserMessage((Text("wait"),)), *TALK[2:]]
    (turn,) = sent(late, "m")["messages"][2:]
    assert [next(iter(block)) for block in turn["content"]] == ["toolResult", "toolResult", "text", "text"]


@pytest.mark.requirement("bedrock:images-and-documents")
def test_documents_have_names_that_are_allowed_and_differ_and_never_stand_alone() -> None:
    parts: tuple[UserPart, ...] = (
        Image("image/jpeg", b"\xff\xd8"),
        Document("application/pdf", b"%PDF", "a_report (1).pdf"),
        Document("application/pdf", b"%PDF", "a report (1) pdf"),
        Document("text/plain", "wörds".encode(), "日本"),
        Document("text/plain", b"x", "ü  ü"),
    )
    one = encoder("m")
    body = json.loads(one.encode(request([UserMessage(parts)])))
    image, *documents, words = body["messages"][0]["content"]
    assert image == {"image": {"format": "jpeg", "source": {"bytes": base64.b64encode(b"\xff\xd8").decode()}}}
    assert [(each["document"]["name"], each["document"]["format"]) for each in documents] == [
        ("a report (1) pdf", "pdf"),
        ("a report (1) pdf 2", "pdf"),
        ("document", "txt"),
        ("document 2", "txt"),
    ]
    assert (words, one.images, one.pdfs) == ({"text": "(no text)"}, 1, 2)
    accepted(body)
    (heard,) = parse_request(json.dumps(body).encode()).messages
    assert isinstance(heard, UserMessage)
    assert heard.parts[0] == parts[0]


def test_blank_texts_are_left_out_and_a_prompt_never_is() -> None:
    assert sent([UserMessage((Text(" "), Text("a")))], "m")["messages"][0]["content"] == [{"text": "a"}]
    assert sent([UserMessage((Text("\n"),))], "m")["messages"][0]["content"] == [{"text": "(no text)"}]
    assert "system" not in sent(TALK[:1], instructions=" ")


@pytest.mark.requirement("bedrock:tool-choice")
def test_whether_tools_may_or_must_be_called_is_said() -> None:
    tools = (ADD, ToolSpec(name="files.read", description="", parameters={"type": "object"}))
    assert "toolChoice" not in sent(TALK, tools=tools)["toolConfig"]
    assert sent(TALK, tools=tools, must_call="")["toolConfig"]["toolChoice"] == {"any": {}}
    named = sent(TALK, tools=tools, must_call="files.read")
    assert named["toolConfig"]["toolChoice"] == {"tool": {"name": "files_read"}}
    assert parse_request(json.dumps(named).encode()).must_call == "files_read"
    assert "toolConfig" not in sent(TALK[:1], tools=tools, may_call=False), "nothing refers to them"
    told = sent(TALK, tools=tools, may_call=False)
    assert len(told["toolConfig"]["tools"]) == 3
    assert "No tool may be called" in told["system"][1]["text"]
    bare = sent(TALK, "m")
    only = [{"toolSpec": {"name": "add", "inputSchema": {"json": {"type": "object"}}}}]
    assert bare["toolConfig"]["tools"] == only, "a conversation with calls is refused without tools"
    assert "No tool may be called" in bare["system"][1]["text"]
    searched = AssistantMessage((Text("a"), ProviderStep("nova_grounding", SEARCH)), OWN)
    alone = sent([TALK[0], searched], CLAUDE)["toolConfig"]["tools"][0]
    assert alone == {"systemTool": {"name": "nova_grounding"}}


@pytest.mark.requirement("bedrock:provider-tools")
def test_tools_of_the_provider_are_offered_beside_ours() -> None:
    body = sent(TALK, "amazon.nova-2-lite-v1:0", tools=(ADD,), provider_tools=(ProviderTool("nova_grounding"),))
    assert body["toolConfig"]["tools"][1:] == [{"systemTool": {"name": "nova_grounding"}}]
    assert parse_request(json.dumps(body).encode()).provider_tools == (ProviderTool("nova_grounding"),)


@pytest.mark.requirement("bedrock:thinking-levels")
def test_each_level_of_thinking_is_said_in_the_way_of_the_model_behind() -> None:
    def said(model: str, **fields: Any) -> list[Any]:
        return [sent(TALK, model, thinking=level, **fields).get("additionalModelRequestFields") for level in LEVELS]

    budgets = [{"type": "enabled", "budget_tokens": tokens} for tokens in (1024, 2048, 8192, 16_384, 16_384)]
    assert said(CLAUDE) == [{"thinking": each} for each in ({"type": "disabled"}, *budgets)]
    for name, highest in (("opus-4-6", "max"), ("opus-4-7", "xhigh")):
        efforts = ("low", "low", "medium", "high", highest)
        adaptive = [{"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}} for effort in efforts]
        assert said(f"anthropic.claude-{name}-v1:0") == [{"thinking": {"type": "disabled"}}, *adaptive]
    nova = [{"type": "enabled", "maxReasoningEffort": each} for each in ("low", "low", "medium", "medium", "medium")]
    assert said("us.amazon.nova-2-lite-v1:0") == [{"reasoningConfig": each} for each in ({"type": "disabled"}, *nova)]
    oss = ("low", "low", "low", "medium", "high", "high")
    assert said("openai.gpt-oss-120b-1:0") == [{"reasoning_effort": each} for each in oss]
    for silent in ("anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-pro-v1:0", "meta.llama4-v1:0"):
        assert said(silent) == [None] * 6
    assert "additionalModelRequestFields" not in sent(TALK)


def test_no_tool_is_forced_where_none_is_on_offer_and_the_conversation_has_calls() -> None:
    config = sent(TALK, must_call="")["toolConfig"]
    assert "toolChoice" not in config
    assert config["tools"]


@pytest.mark.requirement("bedrock:thinking-levels")
@pytest.mark.parametrize("must_call", ["", "add"])
@pytest.mark.parametrize("model", [CLAUDE, "anthropic.claude-opus-4-6-v1:0"])
def test_claude_is_told_nothing_of_thinking_where_a_tool_is_forced_on_it(model: str, must_call: str) -> None:
    forced = sent(TALK, model, tools=(ADD,), thinking="high", must_call=must_call)
    assert "additionalModelRequestFields" not in forced
    assert "toolChoice" in forced["toolConfig"]
    nova = sent(TALK, "us.amazon.nova-2-lite-v1:0", tools=(ADD,), thinking="high", must_call=must_call)
    assert "additionalModelRequestFields" in nova


@pytest.mark.requirement("bedrock:thinking-levels")
def test_a_model_that_thinks_takes_no_temperature_and_more_tokens() -> None:
    config = sent(TALK, thinking="high", max_output_tokens=1000, temperature=0.5)["inferenceConfig"]
    assert config == {"maxTokens": 17_384}
    assert sent(TALK, thinking="off", temperature=0.5)["inferenceConfig"] == {"maxTokens": 32_000, "temperature": 0.5}
    assert json.loads(encoder("m", None).encode(request(TALK)))["inferenceConfig"] == {"maxTokens": 4096}


@pytest.mark.requirement("bedrock:structured-output")
def test_a_shape_is_sent_as_the_provider_takes_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}
    body = sent(TALK, output=OutputShape("answer", schema))
    shape = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert shape["name"] == "answer"
    assert json.loads(shape["schema"])["additionalProperties"] is False
    assert "outputConfig" not in sent(TALK, output=OutputShape("answer", {"type": "object"}))


@pytest.mark.requirement("bedrock:options")
def test_options_go_into_the_body_and_what_is_said_already_is_refused_by_name() -> None:
    options = {
        "inferenceConfig": {"topP": 0.5},
        "serviceTier": {"type": "flex"},
        "additionalModelRequestFields": {"top_k": 3},
    }
    body = sent(TALK, max_output_tokens=5, thinking="off", options=options)
    assert body["inferenceConfig"] == {"maxTokens": 5, "topP": 0.5}
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}, "top_k": 3}
    assert body["serviceTier"] == {"type": "flex"}
    for bad in ({"messages": []}, {"toolConfig": {}}, {"inferenceConfig": {"maxTokens": 9}}):
        with pytest.raises(InvalidRequest, match=next(iter(bad))):
            sent(TALK, options=bad)


@pytest.mark.requirement("bedrock:tool-names")
def test_names_and_ids_that_would_be_refused_are_sent_under_others_and_come_back() -> None:
    odd = ["files.read", "files_read", "日本", "a" * 200, "", "ok-1"]
    tools = tuple([ToolSpec(name=name, description="", parameters={"type": "object"}) for name in odd])
    one = encoder("m")
    call = AssistantMessage((ToolCall(CallId("call|1"), "files.read", "{}"),), "x/y", "tool_calls")
    body = json.loads(one.encode(request([TALK[0], call, ToolMessage(CallId("call|1"), "f", "r")], tools=tools)))
    accepted(body)
    wire = [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]
    assert len(set(wire)) == len(odd)
    assert [one.names.own(name) for name in wire] == odd
    called, result = body["messages"][1]["content"][0]["toolUse"], body["messages"][2]["content"][0]["toolResult"]
    assert (called["name"], called["toolUseId"]) == (wire[0], result["toolUseId"])


@pytest.mark.requirement("bedrock:history-encoded-once", "context:request-encoded-once")
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
        assert len(json.loads(one.encode(request(messages, tools=tools)))["messages"]) == 2 * turn + 2
    of_messages = [value for value in encoded if isinstance(value, dict) and "text" in value]
    assert len(of_messages) == 200 + 1  # and the instructions


@pytest.mark.requirement("bedrock:cache-points")
def test_each_request_begins_with_all_that_the_one_before_it_had_marked() -> None:
    messages: list[Message] = [UserMessage((Text("go"),))]
    one, before = encoder(), list[Any]()
    for step in range(30):
        body = json.loads(one.encode(request(messages)))
        blocks = [block for message in body["messages"] for block in message["content"]]
        marked = [place for place, block in enumerate(blocks) if block == POINT]
        plain = [block for block in blocks if block != POINT]
        if step:
            assert plain[: len(before)] == before
            assert marked == [len(before), len(plain) + 1], "the one is read, the other is written"
        before = plain
        calls = tuple([ToolCall(CallId(f"c{step}_{n}"), "add", "{}") for n in range(25)])
        messages.append(AssistantMessage(calls, OWN, "tool_calls"))
        messages += [ToolMessage(call.id, "add", "ok") for call in calls]


def test_a_growing_other_or_shorter_conversation_is_sent_as_it_is_and_changes_of_tools_count() -> None:
    one, messages = encoder(), list[Message]()
    for message in TALK:
        messages.append(message)
        assert one.encode(request(messages)) == encoder().encode(request(list(messages)))
    odd = ToolSpec(name="a.b", description="", parameters={"type": "object"})
    changes: list[dict[str, Any]] = [
        {"tools": (ADD,)},
        {"tools": (odd, ToolSpec(name="a_b", description="", parameters={"type": "object"}))},
        {"provider_tools": (ProviderTool("nova_grounding"),)},
        {"instructions": ""},
        {"messages": messages[:-1]},
    ]
    for fields in changes:
        asked = msgspec.structs.replace(request(messages), **fields)
        assert one.encode(asked) == encoder().encode(asked)
        assert one.fresh().encode(asked) == encoder().encode(asked)


texts = st.text(max_size=20)
names = st.text("ab._-/ü1", max_size=5)
answer_parts: st.SearchStrategy[Part] = (
    st.builds(Text, texts)
    | st.builds(Thinking, texts, st.sampled_from(["", "c2ln"]))
    | st.builds(Thinking, st.just(""), redacted=st.sampled_from(["", "c2VjcmV0"]))
    | st.builds(ToolCall, names.map(CallId), names, texts | st.just('{"a": [1]}'))
    | st.builds(ProviderStep, names, texts | st.just(SEARCH))
)
prompt_parts: st.SearchStrategy[UserPart] = (
    st.builds(Text, texts)
    | st.builds(Image, st.sampled_from(["image/png", "image/webp"]), st.binary(min_size=1, max_size=9))
    | st.builds(Document, st.sampled_from(["application/pdf", "text/plain"]), st.binary(min_size=1, max_size=9), texts)
)
someone: st.SearchStrategy[Message] = (
    st.builds(UserMessage, st.lists(prompt_parts, max_size=3).map(tuple))
    | st.builds(AssistantMessage, st.lists(answer_parts, max_size=4).map(tuple), st.sampled_from([OWN, "x/y"]))
    | st.builds(ToolMessage, names.map(CallId), names, texts, st.booleans())
)


@pytest.mark.requirement("bedrock:request-shape", "bedrock:roles-take-turns", "bedrock:size-is-upper-bound")
@given(
    texts,
    st.lists(someone, max_size=8),
    st.lists(names, max_size=3, unique=True),
    st.none() | st.integers(1, 10**9),
    st.none() | st.sampled_from(LEVELS),
    st.sampled_from([CLAUDE, "anthropic.claude-opus-4-6-v1:0", "amazon.nova-2-lite-v1:0", "m"]),
    st.booleans(),
)
def test_every_conversation_is_a_request_the_official_client_accepts(
    instructions: str,
    messages: list[Message],
    tools: list[str],
    cap: int | None,
    level: Any,
    model: str,
    may_call: bool,
) -> None:
    specs = tuple([ToolSpec(name=name, description="", parameters={"type": "object"}) for name in tools])
    fields: dict[str, Any] = {"instructions": instructions, "tools": specs, "may_call": may_call}
    asked = request(messages, max_output_tokens=cap, thinking=level, **fields)
    one = encoder(model)
    size, data = one.size(asked), one.encode(asked)
    assert size >= len(data)
    body = json.loads(data)
    accepted(body)
    assert json.dumps(body).count('"cachePoint"') <= 4
    called = any("toolUse" in block for turn in body["messages"] for block in turn["content"])
    assert "toolConfig" in body or not called
    assert all(first["role"] != second["role"] for first, second in pairwise(body["messages"]))
    for turn in body["messages"]:
        results = ["toolResult" in block for block in turn["content"]]
        assert results
        assert results == sorted(results, reverse=True)
        assert all(block["text"].strip() for block in turn["content"] if "text" in block)
    found = [block["document"]["name"] for turn in body["messages"] for block in turn["content"] if "document" in block]
    assert len(found) == len(set(found))
