"""What the kits are written with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.flow.clock import Clock
from holdfast.journal.port import Head, Journal, Letter, Record, Unread
from holdfast.types import BatchId, StreamId, TenantId, WorkerId, stream_id

__all__ = (
    "ANN",
    "BEN",
    "LOCAL",
    "STREAM",
    "TTL",
    "Check",
    "Make",
    "expect",
    "fill",
    "is_head",
    "letter",
    "named",
    "notes",
    "refused",
)

Make = Callable[[Clock], Awaitable[Journal]]
"""Opens the store under test. Every call within one check opens the *same* store again, as another process would;
an adapter that cannot be opened twice returns the same object. Closing is up to whoever made the factory."""
Check = Callable[[Make], Awaitable[None]]
"""One promise. Its name says which; it raises `AssertionError` when the adapter breaks it."""

LOCAL = TenantId("local")
STREAM = stream_id(LOCAL, "s1")
ANN = WorkerId("ann")
BEN = WorkerId("ben")
TTL = 10_000_000
"""A lease of ten seconds, in µs."""

E = TypeVar("E", bound=BaseException)


def expect(held: bool, promise: str, *seen: object) -> None:
    """Raises AssertionError with the promise, and what was seen instead, unless it held."""
    if not held:
        raise AssertionError(f"{promise}; seen: {', '.join(map(repr, seen))}" if seen else promise)


async def refused(kind: type[E], call: Awaitable[object], promise: str) -> E:
    """Returns the error of that kind that the call ends with; anything else breaks the promise."""
    try:
        answer = await call
    except kind as error:
        return error
    raise AssertionError(f"{promise}; seen: the answer {answer!r} instead of {kind.__name__}")


def named(name: str) -> StreamId:
    """Returns the id of one of the local tenant's streams."""
    return stream_id(LOCAL, name)


def notes(first: int, count: int = 1, *, kind: str = "note.made", body: bytes = b"") -> list[Record]:
    """Returns records numbered from `first`, whose bodies tell them apart unless one is given."""
    return [Record(seq, kind, body or f"note {seq}".encode()) for seq in range(first, first + count)]


def letter(key: str, body: bytes = b"hello") -> Letter:
    """Returns a letter of that key."""
    return Letter(key=key, kind="prompt", body=body, actor="user")


def is_head(answer: Head | Unread) -> Head:
    """Returns the head that an append answered with, which must not be `Unread`."""
    if isinstance(answer, Unread):
        raise AssertionError(f"an append was answered Unread though no mail was in its way; seen: {answer!r}")
    return answer


async def fill(journal: Journal, stream: StreamId, count: int) -> Head:
    """Claims a stream for Ann, writes `count` records after its last, and returns the head; she keeps it."""
    head = (await journal.claim(stream, ANN, TTL)).head
    batch = BatchId(f"fill {stream} {head.seq}")
    return is_head(await journal.append(stream, head.epoch, head.seq, batch, notes(head.seq + 1, count)))
