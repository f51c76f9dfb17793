"""What an agent is declared to answer with: which types and schemas can be asked for, and how that is done."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from tests.running import MODEL

from holdfast import Agent, Pipeline, tool
from holdfast.context.assembling import assemble
from holdfast.errors import UsageError
from holdfast.runtime.pipelines import Phase
from holdfast.tools.typed.choosing import choose
from holdfast.types import AgentSpec, OutputShape


class City(msgspec.Struct):
    name: str


class Tree(msgspec.Struct):
    branches: list[Tree]


@tool(effect="none")
def look() -> str:
    """Looks."""
    return "nothing"


@tool(name="final_answer", effect="none")
def mine() -> str:
    """Is called like the tool that takes answers."""
    return "mine"


FLAT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FREE = {"type": "object", "additionalProperties": {"type": "string"}}
CYCLE = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}


@pytest.mark.requirement("models:structured-output-schema-refused")
@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({}, "says nothing of what is wanted"),
        ({"name": "string"}, "says nothing of what is wanted"),
        ({"type": "text"}, "$.type is 'text'"),
        ({"type": []}, "names no type"),
        ({"type": "object", "properties": {"a": "string"}}, "$.properties.a is 'string'"),
        ({"type": "object", "properties": ["a"]}, "a dict of schemas"),
        ({"type": "object", "required": "a"}, "$.required has to be a list of names"),
        ({"type": "array", "items": [{}]}, "$.items is [{}]"),
        ({"type": "array", "minItems": -1}, "$.minItems is -1"),
        ({"type": "string", "pattern": "("}, "no regular expression"),
        ({"type": "integer", "minimum": "1"}, "$.minimum is '1'"),
        ({"anyOf": []}, "with one at least"),
        ({"enum": []}, "with one value at least"),
        ({"$ref": "#/$defs/a"}, "no such definition"),
        ({"$ref": "https://example.org/schema"}, "has to lead into this schema"),
        (CYCLE, "leads only back to itself"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "description": "x" * 70_000}}},
            "65,536 are allowed",
        ),
        ({"type": "object", "properties": {"a": object()}}, "is no JSON"),
    ],
)
def test_what_is_no_json_schema_is_refused_when_the_agent_is_declared(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as refused:
        Agent(MODEL, output=schema)
    assert why in str(refused.value)


@pytest.mark.requirement("models:structured-output-schema-refused")
def test_a_schema_nested_without_end_is_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    with pytest.raises(UsageError, match="nested deeper"):
        Agent(MODEL, output=deep)


class Plain:
    pass


@pytest.mark.requirement("models:structured-output-schema-refused")
@pytest.mark.parametrize("output", [Plain, list[Plain], Plain | int, object, Any, "City", print, complex])
def test_a_type_that_cannot_be_described_is_refused_when_the_agent_is_declared(output: Any) -> None:
    with pytest.raises(UsageError, match="output="):
        Agent(MODEL, output=output)


@pytest.mark.requirement("models:structured-output-schema-refused")
def test_a_schema_is_copied_so_that_changing_it_later_changes_no_agent() -> None:
    given: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    agent = Agent(MODEL, output=given)
    before = agent.digest
    given["properties"]["a"]["type"] = "integer"
    assert agent.spec.output is not None
    assert agent.spec.output.schema["properties"]["a"] == {"type": "string"}
    assert Agent(MODEL, output={"type": "object", "properties": {"a": {"type": "string"}}}).digest == before


@pytest.mark.requirement("output:mode-by-rule")
@pytest.mark.parametrize(
    ("model", "schema", "tools", "mode"),
    [
        ("openai/gpt-5", FLAT, True, "tool"),
        ("elsewhere/m", FLAT, True, "tool"),
        ("openai/gpt-5", FLAT, False, "native"),
        ("openai/gpt-5", FREE, False, "tool"),
        ("google/gemini-3", FREE, False, "native"),
        ("anthropic/claude-sonnet-4-5", FLAT, False, "native"),
        ("anthropic/claude-opus-4-1", FLAT, False, "native"),
        ("anthropic/claude-sonnet-4-20250514", FLAT, False, "tool"),
        ("anthropic/claude-3-5-haiku-20241022:high", FLAT, False, "tool"),
        ("deepseek/deepseek-chat", FLAT, False, "tool"),
        ("elsewhere/m", FLAT, False, "text"),
        ("smart", FLAT, False, "text"),
        ("openai/gpt-5, anthropic/claude-sonnet-4-5:low", FLAT, False, "native"),
        ("openai/gpt-5,groq/llama", FLAT, False, "tool"),
        ("openai/gpt-5,elsewhere/m", FLAT, False, "text"),
    ],
)
def test_how_an_answer_is_asked_for_follows_from_what_is_known(
    model: str, schema: dict[str, Any], tools: bool, mode: str
) -> None:
    assert choose("auto", model, schema, tools=tools) == mode


@pytest.mark.requirement("output:mode-by-rule")
def test_a_provider_that_cannot_hold_an_answer_to_a_schema_is_not_asked_to() -> None:
    with pytest.raises(UsageError, match="'anthropic' cannot hold an answer"):
        Agent("anthropic/claude-sonnet-4-5", output=Tree, output_mode="native")
    assert Agent("anthropic/claude-sonnet-4-5", output=Tree).spec.output_mode == "tool"
    assert Agent("openai/gpt-5", output=Tree).spec.output_mode == "native"
    with pytest.raises(UsageError, match="there is no output_mode 'json'"):
        Agent(MODEL, output=City, output_mode="json")  # pyright: ignore[reportArgumentType]


@pytest.mark.requirement("models:structured-output", "output:mode-by-rule")
def test_each_mode_asks_in_its_own_place() -> None:
    native = Agent(MODEL, instructions="Short.", output=City, output_mode="native").spec
    text = Agent(MODEL, instructions="Short.", output=City, output_mode="text").spec
    forced = Agent(MODEL, instructions="Short.", output=City, output_mode="tool").spec
    assert assemble(native, []).output == OutputShape("City", native.output.schema if native.output else {})
    assert native.instructions == "Short."
    assert assemble(text, []).output is None
    assert '"required":["name"]' in text.instructions
    asked = assemble(forced, [])
    assert (asked.output, asked.must_call, [each.name for each in asked.tools]) == (
        None,
        "final_answer",
        ["final_answer"],
    )
    assert asked.tools[0].terminal
    assert "final_answer" in forced.instructions
    last = assemble(forced, [], last=True)
    assert (last.must_call, assemble(native, [], last=True).output) == (None, None)


@pytest.mark.requirement("output:mode-by-rule")
def test_an_agent_with_tools_has_to_call_one_of_them_unless_its_model_thinks() -> None:
    assert assemble(Agent(MODEL, output=City, tools=[look]).spec, []).must_call == ""
    assert assemble(Agent(MODEL, output=City, tools=[look], thinking="high").spec, []).must_call is None
    assert assemble(Agent(MODEL, tools=[look]).spec, []).must_call is None


@pytest.mark.requirement("output:mode-by-rule")
def test_the_tool_that_takes_the_answer_is_called_like_no_other() -> None:
    agent = Agent(MODEL, output=City, tools=[mine, look])
    assert [each.name for each in agent.spec.tools] == ["final_answer", "look", "final_answer_2"]


@pytest.mark.requirement("output:digest-stable")
def test_an_agent_without_an_output_is_the_agent_it_was() -> None:
    said: dict[str, Any] = msgspec.json.decode(Agent(MODEL, tools=[look]).encoded)
    assert set(said) == {"model", "tools", "limits"}
    assert msgspec.json.decode(Agent(MODEL, output=City).encoded, type=AgentSpec) == Agent(MODEL, output=City).spec


@dataclasses.dataclass
class Named:
    name: str


@pytest.mark.requirement("output:types")
def test_the_type_of_the_value_is_the_declared_one_and_a_pipelines_its_last_phases() -> None:
    agent = Agent(MODEL, output=Named)
    line = Pipeline([Phase("first", Agent(MODEL)), Phase("last", agent)])
    assert line.reader is agent.reader
    assert Pipeline([Phase("first", agent), Phase("last", Agent(MODEL))]).reader is None
