"""The letters the engine reads from a session's inbox, and what a prompt brings along.

Whoever takes them writes down what they come to, as the events of `events.py`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.engine.lineage import Lineage
from holdfast.types import (
    NO_CONTROL,
    Attachment,
    Control,
    Digest,
    Execution,
    Limits,
    Message,
    Mode,
    Outside,
    PhaseSpec,
    ToolError,
    Usage,
    UserMessage,
    dollars,
)

__all__ = ("Answer", "InputKind", "More", "Outcome", "Prompt", "Setup", "Shortage", "Status", "Stop")

InputKind = Literal["prompt", "steer", "follow_up", "proceed"]
"""A prompt opens a run, the next two join one; a run that was opened by `proceed` goes on where the last one ended, and
nothing was said."""
Status = Literal["completed", "limited", "aborted", "failed"]
"""How a run ended: with an answer, at one of its limits, on request, or because no model would answer or nobody
approved the answer."""


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
    control: Control = NO_CONTROL
    """How people take part."""
    user: str = ""
    """Who the run is for; empty where nobody said."""
    agents: tuple[Digest, ...] = ()
    """Specs of the agents that it may start."""
    lineage: Lineage | None = None
    """Set when a call of another run started it."""
    phases: tuple[PhaseSpec, ...] = ()
    """Of a pipeline, what comes after what."""
    deliver: tuple[str, ...] = ()
    """Where the result goes: names of targets, with an address after a colon where they take one."""
    files: tuple[Attachment, ...] = ()
    """Files it was given, which its session may read from then on."""
    typed: bool = False
    """Whether the answer has to be data, and is read before it counts."""
    priority: int = 0
    """Which of its user's runs begins first where not all can: the higher number."""
    background: bool = False
    """Whether nobody waits for it, so that others begin first where not all can."""
    execution: Execution | None = None
    """How it has to work; None where it is bound to nothing."""
    origin: dict[str, str] = {}
    """Where the prompt comes from, as whoever posted it says: a W3C `traceparent`, say, by that name. For people and
    their tools; nothing is decided by it."""


class Prompt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of letters of kind `prompt`, `steer`, `follow_up` and `proceed`."""

    message: UserMessage
    setup: Setup | None = None
    run: str = ""
    """Key of the prompt whose run is meant, and no other: when that is over, nobody reads it."""
    history: tuple[Message, ...] = ()
    """Of what opens a run, the conversation that was had elsewhere before it."""


class Stop(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of letters of kind `abort`, `pause`, `resume` and `exit`."""

    reason: str = ""
    run: str = ""
    """Of an abort, key of the prompt whose run is meant; empty for the one that is open."""


class Shortage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one model call may need at least, and what is left: in tokens or nanodollars, by the limit that it is of."""

    request: int
    """The most that the request can be."""
    answer: int
    """An answer of any use."""
    left: int

    def words(self, limit: str) -> str:
        """Returns what would have been enough, for a person; `limit` is `tokens` or `dollars`, of whatever account."""
        if limit.startswith("dollars"):
            whole, request, answer, left = (
                f"${dollars(each):.6f}"
                for each in (self.request + self.answer, self.request, self.answer, max(0, self.left))
            )
            whole = f"up to {whole}"
        else:
            whole, request, answer, left = (
                f"{each:,}" for each in (self.request + self.answer, self.request, self.answer, max(0, self.left))
            )
            whole = f"{whole} tokens"
        what = "cap" if " of account " in limit else "limit"
        return (
            f"a call may need {whole} (the request {request}, the answer at least {answer}), {left} are left: "
            f"raise the {what}"
        )


class More(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of letters of kind `more`: how much further a run may go."""

    run: str
    """Key of the prompt whose run is meant."""
    seconds: float = 0.0
    steps: int = 0


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How a run ended that another one waits for."""

    status: Status
    reason: str = ""
    usage: Usage = Usage()
    """Tokens that it and its own children used."""
    cost: int | None = None
    """Of `usage`, in nanodollars; None when a price was unknown."""


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of a letter of kind `answer`: what a waiting call was waiting for."""

    token: str
    content: str
    is_error: bool = False
    arguments: str = ""
    """Of an approval, other arguments (JSON) to make the call with; empty for the model's own."""
    outcome: Outcome | None = None
    """Of a child, how it ended."""
    error: ToolError | None = None
    """Of a tool elsewhere that failed, how; where there is none, an answer that is an error is one of no other kind."""
