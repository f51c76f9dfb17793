"""What a family of providers is sent of a schema: the providers' own clients find nothing more to change in it."""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any, Literal, get_args

import msgspec
import pytest
from anthropic.lib._parse._transform import transform_schema
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib._pydantic import _ensure_strict_json_schema
from pydantic import BaseModel, Field

from holdfast.models.wire.shaping import Family, holds, shape_for
from holdfast.tools.schema.fitting import misfit
from holdfast.tools.typed.describing import describe_type

FAMILIES: tuple[Family, ...] = get_args(Family)


class Point(msgspec.Struct, tag="point"):
    x: Annotated[int, msgspec.Meta(ge=0, le=10)]
    label: str = "none"


class Line(msgspec.Struct, tag="line"):
    points: Annotated[list[Point], msgspec.Meta(min_length=2)]
    kind: Literal["thin", "thick"] | None = None
    ends: tuple[int, str] = (1, "a")


class Node(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, pattern="^n")]
    children: list[Node]
    shape: Point | Line | None = None


class Table(msgspec.Struct):
    cells: dict[str, int]


class Person(BaseModel):
    name: str = Field(min_length=1, description="As in the passport.")
    age: int | None = Field(default=None, ge=0)
    friend: Person | None = None


FLAT = describe_type(Line).schema
RECURSIVE = describe_type(Node).schema
MODEL = describe_type(Person).schema
FREE = describe_type(Table).schema


def every(part: Any) -> list[dict[str, Any]]:
    """All schemas in a schema."""
    if isinstance(part, list):
        return [each for inner in part for each in every(inner)]
    if not isinstance(part, dict):
        return []
    names = {name for name in ("properties", "$defs") if isinstance(part.get(name), dict)}
    below = [each for name in names for inner in part[name].values() for each in every(inner)]
    below += [each for name, inner in part.items() if name not in {*names, "enum", "const"} for each in every(inner)]
    return [part, *below]


@pytest.mark.requirement("output:shaped-for-provider")
@pytest.mark.parametrize("schema", [FLAT, RECURSIVE, MODEL], ids=["flat", "recursive", "pydantic"])
def test_openais_client_finds_a_shaped_schema_strict_as_it_is(schema: dict[str, Any]) -> None:
    shaped = shape_for(schema, "openai")
    assert holds(schema, "openai")
    again = copy.deepcopy(shaped)
    assert _ensure_strict_json_schema(again, path=(), root=again) == shaped
    parts = every(shaped)
    assert all(set(part) == {"$ref"} for part in parts if "$ref" in part)
    assert not {"default", "oneOf", "prefixItems", "minLength", "discriminator"} & {
        word for part in parts for word in part
    }
    for part in parts:
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])


@pytest.mark.requirement("output:shaped-for-provider")
@pytest.mark.parametrize("family", ["anthropic", "bedrock"])
def test_anthropics_client_finds_nothing_left_to_take_out_of_a_shaped_schema(family: Family) -> None:
    shaped = shape_for(FLAT, family)

    def without_types(part: Any) -> Any:
        if isinstance(part, list):
            return [without_types(each) for each in part]
        if not isinstance(part, dict):
            return part
        chosen = {"enum", "const"} & part.keys()  # their client leaves the type out beside values
        return {name: without_types(each) for name, each in part.items() if not (chosen and name == "type")}

    assert without_types(transform_schema(copy.deepcopy(shaped))) == without_types(shaped)
    (x,) = (part["x"] for part in (each.get("properties", {}) for each in every(shaped)) if "x" in part)
    assert x == {"type": "integer", "description": "minimum: 0, maximum: 10"}


@pytest.mark.requirement("output:shaped-for-provider")
def test_who_cannot_hold_an_answer_to_a_schema_is_known_beforehand_and_gets_it_unbroken() -> None:
    able = {
        name: [family for family in FAMILIES if holds(schema, family)]
        for name, schema in {"flat": FLAT, "recursive": RECURSIVE, "free": FREE, "text": {"type": "string"}}.items()
    }
    assert able == {
        "flat": list(FAMILIES),
        "recursive": ["openai", "gemini", "cohere", "ollama"],
        "free": ["gemini", "ollama"],
        "text": ["gemini", "ollama"],
    }
    assert shape_for(FREE, "openai")["properties"]["cells"]["additionalProperties"] == {"type": "integer"}
    assert "$defs" in shape_for(RECURSIVE, "anthropic")


