"""What the engine writes into a session's log.

Each struct holds only what is new; everything else follows by folding (`folding.py`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from holdfast.engine.answers import AnswerJudged
from holdfast.engine.letters import InputKind, Outcome, Setup, Shortage, Status
from holdfast.types import (
    AssistantMessage,
    CallId,
    Codec,
    Digest,
    Effect,
    Payload,
    SnapshotRef,
    ToolResult,
    Usage,
    UserMessage,
    Wait,
)

__all__ = (
    "CODEC",
    "AbortRequested",
    "AccountOpened",
    "AnswerJudged",
    "AnswerRefused",
    "AnswerUnfinished",
    "BudgetExhausted",
    "CallReopened",
    "FilesKept",
    "FilesRestored",
    "Forked",
    "InputApplied",
    "InputDropped",
    "InputReceived",
    "LastAnswerAsked",
    "LimitsRaised",
    "ModelFailed",
    "ModelFinished",
    "ModelStarted",
    "Nested",
    "Paused",
    "PhaseFailed",
    "PhaseStarted",
    "ProcessEnded",
    "ProcessLost",
    "ProcessStarted",
    "Resumed",
    "ReviewRequested",
    "RunClosed",
    "Rewound",
    "RunFinished",
    "RunStarted",
    "SessionEnded",
    "ToolFinished",
    "ToolStarted",
    "ToolWaiting",
    "WaitResolved",
)


class InputReceived(Payload, frozen=True, gc=False, omit_defaults=True):
    """Somebody said something; it lies in the session's queue until it is applied."""

    type: ClassVar[str] = "input.received"
    kind: InputKind
    message: UserMessage
    setup: Setup | None = None
    run: str = ""
    """Key of the prompt whose run is meant, where it is for no other."""


class RunStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A prompt left the queue and opened a run."""

    type: ClassVar[str] = "run.started"
    must_understand: ClassVar[bool] = True
    input: int
    """Sequence number of the prompt's `input.received`."""
    setup: Setup


class InputApplied(Payload, frozen=True, gc=False):
    """A steer or follow-up left the queue and joined the conversation."""

    type: ClassVar[str] = "input.applied"
    input: int


class InputDropped(Payload, frozen=True, gc=False, omit_defaults=True):
    """A queued input never joins the conversation; without a `reason` the session, or the run it is for, is over."""

    type: ClassVar[str] = "input.dropped"
    input: int
    reason: str = ""


class AccountOpened(Payload, frozen=True, gc=False):
    """The run takes what it spends out of the ledger from here on; when it is over, its grant is settled."""

    type: ClassVar[str] = "account.opened"
    must_understand: ClassVar[bool] = True
    account: tuple[str, ...]


class ModelStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model call is about to spend so much, which stays spent if it is lost; written where a limit needs it."""

    type: ClassVar[str] = "model.started"
    tokens: int
    cost: int | None = None
    """Nanodollars; None when the price is unknown."""
    model: str = ""
    """Who is asked, as `provider/name`; empty in logs of before chains."""


class ModelFinished(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model answered."""

    type: ClassVar[str] = "model.finished"
    message: AssistantMessage
    cost: int | None = None
    """Nanodollars; None when the price is unknown."""
    duration: int = 0
    """µs from request to last byte."""
    exceeded: bool = False
    """The provider reports more than was reserved: charged in full, and the run stops."""


