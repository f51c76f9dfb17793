"""Decisions of a session that has a place for a while, or none: as the engine's, and when to leave.

Only what acts needs a place: a call of the model, calls of tools, a phase. Everything else is done at once, so that a
session without a place can still read its mail, expire, end and say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from holdfast.engine.decide import CallModel, CallTools, Decision, Leave, decide
from holdfast.engine.phases import StartPhase
from holdfast.engine.state import State

__all__ = ("Sharing", "without_place")

_ACTS = (CallModel, CallTools, StartPhase)


def without_place(state: State, now: int) -> Decision:
    """Decides for a session that has no place: it leaves where it would act."""
    step = decide(state, now)
    return Leave() if isinstance(step, _ACTS) else step


@final
class Sharing:
    """Decides for a session that has a place: it leaves where it would begin another run while others wait.

    Otherwise whoever gives one session a hundred prompts would keep its place for as long as they take.
    """

    __slots__ = ("_others", "_run")

    def __init__(self, others: Callable[[], bool]) -> None:
        """`others` says whether anybody waits for a place."""
        self._others = others
        self._run = 0

    def __call__(self, state: State, now: int) -> Decision:
        """Returns what to do next."""
        step = decide(state, now)
        if not isinstance(step, _ACTS) or state.run is None or state.run.seq == self._run:
            return step
        if self._run and self._others():
            return Leave()
        self._run = state.run.seq
        return step
