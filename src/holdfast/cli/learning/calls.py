"""The calls of a session, each with the arguments it is really made with, and whether files were saved before it.

The model writes arguments; the schema may have them read another way, and a person may put others in their place. What
is shown of a call is what is done. Not here: what it came to.
"""

from __future__ import annotations

from typing import final

from msgspec.structs import replace

from holdfast.engine.events import CallReopened, ModelFinished, ToolFinished, ToolStarted, ToolWaiting, WaitResolved
from holdfast.engine.turns import asked_about, own
from holdfast.types import CallId, Event, ToolCall

__all__ = ("Calls",)


@final
class Calls:
    """Learns a session's events in their order."""

    def __init__(self) -> None:
        self._written: dict[CallId, ToolCall] = {}
        """As the model wrote them."""
        self._made: dict[CallId, ToolCall] = {}
        self._asked: dict[str, CallId] = {}
        """Of each approval that is about the very call that waits, the call."""
        self._saved: set[str] = set()

    def learn(self, event: Event) -> None:
        """Takes an event in."""
        match event.data:
            case ToolStarted(snapshot=kept) | CallReopened(before=kept) as data if kept is not None:
                self._saved.add(data.call_id)
            case _:
                pass
        self._learn_arguments(event)

    def _learn_arguments(self, event: Event) -> None:
        match event.data:
            case ModelFinished() as data:
                for call in data.message.calls:
                    self._written[call.id] = self._made[call.id] = call
            case ToolStarted() | ToolFinished() as data if data.nested is not None:
                known = isinstance(data, ToolFinished) and data.call_id in self._made  # else it was refused at once
                read = data.arguments if isinstance(data, ToolStarted) else ""
                if not known:
                    made = ToolCall(data.call_id, data.nested.name, read or data.nested.arguments)
                    self._made[data.call_id] = made
            case ToolStarted(arguments=read) as data if read and data.call_id in self._made:
                self._made[data.call_id] = replace(self._made[data.call_id], arguments=read)
            case ToolWaiting() as data if data.wait.kind == "approval" and own(data.wait):
                self._asked[data.wait.token] = data.call_id
                if (written := self._written.get(data.call_id)) is not None:
                    self._made[data.call_id] = asked_about(written, data.wait)
            case WaitResolved(arguments=changed) as data if changed:
                call = self._made.get(self._asked.get(data.token, CallId("")))
                if call is not None:
                    self._made[call.id] = replace(call, arguments=changed)
            case _:
                pass

    def get(self, call_id: str) -> ToolCall | None:
        """Returns a call as it is made, as far as the log says by now; None where it is not known."""
        return self._made.get(CallId(call_id))

    def saved(self, call_id: str) -> bool:
        """Whether files were saved before a call, which go back to how they were if it has to run again."""
        return call_id in self._saved

    def clear(self) -> None:
        """Forgets all of them."""
        for known in (self._written, self._made, self._asked, self._saved):
            known.clear()
