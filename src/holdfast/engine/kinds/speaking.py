"""What people said to a session, and what they are asked."""

from __future__ import annotations

from typing import ClassVar

from holdfast.engine.letters import InputKind, Setup
from holdfast.types import Message, Payload, UserMessage, Wait

__all__ = (
    "AbortRequested",
    "InputApplied",
    "InputDropped",
    "InputReceived",
    "LimitsRaised",
    "Paused",
    "Resumed",
    "ReviewRequested",
    "SessionEnded",
)


class InputReceived(Payload, frozen=True, gc=False, omit_defaults=True):
    """Somebody said something; it lies in the session's queue until it is applied."""

    type: ClassVar[str] = "input.received"
    kind: InputKind
    message: UserMessage
    setup: Setup | None = None
    run: str = ""
    """Key of the prompt whose run is meant, where it is for no other."""
    history: tuple[Message, ...] = ()
    """The conversation that was had elsewhere, and that it goes on."""


class InputApplied(Payload, frozen=True, gc=False):
    """A steer or follow-up left the queue and joined the conversation."""

    type: ClassVar[str] = "input.applied"
    input: int


class InputDropped(Payload, frozen=True, gc=False, omit_defaults=True):
    """A queued input never joins the conversation; without a `reason` the session, or the run it is for, is over."""

    type: ClassVar[str] = "input.dropped"
    input: int
    reason: str = ""


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


class LimitsRaised(Payload, frozen=True, gc=False, omit_defaults=True):
    """A run may go further than it was to; too late, it means nothing."""

    type: ClassVar[str] = "limits.raised"
    run: str
    """Key of the prompt whose run is meant."""
    seconds: float = 0.0
    steps: int = 0
