"""What a session came to, as a person wants to see it beside the line they type in: a fold of its events.

Not here: how it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import msgspec

from holdfast.cli.choosing.meaning import card_of
from holdfast.engine.events import InputReceived, ModelFailed, ModelFinished, ModelStarted, RunFinished, RunStarted
from holdfast.engine.folding import fold, replay
from holdfast.engine.state import Run, State
from holdfast.engine.turns import asked_about
from holdfast.types import CallId, Event, ToolCall, Usage, Wait

__all__ = ("Figures", "Question", "reviewed")


class Question(msgspec.Struct, frozen=True):
    """What waits for a person's word: a call that needs leave, one that asks, or an answer under review."""

    wait: Wait
    call: ToolCall
    """Of a review, one that stands for it."""
    changes_left: int = 0
    """Of a review, how often changes may still be asked for."""

    @property
    def token(self) -> str:
        """What an answer names."""
        return self.wait.token


def reviewed(wait: Wait, changes_left: int) -> Question:
    """Returns an answer under review as what is asked."""
    return Question(wait, ToolCall(CallId("review"), "review", ""), changes_left)


@final
class Figures:
    """A session so far."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        """Learns what happened before."""
        known = list(events)
        self.state: State = replay(known)
        self.context = 0
        """Tokens of the conversation as the model was last given it, with its answer."""
        self.runs = 0
        """Runs that are over."""
        self.spec = ""
        """What the last run named for a model; empty before there is one."""
        self.model = ""
        """Who answers in it, or did last, as far as the log says it; what it named before that."""
        self._usage = Usage()
        self._cost: int | None = 0
        for event in known:
            self._count(event)

    def see(self, event: Event) -> None:
        """Learns one event more."""
        fold(self.state, event)
        self._count(event)

    def _count(self, event: Event) -> None:
        match event.data:
            case RunStarted() as data:
                self.spec = self.model = data.setup.model
            case ModelStarted() as data if data.model:
                self.model = data.model
            case ModelFailed() as data if data.next:
                self.model = data.next
            case ModelFinished() as data:
                self.model = data.message.model
                self.context = data.message.usage.input_tokens + data.message.usage.output_tokens
            case RunFinished() as data:
                self.runs += 1
                self._usage = self._usage + data.usage
                self._cost = None if self._cost is None or data.cost is None else self._cost + data.cost
            case _:
                pass

    @property
    def run(self) -> Run | None:
        """The run that is open."""
        return self.state.run

    @property
    def busy(self) -> bool:
        """Whether a run is open, so that what is said joins it."""
        return self.state.run is not None

    @property
    def aborting(self) -> bool:
        """Whether the open run was asked to end."""
        return self.state.run is not None and self.state.run.abort is not None

    @property
    def cost(self) -> int | None:
        """Nanodollars of all its runs; None when a price was unknown."""
        if self.state.run is None:
            return self._cost
        return None if self._cost is None or self.state.run.cost is None else self._cost + self.state.run.cost

    @property
    def usage(self) -> Usage:
        """Tokens of all its runs."""
        return self._usage if self.state.run is None else self._usage + self.state.run.usage

    @property
    def queued(self) -> list[InputReceived]:
        """What was said and has not joined the conversation yet, oldest first."""
        return list(self.state.queue.values())

    @property
    def questions(self) -> list[Question]:
        """What waits for a person's word, in the order of the calls."""
        calls = self.state.calls.values()
        open_ = [(each.call, each.wait) for each in calls if each.wait is not None and each.result is None]
        waiting = [(asked_about(call, wait), wait) for call, wait in open_]
        found = [Question(wait, call) for call, wait in waiting if wait.kind == "approval" or wait.questions]
        run = self.state.run
        if run is not None and run.review is not None:
            found.append(reviewed(run.review, (run.setup.setup.control.review or 0) - run.changes))
        return found

    @property
    def waits_for(self) -> str:
        """The kind of thing that every open call waits for; empty while something is under way."""
        if self.state.run is not None and self.state.run.review is not None:
            return "review"
        open_calls = [each for each in self.state.calls.values() if each.result is None]
        if not open_calls or any(each.wait is None for each in open_calls):
            return ""
        return next((each.wait.kind for each in open_calls if each.wait is not None), "")

    def window(self, model: str) -> int | None:
        """Returns how many tokens the model takes; None when nobody knows."""
        card = card_of(model)
        return None if card is None else card.context_window
