"""What a run is charged for model calls that were lost: it is in its cost, and in no count of tokens used.

Nobody knows what such a call used, so all that was reserved for it stays spent; by the rule of the fold, which is what
limits go by.
"""

from __future__ import annotations

from typing import final

from holdfast.cli.words import count
from holdfast.engine.events import ModelFailed, ModelFinished, ModelStarted, RunStarted
from holdfast.engine.folding import fold
from holdfast.engine.state import Run, State
from holdfast.types import Event

__all__ = ("Charges",)


@final
class Charges:
    """Learns a run's events in their order."""

    def __init__(self) -> None:
        self._state = State()
        self._calls = 0

    def learn(self, event: Event) -> None:
        """Takes an event in."""
        run = self._state.run
        match event.data:
            case RunStarted() as data:
                self._state, self._calls = State(run=Run(event.seq, data, "", event.at)), 0
            case ModelStarted() if run is not None:
                fold(self._state, event)
            case ModelFailed() if run is not None:
                before = run.charged_tokens
                fold(self._state, event)
                self._calls += run.charged_tokens > before
            case ModelFinished() if run is not None:
                run.reserved_tokens = run.reserved_cost = 0
            case _:
                pass

    def words(self) -> str:
        """Returns what was charged, beside the tokens that were used; empty where nothing was."""
        run = self._state.run
        if run is None or not run.charged_tokens:
            return ""
        calls = "a lost call" if self._calls == 1 else count(self._calls, "lost call")
        return f" + {run.charged_tokens:,} charged for {calls}"
