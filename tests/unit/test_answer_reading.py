"""Reading an answer that has to be data: what is tolerated around it, what is not, and what hostile ones cost."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.tools.schema.fitting import misfit
from holdfast.tools.typed.declaring import answers_of
from holdfast.tools.typed.reading import AnswerReader, Reading
from holdfast.types import OutputShape


class City(msgspec.Struct):
    name: str
    people: int = 0
    twins: list[City] = []


GOOD = '{"name": "Bonn", "people": 3}'


def reader(output: Any) -> AnswerReader:
    found = answers_of(output, "text", "openai/m", ()).reader
    assert found is not None
    return found


CITY = reader(City)
SHAPE = answers_of(City, "text", "openai/m", ()).shape or OutputShape("none", {})


@pytest.mark.requirement("models:structured-output", "output:read-leniently")
@pytest.mark.parametrize(
    "said",
    [
        GOOD,
        f"\ufeff \n{GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"Here you are:\n\n```\n{GOOD}\n```\nAnything else?",
        f"~~~ json  \r\n{GOOD}\r\n~~~",
        f"```json\n{GOOD}",
        f"The answer is {GOOD}, as it says in [1].",
        f"```python\nprint({{}})\n```\nand so:\n```json\n{GOOD}\n```",
        f"{GOOD}\n{GOOD}",
        f"I [first thought { {1, 2} } and then: {GOOD}",
    ],
)
def test_one_value_is_found_in_a_fence_and_amid_prose(said: str) -> None:
    assert CITY.read_now(said) == Reading(GOOD)
    assert CITY.value(GOOD) == City("Bonn", 3)


@pytest.mark.requirement("output:read-leniently")
def test_damage_that_can_mean_only_one_thing_is_mended_and_a_cut_off_answer_never_is() -> None:
    assert CITY.read_now("{'name': 'Bonn', 'people': 3,}").output == '{"name":"Bonn","people":3}'
    for cut in ('{"name": "Bonn", "people": 3', '{"name": "Bonn"', '{"name": "Bo', '[{"name": "Bonn"}'):
        assert CITY.read_now(cut).why


@pytest.mark.requirement("models:structured-output", "output:misfit-says-where")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "it holds no JSON"),
        ("I do not know.", "it holds no JSON"),
        ('{"people": 3}', "Object missing required field `name`"),
        ('{"name": "Bonn", "people": "3"}', "Expected `int`, got `str` - at `$.people`"),
        ('{"name": "Bonn", "people": NaN}', "it is no JSON (JSON is malformed: invalid character (byte 27))"),
        ('{"name": "Bonn", "people": 1e999}', "Number out of range"),
        (f"{GOOD} or {GOOD.replace('3', '4')}", "it holds 2 values that would fit, and one is wanted"),
        ("[]", "Expected `object`, got `array`"),
        ('{"name": "\ud800"}', "it is no JSON"),
    ],
)
def test_what_does_not_fit_is_said_in_words_a_model_can_act_on(said: str, why: str) -> None:
    assert why in CITY.read_now(said).why
    assert not CITY.read_now(said).output


class Weather(TypedDict):
    sky: str


@dataclasses.dataclass
class Wind:
    knots: float


@pytest.mark.requirement("output:types")
@pytest.mark.parametrize(
    ("output", "said", "value"),
    [
        (int, "42", 42),
        (int, '{"answer": 42}', 42),
        (str, '{"answer": "hi"}', "hi"),
        (bool | None, '{"answer": null}', None),
        (list[int], "[1, 2]", [1, 2]),
        (list[Wind], 'Two: {"answer": [{"knots": 1}]}', [Wind(1.0)]),
        (Weather, '{"sky": "blue"}', {"sky": "blue"}),
        (Wind | City, '{"knots": 2.5}', Wind(2.5)),
        (Wind | City, '{"answer": {"name": "Bonn"}}', City("Bonn")),
        (list[Wind | City], '[{"knots": 1}, {"name": "a"}]', [Wind(1.0), City("a")]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (
            City,
            '{"name": "a", "twins": [{"name": "b", "twins": [{"name": "c"}]}]}',
            City("a", 0, [City("b", 0, [City("c")])]),
        ),
        ({"type": "array", "items": {"type": "integer"}}, "[1]", [1]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, '{"a": 1, "b": [2]}', {"a": 1, "b": [2]}),
    ],
)
def test_an_answer_is_of_its_type_whether_or_not_it_stands_in_an_object(output: Any, said: str, value: Any) -> None:
    reading = reader(output).read_now(said)
    assert reading.why == ""
    assert reader(output).value(reading.output) == value


class Narrow(msgspec.Struct):
    name: str


class Broad(msgspec.Struct):
    name: str
    age: int


@pytest.mark.requirement("output:types")
def test_of_types_without_tags_the_one_counts_that_leaves_the_fewest_fields_over() -> None:
    either = reader(Narrow | Broad)
    assert either.value('{"name": "a", "age": 1}') == Broad("a", 1)
    assert either.value('{"name": "a"}') == Narrow("a")
    assert "as Narrow" in either.read_now('{"age": 1}').why


@pytest.mark.requirement("output:null-for-missing")
def test_null_counts_as_left_out_where_a_provider_wanted_every_property_and_the_type_takes_no_null() -> None:
    said = '{"name": "Bonn", "people": null, "twins": [{"name": "b", "people": null, "twins": null}]}'
    assert CITY.value(CITY.read_now(said).output) == City("Bonn", 0, [City("b")])
    assert "name" in CITY.read_now('{"name": null}').why
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": ["string", "null"]}}}
    assert reader(schema).read_now('{"a": null, "b": null}').output == '{"b":null}'


@pytest.mark.requirement("output:plain-without-type")
def test_a_process_that_has_only_the_schema_tells_the_same_answers_apart() -> None:
    bare = AnswerReader(SHAPE)
    assert bare.value(bare.read_now(f"So: {GOOD}").output) == {"name": "Bonn", "people": 3}
    assert bare.read_now('{"people": 3}').why == "name is missing"
    assert bare.read_now('{"name": "a", "twins": [{"name": 1}]}').why == "twins[0].name wants a string, not 1"


class Picky(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        {}[self.name]  # what it raises is its own


@pytest.mark.requirement("output:misfit-says-where")
def test_a_check_of_the_types_author_that_fails_is_a_misfit_and_no_crash() -> None:
    assert "Bonn" in reader(Picky).read_now('{"name": "Bonn"}').why


CROSS = {
    "$defs": {
        "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/c"}]},
        "b": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}, "k": {"const": "b"}}, "required": ["k"]},
        "c": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}, "k": {"const": "c"}}, "required": ["k"]},
    },
    "$ref": "#/$defs/a",
}


@pytest.mark.requirement("output:hostile-answers")
@pytest.mark.parametrize(
    "said",
    [
        "[" * 8_000_000,
        "{" * 8_000_000,
        '{"name":' * 1_000_000,
        "```\n" * 2_000_000,
        "`" * 8_000_000,
        "```" + " " * 4_000_000,
        '"' * 8_000_000,
        "\\" * 4_000_000 + '"{',
        "[1] " * 2_000_000,
        '{"name": "' + "a" * 8_000_000,
        "{'a':" + "[" * 900_000,
        '{"name": "Bonn", "twins": ' + '[{"name": "b", "twins": ' * 5_000 + "[]" + "}]" * 5_000 + "}",
    ],
    ids=lambda said: f"{said[:8]!r}{len(said)}",
)
def test_a_hostile_answer_is_told_in_seconds_that_it_is_none(said: str) -> None:
    began = time.process_time()
    assert CITY.read_now(said).why
    assert AnswerReader(SHAPE).read_now(said).why
    assert time.process_time() - began < 10


@pytest.mark.requirement("output:hostile-answers")
def test_eight_megabytes_that_fit_are_an_answer_and_a_schema_that_crosses_itself_is_looked_through_once() -> None:
    large = msgspec.json.encode({"name": "x" * 8_000_000}).decode()
    assert CITY.read_now(large).output == large
    crossing = reader(CROSS)
    value: Any = {"k": "d"}
    for _ in range(60):
        value = {"x": value, "k": "c"}
    assert "wants one of" in crossing.read_now(msgspec.json.encode(value).decode()).why


@pytest.mark.requirement("output:hostile-answers")
@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='{}[]"`\\:, \n1a', max_size=60), st.text(alphabet='{}[]"`\\:, \n1a', max_size=60))
def test_whatever_stands_around_an_answer_what_is_taken_always_fits(before: str, after: str) -> None:
    reading = CITY.read_now(before + GOOD + after)
    if not reading.why:
        assert isinstance(CITY.value(reading.output), City)
        assert misfit(SHAPE.schema, msgspec.json.decode(reading.output)) == ""
