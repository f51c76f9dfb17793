"""Which sessions there are, page by page: what their heads say, and the end of each log, never all of it.

Pages are by key: the next one begins behind the last name of this one, whatever was made or deleted meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Literal

import msgspec

from holdfast.engine.events import CODEC, InputReceived, RunFinished, RunStarted
from holdfast.engine.letters import Status
from holdfast.errors import Corrupt
from holdfast.flow.ids import is_alive
from holdfast.journal.port import Head, Journal, is_buried
from holdfast.journal.reading import decode_record
from holdfast.types import SessionId, StreamId, TenantId, UserMessage, dollars, session_of

__all__ = ("Listed", "Page", "Standing", "glimpse", "let_go", "list_sessions", "standing_of", "state_of")

Standing = Literal["idle", "running", "waiting", "open", "ended"]
"""How a session stands: `running` while somebody drives its run, `waiting` for mail or its time, `open` after a crash
or a stop, `idle` without an open run, and `ended` for good."""
_MOST = 2_000
"""Heads that one page looks at: where few of them fit, a page is shorter than it could be, and says how to go on."""
_AT_ONCE = 200
_END = 24
"""Records at the end of a log in which a page looks for its last run."""
_BEGINNING = 3
"""Records at the beginning of a log in which a page looks for its first prompt."""
_PROMPT = 200
"""Characters of a prompt that a list shows."""


class Glimpse(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as far as the end of the log tells of it."""

    run: int = 0
    """Where it started in its session; 0 where that lies further back."""
    status: Status | Literal[""] = ""
    """How it ended; empty while it is open."""
    reason: str = ""
    steps: int = 0
    tokens: int = 0
    cost: float | None = 0.0
    """US dollars; null when a price was unknown."""
    prompt: str = ""
    """How what was asked begins."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One session of a list."""

    session: SessionId
    state: Standing
    seq: int
    """Its last event."""
    created_at: int
    """µs UTC."""
    updated_at: int
    """µs UTC."""
    unread: int = 0
    """Messages that nobody took yet."""
    parent: SessionId | None = None
    """The session it was forked from."""
    last: Glimpse | None = None
    """Its last run, where the end of its log tells of one."""
    first: str = ""
    """How its first prompt begins, where the end of its log tells of none."""


class Page(msgspec.Struct, frozen=True):
    """Some of a tenant's sessions, by name."""

    sessions: tuple[Listed, ...]
    after: str = ""
    """Where the next page begins; empty when this is the last."""


def state_of(head: Head) -> Literal["running", "waiting", "open"]:
    """Returns how an open run stands: `running` while somebody drives it, `waiting` for mail or its time, or `open`."""
    driven = head.owner is not None and head.lease_until > time.time_ns() // 1000 and is_alive(head.owner)
    return "running" if driven else "waiting" if head.state == "waiting" else "open"


def standing_of(head: Head) -> Standing:
    """Returns how a session stands."""
    if head.state == "ended" or (head.state == "idle" and not head.unread):
        return head.state
    return state_of(head)


async def let_go(journal: Journal, head: Head | None) -> bool:
    """Whether word lies in a session's inbox that ends its pause, once somebody reads it."""
    if head is None or not head.unread:
        return False
    return any(mail.kind in ("resume", "exit", "abort") for mail in await journal.mail(head.stream, head.inbox_taken))


async def list_sessions(
    journal: Journal, tenant: TenantId, *, after: str = "", limit: int = 50, states: Collection[Standing] = ()
) -> Page:
    """Returns a page of a tenant's sessions by name, those behind the name `after`; of these states, if any are said.

    Costs what the page holds, not what the logs do.
    """
    found: list[Head] = []
    seen, last = 0, f"{tenant}/{after}" if after else ""
    while len(found) < limit and seen < _MOST:
        heads = await journal.heads(tenant, after=last, limit=_AT_ONCE)
        for head in heads:
            last, seen = head.stream, seen + 1
            if not is_buried(head.stream) and (not states or standing_of(head) in states):
                found.append(head)
                if len(found) == limit:
                    break
        else:
            if len(heads) < _AT_ONCE:
                last = ""
                break
    listed = [await _listed(journal, head) for head in found]
    return Page(tuple(listed), session_of(StreamId(last)) if last else "")


async def _listed(journal: Journal, head: Head) -> Listed:
    last = await glimpse(journal, head)
    return Listed(
        session=session_of(head.stream),
        state=standing_of(head),
        seq=head.seq,
        created_at=head.created_at,
        updated_at=head.updated_at,
        unread=head.inbox_seq - head.inbox_taken,
        parent=None if head.parent is None or is_buried(head.parent) else session_of(head.parent),
        last=last,
        first="" if last is not None and last.prompt else await _opening(journal, head),
    )


async def _opening(journal: Journal, head: Head) -> str:
    """Returns how the first prompt of a session begins; empty where its log does not begin with one."""
    for record in await journal.read(head.stream, after=0, limit=_BEGINNING) if head.seq else ():
        if record.type != InputReceived.type:
            continue
        try:
            event = await decode_record(record, head.stream, CODEC, journal)
        except Corrupt:
            return ""
        return _beginning(event.data.message) if isinstance(event.data, InputReceived) else ""
    return ""


def _beginning(message: UserMessage) -> str:
    return " ".join(message.text[: 2 * _PROMPT].split())[:_PROMPT]


async def glimpse(journal: Journal, head: Head) -> Glimpse | None:
    """Returns the last run of a session as far as the end of its log tells of it; None where it tells of none."""
    found = Glimpse()
    records = await journal.read(head.stream, after=max(0, head.seq - _END), limit=_END) if head.seq else []
    for record in records:
        if record.type not in (InputReceived.type, RunStarted.type, RunFinished.type):
            continue
        try:
            event = await decode_record(record, head.stream, CODEC, journal)
        except Corrupt:
            continue  # whoever reads that session is told
        match event.data:
            case InputReceived(kind="prompt", message=message):
                found = Glimpse(prompt=_beginning(message))
            case RunStarted():
                found = Glimpse(run=event.seq, prompt=found.prompt)
            case RunFinished() as end:
                found = msgspec.structs.replace(
                    found,
                    status=end.status,
                    reason=end.reason,
                    steps=end.steps,
                    tokens=end.usage.total_tokens,
                    cost=None if end.cost is None else dollars(end.cost),
                )
            case _:
                pass
    return None if found == Glimpse() else found
