"""What is done with questions where nobody could be asked: they are answered with a no."""

from __future__ import annotations

from typing import final

from holdfast.cli.asking.answers import UNASKED
from holdfast.engine.events import (
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.turns import ASKED
from holdfast.runtime.run import Run
from holdfast.types import Event

__all__ = ("deny_approvals",)


async def deny_approvals(run: Run, known: int) -> None:
    """Denies whatever a run waits, or comes to wait, for a person's word with, until the run is over: calls, questions,
    the review of its answer. A run that gave people a time is denied nothing: they may sit elsewhere.

    Of what happened up to event `known` only what is still open then is answered.
    """
    asked = _Asked()
    async for event in run.events():
        if not isinstance(event, Event):
            continue
        asked.see(event)
        if asked.elsewhere:
            return
        if event.seq >= known:
            for token, kind in asked.tokens.items():
                if kind == "question":
                    await run.answer(token, "Nobody could be asked.", is_error=True)
                else:
                    await run.deny(token, UNASKED)
            asked.tokens.clear()


@final
class _Asked:
    """What a run asks people at the moment."""

    def __init__(self) -> None:
        self.elsewhere = False
        """Whether people who sit elsewhere were given a time to answer."""
        self.tokens: dict[str, str] = {}
        """The kind of each."""
        self._calls: dict[str, str] = {}

    def see(self, event: Event) -> None:
        """Learns one event."""
        match event.data:
            case RunStarted() as data:
                self.elsewhere = data.setup.control.patience is not None
            case ToolWaiting() as data if data.wait.kind in ASKED:
                self.tokens[data.wait.token] = data.wait.kind
                self._calls[data.wait.token] = data.call_id
            case ReviewRequested() as data:
                self.tokens[data.wait.token] = "review"
            case WaitResolved() as data:
                self.tokens.pop(data.token, None)
            case ToolFinished() as data:
                self.tokens = {
                    token: kind for token, kind in self.tokens.items() if self._calls.get(token) != data.call_id
                }
            case RunFinished():
                self.tokens.clear()
            case _:
                pass
