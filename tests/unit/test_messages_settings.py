"""What a Messages request says besides the conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire.claude import efforts_of, version_of
from holdfast.models.wire.messages.requests import Encoder
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    OutputShape,
    ProviderStep,
    ProviderTool,
    Text,
    ThinkingLevel,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

NEW, OLD = "claude-opus-4-6", "claude-sonnet-4-5-20250929"
ADD = ToolSpec(name="add", description="Adds.", parameters={"type": "object", "properties": {}})
TALK: list[Message] = [UserMessage((Text("one?"),))]
SHAPE = OutputShape("sum", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


def body(model: str = NEW, messages: Sequence[Message] = TALK, longest: int | None = 64_000, **fields: Any) -> Any:
    encoder = Encoder(model, owner=f"anthropic/{model}", longest_answer=longest)
    request = ModelRequest(instructions="", messages=messages, **fields)
    encoded = encoder.encode(request)
    assert len(encoded) <= encoder.size(request) <= len(encoded) + 1000
    return json.loads(encoded)


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("claude-opus-4-6", True),
        ("claude-sonnet-4-6-20260201", True),
        ("claude-opus-5", True),
        ("claude-haiku-4-5-20251001", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-3-7-sonnet-20250219", False),
        ("claude-opus-4-1", False),
        ("something-new", True),
    ],
)
def test_models_since_4_6_are_told_an_effort_and_earlier_ones_a_budget(model: str, effort: bool) -> None:
    assert bool(efforts_of(version_of(model))) is effort


BUDGETS: list[tuple[ThinkingLevel, int, int]] = [
    ("minimal", 1024, 33_024),
    ("low", 2048, 34_048),
    ("medium", 8192, 40_192),
    ("high", 16_384, 48_384),
]


@pytest.mark.requirement("models:thinking-budgets")
@pytest.mark.parametrize(("level", "budget", "cap"), BUDGETS)
def test_a_level_is_a_budget_beside_the_answer_of_a_model_that_takes_one(
    level: ThinkingLevel, budget: int, cap: int
) -> None:
    sent = body(OLD, thinking=level)
    assert (sent["thinking"], sent["max_tokens"]) == ({"type": "enabled", "budget_tokens": budget}, cap)
    assert body(OLD, thinking=level, longest=None, max_output_tokens=100)["max_tokens"] == 100 + budget


@pytest.mark.requirement("models:thinking-budgets")
def test_where_the_longest_answer_leaves_no_room_the_thinking_gives_way() -> None:
    sent = body(OLD, thinking="high", longest=8000)
    assert (sent["max_tokens"], sent["thinking"]["budget_tokens"]) == (8000, 8000 - 1024)
    assert "thinking" not in body(OLD, thinking="high", longest=900)


def test_an_effort_is_said_to_a_model_that_decides_itself_how_long_it_thinks() -> None:
    sent = body(thinking="xhigh")
    assert sent["thinking"]["type"] == "adaptive"
    assert (sent["output_config"], sent["max_tokens"]) == ({"effort": "max"}, 32_000), "what that one calls the highest"
    assert body("claude-opus-5", thinking="xhigh")["output_config"] == {"effort": "xhigh"}
    assert body(thinking="minimal")["output_config"] == {"effort": "low"}


@pytest.mark.parametrize("model", [NEW, OLD])
def test_off_is_said_and_nothing_is_said_where_nobody_asked(model: str) -> None:
    assert body(model, thinking="off")["thinking"] == {"type": "disabled"}
    assert {"thinking", "output_config"}.isdisjoint(body(model))


def test_who_thinks_has_no_temperature() -> None:
    assert "temperature" not in body(thinking="low", temperature=0.5)
    assert body(thinking="off", temperature=0.5)["temperature"] == 0.5


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"may_call": False}, {"type": "none"}),
        ({"must_call": ""}, {"type": "any"}),
        ({"must_call": "add"}, {"type": "tool", "name": "add"}),
        ({"must_call": "", "tools": ()}, None),
    ],
)
def test_whether_tools_may_or_must_be_called_is_said(fields: dict[str, Any], choice: Any) -> None:
    given: dict[str, Any] = {"tools": (ADD,), **fields}
    assert body(**given).get("tool_choice") == choice


@pytest.mark.parametrize("model", [NEW, OLD])
def test_a_call_that_must_be_made_is_made_without_thinking_which_servers_refuse_beside_it(model: str) -> None:
    sent = body(model, tools=(ADD,), must_call="add", thinking="high")
    assert sent["tool_choice"] == {"type": "tool", "name": "add"}
    assert sent.get("thinking", {"type": "disabled"})["type"] == "disabled"


def test_a_typed_answer_is_asked_for_by_a_schema_the_server_takes() -> None:
    form = body(output=SHAPE, thinking="low")["output_config"]
    assert (form["effort"], form["format"]["type"]) == ("low", "json_schema")
    assert form["format"]["schema"]["additionalProperties"] is False
    assert "output_config" not in body(output=OutputShape("any", {"type": "array"})), "which no server takes"


@pytest.mark.requirement("models:call-defaults-on-the-wire")
def test_options_of_the_provider_stand_in_each_request_and_ours_are_not_theirs_to_say() -> None:
    sent = body(options={"service_tier": "auto", "output_config": {"effort": "max"}}, output=SHAPE)
    assert sent["service_tier"] == "auto"
    assert (sent["output_config"]["effort"], "format" in sent["output_config"]) == ("max", True)
    wrong: list[tuple[Any, dict[str, Any]]] = [
        ({"max_tokens": 1}, {}),
        ({"output_config": {"effort": "max"}}, {"thinking": "low"}),
    ]
    for options, fields in wrong:
        with pytest.raises(InvalidRequest, match="say it to the agent"):
            body(options=options, **fields)


def test_what_the_provider_runs_itself_is_offered_and_its_steps_go_back_to_the_model_they_came_from() -> None:
    used = '{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"x"}}'
    found = '{"type":"web_search_tool_result","tool_use_id":"s1","content":[]}'
    parts = (ProviderStep("web_search", used, "x"), ProviderStep("web_search_tool_result", found), Text("a"))
    talk: list[Message] = [*TALK, AssistantMessage(parts, f"anthropic/{NEW}"), UserMessage((Text("more"),))]
    search = ProviderTool("web_search_20250305", {"max_uses": 3})
    sent = body(messages=talk, provider_tools=(search,), tools=(ADD,))
    offered = sent["tools"][1]
    assert (offered["type"], offered["name"], offered["max_uses"]) == ("web_search_20250305", "web_search", 3)
    blocks = sent["messages"][1]["content"]
    assert [block["type"] for block in blocks] == ["server_tool_use", "web_search_tool_result", "text"]
    assert {key: blocks[0][key] for key in ("id", "input")} == {"id": "s1", "input": {"query": "x"}}
    others = body(OLD, messages=talk)["messages"][1]["content"]
    assert [block["type"] for block in others] == ["text"], "nobody else could read them"


def test_an_answer_that_was_begun_stands_last_for_the_model_to_go_on_with() -> None:
    sent = body(messages=[*TALK, AssistantMessage((Text("It is"),), f"anthropic/{NEW}", "length")])
    last = sent["messages"][-1]
    assert (last["role"], last["content"][0]["text"]) == ("assistant", "It is")


def test_settings_leave_the_conversation_and_its_cache_as_they_were() -> None:
    talk: list[Message] = [
        *TALK,
        AssistantMessage((ToolCall(CallId("c"), "add", "{}"),), "x/y", "tool_calls"),
        ToolMessage(CallId("c"), "add", "1"),
    ]
    encoder = Encoder(NEW, owner=f"anthropic/{NEW}", longest_answer=64_000)
    plain = ModelRequest(instructions="i", messages=talk, tools=(ADD,))
    before = encoder.encode(plain)
    changes: list[dict[str, Any]] = [
        {"thinking": "low"},
        {"output": SHAPE},
        {"must_call": "add"},
        {"options": {"a": 1}},
    ]
    for fields in changes:
        sent = json.loads(encoder.encode(ModelRequest(instructions="i", messages=talk, tools=(ADD,), **fields)))
        assert sent["messages"] == json.loads(before)["messages"]
    assert encoder.encode(plain) == before
