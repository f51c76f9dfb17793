"""What the log comes to: the state of a session, as `folding.py` builds it.

Mutable, and changed nowhere but in the fold: 10,000 steps must not copy 10,000 states. The structs hold no cycles, so
the garbage collector is told to pass them by.
"""

from __future__ import annotations

import msgspec

from holdfast.engine.events import InputReceived, RunFinished, RunStarted, ToolStarted
from holdfast.types import (
    AssistantMessage,
    CallId,
    Digest,
    Message,
    Nanodollars,
    SnapshotRef,
    ToolCall,
    ToolResult,
    Usage,
    Wait,
)

__all__ = ("Call", "Run", "State", "name_of")


class Call(msgspec.Struct, gc=False):
    """One tool call of the current turn."""

    call: ToolCall
    started: ToolStarted | None = None
    """Set from the moment it may have acted."""
    wait: Wait | None = None
    """Set while it waits for mail."""
    result: ToolResult | None = None
    """Set when it is over."""
    started_at: int = 0
    """µs UTC."""


class Run(msgspec.Struct, gc=False):
    """One accepted prompt, until its `RunFinished`."""

    seq: int
    """Where it started: with the session, the run's id."""
    setup: RunStarted
    key: str
    """Key of the prompt that opened it."""
    started_at: int
    workspace: str = ""
    """Folder it works in; empty for none."""
    steps: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    cost: int | None = Nanodollars(0)
    """Nanodollars; None once a price was unknown."""
    reserved_tokens: int = 0
    """Of the model call under way."""
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
    errors: int = 0
    """Steps in a row in which every tool call failed."""
    repeats: int = 0
    """How often in a row the same calls came back with the same results."""
    fingerprint: int = 0
    denied: int = 0
    """Calls that were not allowed."""
    saved: bool = False
    """Whether the whole workspace was kept at some moment of it."""
    stop: str = ""
    """A limit that was met beyond what counting shows."""
    abort: str | None = None
    """Why somebody wants it to end; None while nobody does."""
    finished: RunFinished | None = None

    @property
    def tokens(self) -> int:
        """Everything spent or given up for lost."""
        return self.usage.total_tokens + self.charged_tokens


class State(msgspec.Struct, gc=False):
    """One session."""

    seq: int = 0
    at: int = 0
    """When the last event was written, µs UTC."""
    messages: list[Message] = []
    """The conversation: grows at its end, so that a model adapter can keep what it encoded."""
    calls: dict[CallId, Call] = {}
    """The current turn's, in the model's order; empty when every one has its result in `messages`."""
    unfinished: int = 0
    """How many of `calls` have no result yet."""
    nested: dict[CallId, Call] = {}
    """What calls of the current turn called themselves, however deep, in the order in which that began."""
    approvals: set[Digest] = set()
    """What a person allowed once, in the current turn."""
    always: set[Digest] = set()
    """What a person allowed in this session whatever the call: tools with their effects."""
    stored: set[Digest] = set()
    """Outputs that results named because they were too long."""
    turn: int = 0
    """Sequence number of the model's last answer: with a call's id, the call's name for ever."""
    queue: dict[int, InputReceived] = {}
    """What was said and not yet applied, by sequence number, oldest first."""
    keys: dict[int, str] = {}
    """The key of each queued input."""
    unwanted: dict[str, str] = {}
    """Why somebody wants the run of a queued prompt to end before it begins, by the prompt's key."""
    run: Run | None = None
    """The open run."""
    last: Run | None = None
    """The run that finished last."""
    workspace: str = ""
    """Folder the session works in; empty for none."""
    restoring: tuple[SnapshotRef, ...] = ()
    """What has to be put back before anything is done in `restoring_in`."""
    restoring_in: str = ""
    """The folder of a fork or rewind that was not finished."""

    @property
    def answered(self) -> bool:
        """Whether the model had the last word and wants nothing more."""
        last = self.messages[-1] if self.messages else None
        return isinstance(last, AssistantMessage) and not last.calls

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
