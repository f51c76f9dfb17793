"""What servers that speak Chat Completions want otherwise than OpenAI: each switch changes its one place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire.chat.compat import Compat
from holdfast.models.wire.chat.requests import Encoder
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    OutputShape,
    ProviderStep,
    ProviderTool,
    Text,
    Thinking,
    ThinkingLevel,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

OWNER = "srv/m"
ADD = ToolSpec(
    name="add",
    description="Adds.",
    parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)
DETAILS = '[{"type":"reasoning.text","text":"hm","signature":"s"}]'
TALK: list[Message] = [
    UserMessage((Text("one?"),)),
    AssistantMessage(
        (Thinking("hm", DETAILS), Text("wait"), ToolCall(CallId("call_1"), "add", '{"a":1}')), OWNER, "tool_calls"
    ),
    ToolMessage(CallId("call_1"), "add", "1"),
    UserMessage((Text("and?"),)),
    AssistantMessage((Text("It is"),), OWNER, "length"),
]
SHAPE = OutputShape(
    "sum", {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
)


def body(compat: Compat, messages: Sequence[Message] = TALK, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"tools": (ADD,), **fields}
    request = ModelRequest(instructions="Add.", messages=messages, **given)
    encoder = Encoder("m", owner=OWNER, compat=compat)
    encoded = encoder.encode(request)
    assert encoder.size(request) == len(encoded)
    return json.loads(encoded)


def differing(one: Any, other: Any, path: str = "") -> dict[str, Any]:
    """Returns what stands elsewhere in `other`, by its place."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            place: value
            for key in {**one, **other}
            for place, value in differing(one.get(key), other.get(key), f"{path}.{key}").items()
        }
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return {
            place: value
            for n, pair in enumerate(zip(one, other, strict=True))
            for place, value in differing(*pair, f"{path}.{n}").items()
        }
    return {} if one == other else {path.lstrip("."): other}


SWITCHES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "store": ({"store": False}, {}, {"store": False}),
    "developer_role": ({"developer_role": True}, {}, {"messages.0.role": "developer"}),
    "max_tokens_field": (
        {"max_tokens_field": "max_tokens"},
        {"max_output_tokens": 9},
        {"max_tokens": 9, "max_completion_tokens": None},
    ),
    "usage_in_stream": ({"usage_in_stream": False}, {}, {"stream_options": None}),
    "efforts": ({"efforts": {"high": "max"}}, {"thinking": "high"}, {"reasoning_effort": "max"}),
    "thinking-openrouter": (
        {"thinking": "openrouter"},
        {"thinking": "high"},
        {"reasoning_effort": None, "reasoning": {"effort": "high"}},
    ),
    "thinking-zai": (
        {"thinking": "zai"},
        {"thinking": "off"},
        {"reasoning_effort": None, "thinking": {"type": "disabled"}},
    ),
    "thinking-qwen": ({"thinking": "qwen"}, {"thinking": "low"}, {"reasoning_effort": None, "enable_thinking": True}),
    "thinking-template": (
        {"thinking": "template"},
        {"thinking": "off"},
        {"reasoning_effort": None, "chat_template_kwargs": {"enable_thinking": False}},
    ),
    "thinking-none": ({"thinking": "none"}, {"thinking": "low"}, {"reasoning_effort": None}),
    "back-field": ({"thinking_back": "field"}, {}, {"messages.2.reasoning_content": "hm"}),
    "back-details": ({"thinking_back": "details"}, {}, {"messages.2.reasoning_details": json.loads(DETAILS)}),
    "back-text": ({"thinking_back": "text"}, {}, {"messages.2.content": "<thinking>\nhm\n</thinking>\nwait"}),
    "tool_result_name": ({"tool_result_name": True}, {}, {"messages.3.name": "add"}),
    "strict_tools": (
        {"strict_tools": True},
        {},
        {"tools.0.function.strict": True, "tools.0.function.parameters.additionalProperties": False},
    ),
    "output-object": ({"output": "object"}, {"output": SHAPE}, {"response_format": {"type": "json_object"}}),
    "output-none": ({"output": "none"}, {"output": SHAPE}, {"response_format": None}),
    "prefill-plain": ({"prefill": "plain"}, {}, {}),
    "prefill-prefix": ({"prefill": "prefix"}, {}, {"messages.5.prefix": True}),
    "prefill-template": (
        {"prefill": "template"},
        {},
        {"continue_final_message": True, "add_generation_prompt": False},
    ),
    "parallel_calls": ({"parallel_calls": False}, {}, {"parallel_tool_calls": False}),
}


@pytest.mark.requirement("models:compatibility-switches")
@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_its_one_place_and_nothing_else(name: str) -> None:
    switch, fields, change = SWITCHES[name]
    seen = differing(body(Compat(), **fields), body(Compat(**switch), **fields))
    if name == "output-object":
        seen = {"response_format": body(Compat(**switch), **fields)["response_format"]}
    assert seen == change


@pytest.mark.requirement("models:compatibility-switches")
def test_short_ids_are_the_same_for_a_call_and_its_result_and_for_no_other() -> None:
    turns = body(Compat(short_call_ids=True))["messages"]
    id = turns[2]["tool_calls"][0]["id"]
    assert (len(id), id.isalnum(), turns[3]["tool_call_id"]) == (9, True, id)
    fits: list[Message] = [AssistantMessage((ToolCall(CallId("abc123XYZ"), "add", "{}"),), OWNER)]
    assert body(Compat(short_call_ids=True), fits)["messages"][1]["tool_calls"][0]["id"] == "abc123XYZ"
    many: list[Message] = [
        AssistantMessage(tuple(ToolCall(CallId(f"call_{n}"), "add", "{}") for n in range(2000)), OWNER)
    ]
    ids = [call["id"] for call in body(Compat(short_call_ids=True), many)["messages"][1]["tool_calls"]]
    assert len(set(ids)) == 2000


