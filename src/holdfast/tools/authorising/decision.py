"""What a rule decided, and how it came to that: plain values, which everything here gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from holdfast.types import Digest, digest_of

__all__ = ("STRICTNESS", "Check", "Decision", "Looked", "Objection", "Verdict", "strictest")

Verdict = Literal["allow", "deny", "approval_required"]

STRICTNESS: Final[dict[Verdict, int]] = {"allow": 0, "approval_required": 1, "deny": 2}
"""The most restrictive has the largest number."""


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """Returns the most restrictive of some verdicts; of none, that it is allowed."""
    worst: Verdict = "allow"
    for each in verdicts:
        worst = each if STRICTNESS[each] > STRICTNESS[worst] else worst
    return worst


class Looked(msgspec.Struct, frozen=True, gc=False):
    """Something that was looked at on the way to a decision."""

    step: int
    """1 to 7 as `deciding.py` counts them; 0 for what comes before, 8 for the arguments."""
    at: str
    found: str


class Objection(msgspec.Struct, frozen=True, gc=False):
    """What a scope has against the arguments of a call."""

    verdict: Verdict
    words: str
    advice: str


Check = Callable[[object, str], Objection | None]
"""Looks at the arguments of a call; the second is the folder of the workspace, or empty."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the calls of a tool, and which rule says so."""

    verdict: Verdict
    step: int
    """Which step decided; see `Looked.step`."""
    rule: str
    """The rule that decided, in words."""
    advice: str = ""
    """What to change to get another verdict."""
    tool: str = ""
    trail: tuple[Looked, ...] = ()
    """All that was looked at, in that order; the last one decided."""
    scopes: tuple[Check, ...] = ()
    """What the arguments of each call have to pass yet."""
    basis: Digest | str = ""
    """What was asked: the policies, the agent, and what the tool says of itself."""

    @property
    def digest(self) -> Digest:
        """What an answer about a call is bound to, so that it does not hold under another policy."""
        return digest_of(msgspec.json.encode((self.basis, self.tool, self.verdict, self.step, self.rule)))
