"""What a critic is told of a run that stands still, and what it may say to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from holdfast.engine.state import Phase
from holdfast.errors import UsageError
from holdfast.types import Limits, SessionId

__all__ = ("Critic", "Extend", "Judge", "Kill", "Nudge", "Raise", "Stalled", "Verdict")


class Stalled(msgspec.Struct, frozen=True, kw_only=True):
    """A run in which nothing has happened for a while."""

    session: SessionId
    run: int
    """Where the run started in its session."""
    phase: Phase
    """What it does: asks its model (`thinking`), or makes calls (`acting`)."""
    calls: tuple[str, ...]
    """Calls that are under way, each with its tool's name and the beginning of its arguments."""
    idle: float
    """Seconds since its last event."""
    seconds: float
    """Seconds since it began."""
    steps: int
    """Model calls that were answered."""
    last: tuple[str, ...]
    """Its last events in short, oldest first."""
    tokens: int
    cost: float | None
    """US dollars; None when a price was unknown."""
    limits: Limits
    """As they were when it began."""
    extensions: int
    """How often it was given more time."""


class Nudge(msgspec.Struct, frozen=True):
    """Say something to the model: it reads it as soon as what is under way is over, like a steer."""

    text: str


class Extend(msgspec.Struct, frozen=True):
    """Give the run more time: so many seconds beyond its limit, and never more than six hours in all."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"Extend({self.seconds!r}) is no time: give the seconds that the run may take longer")


class Raise(msgspec.Struct, frozen=True):
    """Give the run more steps than its limit."""

    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or self.steps < 1:
            raise UsageError(f"Raise({self.steps!r}) gives nothing: give the number of steps, from 1")


class Kill(msgspec.Struct, frozen=True):
    """End the run, which nobody can take back."""

    reason: str = ""


Verdict = Nudge | Extend | Raise | Kill | None
"""What a critic says; None for nothing."""
Judge = Callable[[Stalled], Awaitable[Verdict]]
"""Looks at a run that stands still."""


class Critic(msgspec.Struct, frozen=True):
    """Somebody who is asked about runs that stand still, once each time they do.

    Raises:
        UsageError: a value that means nothing.
    """

    judge: Judge
    soft: float = 90.0
    """Seconds without an event after which a run stands still."""
    extensions: int = 1
    """How often a run may be given more time."""
    patience: float = 60.0
    """Seconds that the judge may take; what takes longer has said nothing."""

    def __post_init__(self) -> None:
        for name, value in (("soft", self.soft), ("patience", self.patience)):
            if not 0 < value < float("inf"):
                raise UsageError(f"Critic({name}={value!r}) is no time: give seconds")
        if self.extensions < 0:
            raise UsageError(f"Critic(extensions={self.extensions!r}): give how often a run may have more time, from 0")
