"""What a hook is told, and what it may say.

A hook before a call changes nothing: a call that waits for a person, or that a process died before, passes its hooks
again. What a person answers is bound to the reason that they were asked with: where a hook gives another reason each
time, such as one with the hour in it, they are asked about it each time.

A hook after a call sees what the model would read, also where that is what the call waited for: the answer of an agent,
a person or a program. It does not see our own words, such as a refusal, or that nobody answered in time.

Hooks that are plain functions run in the event loop, so one that takes its time is an `async` one, or a program
(`programs.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.types import CallId, Effect, ToolResult

__all__ = ("After", "Before", "Calling", "Finding", "Note", "Ruling", "ToolHooks")


class Calling(msgspec.Struct, frozen=True, kw_only=True):
    """A call, as hooks are told of it."""

    tool: str
    arguments: dict[str, Any]
    """As the tool gets them: mended, and read as its schema wants."""
    effect: Effect
    agent: str
    session: str
    call_id: CallId
    workspace: str = ""
    """The folder it acts in; empty where there is none."""


class Note(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something a hook wants written down: it stands in the log, for audit and for what remembers."""

    kind: str
    """What it is: `audit`, `security`, or a kind of memory such as `discovery`."""
    topic: str
    """What it is about, for example `audit/bash`: notes of one topic belong together."""
    text: str = ""
    tags: tuple[str, ...] = ()
    scope: str = ""
    """Of a memory, whose it is: for example `project`."""


class Ruling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a hook says of a call before it is made."""

    verdict: Literal["pass", "ask", "deny"] = "pass"
    """Whether it may be made as far as this hook goes, a person has to be asked, or it must not."""
    reason: str = ""
    """Of a refusal, what the model reads; of a question, what the person does, and what their answer is bound to: give
    the same reason for the same call.
    """
    notes: tuple[Note, ...] = ()
    context: tuple[str, ...] = ()
    """What the model is to read beside the result."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a hook says of a result."""

    result: ToolResult | None = None
    """What the model reads in its place; None to leave it."""
    notes: tuple[Note, ...] = ()


Before = Callable[[Calling], Ruling | Awaitable[Ruling | None] | None]
"""Looks at a call; None says nothing of it. One that fails denies the call."""
After = Callable[[Calling, ToolResult], Finding | Awaitable[Finding | None] | None]
"""Looks at a result; None says nothing of it. One that fails is noted, and the result stays."""


class ToolHooks(msgspec.Struct, frozen=True, kw_only=True):
    """The hooks of a runtime, in the order in which they are asked. The strictest word counts.

    Raises:
        UsageError: the time is none that can be waited, or what is to be asked is no sequence of functions.
    """

    before: Sequence[Before] = ()
    after: Sequence[After] = ()
    seconds: float = 10.0
    """How long one hook may take; then it has failed."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 600:
            raise UsageError(f"ToolHooks(seconds={self.seconds!r}): give a hook more than 0 and at most 600 seconds")
        for name, given in (("before", self.before), ("after", self.after)):
            hooks: object = given
            if not isinstance(hooks, (list, tuple)) or not all(map(callable, hooks)):  # pyright: ignore
                raise UsageError(f"ToolHooks({name}=...) takes a list of functions: write {name}=[check]")
