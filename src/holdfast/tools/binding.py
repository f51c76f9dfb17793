"""A tool that can be run: its spec and the functions behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from holdfast.sandbox.workspace import Workspace
from holdfast.types import CallId, Effect, StreamId, ToolResult, ToolSpec, Wait

__all__ = ("Output", "Tool", "ToolContext", "ToolFailure")

Output = ToolResult | Wait | Any
"""What a tool's function may return: text, anything that JSON can hold, a whole result, or a wait."""


class ToolFailure(Exception):
    """Raised by a tool's function to give the model an error as its result.

    The message is the result's content; any other exception is reported with its type's name as well.
    """

    def __init__(self, message: str, *, metadata: dict[str, Any] | None = None, code: str = "execution_failed") -> None:
        super().__init__(message)
        self.metadata = metadata or {}
        self.code = code


class ToolContext(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a running call may know of its surroundings; a parameter annotated with this type receives it."""

    call_id: CallId
    stream: StreamId
    key: str
    """Idempotency key of this very call: the same after a crash, different in a fork."""
    workspace: Workspace | None = None
    """The folder the call may act in; None when the run was given none."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A spec and what is bound to it."""

    spec: ToolSpec
    parse: Callable[[bytes], Any]
    """Turns the arguments' JSON into what `run` takes.

    Raises:
        msgspec.ValidationError: valid JSON that does not fit; the message names the field.
        msgspec.DecodeError: not JSON.
    """
    run: Callable[[Any, ToolContext], Awaitable[Output]]
    """Does it. May be cancelled at any await."""
    effect: Callable[[Any], Effect] | None = None
    """The effect of one call, where it depends on the arguments; the spec's otherwise."""
    touches: Callable[[Any], tuple[str, ...]] | None = None
    """The workspace paths one call may change; None when that cannot be told beforehand."""
