"""The one way to wait."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.types.ids import Digest

__all__ = ("Wait", "WaitKind")

WaitKind = Literal["approval", "question", "review", "child", "callback", "remote", "timer", "pause"]


class Wait(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something a run cannot go on without, and that comes by mail.

    A run whose every open call waits is parked: it holds no task and no lease. A message that answers the token
    wakes it, and so does the deadline.
    """

    token: str
    """Unique within the session; the answer names it."""
    kind: WaitKind = "callback"
    deadline: int | None = None
    """µs UTC after which the wait counts as unanswered; None waits for ever."""
    prompt: str = ""
    """What a person is asked, if a person is asked."""
    subject: str = ""
    """Of an approval, the tool that wants to run, where it is not the one the model called."""
    grant: Digest = Digest("")
    """Of an approval, what `always` allows: this tool, of this author, with this effect."""
    digest: Digest = Digest("")
    """What an answer is bound to: of an approval, the call as it was asked about."""
