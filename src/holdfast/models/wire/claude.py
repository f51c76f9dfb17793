"""What Claude takes of thinking, by its name, whichever door it stands behind.

Models since 4.6 decide themselves how long they think and are told how much effort to make; earlier ones are given a
budget. Not here: which field of which protocol says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from holdfast.types import ThinkingLevel

__all__ = ("efforts_of", "version_of")

_VERSIONS: Final = (re.compile(r"claude-[a-z]+-(\d+)(?:[.-](\d{1,2}))?(?!\d)"), re.compile(r"claude-(\d+)-(\d{1,2})-"))
_EFFORTS: Mapping[ThinkingLevel, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
}


def version_of(model: str) -> tuple[int, int] | None:
    """Returns the version that a name says; None for a name that says none."""
    for pattern in _VERSIONS:
        if found := pattern.search(model):
            return int(found[1]), int(found[2] or 0)
    return None


def efforts_of(version: tuple[int, int] | None) -> Mapping[ThinkingLevel, str]:
    """Returns the words for levels of a model that is told how much effort to make; none of one that is told how many
    tokens to think. What nobody knows is new.
    """
    if version is None or version > (4, 6):
        return _EFFORTS
    return {**_EFFORTS, "xhigh": "max"} if version == (4, 6) else {}
