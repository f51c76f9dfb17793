"""One ownership epoch of a session: the state, the pen that writes it down, and what the loop works with.

Whatever is written is folded at once and published when it is durable. `interruptible` marks the stretches in
which the outside world may be slow: an abort, or the run's time running out, ends them early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, final

import msgspec

from holdfast.engine.decide import admit, expired, stale
from holdfast.engine.events import (
    AbortRequested,
    AnswerRefused,
    FilesRestored,
    InputDropped,
    InputReceived,
    LimitsRaised,
    Paused,
    Resumed,
    SessionEnded,
    ToolFinished,
    WaitResolved,
)
from holdfast.engine.folding import fold
from holdfast.engine.hearing.answers import heard, noted, passes, unheard, waiting_for
from holdfast.engine.letters import Answer, More, Prompt, Setup, Stop
from holdfast.engine.lineage import child_token, comes_back, start_key
from holdfast.engine.purse import Purse, key_of, own
from holdfast.engine.state import Run, State
from holdfast.engine.turns import too_early
from holdfast.errors import SandboxError, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.interrupting import Interruptible
from holdfast.journal.owning import Pen
from holdfast.journal.port import Letter, Mail, Posted
from holdfast.journal.tail import Tail
from holdfast.ledger.amounts import MOST
from holdfast.ledger.port import Ledger
from holdfast.models.port import Model
from holdfast.models.routing.targets import Chain
from holdfast.tools.binding import Order
from holdfast.tools.gateway import Gateway
from holdfast.tools.results import canceled
from holdfast.tools.typed.reading import AnswerReader
from holdfast.types import (
    AgentSpec,
    Event,
    Message,
    Payload,
    StreamId,
    ToolResult,
    UserMessage,
    Wait,
    digest_of,
    session_of,
    stream_id,
    tenant_of,
)

if TYPE_CHECKING:
    from holdfast.context.showing import Showing

__all__ = ("Attempt", "Bind", "Bindings", "Post", "Reach", "Spawn", "receive")

_ENDING = ("abort", "exit")
_AGAIN = (0.2, 60.0)
"""Seconds until a session whose inbox is full is written to again, as it is being read, or somebody has to; each time
twice as many, up to so many: ten thousand children of one that reads nothing leave the store to others.
"""
_LOOKED_AGAIN = 1.0
"""Seconds until a run that goes on looks again whether somebody has set caps."""
_LATE = "it took too long"
_PRESSING = frozenset(("abort", "exit", "pause", "steer", "more"))
"""Letters that have something to say to what is under way."""


class _Said(msgspec.Struct, frozen=True, gc=False):
    """A `Prompt` whose setup is not read yet."""

    message: UserMessage
    setup: msgspec.Raw = msgspec.Raw(b"null")
    run: str = ""
    history: tuple[Message, ...] = ()


@lru_cache(maxsize=256)
def _setup_of(encoded: bytes) -> Setup | None:
    """Returns a setup; the runs of one agent are set up alike, so that most need not be read."""
    return _setup.decode(encoded)


_prompt = msgspec.json.Decoder(_Said)
_setup = msgspec.json.Decoder(Setup | None)
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


Draw = Callable[[StreamId, Run], Awaitable[Purse | None]]
"""Finds what a run draws from; None as long as nobody else spends from the same account."""


class Bindings(msgspec.Struct, frozen=True):
    """What a run acts through: found by its setup, again after a crash."""

    spec: AgentSpec
    tools: Gateway
    spawn: Spawn
    """Starts another agent for what has that key."""
    draw: Draw
    """Looks for a purse again: a cap may be set while the run goes on."""
    purse: Purse | None = None
    """Set where somebody else spends from the same account."""
    reader: AnswerReader | None = None
    """Reads answers that have to be data; None where they are text."""
    chain: Chain | None = None
    """The model and those that stand in for it; None for a pipeline."""
    showing: Showing | None = None
    """Chooses the tools of each request; None where it shows all there are."""

    @property
    def model(self) -> Model | None:
        """None for a pipeline, which asks none itself; of a chain, the first."""
        return None if self.chain is None else self.chain.first.model


Bind = Callable[[StreamId, Run], Awaitable[Bindings]]
"""Finds what a run acts through; raises UsageError for a tool, model or price this process has not got."""


Post = Callable[[StreamId, Letter], Awaitable[Posted]]
"""Puts a letter into the inbox of a session."""


class Reach(msgspec.Struct, frozen=True):
    """What an attempt may do beyond its own session."""

    post: Post
    ledger: Ledger


@final
class Attempt(msgspec.Struct, eq=False):
    """A session in the hands of its owner."""

    state: State
    pen: Pen
    tail: Tail
    clock: Clock
    _bind: Bind
    reach: Reach
    """What lies beyond the session."""
    _files: asyncio.Lock | None = None
    _bound: Bindings | None = None
    _bound_to: int = 0
    """The run that it is of, by where that started."""
    _look_at: float = 0.0
    _scope: Interruptible | None = None
    """The last interruptible stretch."""
    task: asyncio.Task[object] | None = None
    """The one that drives it."""
    _given: dict[int, float] = {}
    """Seconds more that unread letters give the run, by the letters' numbers."""
    stopping: bool = False
    """Whether unread mail wants the run to end, so that nothing more should begin before it is read."""
    hurried: bool = False
    """Whether unread mail wants to be read before another call of the turn begins: `stopping`, or anything else."""
    _unwanted: str = ""
    """Key of the run that mail wants to end, read or not."""
    patient: bool = False
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

        Caps that are set while the run goes on are heard of here, a second or two later.

        Raises:
            UsageError: this process has not got it.
            SandboxError, OSError: files that a fork or a rewind wants cannot be put back.
            StorageError: the ledger does not say who has caps.
        """
        run, bound = self.state.run, self._bound
        assert run is not None
        if bound is None or self._bound_to != run.seq:
            bindings = await self._bind(self.pen.head.stream, run)
            bindings.tools.attach(self.pen, self.state.stored, run.touched)
            if self.state.restoring and run.workspace == self.state.restoring_in:
                # Whoever forked or rewound the session was stopped half-way. A run that works elsewhere leaves it so.
                before = await bindings.tools.capture()
                for snapshot in self.state.restoring:
                    await bindings.tools.restore(snapshot)
                self.write(FilesRestored(await bindings.tools.capture(), before))
            self._bound, self._bound_to = bindings, run.seq
            self._look_at = self.clock.monotonic() + _LOOKED_AGAIN
            return bindings
        return bound if self.clock.monotonic() < self._look_at else await self._look_again(bound)

    async def _look_again(self, bound: Bindings) -> Bindings:
        """Finds out whether somebody has set caps meanwhile: the next call has to be within them."""
        if bound.purse is None:
            purse = await bound.draw(self.pen.stream, self.run)
            bound = self._bound = msgspec.structs.replace(bound, purse=purse)
        elif await bound.purse.recapped():
            await self.give_back(resting=False)
        self._look_at = self.clock.monotonic() + _LOOKED_AGAIN
        return bound

    async def give_back(self, *, resting: bool) -> None:
        """Gives the ledger back what the open run has taken and not spent; it takes anew when it asks next.

        One that is `resting` keeps the time it has taken: that goes on.

        Raises:
            Fenced: another worker owns the session, and the grant is its own.
            StorageError: the log or the ledger refuses.
        """
        run = self.state.run
        if run is None or not run.account:
            return
        await self.pen.sync()  # barrier: a call whose answer is lost is charged at what was reserved for it
        await self.pen.hold()
        spent = own(run, self.clock.now())
        with suppress(UsageError):  # it has taken nothing yet
            size = msgspec.structs.replace(spent, time=MOST) if resting else spent
            await self.reach.ledger.shrink(key_of(self.pen.stream, run.id), size)
        if self.bound is not None and self.bound.purse is not None:
            self.bound.purse.forget()

    @property
    def bound(self) -> Bindings | None:
        """What the open run acts through, if it was asked for."""
        run = self.state.run
        return self._bound if run is not None and self._bound_to == run.seq else None

    def write(self, payload: Payload, *, actor: str = "", cause: str = "") -> Event:
        """Writes an event and folds it."""
        event = self.pen.write(payload, actor=actor, cause=cause)
        fold(self.state, event)
        if self.state.left:
            self.settle_left()
        return event

    def settle_left(self) -> None:
        """Gives calls a result that others made which are over: nobody asks for them any more."""
        for call in list(self.state.left.values()):
            result = call.result or canceled("the call that made it is over")
            fold(self.state, self.pen.write(ToolFinished(call.call.id, result, nested=call.nested)))

    async def take_mail(self) -> None:
        """Writes down what came by mail, what expired, and what may join the conversation now."""
        state, pen = self.state, self.pen
        if pen.has_mail:
            await self._read(pen.take_first() or await pen.mail())
        if state.queue and state.owed is None:  # whoever waits for the run hears first that it is over
            for seq in stale(state):
                await self._hand_back(seq)
                self.write(InputDropped(seq))
        if self.hurried and not pen.has_mail:
            self.stopping = self.hurried = False
        run = state.run
        if state.deadlines or (run is not None and (run.review is not None or run.phase is not None)):
            await self._expire()
        while state.queue and (payload := admit(state)) is not None:
            self.write(payload)

    async def _read(self, unread: Sequence[Mail]) -> None:
        state, ends = self.state, None
        for mail in unread:
            for payload in receive(mail):
                if isinstance(payload, WaitResolved) and too_early(state, payload):  # it is too much to keep
                    self.write(AnswerRefused(payload.token), actor=mail.actor, cause=mail.key)
                elif isinstance(payload, WaitResolved) and passes(state, payload):
                    if ends is None:
                        ends = [each for each in unread if each.kind in _ENDING]
                    self.write(await self._heard(payload, ends), actor=mail.actor, cause=mail.key)
                elif not (state.ended and isinstance(payload, SessionEnded)):  # it ends once
                    self.write(payload, actor=mail.actor, cause=mail.key)
            self.pen.taken = mail.n

    async def _heard(self, said: WaitResolved, ends: Sequence[Mail]) -> WaitResolved:
        """Returns an answer as it is written down: having passed the gateway, as every result does; of a run that is to
        end, by these letters or by one before them, no hook is asked.

        Raises:
            UsageError, SandboxError, OSError: this process has not got what the run acts through, and nobody wants the
                run to end, which needs none of it.
        """
        state, over = self.state, self._is_over(ends)
        try:
            gateway = (await self.bindings()).tools
        except (UsageError, SandboxError, OSError):
            if over:
                return said
            raise
        if over or (call := waiting_for(state, said.token)) is None or call.wait is None:
            return unheard(gateway, said)
        told = None
        with self.interruptible():
            told = await heard(gateway, state, said, call, call.wait)
        for note in noted(gateway):
            self.write(note)
        return told or unheard(gateway, said)  # somebody wants the run to end, and hooks took their time

    def _is_over(self, ends: Sequence[Mail]) -> bool:
        """Whether somebody wants the run to end, by what was read or by unread mail."""
        run = self.run
        if run.abort is not None or self._unwanted == run.key:
            return True
        return any(_ends(payload, run.key) for mail in ends for payload in receive(mail))

    async def _hand_back(self, seq: int) -> None:
        """Gives what a pipeline passed on, and its phase was over before it came, back to the pipeline."""
        received, key, last = self.state.queue[seq], self.state.keys[seq], self.state.last
        lineage = last.setup.setup.lineage if last is not None and last.key == received.run else None
        if lineage is None or not lineage.phase or not comes_back(key):
            return
        # A pipeline that is a phase itself hears it in the run that it was said to, and otherwise hands it on upwards.
        run = start_key(child_token(session_of(lineage.parent))) if len(lineage.line) > 1 else ""
        stream = self.pen.stream
        letter = Letter(
            key=f"returned:{digest_of(f'{stream} {key}'.encode())}",
            kind=received.kind,
            body=msgspec.json.encode(Prompt(received.message, run=run)),
            actor=session_of(stream),
        )
        await self.send(lineage.parent, letter, reading=True)

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

    async def send(self, stream: StreamId, letter: Letter, *, reading: bool = False) -> None:
        """Puts a letter into the inbox of another session, once there is room in it.

        What is sent upwards is sent `reading` the mail meanwhile: the parent may itself wait for room in here, to tell
        its child to end, and reads nothing before it has found some.
        """
        again, most = _AGAIN
        while (await self.reach.post(stream, letter)).status == "full":
            if reading:
                if self.pen.has_mail:
                    await self._read(await self.pen.mail())
                await self.pen.sync()  # barrier: only what is written down makes room
            await self.clock.sleep(again)
            again = min(2 * again, most)

    def interruptible(self) -> Interruptible:
        """Returns a scope that an abort or the end of the run's time leaves early."""
        run = self.state.run
        assert run is not None
        left = None if run.setup.setup.limits.seconds is None else self._left(run)
        scope = self._scope = Interruptible(self.clock, left, self.task)
        return scope

    @property
    def interrupted(self) -> bool:
        """Whether what is under way is being left early."""
        return self._scope is not None and self._scope.interrupted

    def _left(self, run: Run) -> float:
        """Returns the seconds until the run's time is up, which has an end, what unread letters give it included."""
        until = run.until
        assert until is not None
        given = run.allowed(sum([seconds for n, seconds in self._given.items() if n > self.pen.taken]))
        # A little late rather than early: what follows must find the time to be up.
        return (until - self.clock.now()) / 1e6 + given + 0.001

    async def glance(self) -> None:
        """Looks at the mail without taking it: an end of the run interrupts what is under way, more time lets it go on,
        and a steer or a pause keeps further calls of the turn from beginning.
        """
        for mail in await self.pen.peek():
            if (run := self.state.run) is None or mail.kind not in _PRESSING or mail.n <= self.pen.taken:
                continue
            for payload in receive(mail):
                self._heed(payload, mail.n, run)

    def _heed(self, payload: Payload, n: int, run: Run) -> None:
        match payload:
            case AbortRequested() if payload.run not in ("", run.key):
                pass
            case AbortRequested() | SessionEnded():
                self.stopping = self.hurried = True
                self._unwanted = run.key
                self._interrupt()
            case LimitsRaised():
                if payload.run == run.key and n not in self._given:
                    self._given[n] = payload.seconds
                    if self._scope is not None and run.until is not None:
                        self._scope.prolong(self._left(run))
            case _:
                self.hurried = True
                if self.patient:
                    self._interrupt()

    def _interrupt(self) -> None:
        if self._scope is not None:
            self._scope.interrupt()