class ModelFailed(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model call ended without an answer.

    Whoever puts deltas together takes the words of `partial` as what there is so far where `mode` is `continue`, and
    nothing otherwise.
    """

    type: ClassVar[str] = "model.failed"
    code: str
    """A `ModelError` code, or `interrupted` (by an abort or a limit), or `lost` (its process died)."""
    message: str
    again: bool = False
    """Whether trying again may help."""
    retry_at: int | None = None
    """µs UTC before which the provider does not want to be asked."""
    usage: Usage | None = None
    """What the provider says it used all the same; None when it did not say."""
    cost: int | None = None
    """Of `usage`, in nanodollars; None when the price is unknown."""
    exceeded: bool = False
    """The provider reports more than was reserved: charged in full, and the run stops."""
    model: str = ""
    """Who failed, as `provider/name`; empty in logs of before chains."""
    next: str = ""
    """Who is asked now, of a chain of models; empty where there is no chain, or nobody left."""
    next_at: int = 0
    """µs UTC before which that is not done; 0 for at once."""
    partial: AssistantMessage | None = None
    """What had come where it broke off, words and thinking, with the answer that it had gone on with; never a call."""
    mode: Literal["", "continue", "reset"] = ""
    """Whether the next one goes on where `partial` ends, or begins again; empty where nothing had come."""
    estimated: bool = False
    """Whether `usage` is the most that can have been used, as nobody said what was."""


class BudgetExhausted(Payload, frozen=True, gc=False, omit_defaults=True):
    """What is left does not pay for another model call."""

    type: ClassVar[str] = "budget.exhausted"
    limit: str
    """`tokens` or `dollars`; of an account, `tokens of account local/ada`."""
    again_at: int | None = None
    """Of a cap with a window, when enough may fit again, µs UTC; None where waiting alone does not help."""
    short: Shortage | None = None
    """What would have been enough; None in logs of before it was said, and where that is no question of size."""


class Nested(msgspec.Struct, frozen=True, gc=False):
    """A call that another call makes."""

    parent: CallId
    name: str
    arguments: str
    """JSON text."""


class ToolStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A call is about to act. Durable before it does, unless doing it twice would not matter."""

    type: ClassVar[str] = "tool.started"
    must_understand: ClassVar[bool] = True
    call_id: CallId
    effect: Effect
    snapshot: SnapshotRef | None = None
    """How the files were that it may change."""
    posture: Digest = Digest("")
    """What isolates its commands; empty where it runs none."""
    nested: Nested | None = None
    """Set when another call made it, and not the model."""
    unsaved: str = ""
    """Why there is no snapshot of files that it may change; empty when there is one, or none is needed."""
    terminal: bool = False
    """Whether the run is over when it goes well."""
    absent: tuple[str, ...] = ()
    """Protected paths of the workspace at which there was nothing: what a command puts there does not stay."""
    arguments: str = ""
    """The JSON it is made with, where that is not what was written: mended, or its strings read as its schema wants."""


class ToolFinished(Payload, frozen=True, gc=False, omit_defaults=True):
    """What a call came to. Every call gets exactly one of these."""

    type: ClassVar[str] = "tool.finished"
    call_id: CallId
    result: ToolResult
    duration: int = 0
    """µs."""
    nested: Nested | None = None
    """Set when another call made it, and not the model."""
    rolled_back: bool = False
    """Whether it failed, and files were put back as its snapshot has them."""


class ToolWaiting(Payload, frozen=True, gc=False, omit_defaults=True):
    """A call cannot go on before mail comes."""

    type: ClassVar[str] = "tool.waiting"
    must_understand: ClassVar[bool] = True
    call_id: CallId
    wait: Wait


class WaitResolved(Payload, frozen=True, gc=False, omit_defaults=True):
    """A wait is over: answered, or expired when `content` is None."""

    type: ClassVar[str] = "wait.resolved"
    token: str
    content: str | None = None
    is_error: bool = False
    arguments: str = ""
    """Of an approval, the arguments a person put in place of the model's."""
    outcome: Outcome | None = None
    """Of a child, how it ended."""


class AnswerRefused(Payload, frozen=True, gc=False):
    """An answer to something nobody waits for yet was not kept: it is to be sent again, under another key."""

    type: ClassVar[str] = "answer.refused"
    token: str


class CallReopened(Payload, frozen=True, gc=False, omit_defaults=True):
    """A call was under way when its process died; its files are back as they were, and it runs again."""

    type: ClassVar[str] = "call.reopened"
    call_id: CallId
    nested: bool = False
    """Whether another call had made it."""
    before: SnapshotRef | None = None
    """How the whole workspace was just before its files were put back: somebody may have worked there since."""


class ProcessStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A process goes on that a call started; it may outlive the run."""

    type: ClassVar[str] = "process.started"
    process: str
    """Its id, which no other process has."""
    name: str
    """What the model calls it."""
    command: str
    call_id: CallId
    """The call that started it."""
    epoch: int
    """Of the owner who had it started: whoever comes with a higher one, in another process, ends it first."""
    absent: tuple[str, ...] = ()
    """Protected paths of the workspace at which there was nothing before it: what it put there is taken away."""


class ProcessEnded(Payload, frozen=True, gc=False):
    """A process has ended, by itself or because it was stopped."""

    type: ClassVar[str] = "process.ended"
    process: str
    name: str
    code: int
    """Its exit code, 128 and the signal's number for a killed one."""


class ProcessLost(Payload, frozen=True, gc=False):
    """A process that was running is gone, and nobody knows how it ended; the model is told."""

    type: ClassVar[str] = "process.lost"
    process: str
    name: str
    why: str


class PhaseStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A phase of a pipeline is a job of another session now, and its answer is waited for."""

    type: ClassVar[str] = "phase.started"
    must_understand: ClassVar[bool] = True
    phase: int
    """Its place, from 0."""
    wait: Wait


class PhaseFailed(Payload, frozen=True, gc=False, omit_defaults=True):
    """A phase could not be started."""

    type: ClassVar[str] = "phase.failed"
    phase: int
    why: str


class AbortRequested(Payload, frozen=True, gc=False, omit_defaults=True):
    """Somebody wants a run to end: the open one, or one that is still queued; too late, it means nothing."""

    type: ClassVar[str] = "abort.requested"
    reason: str = ""
    run: str = ""
    """Key of the prompt whose run is meant; empty for the one that is open."""


class Paused(Payload, frozen=True, gc=False, omit_defaults=True):
    """Nothing new begins in the session until it is resumed: no model call, no tool call, no run."""

    type: ClassVar[str] = "session.paused"
    must_understand: ClassVar[bool] = True
    reason: str = ""


class Resumed(Payload, frozen=True, gc=False):
    """The session goes on."""

    type: ClassVar[str] = "session.resumed"


class SessionEnded(Payload, frozen=True, gc=False, omit_defaults=True):
    """The session is over for good: its open run is aborted, what is queued is dropped, and nothing more is taken."""

    type: ClassVar[str] = "session.ended"
    must_understand: ClassVar[bool] = True
    reason: str = ""


class ReviewRequested(Payload, frozen=True, gc=False, omit_defaults=True):
    """There is an answer, and a person has to say whether it will do."""

    type: ClassVar[str] = "review.requested"
    must_understand: ClassVar[bool] = True
    wait: Wait
    changes_left: int = 0
    """How often changes may still be asked for."""


class LastAnswerAsked(Payload, frozen=True, gc=False):
    """A limit was met: the model is asked once more, without tools, and then the run is over."""

    type: ClassVar[str] = "run.closing"
    limit: str


class AnswerUnfinished(Payload, frozen=True, gc=False):
    """The model's answer only says what it is about to do: it is told, once in a run, to do it."""

    type: ClassVar[str] = "answer.unfinished"


class LimitsRaised(Payload, frozen=True, gc=False, omit_defaults=True):
    """A run may go further than it was to; too late, it means nothing."""

    type: ClassVar[str] = "limits.raised"
    run: str
    """Key of the prompt whose run is meant."""
    seconds: float = 0.0
    steps: int = 0


class FilesRestored(Payload, frozen=True, gc=False, omit_defaults=True):
    """The workspace is as a fork or a rewind wanted it."""

    type: ClassVar[str] = "files.restored"
    files: SnapshotRef | None = None
    """All of it; None when nobody looked."""
    before: SnapshotRef | None = None
    """How it was just before, where whoever began had been stopped."""


class FilesKept(Payload, frozen=True, gc=False):
    """How the workspace was at this moment, whoever changed it: a rewind is taken back by one to here."""

    type: ClassVar[str] = "files.kept"
    files: SnapshotRef


class RunFinished(Payload, frozen=True, gc=False, omit_defaults=True):
    """A run is over; the answer, if there is one, is the conversation's last message."""

    type: ClassVar[str] = "run.finished"
    status: Status
    reason: str = ""
    """Which limit, whose abort, what failure; empty when completed."""
    steps: int = 0
    usage: Usage = Usage()
    cost: int | None = None
    """Nanodollars; None when a price was unknown."""
    denied: int = 0
    """Calls that were not allowed: by the mode, by a person, or because nobody could be asked."""
    files: SnapshotRef | None = None
    """How the workspace was left; None when the run changed nothing there, or it could not be kept."""
    output: str = ""
    """The answer, where it is no message of this conversation."""


class RunClosed(Payload, frozen=True, gc=False):
    """What was owed when a run was over is done: whoever waited for it knows how it ended."""

    type: ClassVar[str] = "run.closed"
    run: int
    """Sequence number of its `run.started`."""


class Forked(Payload, frozen=True, gc=False, omit_defaults=True):
    """This stream shares its parent's records up to `at`; open calls and waits stayed with the parent."""

    type: ClassVar[str] = "session.forked"
    must_understand: ClassVar[bool] = True
    parent: str
    """Empty where it came from a file: nothing else is shared with the session it was."""
    at: int
    workspace: str = ""
    """Its own folder; empty when the parent has none."""
    files: tuple[SnapshotRef, ...] = ()
    """How the files were at `at`: a whole snapshot, then what to put back over it, in this order."""
    foreign: bool = False
    """Whether all up to `at` came from a file, and the parent's event that says so stands behind it."""


class Rewound(Payload, frozen=True, gc=False, omit_defaults=True):
    """What came after `to` is out of the conversation; what it spent stays spent."""

    type: ClassVar[str] = "session.rewound"
    must_understand: ClassVar[bool] = True
    to: int
    files: tuple[SnapshotRef, ...] = ()
    """How the files were at `to`, as in `Forked`; empty when there is nothing to put back."""
    workspace: str = ""
    """Where the session works from here on: a fork stays in its own folder, however far it is taken back."""


CODEC = Codec(
    (
        InputReceived,
        RunStarted,
        InputApplied,
        InputDropped,
        AccountOpened,
        ModelStarted,
        ModelFinished,
        ModelFailed,
        BudgetExhausted,
        ToolStarted,
        ToolFinished,
        ToolWaiting,
        WaitResolved,
        AnswerRefused,
        CallReopened,
        PhaseStarted,
        PhaseFailed,
        ProcessStarted,
        ProcessEnded,
        ProcessLost,
        AbortRequested,
        Paused,
        Resumed,
        SessionEnded,
        ReviewRequested,
        LastAnswerAsked,
        AnswerUnfinished,
        AnswerJudged,
        LimitsRaised,
        FilesKept,
        FilesRestored,
        RunFinished,
        RunClosed,
        Forked,
        Rewound,
    )
)
"""Reads and writes everything above."""
