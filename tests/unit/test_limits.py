"""Limits that are none are refused where they are written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from holdfast.errors import UsageError
from holdfast.types import Limits


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": "3"},
        {"steps": -1},
        {"steps": 1.5},
        {"dollars": "1"},
        {"seconds": float("nan")},
        {"model_retries": None},
        {"tokens": True},
    ],
)
def test_a_limit_of_the_wrong_kind_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"Limits\\({next(iter(wrong))}="):
        Limits(**wrong)


def test_limits_may_be_whole_broken_or_absent() -> None:
    limits = Limits(steps=None, dollars=1, seconds=0.5, tokens=0)
    assert (limits.steps, limits.dollars, limits.seconds, limits.tokens) == (None, 1, 0.5, 0)


@pytest.mark.requirement("newcomers:limit-names")
def test_a_limit_that_does_not_exist_is_refused_with_the_one_that_was_meant() -> None:
    wrong: list[tuple[str, str]] = [("step", "'steps'"), ("dollar", "'dollars'"), ("max_tokens", "'tokens'")]
    for name, meant in wrong:
        named: dict[str, Any] = {name: 3}
        with pytest.raises(UsageError, match=f"there is no limit '{name}': did you mean {meant}"):
            Limits(**named)
    with pytest.raises(UsageError, match="there is no limit 'zzz': there are steps, tool_calls, tokens, "):
        Limits(zzz=3, steps=2)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"by name: Limits\(steps=50\)"):
        Limits(50)  # type: ignore[misc]


@pytest.mark.requirement("newcomers:limit-names")
def test_what_is_decoded_or_replaced_is_what_it_was() -> None:
    limits = Limits(steps=3, dollars=0.5)
    assert msgspec.json.decode(msgspec.json.encode(limits), type=Limits) == limits
    assert replace(limits, tokens=9) == Limits(steps=3, dollars=0.5, tokens=9)
    with pytest.raises(UsageError, match="Limits\\(steps=-1\\)"):
        replace(limits, steps=-1)