@pytest.mark.requirement("output:shaped-for-provider")
def test_gemini_gets_cycles_only_through_what_may_be_missing_and_no_constants() -> None:
    parts = every(shape_for(RECURSIVE, "gemini"))
    nodes = [part for part in parts if "children" in part.get("properties", {})]
    assert nodes
    assert all(part["required"] == ["name"] for part in nodes)
    assert not any("const" in part for part in parts)


@pytest.mark.requirement("output:shaped-for-provider")
def test_cohere_gets_objects_that_require_something() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    shaped = shape_for(schema, "cohere")
    assert shaped["required"] == ["a"]
    assert shaped["properties"]["a"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}


@pytest.mark.requirement("output:shaped-for-provider")
def test_types_in_a_list_one_of_and_all_of_become_what_every_provider_reads() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [
            {"$ref": "#/definitions/named"},
            {"properties": {"age": {"type": ["integer", "null"], "description": "In years."}}, "required": ["age"]},
        ],
        "definitions": {
            "named": {
                "type": "object",
                "properties": {"name": {"oneOf": [{"const": "a"}, {"enum": ["b", 1]}]}},
                "required": ["name"],
            },
            "unused": {"type": "string"},
        },
    }
    assert shape_for(schema, "openai") == {
        "type": "object",
        "properties": {
            "name": {
                "anyOf": [
                    {"const": "a", "type": "string"},
                    {"anyOf": [{"enum": ["b"], "type": "string"}, {"enum": [1], "type": "integer"}]},
                ]
            },
            "age": {"description": "In years.", "anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }


def _pairs(depth: int) -> st.SearchStrategy[tuple[dict[str, Any], Any]]:
    """Schemas, each with a value that fits."""
    flat = st.one_of(
        st.integers(0, 9).map(lambda n: ({"type": "integer", "minimum": 0, "maximum": 9}, n)),
        st.text("ab", max_size=3).map(lambda s: ({"type": "string", "maxLength": 3, "format": "uri"}, s)),
        st.booleans().map(lambda b: ({"type": "boolean"}, b)),
        st.sampled_from(["x", 1, None]).map(lambda v: ({"enum": ["x", 1, None]}, v)),
        st.just(({"type": ["string", "null"], "description": "d"}, None)),
    )
    if not depth:
        return flat
    inner = _pairs(depth - 1)

    def to_object(fields: dict[str, tuple[tuple[dict[str, Any], Any], bool]]) -> tuple[dict[str, Any], Any]:
        required = [name for name, (_, needed) in fields.items() if needed]
        schema = {"type": "object", "properties": {name: pair[0] for name, (pair, _) in fields.items()}}
        return {**schema, "required": required}, {name: fields[name][0][1] for name in required}

    objects = st.dictionaries(st.sampled_from("abc"), st.tuples(inner, st.booleans()), min_size=1).map(to_object)
    lists = inner.map(lambda pair: ({"type": "array", "items": pair[0], "minItems": 2, "maxItems": 2}, [pair[1]] * 2))
    unions = st.tuples(inner, inner).map(lambda two: ({"oneOf": [two[0][0], two[1][0]]}, two[1][1]))
    return st.one_of(flat, objects, lists, unions)


def _filled(schema: dict[str, Any], value: Any) -> Any:
    """The value with null for each property that is left out, as OpenAI's subset has it."""
    for each in schema.get("anyOf", ()):
        if not misfit(each, filled := _filled(each, value)):
            return filled
    if isinstance(value, list):
        return [_filled(schema.get("items", {}), each) for each in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    return {name: _filled(known[name], value[name]) if name in value else None for name in known}


@pytest.mark.requirement("output:shaped-for-provider")
@settings(max_examples=150, deadline=None)
@given(_pairs(3), st.sampled_from(FAMILIES))
def test_what_fits_a_schema_always_fits_what_a_provider_is_sent_of_it(
    pair: tuple[dict[str, Any], Any], family: Family
) -> None:
    schema = {"type": "object", "properties": {"value": pair[0]}, "required": ["value"]}
    value = {"value": pair[1]}
    assert misfit(schema, value) == ""
    before = json.dumps(schema)
    shaped = shape_for(schema, family)
    assert json.dumps(schema) == before, "the schema that was given stays as it is"
    sent = _filled(shaped, value) if family == "openai" else value
    assert misfit(shaped, sent) == "" or family == "cohere"  # which wants one property of each object, if only as null
    assert shape_for(shaped, family) == shaped, "shaping twice is shaping once"
