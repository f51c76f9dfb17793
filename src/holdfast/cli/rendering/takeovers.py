"""Whether somebody went on with work that another owner of a session had left under way.

The log has no owners, only epochs, and whoever parks a session claims it anew: each wait of one process ends in another
epoch. Only an epoch that begins in the middle of something tells of a kill, a crash or a stop.
"""

from __future__ import annotations

from typing import final

from holdfast.engine.events import (
    ModelFailed,
    ModelFinished,
    ModelStarted,
    Paused,
    PhaseStarted,
    Resumed,
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.types import Event

__all__ = ("Takeovers",)


@final
class Takeovers:
    """Learns a session's events in their order."""

    def __init__(self) -> None:
        self._epoch = 0
        self._open = self._paused = False
        """Whether a run is open, and whether the session is paused."""
        self._waits: dict[str, str] = {}
        """The tokens that are waited for, each with its call."""
        self._busy: set[str] = set()
        """The calls that are under way; the model's has no name."""

    def see(self, event: Event) -> bool:
        """Takes an event in, and returns whether with it another owner goes on in the middle of something."""
        parked = not self._open or (not self._busy and (self._paused or bool(self._waits)))
        taken = self._epoch not in (0, event.epoch) and not parked
        self._epoch = event.epoch
        if taken:
            self._busy.clear()
        self._learn(event)
        return taken

    def _learn(self, event: Event) -> None:
        match event.data:
            case RunStarted() | RunFinished() as data:
                self._open = isinstance(data, RunStarted)
                self._waits.clear()
                self._busy.clear()
            case Paused() | Resumed() as data:
                self._paused = isinstance(data, Paused)
            case ModelStarted():
                self._busy.add("")
            case ModelFinished() | ModelFailed():
                self._busy.discard("")
            case ToolStarted() as data:
                self._busy.add(data.call_id)
            case ToolFinished() as data:
                self._busy.discard(data.call_id)
                self._waits = {token: call for token, call in self._waits.items() if call != data.call_id}
            case _:
                self._wait(event)

    def _wait(self, event: Event) -> None:
        match event.data:
            case ToolWaiting() as data:
                self._busy.discard(data.call_id)
                self._waits[data.wait.token] = data.call_id
            case ReviewRequested() | PhaseStarted() as data:
                self._waits[data.wait.token] = ""
            case WaitResolved() as data:
                self._waits.pop(data.token, None)
            case _:
                pass
