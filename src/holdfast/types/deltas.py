"""What a live run says between two durable events.

Deltas are ephemeral: they carry no sequence number, they are never in the log, and the durable event that
follows holds everything they said. A reader that joins late gets one delta with the text so far, then the rest.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

__all__ = ("CallDelta", "Delta", "Lagged", "Reset", "TextDelta", "ThinkingDelta")


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the answer."""

    type: ClassVar[str] = "text.delta"
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the reasoning."""

    type: ClassVar[str] = "thinking.delta"
    text: str


class CallDelta(msgspec.Struct, frozen=True, gc=False):
    """More of a tool call's arguments; `name` is filled in the first piece."""

    type: ClassVar[str] = "call.delta"
    index: int
    """Which of the message's calls, from 0."""
    id: str
    name: str
    arguments: str


class Reset(msgspec.Struct, frozen=True, gc=False):
    """Forget what there is of the answer: it starts again.

    That is the deltas since the last durable event, and what came before a `model.failed` whose `mode` is `continue`.
    """

    type: ClassVar[str] = "reset"
    reason: str


class Lagged(msgspec.Struct, frozen=True, gc=False):
    """This reader was too slow for the live tail; read the log again after `after`."""

    type: ClassVar[str] = "lagged"
    after: int
    """Sequence number of the last durable event the reader was given."""


Delta = TextDelta | ThinkingDelta | CallDelta | Reset | Lagged