def _ends(payload: Payload, key: str) -> bool:
    """Whether something that was said ends the run of that key."""
    return isinstance(payload, SessionEnded) or (isinstance(payload, AbortRequested) and payload.run in ("", key))


def receive(mail: Mail) -> list[Payload]:
    """Returns what a message puts into the log; nothing when it says nothing this version understands."""
    payload: Payload | None = None
    try:
        match mail.kind:
            case "prompt" | "steer" | "follow_up" | "proceed" as kind:
                said = _prompt.decode(mail.body)
                payload = InputReceived(kind, said.message, _setup_of(bytes(said.setup)), said.run, said.history)
            case "abort":
                stop = _stop.decode(mail.body)
                payload = AbortRequested(stop.reason or "on request", stop.run)
            case "answer":
                answer = _answer.decode(mail.body)
                payload = WaitResolved(
                    answer.token, answer.content, answer.is_error, answer.arguments, answer.outcome, answer.error
                )
            case "pause":
                payload = Paused(_stop.decode(mail.body).reason)
            case "resume":
                payload = Resumed()
            case "more":
                more = _more.decode(mail.body)
                payload = LimitsRaised(more.run, more.seconds, more.steps)
            case "exit":
                payload = SessionEnded(_stop.decode(mail.body).reason)
            case _:
                pass
    except msgspec.MsgspecError:
        return []  # a letter nobody can read must not stop the ones behind it
    return [] if payload is None else [payload]
