"""What comes of a request: the part of a session's log from there to where somebody else has to say something.

That is the end of a run, calls that were handed out to the client, or something that a person is asked. Of a run that
takes several steps the client reads all its words, one step's after the other's with an empty line between, streamed or
not; the agent's own calls it does not see. An answer that has to be data is told when it is whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, final

import msgspec

from holdfast.engine.events import (
    BudgetExhausted,
    ModelFailed,
    ModelFinished,
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolWaiting,
    WaitResolved,
)
from holdfast.models.wire.saying import deltas_of
from holdfast.runtime.run import Run
from holdfast.server.doors.models.turns.answers import Answers
from holdfast.server.doors.models.turns.ending import Ended, asks_a_person, ended_by
from holdfast.tools.elsewhere.clients import CLIENT
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    Delta,
    Event,
    Part,
    Reset,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
    Wait,
)

__all__ = ("Turn",)

_BETWEEN: Final = "\n\n"
"""Stands between the words of one step and those of the next."""
_PERSONS: Final = frozenset(("approval", "question", "review"))


@final
class Turn:
    """One request's part of a run.

    Args:
        asked: Who answers.
        run: Whose log it is.
        after: The last event before it; None for the beginning of the run.
    """

    def __init__(
        self,
        asked: Answers,
        run: Run[Any],
        after: int | None = None,
        *,
        floor: int = 0,
        results: Mapping[str, str] | None = None,
        again: int = 0,
        patient: bool = False,
        held: bool = False,
    ) -> None:
        self.run, self.after = run, after
        self.floor = floor
        """An event before the run."""
        self.results = results or {}
        """Calls that the request brought the results of, and what names each of the answers."""
        self.again = again
        """Of one that was asked for before, and waited for a person then, the event before which nobody is waited for
        any more."""
        self.begins = 0
        """The event before the run; 0 while nothing of it came."""
        self.seq = 0
        """The last event that was seen."""
        self.at = 0
        """When the first one happened, µs UTC."""
        self.told: list[Part] = []
        """What was said in steps that are over."""
        self._asked = asked
        self._held = held
        """Whether calls are said only once they are handed out: a policy may refuse them."""
        self.patient = patient
        """Whether it goes on when a person has said what they are asked."""
        self._step = _Step()
        self._open: dict[str, Wait | None] = {}
        self._usage = Usage()
        self._stop: StopReason = "stop"
        self._spoken = ""
        """The words of the last step."""
        self._failed: ModelFailed | None = None
        self._exhausted: BudgetExhausted | None = None

    async def items(self) -> AsyncGenerator[Sequence[Delta] | Ended, None]:
        """Yields what is said, as deltas, and how it ends, last. A `Reset` says that what came since the last step
        began does not count.

        Raises:
            HoldfastError: this process cannot go on with the run.
        """
        async for item in self.run.events(self.after):
            deltas, ended = self.hear(item)
            if deltas:
                yield deltas
            if ended is not None:
                yield ended
                return
        result = await self.run.result()  # it was dropped, or left for another branch
        yield ended_by(RunFinished(result.status, result.reason), self.message(), self._failed, self._exhausted)

    def hear(self, item: Event | Delta) -> tuple[Sequence[Delta], Ended | None]:
        """Takes what happened in the run, and returns what was said, and how the request ended if it did."""
        if not isinstance(item, Event):
            return self._delta(item), None
        if isinstance(item.data, RunFinished):
            self.seq = item.seq
            deltas = self._last_words(item.data)
            message = self.message(item.data.usage if self.after is None else None)
            return deltas, ended_by(item.data, message, self._failed, self._exhausted)
        deltas = self._event(item)
        return deltas, self._waits(item)

    # ---- deltas ----

    def _delta(self, delta: Delta) -> list[Delta]:
        step = self._step
        match delta:
            case TextDelta(text=text) if text and not self._asked.whole:
                return step.add(TextDelta(self._parted(text)))
            case ThinkingDelta(text=text) if text:
                return step.add(delta)
            case CallDelta():
                return [] if self._held else step.call(delta, self._asked.handed)
            case Reset(reason="lagged"):
                return []  # what was missed comes with the whole step
            case Reset():
                self._step = _Step()
                return [delta] if step.said else []
            case _:
                return []

    def _parted(self, text: str) -> str:
        """Returns the first words of a step with what parts them from those before."""
        before = any(isinstance(part, Text) for part in self.told)
        return _BETWEEN + text if before and not self._step.words else text

    # ---- events ----

    def _event(self, event: Event) -> list[Delta]:
        self.seq, self.at = event.seq, self.at or event.at
        match event.data:
            case RunStarted(input=received):
                self.begins = received - 1
            case ModelFinished(message=message):
                return self._finished(message)
            case ModelFailed() as data:
                self._failed = data
                if data.usage is not None:
                    self._usage = self._usage + data.usage
                if data.mode == "continue" and data.partial is not None and not self._step.said:
                    return [each for one in deltas_of(data.partial) for each in self._delta(one)]
            case BudgetExhausted() as data:
                self._exhausted = data
            case ToolFinished(nested=None) as data:
                self._open.pop(data.call_id, None)
                self._withdraw(data.call_id)
            case ToolWaiting() as data:
                self._open[data.call_id] = data.wait
            case WaitResolved() as data:
                self._resolved(data)
            case _:
                pass
        return []

    def _finished(self, message: AssistantMessage) -> list[Delta]:
        """Takes a step that is over, and returns what of it was not said yet."""
        self._usage, self._stop, self._failed = self._usage + message.usage, message.stop, None
        self._open = {call.id: None for call in message.calls}
        self._spoken = message.text
        step, parts = self._step, self._shown(message)
        self._step = _Step()
        self.told = _joined(self.told, parts)
        said = [each for each in parts if not (self._held and isinstance(each, ToolCall))]
        return step.lacking(AssistantMessage(tuple(said), message.model))

    def _shown(self, message: AssistantMessage) -> list[Part]:
        shown: list[Part] = []
        parted = not any(isinstance(part, Text) for part in self.told)
        for part in message.parts:
            if isinstance(part, ToolCall) and part.name not in self._asked.handed:
                continue
            if isinstance(part, Text):
                if self._asked.whole or not part.text:
                    continue
                shown.append(part if parted else msgspec.structs.replace(part, text=_BETWEEN + part.text))
                parted = True
            else:
                shown.append(part)
        return shown

    def _withdraw(self, call_id: str) -> None:
        """Takes back a call that is over before it was handed out: it is not the client's to run."""
        for place, part in reversed([*enumerate(self.told)]):
            if isinstance(part, ToolCall) and part.id == call_id:
                del self.told[place]
                return

    def _resolved(self, data: WaitResolved) -> None:
        for call_id, wait in list(self._open.items()):
            if wait is not None and wait.token == data.token:
                if wait.kind == "approval" or wait.below:  # it goes on
                    self._open[call_id] = None
                else:
                    del self._open[call_id]

    def _waits(self, event: Event) -> Ended | None:
        """Returns how the request ends where nothing comes before somebody else said something."""
        patient = self.patient or event.seq < self.again
        if isinstance(event.data, ReviewRequested) and not patient:
            return asks_a_person(self.message(), event.data.wait, self.run.session)
        waits = [wait for wait in self._open.values() if wait is not None]
        if not waits or len(waits) < len(self._open):
            return None
        if (asking := next((wait for wait in waits if wait.kind in _PERSONS), None)) is not None:
            if patient:
                return None
            return asks_a_person(self.message(), asking, self.run.session)
        if any(wait.subject != CLIENT for wait in waits):
            return None
        tokens = {call: wait.token for call, wait in self._open.items() if wait is not None}
        return Ended("calls", self.message(), waits=tokens)

    # ---- the end ----

    def _last_words(self, end: RunFinished) -> list[Delta]:
        """Returns the answer where it is not what the model said last: data, or what a tool came to."""
        output = end.output or (self._spoken if self._asked.whole else "")
        if not output or end.status != "completed":
            return []
        text = self._parted(output)
        self.told = _joined(self.told, [Text(text)])
        return [TextDelta(text)]

    def message(self, usage: Usage | None = None) -> AssistantMessage:
        """Returns all that was said by now."""
        calls, stop = any(isinstance(part, ToolCall) for part in self.told), self._stop
        if stop in ("stop", "tool_calls"):
            stop = "tool_calls" if calls else "stop"
        return AssistantMessage(tuple(self.told), f"holdfast/{self._asked.name}", stop, usage or self._usage)


