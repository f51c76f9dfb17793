"""Notices runs that stand still, and asks the critic about them.

There is one timer for each session that this process drives, and none where there is no critic. It goes off no more
often than every `soft` seconds, whatever happens in the run; a task exists only while the critic thinks.

A run stands still when its log has had no event for `soft` seconds. The critic is asked once about each standstill, and
again when something has happened since and the next one begins. What it says is a letter with the last event's number
in its key: it survives a crash once it lies in the inbox, and whoever asks again about the same standstill sends it
only once. Whatever goes wrong in a critic is told to the event loop's exception handler, and to no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, final

import msgspec

from holdfast.engine.events import CODEC, InputReceived, ModelFailed, ModelFinished, ToolFinished, ToolStarted
from holdfast.engine.letters import More, Prompt, Stop
from holdfast.engine.state import Run, State
from holdfast.errors import UsageError
from holdfast.flow.clock import Clock, Timer
from holdfast.flow.interrupting import Interruptible
from holdfast.journal.port import Journal, Letter
from holdfast.journal.reading import read_events
from holdfast.runtime.driving.working import Worker
from holdfast.runtime.guarding.critic import Critic, Extend, Judge, Kill, Nudge, Raise, Stalled, Verdict
from holdfast.runtime.speaking import said, sayable
from holdfast.types import CallId, Event, StreamId, dollars, session_of

__all__ = ("Watch", "letter_of")

_ACTOR = "critic"
_LAST = 10
"""Events that the critic is told of."""
_SHOWN = 200
"""Characters of each of them, and of a call's arguments."""


class Notices(Protocol):
    """Tells of each run that is about to be driven."""

    noticed: Callable[[StreamId, Run], None] | None


