"""What the outbox and the audit write into streams of their own.

Their names hold a sign that no session's name may have, so no list of sessions shows them, and every event must be
understood, so that nobody takes them for sessions and goes on with them.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from holdfast.types import Codec, EventId, Payload, StreamId, TenantId

__all__ = (
    "BOOKS",
    "BOOK_TYPES",
    "AuditMissed",
    "DeliveryDone",
    "DeliveryFailed",
    "DeliveryRevived",
    "DeliveryStarted",
    "Pending",
    "RunEnded",
    "RunExpected",
    "Seen",
    "Summed",
    "book_named",
    "is_book",
)


def book_named(tenant: TenantId, name: str) -> StreamId:
    """Returns the stream in which a tenant's outbox or audit keeps what it has done."""
    return StreamId(f"{tenant}/~{name}")


def is_book(stream: StreamId) -> bool:
    """Returns whether a stream is such a one, and no session."""
    return "/~" in stream


class RunExpected(Payload, frozen=True, gc=False):
    """A run began whose result somebody wants."""

    type: ClassVar[str] = "outbox.expected"
    must_understand: ClassVar[bool] = True
    stream: StreamId
    run: int
    began: EventId
    """Id of the event it began with: of no other run, also of a session that has this one's name later."""
    targets: tuple[str, ...]


class RunEnded(Payload, frozen=True, gc=False, omit_defaults=True):
    """An expected run is over: there is something to deliver to each of its targets."""

    type: ClassVar[str] = "outbox.ended"
    must_understand: ClassVar[bool] = True
    stream: StreamId
    run: int
    began: EventId
    end: int
    """Sequence number of the event that ended it."""
    targets: tuple[str, ...] = ()
    """Of a prompt that was dropped before it became a run; empty for those of the run that was expected."""


class DeliveryStarted(Payload, frozen=True, gc=False):
    """An attempt is about to be made; durable before it is."""

    type: ClassVar[str] = "delivery.started"
    must_understand: ClassVar[bool] = True
    id: str


class DeliveryDone(Payload, frozen=True, gc=False):
    """The target has it."""

    type: ClassVar[str] = "delivery.done"
    must_understand: ClassVar[bool] = True
    id: str


class DeliveryFailed(Payload, frozen=True, gc=False, omit_defaults=True):
    """The target has not got it, or nobody knows."""

    type: ClassVar[str] = "delivery.failed"
    must_understand: ClassVar[bool] = True
    id: str
    error: str
    retry_at: int | None = None
    """µs UTC of the next attempt; None when there is none, and it is dead."""
    certain: bool = False
    """Whether nothing arrived, for certain."""


class DeliveryRevived(Payload, frozen=True, gc=False):
    """One that was dead is tried again, as often as a new one."""

    type: ClassVar[str] = "delivery.revived"
    must_understand: ClassVar[bool] = True
    id: str


class Seen(Payload, frozen=True, gc=False):
    """Everything in the feed up to a position is accounted for."""

    type: ClassVar[str] = "book.seen"
    must_understand: ClassVar[bool] = True
    position: int


class AuditMissed(Payload, frozen=True, gc=False):
    """An event that the audit's hook would not take, however often it was told."""

    type: ClassVar[str] = "audit.missed"
    must_understand: ClassVar[bool] = True
    stream: StreamId
    seq: int
    error: str


class Pending(msgspec.Struct, gc=False, omit_defaults=True):
    """One delivery that is not done."""

    id: str
    stream: StreamId
    run: int
    began: EventId
    end: int
    target: str
    attempts: int = 0
    started_at: int = 0
    """µs UTC of the last attempt whose outcome nobody knows; 0 when there is none."""
    retry_at: int = 0
    """µs UTC before which nothing is tried."""
    error: str = ""
    """What the last attempt came to."""
    dead: bool = False
    """Whether nothing is tried any more."""


class Summed(Payload, frozen=True, gc=False):
    """All that was written before, as far as it still matters: whoever reads on need not read that."""

    type: ClassVar[str] = "book.summed"
    must_understand: ClassVar[bool] = True
    position: int
    expected: tuple[RunExpected, ...] = ()
    pending: tuple[Pending, ...] = ()


_KINDS = (
    RunExpected,
    RunEnded,
    DeliveryStarted,
    DeliveryDone,
    DeliveryFailed,
    DeliveryRevived,
    AuditMissed,
    Seen,
    Summed,
)
BOOKS = Codec(_KINDS)
"""Reads and writes these."""
BOOK_TYPES = tuple(each.type for each in _KINDS)
