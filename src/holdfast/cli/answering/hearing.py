"""Whether somebody hears what was said to a session, and the words of a command line as a log can hold them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
from rich.text import Text

from holdfast.cli.reaching.port import Said
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.flow.ids import is_alive
from holdfast.journal.port import Head, Journal
from holdfast.runtime.sessions.listing import state_of
from holdfast.runtime.speaking import Receipt
from holdfast.types import StreamId, session_of

__all__ = ("Heard", "exited", "heard", "said", "show", "told")

_MOMENT = 1.5
"""Seconds in which whoever drives a session, or waits for it, hears what was said."""


class Heard(NamedTuple):
    """What came of something that was said, a moment later."""

    taken: bool
    """Whether somebody took it up."""
    state: str
    """How the session stands: `running` while a process drives it, `waiting` for mail or its time, `open` after a crash
    or a stop, `idle` without a run, or `ended` for good.
    """

    @property
    def lost(self) -> bool:
        """Whether it may lie there until somebody goes on with the session: no process drives it, none took it up."""
        return not self.taken and self.state != "running"


async def heard(journal: Journal, stream: StreamId, receipt: Receipt, *, surely: bool) -> Heard:
    """Returns what came of something that was said, as soon as it is known whether somebody hears it.

    A process that drives the session hears it when what is under way lets it: that it did is waited for only where it
    is to be known `surely`. One that died hears nothing, and is not waited for.
    """
    head = await journal.head(stream)
    taken = head is not None and head.inbox_taken >= receipt.n
    known = _gone(head) or (not surely and _state(head) == "running")
    if not taken and not known:
        try:
            async with asyncio.timeout(_MOMENT):
                await receipt.committed()
        except TimeoutError:
            pass
        head = await journal.head(stream)
        taken = head is not None and head.inbox_taken >= receipt.n
    return Heard(taken, _state(head))


def told(stream: StreamId, receipt: Said, after: Heard, **more: str) -> str:
    """Returns what `-o json` prints of something that was said; `more` is what else it names."""
    fields = {"session": session_of(stream), **more, "status": receipt.status}
    return msgspec.json.format(msgspec.json.encode(fields | {"heard": after.taken, "state": after.state})).decode()


def show(done: str, otherwise: str, after: Heard) -> None:
    """Prints what was done, and what to do where nobody may ever hear of it."""
    console = open_console(plain=settings().plain)
    console.print(Text(done), soft_wrap=True)
    if after.lost:
        console.print(Text(f"  {otherwise}", "dim"), soft_wrap=True)


def exited(session: str, option: str) -> str:
    """Returns what whoever speaks to a session that has ended is told; `option` names its store or server."""
    return f"session {session!r} has ended for good: go on in a copy with holdfast runs fork {session}{option}"


def said(*given: str) -> str:
    """Returns words as text that the log can hold: their bytes may be no UTF-8, and quotes may have been left out."""
    return " ".join(given).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _state(head: Head | None) -> str:
    if head is None or head.state == "ended":
        return "ended"
    return "idle" if head.state == "idle" and not head.unread else state_of(head)


def _gone(head: Head | None) -> bool:
    """Whether the process that drove the session died, and no other took it up."""
    return head is not None and head.owner is not None and not is_alive(head.owner)