@final
class Watch:
    """The runs that a process drives, as far as a critic wants to hear of them."""

    def __init__(
        self, critic: Critic, journal: Journal, clock: Clock, find: Callable[[StreamId], State | None]
    ) -> None:
        """`find` returns the state of a session that is driven here."""
        self._critic = critic
        self._journal = journal
        self._clock = clock
        self._find = find
        self._soft = round(critic.soft * 1e6)
        self._timers: dict[StreamId, Timer] = {}
        self._asked: dict[StreamId, int] = {}
        """The event with which the standstill began that the critic was asked about last."""
        self._thinking: dict[StreamId, asyncio.Task[None]] = {}

    @classmethod
    def over(cls, critic: Critic | Judge, journal: Journal, clock: Clock, bindings: Notices, worker: Worker) -> Watch:
        """Returns a watch over what a worker drives, which hears of it from now on."""
        watch = cls(critic if isinstance(critic, Critic) else Critic(critic), journal, clock, worker.state)
        noticed, let_go = bindings.noticed, worker.let_go

        def driven(stream: StreamId, run: Run) -> None:
            if noticed is not None:
                noticed(stream, run)
            watch.driven(stream)

        def left(stream: StreamId, state: State) -> None:
            let_go(stream, state)
            watch.let_go(stream)

        bindings.noticed, worker.let_go = driven, left
        return watch

    def driven(self, stream: StreamId) -> None:
        """Notices that a run is driven here."""
        if stream not in self._timers:
            self._look_in(stream, self._soft)

    def let_go(self, stream: StreamId) -> None:
        """Notices that a session is not driven here any more."""
        if (timer := self._timers.pop(stream, None)) is not None:
            timer.cancel()
        self._asked.pop(stream, None)
        if (task := self._thinking.pop(stream, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Stops watching."""
        tasks = list(self._thinking.values())
        for stream in list(self._timers):
            self.let_go(stream)
        if tasks:
            await asyncio.wait(tasks, timeout=1)  # a critic that will not be cancelled holds nobody up

    def _look_in(self, stream: StreamId, micros: int) -> None:
        self._timers[stream] = self._clock.call_later(micros / 1e6, lambda: self._look(stream))

    def _look(self, stream: StreamId) -> None:
        state = self._find(stream)
        if state is None or state.run is None:
            self._timers.pop(stream, None)  # the next run says so
            return
        left = self._soft - (self._clock.now() - state.at)
        if left <= 0 and self._asked.get(stream) != state.seq and stream not in self._thinking:
            self._asked[stream] = state.seq
            task = self._thinking[stream] = asyncio.create_task(self._ask(stream, state, state.run))
            task.add_done_callback(lambda task: self._thinking.pop(stream) if task is self._thinking.get(stream) else 0)
        self._look_in(stream, left if left > 0 else self._soft)

    async def _ask(self, stream: StreamId, state: State, run: Run) -> None:
        verdict, seq = None, state.seq
        try:
            stalled = await self._stalled(stream, state, run)
            with Interruptible(self._clock, self._critic.patience) as scope:
                verdict = await self._critic.judge(stalled)
            if scope.interrupted:
                raise TimeoutError(f"it took longer than {self._critic.patience:g} s")
            letter = letter_of(verdict, run, seq, self._critic.extensions)
            if letter is not None and self._find(stream) is state and state.run is run:
                await self._journal.post(stream, letter)
        except Exception as error:  # noqa: BLE001 - boundary: a run's surroundings; this is its author's function
            message = f"the critic could not judge session {session_of(stream)!r}"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    async def _stalled(self, stream: StreamId, state: State, run: Run) -> Stalled:
        now = self._clock.now()
        under_way = [
            f"{call.call.name} {call.made.arguments[:_SHOWN]}"
            for call in state.calls.values()
            if call.started is not None and call.result is None and call.wait is None
        ]
        stalled = Stalled(
            session=session_of(stream),
            run=run.seq,
            phase=state.phase,
            calls=tuple(under_way),
            idle=(now - state.at) / 1e6,
            seconds=(now - run.started_at) / 1e6,
            steps=run.steps,
            last=(),
            tokens=run.tokens,
            cost=None if run.cost is None else dollars(run.cost),
            limits=run.setup.setup.limits,
            extensions=run.extensions,
        )
        after = max(run.seq - 1, state.seq - _LAST)  # what is not durable yet is not shown
        events = [event async for event in read_events(self._journal, stream, CODEC, after=after)]
        return msgspec.structs.replace(stalled, last=_in_short(events))


def letter_of(verdict: Verdict, run: Run, seq: int, extensions: int) -> Letter | None:
    """Returns what a critic says to a run that has stood still since event `seq`; None when it says nothing, or gives
    time where there is no limit or there were so many `extensions` already.

    Raises:
        UsageError: it says something that is no verdict.
    """
    key = f"critic:{run.seq}:{seq}"
    match verdict:
        case None:
            return None
        case Nudge(text):
            return Letter(
                key=key, kind="steer", body=msgspec.json.encode(Prompt(said(text), run=run.key)), actor=_ACTOR
            )
        case Kill(reason):
            body = msgspec.json.encode(Stop(sayable(reason) or "the critic ended it", run.key))
            return Letter(key=key, kind="abort", body=body, actor=_ACTOR, urgent=True)
        case Extend(seconds):
            if run.until is None or run.extensions >= extensions:
                return None
            more = More(run.key, seconds=seconds)
        case Raise(steps):
            more = More(run.key, steps=steps)
        case _:
            raise UsageError(f"a critic said {verdict!r}: it may say Nudge, Extend, Raise, Kill or None")
    return Letter(key=key, kind="more", body=msgspec.json.encode(more), actor=_ACTOR, urgent=True)


def _in_short(events: list[Event]) -> tuple[str, ...]:
    names: dict[CallId, str] = {}
    told: list[str] = []
    for event in events:
        match event.data:
            case InputReceived() as data:
                words = data.message.text
            case ModelFinished() as data:
                names |= {call.id: call.name for call in data.message.calls}
                words = f"{', '.join(call.name for call in data.message.calls)} {data.message.text}"
            case ModelFailed() as data:
                words = f"{data.code} {data.message}"
            case ToolStarted() as data:
                words = names.get(data.call_id, data.call_id)
            case ToolFinished() as data:
                words = f"{names.get(data.call_id, data.call_id)} {data.result.content}"
            case _:
                words = ""
        told.append(f"{event.type} {words.strip()}"[:_SHOWN].rstrip())
    return tuple(told)
