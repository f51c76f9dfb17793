"""Limits that are none are refused where they are written."""

from __future__ import annotations

from typing import Any

import pytest

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
