"""Arguments of commands: one template, one argument, and no value becomes an option."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.tools.binding import ToolFailure
from holdfast.tools.transports.commands.templates import LONGEST, Template, argv_of

pytestmark = pytest.mark.requirement("commands:templates")
INPUT = {
    "name": "a b",
    "n": 3,
    "low": -3,
    "yes": True,
    "none": None,
    "empty": "",
    "deep": {"list": [{"x-y": "there"}, 7]},
    "flag": "-rf",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
STEP = st.sampled_from(("a", "b", "c", "a.b", "a[0]", "b[1].c", "c[0][1]"))
PLACE = st.builds(lambda path, mark: f"{{{path}{mark}}}", STEP, st.sampled_from(("", "?", "!", "?!")))
TEMPLATE = st.lists(st.sampled_from(("-", "--x=", "$(id)", " ", "{{", "}}", "`")) | PLACE, max_size=4).map("".join)


def filled(template: str, data: dict[str, Any] = INPUT) -> str | None:
    return Template.of(template).fill(data)


@pytest.mark.parametrize(
    ("template", "argument"),
    [
        ("plain", "plain"),
        ("{none!}-x", "-x"),
        ("{name}", "a b"),
        ("--n={n}", "--n=3"),
        ("--low={low}", "--low=-3"),
        ("{yes}", "true"),
        ("{deep.list[0].x-y}/{deep.list[1]}", "there/7"),
        ("{deep.list}", '[{"x-y":"there"},7]'),
        ("{none}", None),
        ("{empty}", None),
        ("{missing.on[3].the.way}", None),
        ("{n.no}", None),
        ("--empty={empty}", "--empty="),
        ("--empty={empty?}", None),
        ("--missing={missing?}{name}", None),
        ("{flag!}", "-rf"),
        ("{flag?!}", "-rf"),
        ("./{flag}", "./-rf"),
        ("-{name}", "-a b"),
        ("{{{name}}}", "{a b}"),
        ("", None),
    ],
)
def test_a_template_is_one_argument_or_none(template: str, argument: str | None) -> None:
    assert filled(template) == argument


@pytest.mark.parametrize(
    "template",
    ["{flag}", "{low}", "{flag?}", "{empty}{flag}", "{none}{low}!", "{flag}{name}", "{empty}-rf", "{none!}{none}-x"],
)
def test_a_value_that_would_be_an_option_is_refused(template: str) -> None:
    with pytest.raises(ToolFailure, match="begins with a dash"):
        filled(template)


@pytest.mark.parametrize(
    "template", ["{", "}", "{}", "{ name}", "{name", "{a..b}", "{a[x]}", "{a[-1]}", "{a!!}", "a\0b"]
)
def test_what_is_no_template_is_refused_when_it_is_declared(template: str) -> None:
    with pytest.raises(UsageError, match=r"brace|NUL"):
        Template.of(template)


@pytest.mark.parametrize("value", ["a\0b", {"deep": "\0"}, "\0"])
def test_no_argument_holds_nul(value: Any) -> None:
    data = {"v": value}
    if isinstance(value, str):
        with pytest.raises(ToolFailure, match="NUL"):
            filled("x{v}", data)
    else:
        assert filled("x{v}", data) == 'x{"deep":"\\u0000"}'  # as JSON it is none


def test_a_command_is_bounded_as_a_whole() -> None:
    args = (Template.of("{v}"), Template.of("{v}"))
    fits = (LONGEST - len("tool") - 1) // 2 - 1
    assert len(argv_of("tool", args, {"v": "x" * fits})) == 3
    for value in ("x" * (fits + 1), "é" * fits, "x" * 10_000_000):
        with pytest.raises(ToolFailure, match="4,096 bytes"):
            argv_of("tool", args, {"v": value})
    with pytest.raises(ToolFailure, match="half a character"):
        argv_of("tool", args, {"v": "\ud800"})


@given(st.lists(TEMPLATE, max_size=5), st.dictionaries(st.sampled_from("abc"), JSON))
def test_whatever_comes_there_is_one_argument_for_each_template_or_a_refusal(
    texts: list[str], data: dict[str, Any]
) -> None:
    templates = [Template.of(text) for text in texts]
    try:
        argv = argv_of("tool", templates, json.loads(json.dumps(data)))
    except ToolFailure:
        return
    assert len(argv) <= len(templates) + 1
    assert sum(len(each.encode()) + 1 for each in argv) <= LONGEST
    assert not any("\0" in each for each in argv)
    kept = [(text, each.fill(data)) for text, each in zip(texts, templates, strict=True)]
    assert argv[1:] == [argument for _, argument in kept if argument is not None]
    for text, argument in kept:
        if argument is not None and argument.startswith("-"):
            assert text.startswith("-") or "!" in text or text.startswith(("{{", "}}"))


@given(st.text(max_size=60))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = Template.of(text)
    except UsageError:
        return
    plain = re.sub(r"\{[A-Za-z][^{}]*\}", "", text.replace("{{", "").replace("}}", ""))
    assert "{" not in plain
    try:
        template.fill({})
    except ToolFailure:
        pytest.fail("nothing was filled in")
