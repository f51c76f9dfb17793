"""Mending damaged JSON: what was meant comes out, or nothing does."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tools.repairing import repair_json

pytestmark = pytest.mark.requirement("tools:arguments-repair-fuzz")

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS: Any = st.dictionaries(TEXT, VALUES, max_size=5)
PROSE = st.text(st.characters(codec="utf-8", exclude_characters='{}[]"'), max_size=20)


def meant(text: str) -> Any:
    return msgspec.json.decode(text)


@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_a_whole_object_comes_back_as_it_is(value: Any, indent: int | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert repair_json(text) == text


@given(OBJECTS, PROSE, PROSE)
def test_words_around_an_object_are_dropped(value: Any, before: str, after: str) -> None:
    assert meant(repair_json(before + json.dumps(value) + after) or "null") == value


@given(OBJECTS)
def test_python_literals_are_read_as_python_reads_them(value: Any) -> None:
    repaired = repair_json(repr(value))
    assert repaired is None or meant(repaired) == value


@given(OBJECTS)
def test_trailing_commas_are_dropped(value: Any) -> None:
    text = json.dumps(value, indent=1)
    lines = [line + "," if line[-1] not in "{[," and i + 1 < len(text.split("\n")) else line
             for i, line in enumerate(text.split("\n"))]  # fmt: skip
    repaired = repair_json("\n".join(lines))
    assert repaired is not None
    assert meant(repaired) == value


@given(OBJECTS)
def test_raw_control_characters_in_strings_are_kept(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for name, character in (("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r")):
        text = text.replace(name, character) if "\\\\" not in text else text
    repaired = repair_json(text)
    assert repaired is not None
    assert meant(repaired) == value


@given(OBJECTS, st.data())
def test_missing_closing_brackets_give_the_value_or_nothing(value: Any, data: Any) -> None:
    text = json.dumps(value)
    closers = len(text) - len(text.rstrip("}]"))
    kept = text[: len(text) - data.draw(st.integers(1, closers))]
    repaired = repair_json(kept)
    assert repaired is None or meant(repaired) == value


@given(OBJECTS, st.data())
def test_a_text_cut_anywhere_never_gains_or_changes_what_it_holds(value: Any, data: Any) -> None:
    text = json.dumps(value)
    repaired = repair_json(text[: data.draw(st.integers(0, len(text) - 1))])
    if repaired is not None:
        assert is_beginning(meant(repaired), value)


@given(OBJECTS, st.data())
def test_nothing_is_closed_when_the_answer_is_known_to_be_cut(value: Any, data: Any) -> None:
    text = json.dumps(value)
    assert repair_json(text[: data.draw(st.integers(0, len(text) - 1))], cut=True) is None


@given(OBJECTS, st.data())
def test_one_damaged_character_gives_an_object_or_nothing(value: Any, data: Any) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text) - 1))
    repaired = repair_json(text[:at] + data.draw(st.sampled_from([*"{}[],:'\"\\ \n0aT`", ""])) + text[at + 1 :])
    assert repaired is None or isinstance(meant(repaired), dict)


@given(st.text() | st.text("{}[]\"',:\\ \nTrue01-e.`", max_size=40))
def test_no_text_makes_it_raise(text: str) -> None:
    repaired = repair_json(text)
    assert repaired is None or isinstance(meant(repaired), dict)


@given(TEXT, st.characters(categories=["Cs"]), TEXT)
def test_half_characters_are_no_reason_to_raise(before: str, half: str, after: str) -> None:
    assert repair_json("{'a': " + repr(before) + ", 'b': '" + half + "', 'c': " + repr(after) + "}") is None
    assert repair_json(before + half + after) is None


def is_beginning(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and is_beginning(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) <= len(whole) and all(map(is_beginning, part, whole))
    return type(part) is type(whole) and part == whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('\ufeff{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": [1, 2,],}\n```\n', {"a": [1, 2]}),
        ('Here are the arguments: {"a": 1} as asked.', {"a": 1}),
        ("{'path': 'it\\'s.txt', 'all': True, 'none': None}", {"path": "it's.txt", "all": True, "none": None}),
        ("{'quote': 'say \"hi\"'}", {"quote": 'say "hi"'}),
        ('{"command": "echo \\\'hi\\\'"}', {"command": "echo 'hi'"}),
        ('{"a": "two\nlines\tand a tab"}', {"a": "two\nlines\tand a tab"}),
        ('{"a": {"b": [1, "x"', {"a": {"b": [1, "x"]}}),
        ('{"a": true', {"a": True}),
        ("{'a': '\\xe9\\U0001f600'}", {"a": "é😀"}),
        ("{,}"[:1] + "}", {}),
    ],
)
def test_damage_of_the_syntax_alone_is_mended(text: str, value: Any) -> None:
    assert meant(repair_json(text) or "null") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no object at all",
        '{"content": "half a fi',
        "{'content': 'half a fi",
        '{"a": 12',  # perhaps 123
        '{"a": 1,',
        '{"a":',
        '{"a"',
        '{"a": tru',
        '{"a": 1}}',
        '{"a": 1} {"b": 2}',
        '[{"a": 1}]',
        '"{\\"a\\": 1}"',
        "{a: 1}",
        '{"a": 1 "b": 2}',
        '{"a": 1,, "b": 2}',
        '{"a": [1}',
        '{"a": 1, "a": 2,}',
        '{"a": .5,}',
        '{"a": 01,}',
        '{"a": NaN}',
        '{"a": undefined}',
        '{"a": "\\d+",}',
        "{'a': 'it's'}",
        "{'a': (1, 2)}",
        '{"a": 1 // one\n}',
        "{" * 5000,
        '{"a":' * 5000,
        "{,}",
    ],
)
def test_what_would_have_to_be_guessed_is_left_alone(text: str) -> None:
    assert repair_json(text) is None


def test_a_large_text_takes_time_in_proportion() -> None:
    text = "{'content': '" + "x\n" * 1_000_000 + "',}"
    assert len(meant(repair_json(text) or "{}")["content"]) == 2_000_000
