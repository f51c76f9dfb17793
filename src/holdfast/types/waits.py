"""The one way to wait, and what people are asked."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.types.attachments import Attachment
from holdfast.types.ids import Digest

__all__ = ("IDLE_LIMIT", "NO_CONTROL", "TOKEN_LIMIT", "Control", "Option", "Question", "QueueMode", "Wait", "WaitKind")

TOKEN_LIMIT = 4096
"""Characters of a wait's token: a session keeps every one of its waits, to know an answer that comes twice."""
WaitKind = Literal["approval", "question", "review", "child", "callback", "remote", "timer", "pause"]
QueueMode = Literal["all", "one"]
"""How much of what was said joins the conversation at once: everything, or one message for each answer."""


class Option(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something a person may pick."""

    label: str
    description: str = ""


class Question(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something a person is asked."""

    question: str
    header: str = ""
    """A word or two that say what it is about."""
    options: tuple[Option, ...] = ()
    """What may be picked; none for a question that is answered in words."""
    multiple: bool = False
    """Whether several options may be picked, or none."""
    free: bool = True
    """Whether words of one's own are an answer, too, where there are options."""


IDLE_LIMIT = 100 * 366 * 86_400
"""Seconds that a session may be kept idle before it ends, at most: a century."""


class Control(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How people take part in a run.

    Raises:
        UsageError: a value that means nothing.
    """

    steers: QueueMode = "all"
    """How many steers reach the model at once."""
    follow_ups: QueueMode = "one"
    """How many follow-ups reach the model at once."""
    patience: float | None = None
    """Seconds a person has to allow a call, or to review an answer; what nobody allowed by then is denied."""
    review: int | None = None
    """Set when a person has to approve the answer: how often they may ask for changes."""
    idle: float | None = None
    """Seconds after a run in which nobody says anything until the session ends for good; None keeps it for ever.
    Whoever sweeps the store ends it (`Runtime.sweep`; a server does)."""

    def __post_init__(self) -> None:
        if self.steers not in ("all", "one") or self.follow_ups not in ("all", "one"):
            raise UsageError(f"{self.steers!r} or {self.follow_ups!r} is no queue mode: write 'all' or 'one'")
        if self.patience is not None and not (_is_number(self.patience) and 0 < self.patience < float("inf")):
            raise UsageError(f"Control(patience={self.patience!r}) is no time: give seconds, or None to wait for ever")
        if self.idle is not None and not (_is_number(self.idle) and 0 < self.idle <= IDLE_LIMIT):
            raise UsageError(f"Control(idle={self.idle!r}) is no time: give seconds, {IDLE_LIMIT:,} at most, or None")
        if self.review is not None and not (type(self.review) is int and 0 <= self.review <= 1000):
            raise UsageError(f"Control(review={self.review!r}): give how often changes may be asked for, 0 or more")


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


NO_CONTROL = Control()
"""Nobody takes part but by what they say; the one object, so that what is stored leaves it out."""


class Wait(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something a run cannot go on without, and that comes by mail.

    A run whose every open call waits is parked: it holds no task and no lease. A message that answers the token
    wakes it, and so does the deadline.
    """

    token: str
    """The answer names it. Each wait of a session has its own, like `ToolContext.key`: a call that would wait under one
    that was used before gets an error, and so does one whose token has more than `TOKEN_LIMIT` characters."""
    kind: WaitKind = "callback"
    deadline: int | None = None
    """µs UTC after which the wait counts as unanswered; None waits for ever."""
    prompt: str = ""
    """What a person is asked, if a person is asked."""
    subject: str = ""
    """Of an approval, the tool that wants to run, where it is not the one the model called; of an answer that a tool
    elsewhere brings, that tool."""
    grant: Digest = Digest("")
    """Of an approval, what `always` allows: this tool, of this author, with this effect."""
    digest: Digest = Digest("")
    """What an answer is bound to: of an approval, the call as it was asked about."""
    arguments: str = ""
    """Of an approval, the JSON the call would be made with, where that is not what was written: mended, or its strings
    read as the numbers, truth values or nulls that the schema wants; empty where it is."""
    questions: tuple[Question, ...] = ()
    """Of a question, what is asked: the answer is a JSON list with a list of words for each."""
    attachments: tuple[Attachment, ...] = ()
    """Files that the call made before it began to wait."""
    below: str = ""
    """Id of the call that the answer is the result of, where another call made it; that one then goes on."""
