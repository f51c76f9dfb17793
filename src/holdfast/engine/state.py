"""What the log comes to: the state of a session, as `folding.py` builds it.

Mutable, and changed nowhere but in the fold: 10,000 steps must not copy 10,000 states. The structs hold no cycles, so
the garbage collector is told to pass them by.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.engine.events import (
    InputReceived,
    Nested,
    ProcessStarted,
    RunFinished,
    RunStarted,
    ToolStarted,
    WaitResolved,
)
from holdfast.engine.letters import Status
from holdfast.engine.tracking import Track
from holdfast.models.routing.chain import Tried
from holdfast.types import (
    AssistantMessage,
    CallId,
    Digest,
    EventId,
    Message,
    Nanodollars,
    SnapshotRef,
    ToolCall,
    ToolResult,
    Usage,
    Wait,
)

__all__ = ("LONGEST_LOOP", "NO_LOOPS", "Call", "Done", "Phase", "Run", "State", "name_of")

Phase = Literal["idle", "thinking", "acting", "waiting", "paused", "ended"]
"""What a session does: nothing, asking its model, making calls, waiting for somebody, or nothing until it is resumed;
once ended it does nothing any more."""


LONGEST_LOOP = 4
"""Turns that go round and are still seen to do so."""
NO_LOOPS = (0,) * LONGEST_LOOP
"""What is counted of loops where nothing goes round."""


_CEILING = 6 * 3600.0
"""Seconds after which no run goes on that was given more time, however much."""
_EVER = 100 * 365 * 86400.0
"""Seconds that are as good as no bound."""


class Call(msgspec.Struct, gc=False):
    """One tool call of the current turn."""

    call: ToolCall
    started: ToolStarted | None = None
    """Set from the moment it may have acted."""
    wait: Wait | None = None
    """Set while it waits for mail."""
    edited: str = ""
    """The arguments a person put in place of the model's, when they allowed it."""
    result: ToolResult | None = None
    """Set when it is over."""
    started_at: int = 0
    """µs UTC."""
    place: int = 0
    """Where it stands in its turn."""
    nested: Nested | None = None
    """Set when another call makes it."""
    root: CallId = CallId("")
    """The model's call that it stands below, however deep."""

    @property
    def made(self) -> ToolCall:
        """The call as it is made: as the model wanted it, or as a person corrected it."""
        return self.call if not self.edited else ToolCall(self.call.id, self.call.name, self.edited)


class Done(msgspec.Struct, frozen=True, gc=False):
    """A phase of a pipeline that is over."""

    output: str
    status: Status
    reason: str = ""


