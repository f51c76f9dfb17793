"""What the engine writes into a session's log, and the letters it reads from the inbox.

Each struct holds only what is new; everything else follows by folding (`folding.py`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from holdfast.types import (
    AssistantMessage,
    CallId,
    Codec,
    Digest,
    Effect,
    Limits,
    Mode,
    Outside,
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
    "Answer",
    "BudgetExhausted",
    "CallReopened",
    "FilesKept",
    "FilesRestored",
    "Forked",
    "InputApplied",
    "InputKind",
    "InputReceived",
    "ModelFailed",
    "ModelFinished",
    "ModelStarted",
    "Nested",
    "Prompt",
    "Rewound",
    "RunFinished",
    "RunStarted",
    "Setup",
    "Status",
    "Stop",
    "ToolFinished",
    "ToolStarted",
    "ToolWaiting",
    "WaitResolved",
)

InputKind = Literal["prompt", "steer", "follow_up"]
Status = Literal["completed", "limited", "aborted", "failed"]
"""How a run ended: with an answer, at one of its limits, on request, or because no model would answer."""


class Setup(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a prompt brings along beside its words."""

    spec: Digest
    """The agent's spec, as a blob. A resumed run uses this one, whatever the code says by then."""
    model: str
    limits: Limits = Limits()
    workspace: str = ""
    """Folder the run works in; empty for the session's, if it has one."""
    mode: Mode = "auto"
    """What the agent may do without asking."""
    unattended: bool = False
    """Whether nobody can be asked, so that what would be asked about is denied."""
    effects: dict[str, Outside] = {}
    """What the user knows better of tools, by name: for example that a shell in this folder harms nothing outside."""


# ---- the inbox ----------------------------------------------------------------------------------------------


class Prompt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of letters of kind `prompt`, `steer` and `follow_up`."""

    message: UserMessage
    setup: Setup | None = None


class Stop(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of a letter of kind `abort`."""

    reason: str = ""
    run: str = ""
    """Key of the prompt whose run is meant; empty for the one that is open."""


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of a letter of kind `answer`: what a waiting call was waiting for."""

    token: str
    content: str
    is_error: bool = False


# ---- the log ------------------------------------------------------------------------------------------------


class InputReceived(Payload, frozen=True, gc=False, omit_defaults=True):
    """Somebody said something; it lies in the session's queue until it is applied."""

    type: ClassVar[str] = "input.received"
    kind: InputKind
    message: UserMessage
    setup: Setup | None = None


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


class ModelStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A model call is about to spend what is reserved here; if it is lost, that much stays spent.

    Written only where a limit on tokens or dollars makes it matter.
    """

    type: ClassVar[str] = "model.started"
    tokens: int
    cost: int | None = None
    """Nanodollars; None when the price is unknown."""


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
    """A model call ended without an answer."""

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


class BudgetExhausted(Payload, frozen=True, gc=False):
    """What is left does not pay for another model call."""

    type: ClassVar[str] = "budget.exhausted"
    limit: str
    """`tokens` or `dollars`."""


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


class ToolFinished(Payload, frozen=True, gc=False, omit_defaults=True):
    """What a call came to. Every call gets exactly one of these."""

    type: ClassVar[str] = "tool.finished"
    call_id: CallId
    result: ToolResult
    duration: int = 0
    """µs."""
    nested: Nested | None = None
    """Set when another call made it, and not the model."""


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


class CallReopened(Payload, frozen=True, gc=False, omit_defaults=True):
    """A call was under way when its process died; its files are back as they were, and it runs again."""

    type: ClassVar[str] = "call.reopened"
    call_id: CallId
    nested: bool = False
    """Whether another call had made it."""
    before: SnapshotRef | None = None
    """How the whole workspace was just before its files were put back: somebody may have worked there since."""


class AbortRequested(Payload, frozen=True, gc=False, omit_defaults=True):
    """Somebody wants a run to end: the open one, or one that is still queued; too late, it means nothing."""

    type: ClassVar[str] = "abort.requested"
    reason: str = ""
    run: str = ""
    """Key of the prompt whose run is meant; empty for the one that is open."""


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


class Forked(Payload, frozen=True, gc=False, omit_defaults=True):
    """This stream shares its parent's records up to `at`; open calls and waits stayed with the parent."""

    type: ClassVar[str] = "session.forked"
    must_understand: ClassVar[bool] = True
    parent: str
    at: int
    workspace: str = ""
    """Its own folder; empty when the parent has none."""
    files: tuple[SnapshotRef, ...] = ()
    """How the files were at `at`: a whole snapshot, then what to put back over it, in this order."""


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
        ModelStarted,
        ModelFinished,
        ModelFailed,
        BudgetExhausted,
        ToolStarted,
        ToolFinished,
        ToolWaiting,
        WaitResolved,
        CallReopened,
        AbortRequested,
        FilesKept,
        FilesRestored,
        RunFinished,
        Forked,
        Rewound,
    )
)
"""Reads and writes everything above."""
