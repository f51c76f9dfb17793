"""One ownership epoch of a session: the state, the pen that writes it down, and what the loop works with.

Whatever is written is folded at once and published when it is durable. `interruptible` marks the stretches in
which the outside world may be slow: an abort, or the run's time running out, ends them early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import final

import msgspec

from holdfast.engine.decide import admit, expired
from holdfast.engine.events import AbortRequested, Answer, FilesRestored, InputReceived, Prompt, Stop, WaitResolved
from holdfast.engine.folding import fold
from holdfast.engine.state import Run, State
from holdfast.flow.clock import Clock
from holdfast.flow.interrupting import Interruptible
from holdfast.journal.owning import Pen
from holdfast.journal.port import Mail, Park
from holdfast.journal.tail import Tail
from holdfast.models.port import Model
from holdfast.tools.gateway import Gateway
from holdfast.types import AgentSpec, Event, Payload, StreamId

__all__ = ("Attempt", "Bind", "Bindings", "receive")

_prompt = msgspec.json.Decoder(Prompt)
_stop = msgspec.json.Decoder(Stop)
_answer = msgspec.json.Decoder(Answer)


class Bindings(msgspec.Struct, frozen=True):
    """What a run acts through: found by its setup, again after a crash."""

    spec: AgentSpec
    model: Model
    tools: Gateway


Bind = Callable[[StreamId, Run], Awaitable[Bindings]]
"""Finds what a run acts through; raises UsageError for a tool, model or price this process has not got."""


@final
class Attempt:
    """A session in the hands of its owner."""

    __slots__ = ("_bind", "_bound", "_files", "_scope", "_task", "clock", "pen", "state", "stopping", "tail")

    def __init__(self, state: State, pen: Pen, tail: Tail, clock: Clock, bind: Bind) -> None:
        self.state = state
        self.pen = pen
        self.tail = tail
        self.clock = clock
        self._files: asyncio.Lock | None = None
        self._bind = bind
        self._bound: tuple[int, Bindings] | None = None
        self._scope = Interruptible(clock)
        self._task: asyncio.Task[object] | None = None
        self.stopping = False
        """Whether unread mail wants the run to end, so that nothing more should begin before it is read."""

    @property
    def files(self) -> asyncio.Lock:
        """Held by whoever may change files of the workspace: one call at a time."""
        if self._files is None:
            self._files = asyncio.Lock()
        return self._files

    @property
    def run(self) -> Run:
        """The open run; there is one whenever something is done."""
        assert self.state.run is not None
        return self.state.run

    async def bindings(self) -> Bindings:
        """Returns what the open run acts through; its files are what the log says they are from then on.

        Raises:
            UsageError: this process has not got it.
            SandboxError, OSError: files that a fork or a rewind wants cannot be put back.
        """
        if self._bound is None or self._bound[0] != self.run.seq:
            bindings = await self._bind(self.pen.stream, self.run)
            bindings.tools.attach(self.pen, self.state.stored)
            if self.state.restoring and self.run.workspace == self.state.restoring_in:
                # Whoever forked or rewound the session was stopped half-way. A run that works elsewhere leaves it so.
                before = await bindings.tools.capture()
                for snapshot in self.state.restoring:
                    await bindings.tools.restore(snapshot)
                self.write(FilesRestored(await bindings.tools.capture(), before))
            self._bound = (self.run.seq, bindings)
        return self._bound[1]

    def write(self, payload: Payload, *, actor: str = "", cause: str = "") -> Event:
        """Writes an event and folds it."""
        event = self.pen.write(payload, actor=actor, cause=cause)
        fold(self.state, event)
        return event

    async def take_mail(self) -> None:
        """Writes down what came by mail, what expired, and what may join the conversation now."""
        for mail in await self.pen.mail() if self.pen.has_mail else ():
            for payload in receive(mail):
                self.write(payload, actor=mail.actor, cause=mail.key)
            self.pen.taken = mail.n
        self.stopping = self.stopping and self.pen.has_mail
        if self.state.calls:
            for resolved in list(expired(self.state, self.clock.now())):
                self.write(resolved)
        while (payload := admit(self.state)) is not None:
            self.write(payload)

    async def park(self, park: Park, *last: Payload) -> bool:
        """Gives the session up, with `last` as its last words; False when mail has to be read first."""
        return await self.pen.park(park, *last)

    def interruptible(self) -> Interruptible:
        """Returns a scope that an abort or the end of the run's time leaves early."""
        left: float | None = None
        if (seconds := self.run.setup.setup.limits.seconds) is not None:
            # A little late rather than early: what follows must find the time to be up.
            left = (self.run.started_at - self.clock.now()) / 1e6 + seconds + 0.001
        if self._task is None:
            self._task = asyncio.current_task()
        self._scope = Interruptible(self.clock, left, self._task)
        return self._scope

    def end(self) -> None:
        """Lets go of the task that drove it."""
        self._task = None

    async def glance(self) -> None:
        """Looks at the mail without taking it, and interrupts what is under way when it holds the run's abort."""
        for mail in await self.pen.peek():
            for payload in receive(mail) if mail.kind == "abort" else ():
                if isinstance(payload, AbortRequested) and self.state.run and payload.run in ("", self.state.run.key):
                    self.stopping = True
                    self._scope.interrupt()


def receive(mail: Mail) -> list[Payload]:
    """Returns what a message puts into the log; nothing when it says nothing this version understands."""
    try:
        match mail.kind:
            case "prompt" | "steer" | "follow_up" as kind:
                said = _prompt.decode(mail.body)
                return [InputReceived(kind, said.message, said.setup)]
            case "abort":
                stop = _stop.decode(mail.body)
                return [AbortRequested(stop.reason or "on request", stop.run)]
            case "answer":
                answer = _answer.decode(mail.body)
                return [WaitResolved(answer.token, answer.content, answer.is_error)]
            case _:
                return []
    except msgspec.MsgspecError:
        return []  # a letter nobody can read must not stop the ones behind it
