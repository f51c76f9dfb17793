"""How much a model thinks: from a level to the level a model takes, and to a budget of tokens.

Pure arithmetic (source: flex A1.2). What goes over the wire, a level, an effort or a budget, is each wire's business;
some providers refuse a budget under a least of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.models.port import default_output
from holdfast.types import LEVELS, ThinkingLevel

__all__ = ("BUDGETS", "LEVELS", "Allotment", "allot", "level_for")

BUDGETS: Mapping[ThinkingLevel, int] = {
    "off": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 16_384,  # where it is more than `high` it goes as a level, not as a budget
}
"""Tokens for thinking at each level."""
_LEAST_ANSWER = 1024
"""Tokens that thinking leaves for the answer, where there are so many."""


class Allotment(msgspec.Struct, frozen=True, gc=False):
    """How an answer's tokens are shared out."""

    max_tokens: int
    """Thinking and answer together: what is asked for as the longest answer."""
    budget: int
    """The part of it that thinking may take; 0 leaves none."""


def level_for(wanted: ThinkingLevel, takes: tuple[ThinkingLevel, ...] | None) -> ThinkingLevel:
    """Returns the level to ask a model for: the wanted one where it takes it, else the next lower one it takes.

    Below the lowest there is the lowest: who wants some thinking gets some, and a model that cannot be told not to
    think does the least. Of a model nobody knows (`takes` is None) every level but the highest is believed.
    """
    if takes is None:
        if wanted == "xhigh":
            return "high"
        return wanted
    if wanted in takes:
        return wanted
    thinking: list[ThinkingLevel] = [level for level in LEVELS[1:] if level in takes]
    if not thinking:
        return LEVELS[0]
    lower: list[ThinkingLevel] = [level for level in thinking if LEVELS.index(level) < LEVELS.index(wanted)]
    return lower[-1] if lower else thinking[0]


def allot(
    level: ThinkingLevel,
    longest: int | None,
    wanted: int | None = None,
    budgets: Mapping[ThinkingLevel, int] | None = None,
) -> Allotment:
    """Returns the tokens to ask for and the part that is for thinking.

    Args:
        level: As `level_for` gave it.
        longest: The longest answer the model can give; None where nobody knows.
        wanted: How long the answer may be without the thinking; by default what an answer gets that nobody capped.
        budgets: Tokens of some levels in the place of ours.
    """
    base = default_output(longest) if wanted is None else wanted
    budget = (budgets or BUDGETS).get(level, BUDGETS[level])
    total = base + budget if longest is None else min(base + budget, longest)
    if total <= budget:
        budget = max(0, total - _LEAST_ANSWER)
    return Allotment(total, budget)
