"""Reading strings as the schema wants them: what was meant comes out, and nothing else is ever changed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tools.schema.coercing import coerced
from holdfast.tools.schema.fitting import misfit

pytestmark = pytest.mark.requirement("tools:arguments-coerced")

INT: dict[str, Any] = {"type": "integer"}
TEXT: dict[str, Any] = {"type": "string"}
NODE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": INT,
        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        "kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
    },
    "required": ["n"],
}


def holding(schema: Any, **others: Any) -> dict[str, Any]:
    """Returns the schema of arguments with one argument `x`, as `@tool` makes it."""
    own: dict[str, Any] = {"properties": {"x": schema}, "required": ["x"]}
    return {"type": "object", **own, "additionalProperties": False, **others}


def read(schema: dict[str, Any], value: Any) -> Any:
    """Returns what arguments are read as; the very same value where nothing is read."""
    found = coerced(schema, msgspec.json.encode(value))
    return value if found is None else msgspec.json.decode(found)


def union(*kinds: Any) -> dict[str, Any]:
    return {"anyOf": list(kinds)}


def tagged(tag: str, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"enum": [tag]}, **fields}, "required": ["kind", *fields]}


@pytest.mark.parametrize(
    ("schema", "said", "meant"),
    [
        (INT, "3", 3),
        (INT, "-0", 0),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "number"}, "-2e-3", -0.002),
        ({"type": "number"}, "3", 3),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "null"}, "null", None),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": ["integer", "null"]}, "None", None),
        (union(INT, {"type": "null"}), "7", 7),
        ({"oneOf": [INT, {"type": "boolean"}]}, "true", True),
        ({"enum": [1, 2]}, "2", 2),
        ({"const": True}, "true", True),
        ({"allOf": [INT, {"minimum": 2}]}, "2", 2),
        (union({"enum": ["auto"]}, INT), "4", 4),
        ({"type": "array", "items": INT}, ["1", 2, "3"], [1, 2, 3]),
        ({"type": "array", "items": {"type": "array", "items": INT}}, [["1"], ["2"]], [[1], [2]]),
        (
            {"type": "array", "prefixItems": [INT, TEXT, {"type": "boolean"}], "items": False},
            ["1", "1", "true"],
            [1, "1", True],
        ),
        ({"type": "array", "prefixItems": [TEXT], "items": INT}, ["1", "1"], ["1", 1]),
        ({"items": [TEXT, INT], "additionalItems": {"type": "null"}}, ["1", "1", "null"], ["1", 1, None]),
        ({"type": "object", "additionalProperties": {"type": "number"}}, {"a": "1", "b": "0.5"}, {"a": 1, "b": 0.5}),
        (
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": INT},
            {"a": "1", "b": "1"},
            {"a": "1", "b": 1},
        ),
        ({"type": "object", "patternProperties": {"^n_": INT}}, {"n_a": "1", "t_a": "1"}, {"n_a": 1, "t_a": "1"}),
    ],
)  # fmt: skip
def test_strings_become_what_the_schema_wants_wherever_they_stand(schema: Any, said: Any, meant: Any) -> None:
    assert read(holding(schema), {"x": said}) == {"x": meant}
    assert type(read(holding(schema), {"x": said})["x"]) is type(meant)


def test_references_are_followed_also_where_a_schema_holds_itself() -> None:
    schema = holding({"$ref": "#/$defs/Node"}, **{"$defs": {"Node": NODE}})
    said = {"n": "1", "next": {"n": "2", "next": None, "kids": [{"n": "3"}, {"n": 4}]}}
    meant = {"n": 1, "next": {"n": 2, "next": None, "kids": [{"n": 3}, {"n": 4}]}}
    assert read(schema, {"x": said}) == {"x": meant}
    old = holding({"$ref": "#/definitions/a~1b"}, definitions={"a/b": INT})
    assert read(old, {"x": "5"}) == {"x": 5}
    inside = {"type": "object", "properties": {"a": INT, "b": {"$ref": "#/properties/a"}}}
    assert read(inside, {"a": "1", "b": "2"}) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (INT, "abc"),
        (INT, ""),
        (INT, " 3"),
        (INT, "+3"),
        (INT, "03"),
        (INT, "3.5"),
        (INT, "3.0"),  # as 3.0 itself is refused
        (INT, "0x10"),
        (INT, "3 apples"),
        (INT, "\u0663"),  # a digit, and not of JSON
        (INT, "true"),
        (INT, "null"),
        ({"type": "integer", "maximum": 2}, "3"),
        ({"type": "number"}, "NaN"),
        ({"type": "number"}, "Infinity"),
        ({"type": "number"}, "1e999"),
        ({"type": "boolean"}, "1"),
        ({"type": "boolean"}, "yes"),
        ({"type": "boolean"}, "TRUE"),
        ({"type": "array", "items": INT}, "[1, 2]"),
        ({"type": "object"}, '{"a": 1}'),
        ({"enum": [1, 2]}, "3"),
        (INT, ["3"]),
        (TEXT, 3),
        ({"type": "array", "items": False}, ["1"]),
    ],
)
def test_what_means_nothing_the_schema_wants_is_left_to_be_refused(schema: Any, said: Any) -> None:
    assert coerced(holding(schema), msgspec.json.encode({"x": said})) is None


@pytest.mark.parametrize(
    "schema",
    [
        TEXT,
        {},
        True,
        {"description": "anything"},
        {"type": ["string", "integer"]},
        union(INT, TEXT),
        union(INT, {"type": "string", "minLength": 5}),
        {"type": "string", "format": "date-time"},
        {"enum": ["3", 3]},
        union({"enum": ["3"]}, INT),
        {"allOf": [TEXT, {"maxLength": 9}]},
        {"$ref": "#/$defs/Text"},
        {"$ref": "#/$defs/Nothing"},
        {"$ref": "https://example.org/schema"},
    ],
)
def test_a_string_where_the_schema_takes_one_is_never_changed(schema: Any) -> None:
    whole = holding(schema, **{"$defs": {"Text": TEXT}})
    # The other argument does not fit, so everything is looked at.
    whole["properties"]["y"] = INT
    assert read(whole, {"x": "3", "y": "4"}) == {"x": "3", "y": 4}


def test_of_a_union_the_one_kind_counts_that_the_value_can_be_of() -> None:
    kinds = union(tagged("count", n=INT), tagged("flag", n={"type": "boolean"}), tagged("word", n=TEXT))
    for kind, said, meant in (("count", "3", 3), ("flag", "true", True), ("word", "3", "3"), ("count", "true", "true")):
        assert read(holding(kinds), {"x": {"kind": kind, "n": said}}) == {"x": {"kind": kind, "n": meant}}


def test_what_could_be_read_as_two_things_is_left_as_it_is() -> None:
    first = {"type": "object", "properties": {"a": INT, "b": TEXT}, "required": ["a"]}
    second = {"type": "object", "properties": {"a": TEXT, "b": INT}, "required": ["b"]}
    assert read(holding(union(first, second)), {"x": {"a": "1", "b": "1"}}) == {"x": {"a": "1", "b": "1"}}
    words, counts = ({"type": "object", "properties": {"n": kind}} for kind in (TEXT, INT))
    assert read(holding(union(counts, words)), {"x": {"n": "3"}}) == {"x": {"n": "3"}}, "it fits as it is"
    numbers = {"type": "array", "items": INT}
    nulls = {"type": "array", "items": {"type": ["null", "integer"]}}
    assert read(holding(union(numbers, nulls)), {"x": ["1"]}) == {"x": [1]}, "both say the same"


@pytest.mark.parametrize(
    "number", ["123456789012345678901234567890", "0.1000000000000000055511151231257827", "1.50", "1E3", "-0.0"]
)
def test_every_other_value_keeps_its_very_bytes(number: str) -> None:
    schema = {"type": "object", "properties": {"n": INT, "other": {}, "m": {"type": "number"}}}
    text = f'{{"other": [{number},  "\\u00e9", {{"a":1}}], "n": "3", "m": "{number}"}}'
    found = coerced(schema, text.encode())
    assert found is not None
    assert found.decode() == f'{{"other":[{number},  "\\u00e9", {{"a":1}}],"n":3,"m":{number}}}'


# ---- always and never ------------------------------------------------------------------------------------------

NUMERALS = st.sampled_from(["3", "-1", "1.5", "true", "null", "None", "abc", ""])


def scalars() -> st.SearchStrategy[tuple[Any, Any, Any]]:
    """Schemas, with a value that fits and the same as a careless model writes it."""
    ints = st.integers(-(10**25), 10**25).map(lambda n: (INT, n, str(n)))
    floats = st.floats(allow_nan=False, allow_infinity=False).map(
        lambda f: ({"type": "number"}, f, msgspec.json.encode(f).decode())
    )
    flags = st.booleans().map(lambda b: ({"type": "boolean"}, b, str(b).lower()))
    nulls = st.just(({"type": "null"}, None, "null"))
    maybe = st.integers(0, 9).map(lambda n: (union(INT, {"type": "null"}), n, str(n)))
    none = st.just(({"type": ["boolean", "null"]}, None, "null"))
    texts = NUMERALS.map(lambda s: (TEXT, s, s))
    anything = NUMERALS.map(lambda s: ({}, s, s))
    return st.one_of(ints, floats, flags, nulls, maybe, none, texts, anything)


def around(inner: st.SearchStrategy[tuple[Any, Any, Any]]) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    places = st.lists(inner, max_size=4)

    def fixed(parts: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
        return (
            {"type": "array", "prefixItems": [s for s, _, _ in parts]},
            [v for _, v, _ in parts],
            [w for *_, w in parts],
        )

    def record(parts: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
        named = {f"f{i}": part for i, part in enumerate(parts)}
        schema = {"type": "object", "properties": {k: s for k, (s, _, _) in named.items()}, "required": list(named)}
        return schema, {k: v for k, (_, v, _) in named.items()}, {k: w for k, (*_, w) in named.items()}

    def repeated(part: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        return {"type": "array", "items": part[0]}, [part[1], part[1]], [part[1], part[2]]

    def named(part: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        return {"type": "object", "additionalProperties": part[0]}, {"k": part[1]}, {"k": part[2]}

    def all_of(part: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        return {"allOf": [part[0], {"description": "more"}]}, part[1], part[2]

    return st.one_of(
        places.map(fixed), places.map(record), inner.map(repeated), inner.map(named), inner.map(all_of)
    )  # fmt: skip


MEANT = st.recursive(scalars(), around, max_leaves=12)
JSON: Any = st.recursive(
    NUMERALS | st.integers(-9, 9) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["f0", "f1", "k"]), inner, max_size=3),
    max_leaves=10,
)


@given(MEANT)
def test_whatever_was_meant_comes_out_of_what_was_written(case: tuple[Any, Any, Any]) -> None:
    schema, meant, written = case
    assert not misfit(holding(schema), {"x": meant})
    assert read(holding(schema), {"x": written}) == {"x": meant}


@given(MEANT)
def test_what_fits_is_never_changed(case: tuple[Any, Any, Any]) -> None:
    schema, meant, _ = case
    assert coerced(holding(schema), msgspec.json.encode({"x": meant})) is None


def only_read(before: Any, after: Any) -> bool:
    """Whether two values differ in nothing but strings that are now what stood in them."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(only_read(before[key], after[key]) for key in before)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(only_read, before, after))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(before, str) and not isinstance(after, str):
        words = {"None": None, "True": True, "False": False}
        return after == (words[before] if before in words else json.loads(before)) and not isinstance(
            after, dict | list
        )
    return before == after and type(before) is type(after)


