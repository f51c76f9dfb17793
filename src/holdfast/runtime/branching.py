"""Fork and rewind: going on from an earlier point, beside the original or in its place."""

from __future__ import annotations

import asyncio

from holdfast.engine.attempt import receive
from holdfast.engine.events import CODEC, Forked, Rewound
from holdfast.errors import UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import Pen, to_record
from holdfast.journal.port import Claim, Journal, Park
from holdfast.types import Event, EventId, StreamId, session_of, tenant_of

__all__ = ("fork", "rewind")


async def fork(journal: Journal, clock: Clock, parent: StreamId, at: int | None, child: StreamId) -> None:
    """Creates `child` with the parent's log up to `at`, by default all of it, without copying any.

    Raises:
        UsageError: the parent has no event `at`, or `child` exists.
    """
    if at is None:
        head = await journal.head(parent)
        at = head.seq if head else 0
    batch = new_batch()
    event = Event(
        seq=at + 1,
        id=EventId(f"{batch}-0"),
        type=Forked.type,
        at=clock.now(),
        epoch=0,
        tenant=tenant_of(child),
        actor="user",
        must_understand=Forked.must_understand,
        data=Forked(parent, at),
    )
    await journal.fork(parent, at, child, batch, [to_record(event, CODEC)])


async def rewind(journal: Journal, clock: Clock, claim: Claim, to: int) -> None:
    """Takes everything after `to` out of a claimed session's conversation, and gives the session up.

    Raises:
        UsageError: there is no event `to`.
    """
    head = claim.head
    try:
        if not 0 <= to <= head.seq:
            raise UsageError(f"session {session_of(head.stream)!r} has no event {to}: name one from 0 to {head.seq}")
        pen = Pen(journal, claim, CODEC, clock, lambda _: None)
        while True:
            for mail in await pen.mail():  # what was said to the part that goes, goes with it
                for payload in receive(mail):
                    pen.write(payload, actor=mail.actor, cause=mail.key)
                pen.taken = mail.n
            if await pen.park(Park("idle"), Rewound(to)):
                return
    finally:
        await asyncio.shield(journal.release(head.stream, head.epoch))  # a cancelled caller's, too
