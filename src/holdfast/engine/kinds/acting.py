"""What tools were called with and came to, what they wait for, and what they left running."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from holdfast.engine.letters import Outcome
from holdfast.types import CallId, Digest, Effect, Payload, SnapshotRef, ToolError, ToolResult, Wait

__all__ = (
    "AnswerRefused",
    "CallReopened",
    "Nested",
    "ProcessEnded",
    "ProcessLost",
    "ProcessStarted",
    "ToolFinished",
    "ToolNoted",
    "ToolStarted",
    "ToolWaiting",
    "WaitResolved",
)


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


class ToolNoted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A hook wants something written down about a call; see `tools/hooks/port.py`."""

    type: ClassVar[str] = "tool.noted"
    call_id: CallId
    kind: str
    topic: str
    text: str = ""
    tags: tuple[str, ...] = ()
    scope: str = ""


class ToolWaiting(Payload, frozen=True, gc=False, omit_defaults=True):
    """A call cannot go on before mail comes."""

    type: ClassVar[str] = "tool.waiting"
    must_understand: ClassVar[bool] = True
    call_id: CallId
    wait: Wait
    beside: tuple[Wait, ...] = ()
    """What else was begun for it and will be waited for later: agents that calls below it started at the same time."""


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
    error: ToolError | None = None
    """Of a tool elsewhere that failed, how."""
    result: ToolResult | None = None
    """What the call comes to beside `content` and `error`, which are empty here, where hooks or bounds gave it more."""
    anew: bool = False
    """Whether it had come before anything waited for it, and is now as the call has it that does."""


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
