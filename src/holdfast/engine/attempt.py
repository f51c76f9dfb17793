"""One ownership epoch of a session: the state, the pen that writes it down, and what the loop works with.

Whatever is written is folded at once and published when it is durable. `interruptible` marks the stretches in
which the outside world may be slow: an abort, or the run's time running out, ends them early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, final

import msgspec

from holdfast.engine.decide import admit, expired, stale
from holdfast.engine.events import (
    AbortRequested,
    FilesRestored,
    InputDropped,
    InputReceived,
    LimitsRaised,
    Paused,
    Resumed,
    SessionEnded,
    WaitResolved,
)
from holdfast.engine.folding import fold
from holdfast.engine.letters import Answer, More, Prompt, Stop
from holdfast.engine.lineage import start_key
from holdfast.engine.purse import Purse
from holdfast.engine.state import Run, State
from holdfast.flow.clock import Clock
from holdfast.flow.interrupting import Interruptible
from holdfast.journal.owning import Pen
from holdfast.journal.port import Letter, Mail, Park, Posted
from holdfast.journal.tail import Tail
from holdfast.ledger.port import Ledger
from holdfast.models.port import Model
from holdfast.tools.binding import Order
from holdfast.tools.gateway import Gateway
from holdfast.types import (
    AgentSpec,
    Event,
    Payload,
    StreamId,
    ToolResult,
    Wait,
    digest_of,
    session_of,
    stream_id,
    tenant_of,
)

__all__ = ("Attempt", "Bind", "Bindings", "Post", "Reach", "Spawn", "receive")

_AGAIN = 0.2
"""Seconds until a session whose inbox is full is written to again: it is being read, or somebody has to."""
_LATE = "it took too long"
_PRESSING = frozenset(("abort", "exit", "pause", "steer", "more"))
"""Letters that have something to say to what is under way."""

_prompt = msgspec.json.Decoder(Prompt)
_stop = msgspec.json.Decoder(Stop)
_answer = msgspec.json.Decoder(Answer)
_more = msgspec.json.Decoder(More)


class Spawn(Protocol):
    """Starts agents on behalf of what has a key."""

    def __call__(self, key: str, order: Order) -> Awaitable[Wait | ToolResult]:
        """Starts one, once for each key; being cancelled here cancels the waiting, not the starting."""
        ...

    async def settle(self) -> None:
        """Returns when nothing is being started any more."""
        ...


class Bindings(msgspec.Struct, frozen=True):
    """What a run acts through: found by its setup, again after a crash."""

    spec: AgentSpec
    model: Model | None
    """None for a pipeline, which asks none itself."""
    tools: Gateway
    spawn: Spawn
    """Starts another agent for what has that key."""
    purse: Purse | None = None
    """Set where somebody else spends from the same account."""


Bind = Callable[[StreamId, Run], Awaitable[Bindings]]
"""Finds what a run acts through; raises UsageError for a tool, model or price this process has not got."""


Post = Callable[[StreamId, Letter], Awaitable[Posted]]
"""Puts a letter into the inbox of a session."""


class Reach(msgspec.Struct, frozen=True):
    """What an attempt may do beyond its own session."""

    post: Post
    ledger: Ledger


@final
class Attempt:
    """A session in the hands of its owner."""

    __slots__ = (
        "_bind",
        "_bound",
        "_files",
        "_given",
        "_scope",
        "_task",
        "clock",
        "hurried",
        "patient",
        "pen",
        "reach",
        "state",
        "stopping",
        "tail",
    )

    def __init__(self, state: State, pen: Pen, tail: Tail, clock: Clock, bind: Bind, reach: Reach) -> None:
        self.state = state
        self.pen = pen
        self.tail = tail
        self.clock = clock
        self.reach = reach
        """What lies beyond the session."""
        self._files: asyncio.Lock | None = None
        self._bind = bind
        self._bound: tuple[int, Bindings] | None = None
        self._scope = Interruptible(clock)
        self._task: asyncio.Task[object] | None = None
        self._given: dict[int, float] = {}
        """Seconds more that unread letters give the run, by the letters' numbers."""
        self.stopping = False
        """Whether unread mail wants the run to end, so that nothing more should begin before it is read."""
        self.hurried = False
        """Whether unread mail wants to be read before another call of the turn begins."""
        self.patient = False
        """Whether nothing is under way in the interruptible stretch: any news ends it early."""

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

    @property
    def bound(self) -> Bindings | None:
        """What the open run acts through, if it was asked for."""
        return self._bound[1] if self._bound is not None and self._bound[0] == self.run.seq else None

    def write(self, payload: Payload, *, actor: str = "", cause: str = "") -> Event:
        """Writes an event and folds it."""
        event = self.pen.write(payload, actor=actor, cause=cause)
        fold(self.state, event)
        return event

    async def take_mail(self) -> None:
        """Writes down what came by mail, what expired, and what may join the conversation now."""
        for mail in await self.pen.mail() if self.pen.has_mail else ():
            for payload in receive(mail):
                if not (self.state.ended and isinstance(payload, SessionEnded)):  # it ends once
                    self.write(payload, actor=mail.actor, cause=mail.key)
            self.pen.taken = mail.n
        if self.state.queue:
            for seq in stale(self.state):
                self.write(InputDropped(seq))
        self.stopping = self.stopping and self.pen.has_mail
        self.hurried = self.hurried and self.pen.has_mail
        run = self.state.run
        if self.state.calls or (run is not None and (run.review is not None or run.phase is not None)):
            await self._expire()
        while (payload := admit(self.state)) is not None:
            self.write(payload)

    async def park(self, park: Park, *last: Payload) -> bool:
        """Gives the session up, with `last` as its last words; False when mail has to be read first."""
        return await self.pen.park(park, *last)

    async def _expire(self) -> None:
        """Writes down the waits that nobody answered in time; a child that was waited for is told to end."""
        for resolved in list(expired(self.state, self.clock.now())):
            for call_id in self.state.waits.get(resolved.token, ()):
                if (wait := self.state.calls[call_id].wait) is not None:
                    await self.forsake(wait, _LATE)
            if (phase := self.run.phase) is not None and phase.token == resolved.token:
                await self.forsake(phase, _LATE)
            self.write(resolved)

    async def forsake(self, wait: Wait, why: str) -> None:
        """Asks the child that is waited for to end, as nobody will read what it comes to; does nothing without one."""
        if wait.kind == "child":
            child = stream_id(tenant_of(self.pen.stream), wait.subject)
            key = digest_of(f"{self.pen.stream} {wait.token}".encode())
            body = msgspec.json.encode(Stop(why, start_key(wait.token)))
            sender = session_of(self.pen.stream)
            await self.send(child, Letter(key=f"abort:{key}", kind="abort", body=body, actor=sender, urgent=True))

    async def send(self, stream: StreamId, letter: Letter) -> None:
        """Puts a letter into the inbox of another session, once there is room in it."""
        while (await self.reach.post(stream, letter)).status == "full":
            await self.clock.sleep(_AGAIN)

    def interruptible(self) -> Interruptible:
        """Returns a scope that an abort or the end of the run's time leaves early."""
        left = self._left()
        if self._task is None:
            self._task = asyncio.current_task()
        self._scope = Interruptible(self.clock, left, self._task)
        return self._scope

    def _left(self) -> float | None:
        """Returns the seconds until the run's time is up, what unread letters give it included; None without bound."""
        if (until := self.run.until) is None:
            return None
        given = self.run.allowed(sum([seconds for n, seconds in self._given.items() if n > self.pen.taken]))
        # A little late rather than early: what follows must find the time to be up.
        return (until - self.clock.now()) / 1e6 + given + 0.001

    def end(self) -> None:
        """Lets go of the task that drove it."""
        self._task = None

    async def glance(self) -> None:
        """Looks at the mail without taking it: an end of the run interrupts what is under way, more time lets it go on,
        and a steer or a pause keeps further calls of the turn from beginning.
        """
        for mail in await self.pen.peek():
            if self.state.run is None or mail.kind not in _PRESSING or mail.n <= self.pen.taken:
                continue
            for payload in receive(mail):
                self._heed(payload, mail.n, self.state.run.key)

    def _heed(self, payload: Payload, n: int, key: str) -> None:
        match payload:
            case AbortRequested() if payload.run not in ("", key):
                pass
            case AbortRequested() | SessionEnded():
                self.stopping = self.hurried = True
                self._scope.interrupt()
            case LimitsRaised():
                if payload.run == key and n not in self._given:
                    self._given[n] = payload.seconds
                    if (left := self._left()) is not None:
                        self._scope.prolong(left)
            case _:
                self.hurried = True
                if self.patient:
                    self._scope.interrupt()


def receive(mail: Mail) -> list[Payload]:
    """Returns what a message puts into the log; nothing when it says nothing this version understands."""
    with suppress(msgspec.MsgspecError):  # a letter nobody can read must not stop the ones behind it
        match mail.kind:
            case "prompt" | "steer" | "follow_up" | "proceed" as kind:
                said = _prompt.decode(mail.body)
                return [InputReceived(kind, said.message, said.setup, said.run)]
            case "abort":
                stop = _stop.decode(mail.body)
                return [AbortRequested(stop.reason or "on request", stop.run)]
            case "answer":
                answer = _answer.decode(mail.body)
                return [WaitResolved(answer.token, answer.content, answer.is_error, answer.arguments, answer.outcome)]
            case "pause":
                return [Paused(_stop.decode(mail.body).reason)]
            case "resume":
                return [Resumed()]
            case "more":
                more = _more.decode(mail.body)
                return [LimitsRaised(more.run, more.seconds, more.steps)]
            case "exit":
                return [SessionEnded(_stop.decode(mail.body).reason)]
            case _:
                pass
    return []
