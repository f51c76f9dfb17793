"""Levels and budgets of thinking."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.thinking import BUDGETS, LEVELS, Allotment, allot, level_for


@pytest.mark.requirement("models:thinking-budgets")
@pytest.mark.parametrize(
    ("level", "longest", "wanted", "max_tokens", "budget"),
    [
        # flex A1.2: base = min(model max, 32,000), then base + budget, never over the model's longest answer
        ("off", 128_000, None, 32_000, 0),
        ("minimal", 128_000, None, 33_024, 1024),
        ("low", 128_000, None, 34_048, 2048),
        ("medium", 128_000, None, 40_192, 8192),
        ("high", 128_000, None, 48_384, 16_384),
        ("xhigh", 128_000, None, 48_384, 16_384),
        ("high", 40_000, None, 40_000, 16_384),
        ("high", 16_385, None, 16_385, 16_384),
        # the longest answer is no longer than the budget: thinking leaves 1,024 tokens, and never less than none
        ("high", 16_384, None, 16_384, 15_360),
        ("high", 8192, None, 8192, 7168),
        ("medium", 4096, None, 4096, 3072),
        ("low", 2048, None, 2048, 1024),
        ("low", 1024, None, 1024, 0),
        ("minimal", 1000, None, 1000, 0),
        ("high", 1, None, 1, 0),
        ("high", 128_000, 4000, 20_384, 16_384),
        ("high", 128_000, 1, 16_385, 16_384),
        ("low", 8192, 8192, 8192, 2048),
        ("off", 8192, 10_000, 8192, 0),
        ("medium", None, None, 12_288, 8192),
        ("medium", None, 500, 8692, 8192),
    ],
)
def test_the_budget_is_that_of_the_written_table(
    level: Any, longest: int | None, wanted: int | None, max_tokens: int, budget: int
) -> None:
    assert allot(level, longest, wanted) == Allotment(max_tokens, budget)


@pytest.mark.requirement("models:thinking-budgets")
@given(
    level=st.sampled_from(LEVELS),
    longest=st.none() | st.integers(1, 300_000),
    wanted=st.none() | st.integers(1, 300_000),
    own=st.dictionaries(st.sampled_from(LEVELS), st.integers(0, 300_000)),
)
def test_thinking_always_leaves_tokens_for_the_answer_and_the_whole_fits_the_model(
    level: Any, longest: int | None, wanted: int | None, own: dict[Any, int]
) -> None:
    found = allot(level, longest, wanted, own)
    assert longest is None or found.max_tokens <= longest
    assert 0 <= found.budget <= own.get(level, BUDGETS[level])
    assert found.budget < found.max_tokens
    if found.max_tokens > found.budget > 0 and found.budget < own.get(level, BUDGETS[level]):
        assert found.max_tokens - found.budget == 1024


@pytest.mark.requirement("catalogue:thinking-level")
@pytest.mark.parametrize(
    ("wanted", "takes", "sent"),
    [
        ("xhigh", None, "high"),
        ("high", None, "high"),
        ("off", None, "off"),
        ("xhigh", ("low", "high", "xhigh"), "xhigh"),
        ("xhigh", ("off", "low", "medium", "high"), "high"),
        ("xhigh", ("low",), "low"),
        ("medium", ("low", "high"), "low"),
        ("minimal", ("off", "low", "medium", "high"), "low"),
        ("low", ("high",), "high"),
        ("off", ("low", "medium"), "low"),
        ("off", ("off", "low"), "off"),
        ("high", (), "off"),
        ("xhigh", ("off",), "off"),
    ],
)
def test_a_level_becomes_the_next_lower_one_a_model_takes(wanted: Any, takes: Any, sent: str) -> None:
    assert level_for(wanted, takes) == sent


@pytest.mark.requirement("catalogue:thinking-level")
@given(wanted=st.sampled_from(LEVELS), takes=st.sets(st.sampled_from(LEVELS)))
def test_whatever_is_asked_for_a_model_that_thinks_is_sent_a_level_it_takes(wanted: Any, takes: set[Any]) -> None:
    held: tuple[Any, ...] = tuple(each for each in LEVELS if each in takes)
    sent = level_for(wanted, held)
    assert sent in held or sent == "off"
    if wanted != "off" and set(held) - {"off"}:
        assert sent != "off"
