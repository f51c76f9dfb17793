"""What is done with questions where nobody could be asked: they are answered with a no."""

from __future__ import annotations

from holdfast.engine.events import RunFinished, ToolFinished, ToolWaiting, WaitResolved
from holdfast.runtime.run import Run
from holdfast.types import Event

__all__ = ("deny_approvals",)


async def deny_approvals(run: Run, known: int) -> None:
    """Denies every call of a run that waits, or comes to wait, for a person's word, until the run is over.

    Of what happened up to event `known` only what is still open then is answered.
    """
    waiting: dict[str, str] = {}
    async for event in run.events():
        if not isinstance(event, Event):
            continue
        match event.data:
            case ToolWaiting() as data if data.wait.kind == "approval":
                waiting[data.wait.token] = data.call_id
            case WaitResolved() as data:
                waiting.pop(data.token, None)
            case ToolFinished() as data:
                waiting = {token: call for token, call in waiting.items() if call != data.call_id}
            case RunFinished():
                waiting.clear()
            case _:
                pass
        if event.seq >= known:
            for token in waiting:
                await run.deny(token, "nobody could be asked")
            waiting.clear()