class Run(msgspec.Struct, gc=False):
    """One accepted prompt, until its `RunFinished`."""

    seq: int
    """Where it started: its number in this log."""
    setup: RunStarted
    key: str
    """Key of the prompt that opened it."""
    started_at: int
    workspace: str = ""
    """Folder it works in; empty for none."""
    asked: int = 0
    """Where in the conversation it begins."""
    steps: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    cost: int | None = Nanodollars(0)
    """Nanodollars; None once a price was unknown."""
    reserved_tokens: int = 0
    """Of the model call under way."""
    asking: str = ""
    """Whom it asks, where that was written down."""
    reserved_cost: int = 0
    charged_tokens: int = 0
    """Of calls that were lost or interrupted: nobody told us what they used."""
    failures: int = 0
    """Of the current step's model call, in a row."""
    failure: str = ""
    """What the last one said."""
    hopeless: bool = False
    """Whether the last one will not get better by trying again."""
    retry_at: int = 0
    tried: tuple[Tried, ...] = ()
    """Which models failed in the current step, the last one last."""
    next: str = ""
    """Who of a chain is to be asked after a failure; empty where there is no chain."""
    partial: AssistantMessage | None = None
    """What came of the current step's answer, for the next model to go on with."""
    errors: int = 0
    """Steps in a row in which every tool call failed."""
    repeats: int = 0
    """How often in a row the same calls came back with the same results: those of one turn, or of a few turns that
    go round."""
    trail: tuple[int, ...] = ()
    """Fingerprints of the last turns."""
    loops: tuple[int, ...] = NO_LOOPS
    """For each length of a loop, how many turns in a row were as the one that long ago."""
    denied: int = 0
    """Calls that were not allowed."""
    phase: Wait | None = None
    """Of a pipeline, set while a phase is waited for."""
    outcomes: tuple[Done, ...] = ()
    """Of a pipeline, what the phases came to that are over."""
    account: tuple[str, ...] = ()
    """Where it takes what it spends, if it does so out of the ledger."""
    below_tokens: int = 0
    """What of its tokens its children used."""
    own_cost: int = 0
    """What it spent itself at known prices, in nanodollars."""
    children: frozenset[str] = frozenset()
    """Tokens of the sessions it started."""
    counted: set[str] = set()
    """Those of `children` whose use was counted: each is once, however often it is told."""
    touched: dict[str, None] = {}
    """The URLs that its calls went to or found, as their results said them."""
    saved: bool = False
    """Whether the whole workspace was kept at some moment of it."""
    stop: str = ""
    """A limit that was met beyond what counting shows."""
    abort: str | None = None
    """Why somebody wants it to end; None while nobody does."""
    closing: str = ""
    """The limit at which the model was asked for its last answer."""
    review: Wait | None = None
    """Set while a person is asked whether the answer will do."""
    reviewed: bool = False
    """Whether a person approved the answer."""
    rejected: str = ""
    """Why the answer will not do."""
    changes: int = 0
    """How often a person asked for changes."""
    concluded: str | None = None
    """What the call of a terminal tool came to that ended it; None while none did."""
    fitting: str | None = None
    """Of an answer that has to be data, its JSON, once it was found to fit; empty where it is all of the words."""
    misfits: int = 0
    """How many answers in a row did not fit."""
    misfit_turn: int = 0
    """The last turn in which one did not: however many calls hand in an answer there, it counts as one."""
    misfit: str = ""
    """The answer that did not fit, where it is no message of the conversation."""
    pressed: bool = False
    """Whether the model was told to do what it had only announced."""
    more_seconds: float = 0.0
    """How much longer it may go on than its limit says."""
    more_steps: int = 0
    """How many steps more it may make."""
    extensions: int = 0
    """How often it was given more time."""
    track: Track | None = None
    """What counts for how it has to work; None where it is bound to nothing."""
    elsewhere: bool = False
    """Whether only a file says that it was: nothing is set up like it, and nobody waits for it."""
    finished: RunFinished | None = None
    finished_at: int = 0
    """µs UTC."""
    id: EventId = EventId("")
    """Of its `RunStarted`: with the session, what it is called wherever something outlasts the session's log."""

    @property
    def tokens(self) -> int:
        """Everything spent or given up for lost."""
        return self.usage.total_tokens + self.charged_tokens

    @property
    def until(self) -> int | None:
        """When its time is up, µs UTC; None when it is not bounded."""
        seconds = self.setup.setup.limits.seconds
        if seconds is None:
            return None
        return self.started_at + round(min(seconds + self.more_seconds, _EVER) * 1e6)

    def allowed(self, seconds: float) -> float:
        """Returns how much of so many seconds more it may be given."""
        limit = self.setup.setup.limits.seconds
        left = 0.0 if limit is None else _CEILING - limit - self.more_seconds
        return max(0.0, min(seconds, left))


