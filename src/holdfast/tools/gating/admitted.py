"""A call that may run, as admission hands it on."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.tools.binding import Tool
from holdfast.types import Effect, SnapshotRef, ToolCall

__all__ = ("Admitted",)


class Admitted(msgspec.Struct, frozen=True):
    """A call that may run."""

    call: ToolCall
    """With the arguments it is made with, which are those it was judged by."""
    tool: Tool
    arguments: Any
    effect: Effect
    key: str
    """Idempotency key: of this call for ever, whoever runs it."""
    snapshot: SnapshotRef | None = None
    unsaved: str = ""
    """Why there is no snapshot of files that it may change."""
    absent: tuple[str, ...] = ()
    """Protected paths of the workspace at which there is nothing yet."""
    read: str = ""
    """The arguments of the call, where they are not as they were written: mended, or read as the schema wants them."""
