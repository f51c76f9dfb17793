"""How many runs ended in this process, and what its model calls used: sums since somebody began to count.

Counted is what is written down: a batch of events that is durable. Nothing is counted, and nothing costs, before
somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import msgspec

from holdfast.engine.events import ModelFailed, ModelFinished, RunFinished
from holdfast.types import Event, Usage

__all__ = ("Tally", "Used")

_MODELS = 500
"""Models that are told apart; the rest is `other`."""


class Used(msgspec.Struct):
    """What the calls of one model came to."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost: int = 0
    """Nanodollars, as far as prices are known."""


@final
class Tally:
    """The sums of one process."""

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}
        """How many ended how: by status."""
        self.models: dict[str, Used] = {}
        """By `provider/name`."""

    def over(self, commit: Callable[[Sequence[Event]], None]) -> Callable[[Sequence[Event]], None]:
        """Returns what does as `commit` does, and counts."""

        def both(events: Sequence[Event]) -> None:
            commit(events)
            for event in events:
                self._see(event)

        return both

    def _see(self, event: Event) -> None:
        data = event.data
        if isinstance(data, ModelFinished):
            used = self._used(data.message.model)
            used.calls += 1
            self._add(used, data.message.usage, data.cost)
        elif isinstance(data, ModelFailed):
            used = self._used(data.model)
            used.failed += 1
            self._add(used, data.usage, data.cost)
        elif isinstance(data, RunFinished):
            self.runs[data.status] = self.runs.get(data.status, 0) + 1

    def _used(self, model: str) -> Used:
        if model not in self.models and len(self.models) >= _MODELS:
            model = "other"
        return self.models.setdefault(model, Used())

    def _add(self, used: Used, usage: Usage | None, cost: int | None) -> None:
        if usage is not None:
            used.input_tokens += usage.input_tokens
            used.output_tokens += usage.output_tokens
            used.cache_read_tokens += usage.cache_read_tokens
        used.cost += cost or 0