class State(msgspec.Struct, gc=False):
    """One session."""

    seq: int = 0
    at: int = 0
    """When the last event was written, µs UTC."""
    messages: list[Message] = []
    """The conversation: grows at its end, so that a model adapter can keep what it encoded."""
    said: dict[int, bool] = {}
    """Which messages people said, by their places, and whether a run began there; the others are our own words."""
    calls: dict[CallId, Call] = {}
    """The current turn's, in the model's order; empty when every one has its result in `messages`."""
    unfinished: int = 0
    """How many of `calls` have no result yet."""
    ready: dict[CallId, None] = {}
    """Which of `calls` are neither over nor waiting."""
    deadlines: list[tuple[int, CallId]] = []
    """When waits of `calls` end unanswered: a heap, and what stands first in it is an open wait."""
    nested: dict[CallId, Call] = {}
    """What calls of the current turn called themselves, however deep, in the order in which that began."""
    unsettled: dict[CallId, dict[CallId, None]] = {}
    """Which of `nested` began and have no result in the log yet, by the model's calls that they stand below."""
    left: dict[CallId, Call] = {}
    """Those of them whose call of the model is over: nobody asks for them any more, and they still get a result."""
    waits: dict[str, list[CallId]] = {}
    """Which calls of the current turn wait, or waited, under which token."""
    tokens: set[str] = set()
    """What any call of this session ever waited under, and what was answered without a wait: rewound or not."""
    early: dict[str, WaitResolved] = {}
    """Answers that came before anything waited for them, by their tokens."""
    early_bytes: int = 0
    """How large all of them are together."""
    approvals: dict[Digest, None] = {}
    """What a person allowed once, in the current turn."""
    always: dict[Digest, None] = {}
    """What a person allowed in this session whatever the call: tools with their effects."""
    stored: dict[Digest, tuple[Digest, ...]] = {}
    """What may be read by its digest: outputs that results named because they were too long, and files that runs were
    given; with the blobs that make up a large one."""
    branched: int = 0
    """The event at which it last began as a branch, or went back; 0 for never."""
    foreign: int = 0
    """Up to which event all came from a file: it is read, and nothing is done because of it."""
    processes: dict[str, ProcessStarted] = {}
    """Those that go on, as far as the log knows, by their ids."""
    turn: int = 0
    """Sequence number of the model's last answer: with a call's id, the call's name for ever."""
    queue: dict[int, InputReceived] = {}
    """What was said and not yet applied, by sequence number, oldest first."""
    keys: dict[int, str] = {}
    """The key of each queued input."""
    unwanted: dict[str, str] = {}
    """Why somebody wants the run of a queued prompt to end before it begins, by the prompt's key."""
    dropped: bool = False
    """Whether a prompt was dropped whose result has somewhere to go."""
    steered: bool = False
    """Whether a steer joined the conversation since the model's last answer."""
    followed: bool = False
    """Whether a follow-up did."""
    paused: bool = False
    """Whether nothing new may begin."""
    ended: bool = False
    """Whether the session is over for good."""
    run: Run | None = None
    """The open run."""
    last: Run | None = None
    """The run that finished last."""
    owed: Run | None = None
    """A run that is over, and that somebody has to hear of."""
    workspace: str = ""
    """Folder the session works in; empty for none."""
    restoring: tuple[SnapshotRef, ...] = ()
    """What has to be put back before anything is done in `restoring_in`."""
    restoring_in: str = ""
    """The folder of a fork or rewind that was not finished."""

    @property
    def phase(self) -> Phase:
        """What the session does at the moment."""
        run = self.run
        if self.ended and run is None:
            return "ended"
        if self.paused:
            return "paused"
        if run is None:
            return "idle"
        if run.review is not None or (self.calls and all(c.wait or c.result for c in self.calls.values())):
            return "waiting"
        return "acting" if self.calls else "thinking"

    @property
    def awaited(self) -> list[str]:
        """The sessions that the open run started and waits for."""
        if self.run is None:
            return []
        waits = [call.wait for call in self.calls.values() if call.result is None]
        waits.append(self.run.phase)
        return [wait.subject for wait in waits if wait is not None and wait.kind == "child"]

    @property
    def answered(self) -> bool:
        """Whether the model had the last word and wants nothing more."""
        if self.calls or not self.messages:  # an answer that wants something has `calls` until they have their results
            return False
        return isinstance(self.messages[-1], AssistantMessage)

    @property
    def cut(self) -> bool:
        """Whether the model's last answer ran into its length cap, so that its last call may be half a call."""
        last = self.messages[-1] if self.messages else None
        return isinstance(last, AssistantMessage) and last.stop == "length"

    def queued(self, kind: str) -> int | None:
        """Returns the sequence number of the oldest queued input of a kind."""
        for seq, received in self.queue.items():
            if received.kind == kind:
                return seq
        return None


def name_of(state: State, call_id: CallId, *, nested: bool = False) -> str:
    """Returns the name of a call of the current turn, which no other call of the session has, whatever ids a model
    makes up.
    """
    return f"{state.turn}{':' if nested else '/'}{call_id}"