@given(MEANT, JSON)
def test_against_any_schema_nothing_is_changed_but_strings_into_what_stands_in_them(
    case: tuple[Any, Any, Any], value: Any
) -> None:
    schema = holding(union(case[0], {"type": "array", "items": case[0]}))
    after = read(schema, {"x": value})
    assert only_read({"x": value}, after)
    assert read(schema, after) == after, "a second look finds nothing more"


# ---- hostile input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"x": ' + "[" * 900 + '"1"' + "]" * 900 + "}",
        '{"x": ' + '{"next": ' * 900 + '"1"' + "}" * 900 + "}",
        '{"x": ' + "[" * 200_000,
        '{"x": [' + '"1",' * 200_000 + '"1"]}',
        '{"x": [' + '"1",' * 400_000 + '"1"]}',
        '{"x": "' + "1" * 2_000_000 + '"}',
        '{"x": "' + "9" * 5_000 + '"}',
        '{"x": "\\ud800"}',
        '{"x": {"\\ud800": "3"}}',
        "not JSON",
        "",
    ],
)
def test_hostile_arguments_are_left_to_be_refused(text: str) -> None:
    deep: dict[str, Any] = {
        "Deep": union({"type": "array", "items": {"$ref": "#/$defs/Deep"}}, NODE, INT),
        "Node": NODE,
    }
    assert coerced(holding({"$ref": "#/$defs/Deep"}, **{"$defs": deep}), text.encode()) is None


