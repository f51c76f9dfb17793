"""The calculator: what Python prints, and at once a refusal of what would never end."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.knowing import arithmetic
from holdfast.tools.builtin.knowing.arithmetic import BITS, LONGEST, evaluate
from holdfast.tools.builtin.knowing.calculator import calculator
from holdfast.types import CallId, Effect, StreamId, ToolResult

NAMES: dict[str, Any] = {
    **{name: getattr(math, name) for name in dir(math) if not name.startswith("_")},
    **{"math": math, "abs": abs, "max": max, "min": min, "round": round},
}


def refused(text: str) -> str:
    with pytest.raises(ToolFailure) as caught:
        evaluate(text)
    assert caught.value.code == "invalid_input"
    return str(caught.value)


@pytest.mark.requirement("tools:calculator-bounded")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("150 * 223.48", "33522.0"),
        ("25 * 4", "100"),
        ("1000 / 8", "125.0"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("7 // -2", "-4"),
        ("-7 % 3", "2"),
        ("2 ** -1", "0.5"),
        ("2 ** 3 ** 2", "512"),
        ("-2 ** 2", "-4"),
        (" ( 1 + 2 )\t* 3 ", "9"),
        ("1_000 * 0x1f + .5", "31000.5"),
        ("-0.0", "-0.0"),
        ("1e22", "1e+22"),
        ("sqrt(2) * (1 + 3)", "5.656854249492381"),
        ("math.sqrt(2)", "1.4142135623730951"),
        ("factorial(20) // comb(20, 3)", str(math.factorial(20) // 1140)),
        ("round(2.675, 2)", "2.67"),
        ("max(1, 2.5, tau)", "6.283185307179586"),
        ("2 ** 4095", str(2**4095)),
        ("+".join(["1"] * 1990), "1990"),
        ("1 ** (2 ** 4000)", "1"),
    ],
)
def test_what_python_prints_comes_out(text: str, value: str) -> None:
    assert str(evaluate(text)) == value


@pytest.mark.requirement("tools:calculator-bounded")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9**9**9", "1,230 digits"),
        ("2**10000", "1,230 digits"),
        ("2.0**10000", "more than a number with decimals"),
        ("(2**4000) * (2**4000)", "1,230 digits"),
        ("factorial(10**9)", "1,230 digits"),
        ("factorial(factorial(400))", "1,230 digits"),
        ("comb(10**9, 5 * 10**8)", "1,230 digits"),
        ("comb(2**4000, 4000)", "1,230 digits"),
        ("perm(10**9, 900)", "1,230 digits"),
        ("perm(10**9)", "1,230 digits"),
        ("lcm(2**4000 - 1, 2**4001 - 1)", "1,230 digits"),
        ("round(1, -10**9)", "1,300 places"),
        ("(" * 10_000 + "1" + ")" * 10_000, "20,001 characters"),
        ("(" * 1_999 + "1" + ")" * 1_999, "parentheses"),
        ("-" * 3_999 + "1", "too deep"),
        ("1" * 5_000, "5,000 characters"),
        ("1e999", "no finite number"),
        ("1e308 * 10", "no finite number"),
        ("1e308 * 10 - 1e308 * 10", "no finite number"),
        ("exp(1000)", "more than a number with decimals"),
        ("(-8) ** 0.5", "complex"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "zero"),
        ("sqrt(-1)", "math domain error"),
        ("True", "no number"),
        ("inf", "not known"),
        ("nan", "not known"),
        ("x + 1", "'x' is not known"),
        ("1j", "means nothing"),
        ("2 ^ 3", "a power is written **"),
        ("1 == 1", "no comparisons"),
        ("1 < 2", "means nothing"),
        ("1 if 2 else 3", "more than a sum"),
        ("not 1", "more than a sum"),
        ("1, 2", "more than a sum"),
        ("'a' * 10", "means nothing"),
        ("__import__('os')", "means nothing"),
        ("__import__(1)", "no function '__import__'"),
        ("exec(1)", "no function 'exec'"),
        ("math.__class__", "not known"),
        ("sqrt.real", "not known"),
        ("math.exec(1)", "no function 'exec'"),
        ("2(3)", "write *"),
        ("sqrt(1, 2)", "one argument"),
        ("round(1.5, 1.0)", "round: "),
        ("max(*pi)", "more than a sum"),
        ("007", "no expression"),
        ("1 +", "no expression"),
        ("", "no expression"),
        ("\u0663", "means nothing"),
        ("1\x00", "means nothing"),
        ("\ud800", "means nothing"),
    ],
)
def test_what_is_no_sum_or_would_explode_is_refused_in_words(text: str, words: str) -> None:
    assert words in refused(text)


def counted(text: str) -> list[int]:
    """Evaluates; returns the bits of the whole number that each step gave, before anybody judged it."""
    seen: list[int] = []
    applied = arithmetic._applied

    def noted(step: Any, arguments: list[Any]) -> Any:
        def measured(*given: Any) -> Any:
            value = step.function(*given)
            seen.append(value.bit_length() if isinstance(value, int) else 64)
            return value

        return applied(arithmetic._Apply(measured, step.takes, step.name), arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "_applied", noted)
        try:
            value = evaluate(text)
        except ToolFailure as failure:
            assert failure.code == "invalid_input"
        else:
            assert type(value) in (int, float)
            assert math.isfinite(value) if isinstance(value, float) else value.bit_length() <= BITS
    return seen


NUMBERS = st.one_of(
    st.integers(0, 10**6).map(str),
    st.integers(0, 2**4100).map(str),
    st.sampled_from(["0", "1", "2", "9", "1e308", "5e-324", "0.1", "pi", "math.e", "10**1200"]),
    st.floats(0, allow_nan=False, allow_infinity=False).map(repr),
)
OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
FUNCTIONS = st.sampled_from(sorted(arithmetic._FUNCTIONS))


def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda each: f"({each[0]} {each[1]} {each[2]})"),
        st.tuples(st.sampled_from("+-"), inner).map("".join),
        st.tuples(FUNCTIONS, st.lists(inner, max_size=3)).map(lambda each: f"{each[0]}({', '.join(each[1])})"),
    )


EXPRESSIONS = st.recursive(NUMBERS, wider, max_leaves=12)


@pytest.mark.requirement("tools:calculator-bounded")
@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_whatever_it_is_asked_it_answers_or_refuses_and_no_step_is_large(text: str) -> None:
    steps = counted(text)
    assert len(steps) <= min(len(text), LONGEST)
    assert max(steps, default=0) <= 8 * BITS


SMALL = st.one_of(st.integers(0, 99).map(str), st.floats(0.001, 100).map(repr), st.just("pi"))
TAME = st.sampled_from(["sqrt", "sin", "floor", "abs", "log1p", "math.atan", "round", "fabs"])
SUMS = st.recursive(
    SMALL,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(" ".join).map(lambda e: f"({e})"),
        st.tuples(SMALL, st.integers(0, 5)).map(lambda each: f"({each[0]}) ** {each[1]}"),
        inner.map(lambda each: f"-{each}"),
        st.tuples(TAME, inner).map(lambda each: f"{each[0]}({each[1]})"),
        st.tuples(inner, inner).map(lambda each: f"max({each[0]}, {each[1]})"),
    ),
    max_leaves=8,
)


@pytest.mark.requirement("tools:calculator-bounded")
@settings(max_examples=300, deadline=None)
@given(SUMS)
def test_an_ordinary_sum_is_what_python_makes_of_it(text: str) -> None:
    try:
        wanted = eval(text, {"__builtins__": {}}, NAMES)
    except (ArithmeticError, ValueError):
        refused(text)
        return
    assert str(evaluate(text)) == str(wanted)


@pytest.mark.requirement("tools:calculator-bounded")
@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("0123456789.eExXjJ_+-*/%()=<>,: \n'\"[]{}abfmnopqrst\0\u0661\ud800"), max_size=60))
def test_no_text_at_all_does_anything_but_answer_or_refuse(text: str) -> None:
    try:
        assert type(evaluate(text)) in (int, float)
    except ToolFailure as failure:
        assert str(failure).startswith("Not computed: ")


@pytest.mark.requirement("tools:calculator-bounded")
async def test_the_tool_says_the_value_alone_and_changes_nothing() -> None:
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")
    result = await calculator.run(calculator.parse(json.dumps({"expression": "256 - 56"}).encode()), context)
    assert isinstance(result, ToolResult)
    assert (result.content, result.metadata["value"]) == ("200", "200")
    assert calculator.spec.effect == Effect(False, "none")
    assert calculator.spec.governance.operations == ("read",)