@pytest.mark.requirement("models:compatibility-switches")
def test_between_a_result_and_a_prompt_stands_an_answer_where_a_server_wants_one() -> None:
    plain, changed = (body(Compat(answer_after_result=on))["messages"] for on in (False, True))
    assert [turn["role"] for turn in plain] == ["system", "user", "assistant", "tool", "user", "assistant"]
    assert [turn["role"] for turn in changed][2:6] == ["assistant", "tool", "assistant", "user"]
    assert changed[:4] + changed[5:] == plain
    grown, encoder = list[Message](), Encoder("m", owner=OWNER, compat=Compat(answer_after_result=True))
    last = b""
    for message in TALK:
        grown.append(message)
        last = encoder.encode(ModelRequest(instructions="Add.", messages=grown, tools=(ADD,)))
    assert json.loads(last)["messages"] == changed, "also where the two came one after the other"


def test_thinking_goes_back_to_the_model_that_thought_it_alone() -> None:
    for back in ("field", "details", "text"):
        others: list[Message] = [AssistantMessage((Thinking("hm", DETAILS), Text("a")), "other/m")]
        assert body(Compat(thinking_back=back), others)["messages"][1] == {"role": "assistant", "content": "a"}


LEVELS: list[tuple[ThinkingLevel, str]] = [
    ("off", "none"),
    ("minimal", "minimal"),
    ("low", "low"),
    ("medium", "medium"),
    ("high", "high"),
    ("xhigh", "xhigh"),
]


@pytest.mark.parametrize(("level", "said"), LEVELS)
def test_a_level_is_an_effort(level: ThinkingLevel, said: str) -> None:
    assert body(Compat(), thinking=level)["reasoning_effort"] == said
    assert "reasoning_effort" not in body(Compat())


@pytest.mark.requirement("models:call-defaults-on-the-wire")
def test_options_of_the_provider_stand_in_each_request_and_ours_are_not_theirs_to_say() -> None:
    sent = body(Compat(), options={"service_tier": "flex", "reasoning_effort": "low", "seed": 7})
    assert (sent["service_tier"], sent["reasoning_effort"], sent["seed"]) == ("flex", "low", 7)
    wrong: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"messages": []}, {}),
        ({"stream": False}, {}),
        ({"temperature": 1}, {}),
        ({"reasoning_effort": "low"}, {"thinking": "high"}),
        ({"response_format": {"type": "text"}}, {"output": SHAPE}),
    ]
    for options, fields in wrong:
        with pytest.raises(InvalidRequest, match=f"the option '{next(iter(options))}.*say it to the agent"):
            body(Compat(), options=options, **fields)
    joined = body(Compat(thinking="openrouter"), thinking="low", options={"reasoning": {"exclude": True}})
    assert joined["reasoning"] == {"effort": "low", "exclude": True}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"may_call": False}, "none"),
        ({"must_call": ""}, "required"),
        ({"must_call": "add"}, {"type": "function", "function": {"name": "add"}}),
        ({"must_call": "", "may_call": False}, "none"),
        ({"must_call": "", "tools": ()}, None),
    ],
)
def test_whether_tools_may_or_must_be_called_is_said(fields: dict[str, Any], choice: Any) -> None:
    assert body(Compat(), **fields).get("tool_choice") == choice


def test_a_typed_answer_is_asked_for_by_a_schema_the_server_takes() -> None:
    form = body(Compat(), output=SHAPE)["response_format"]["json_schema"]
    assert (form["name"], form["strict"], form["schema"]["additionalProperties"]) == ("sum", True, False)
    free = OutputShape("any", {"type": "object"})
    assert body(Compat(), output=free)["response_format"]["json_schema"]["strict"] is False


def test_what_the_provider_runs_itself_is_offered_beside_the_tools_and_its_steps_are_not_sent() -> None:
    search = ProviderTool("web_search", {"max_uses": 3})
    sent = body(Compat(), provider_tools=(search,))
    assert sent["tools"][1] == {"type": "web_search", "max_uses": 3}
    stepped: list[Message] = [AssistantMessage((ProviderStep("web_search", "{}"), Text("a")), OWNER)]
    assert body(Compat(), stepped)["messages"][1] == {"role": "assistant", "content": "a"}
    encoder = Encoder("m")
    asked = ModelRequest(instructions="", messages=TALK)
    before = encoder.encode(asked)
    more = ModelRequest(instructions="", messages=TALK, provider_tools=(search,))
    assert b'"web_search"' in encoder.encode(more)
    assert encoder.encode(asked) == before


@pytest.mark.requirement("models:tool-names-mapped-back")
def test_names_that_servers_refuse_are_sent_under_others_in_tools_choice_and_history() -> None:
    odd = ToolSpec(name="files.read all", description="", parameters={"type": "object"})
    talk: list[Message] = [
        AssistantMessage((ToolCall(CallId("c"), "files.read all", "{}"),), "x/y", "tool_calls"),
        ToolMessage(CallId("c"), "files.read all", "r"),
    ]
    sent = body(Compat(tool_result_name=True), talk, tools=(odd,), must_call="files.read all")
    names = [
        sent["tools"][0]["function"]["name"],
        sent["messages"][1]["tool_calls"][0]["function"]["name"],
        sent["messages"][2]["name"],
        sent["tool_choice"]["function"]["name"],
    ]
    assert names == ["files_read_all"] * 4