def test_a_union_that_leads_back_to_itself_is_not_looked_through_once_for_each_way() -> None:
    kinds = [tagged(f"k{n}", a={"$ref": "#/$defs/T"}, b={"$ref": "#/$defs/T"}) for n in range(4)]
    schema = holding({"$ref": "#/$defs/T"}, **{"$defs": {"T": union(*kinds, *kinds, INT)}})
    said, meant = "3", 3
    written: Any = said
    wanted: Any = meant
    for level in range(14):
        written = {"kind": f"k{level % 4}", "a": written, "b": 1}
        wanted = {"kind": f"k{level % 4}", "a": wanted, "b": 1}
    assert read(schema, {"x": written}) == {"x": wanted}


def test_what_lies_too_deep_or_is_too_much_to_look_at_stays_as_it_is() -> None:
    deep = holding(
        {"$ref": "#/$defs/D"}, **{"$defs": {"D": {"type": ["array", "integer"], "items": {"$ref": "#/$defs/D"}}}}
    )
    for levels, is_read in ((20, True), (70, False)):
        text = '{"x":' + "[" * levels + '"3"' + "]" * levels + "}"
        assert (coerced(deep, text.encode()) is not None) == is_read
    lists = holding({"type": "array", "items": {"type": "array", "items": INT}})
    for many, is_read in ((1_000, True), (60_000, False)):
        text = '{"x":[' + "[]," * many + '["3"]]}'
        assert (coerced(lists, text.encode()) is not None) == is_read


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"x": {"$ref": "#/properties/x"}}},
        {"type": "object", "properties": {"x": {"allOf": 5}}},
        {"type": "object", "properties": {"x": {"enum": 5}}},
        {"type": "object", "properties": {"x": {"type": 5}}},
        {"type": "object", "properties": {"x": {"$ref": 5}}},
        {"type": "object", "patternProperties": {"(": INT}},
        {"$defs": [], "type": "object"},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    ],
)
def test_a_schema_that_is_none_breaks_nothing(schema: Any) -> None:
    assert coerced(schema, b'{"x": "3"}') is None
