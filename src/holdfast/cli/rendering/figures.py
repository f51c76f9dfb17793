"""What a run came to so far: steps, tokens, money, and how full the model's window is."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.cli.words import count, model_name, money
from holdfast.engine.events import ModelFailed, ModelFinished, ModelStarted, RunStarted, ToolFinished
from holdfast.models.catalogue import ModelCard, lookup
from holdfast.types import Event, Usage

__all__ = ("Figures", "percent")


class Figures:
    """Learns from events, and says what they come to."""

    def __init__(self, card: Callable[[str], ModelCard | None] = lookup) -> None:
        """Takes who knows a model's window: the catalogue, where nobody knows better."""
        self._card = card
        self.tokens = 0
        self.cost: int | None = 0
        """Nanodollars; None when a price was unknown."""
        self.estimated = False
        """Whether some of it is the most that can have been, as nobody said what was."""
        self.steps = 0
        self._model = ""
        self._window: int | None = None
        self._filled = 0
        self._open = 0
        """Calls of the last answer that have no result."""

    def learn(self, event: Event) -> None:
        """Takes an event in."""
        match event.data:
            case RunStarted() as data:
                self._answers(data.setup.model)
            case ModelStarted() as data if data.model not in ("", self._model):
                self._answers(data.model)
            case ModelFinished() as data:
                if data.message.model != self._model:
                    self._answers(data.message.model)  # it was called by another name, or stands in for one
                self.steps += 1
                self._spent(data.message.usage, data.cost)
                self._filled = data.message.usage.total_tokens
                self._open = len(data.message.calls)
            case ToolFinished() as data if data.nested is None:
                self._open = max(0, self._open - 1)
            case ModelFailed() as data:
                if data.next not in ("", self._model):
                    self._answers(data.next)  # which takes over
                if data.usage is not None:
                    self._spent(data.usage, data.cost)
            case _:
                pass

    @property
    def context(self) -> float | None:
        """How much of the model's window the conversation fills, from 0 to 1; None when nobody knows."""
        return self._filled / self._window if self._window and self._filled else None

    def parts(self) -> tuple[str, ...]:
        """Returns what there is to say, the most important first."""
        context = self.context
        said = (
            f"{count(self.tokens, 'token')} · {money(self.cost, most=self.estimated)}" if self.tokens else "",
            "" if context is None else f"context {percent(context)}",
            f"step {self.steps if self._open else self.steps + 1}" if self._model else "",
            model_name(self._model, 40),
        )
        return tuple(part for part in said if part)

    def _answers(self, model: str) -> None:
        self._model = model
        card = self._card(model)
        self._window = card.context_window if card else None

    def _spent(self, usage: Usage, cost: int | None) -> None:
        self.tokens += usage.total_tokens
        self.estimated = self.estimated or usage.estimated
        self.cost = None if self.cost is None or cost is None else self.cost + cost


def percent(share: float) -> str:
    """Returns a share for people; what is there is never nothing."""
    return "<1 %" if 0 < share < 0.01 else f"{share * 100:.0f} %"