@final
class _Step:
    """What was streamed of the step that is under way."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.thoughts: list[str] = []
        self.calls: dict[int, int] = {}
        """The place of each call that is shown, by its place among all."""

    @property
    def said(self) -> bool:
        """Whether anything was."""
        return bool(self.words or self.thoughts or self.calls)

    def add(self, delta: TextDelta | ThinkingDelta) -> list[Delta]:
        (self.words if isinstance(delta, TextDelta) else self.thoughts).append(delta.text)
        return [delta]

    def call(self, delta: CallDelta, shown: frozenset[str]) -> list[Delta]:
        place = self.calls.get(delta.index)
        if place is None:
            if delta.name not in shown:
                return []
            place = self.calls[delta.index] = len(self.calls)
        return [CallDelta(place, delta.id, delta.name, delta.arguments)]

    def lacking(self, message: AssistantMessage) -> list[Delta]:
        """Returns what of the whole step was not streamed; all of it where nothing was, and otherwise the ends."""
        if not self.said:
            return deltas_of(message)
        text, thought = "".join(self.words), "".join(self.thoughts)
        thoughts = "".join([part.text for part in message.parts if isinstance(part, Thinking)])
        found: list[Delta] = []
        if text and message.text != text and message.text.startswith(text):
            found.append(TextDelta(message.text[len(text) :]))
        if thought and thoughts != thought and thoughts.startswith(thought):
            found.append(ThinkingDelta(thoughts[len(thought) :]))
        return found


def _joined(told: Sequence[Part], more: Sequence[Part]) -> list[Part]:
    """Returns parts of steps after one another, with words that meet as one."""
    found = list(told)
    for part in more:
        last = found[-1] if found else None
        if part is more[0] and isinstance(part, Text) and isinstance(last, Text):
            found[-1] = Text(last.text + part.text, citations=(*last.citations, *part.citations))
        else:
            found.append(part)
    return found
