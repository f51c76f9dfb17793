"""The rules of a stream's head, as pure functions: every adapter decides by these and only stores what they say.

Each takes the head as it is and returns it as it shall be; an adapter calls one inside its transaction, so that
nobody can have changed the head in between. Nothing here reads a clock: `now` is µs UTC by the store's.

A stream has an owner exactly as long as `owner` is set. A lease that ran out still has one, which may go on
until somebody claims; a stream that was given up has none, and its last epoch can write no more.

A stream that is new begins above every epoch of those that were deleted, so that no owner of one of these is ever the
owner of another stream that has its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from operator import attrgetter, eq

from msgspec.structs import replace

from holdfast.errors import Corrupt, Fenced, LeaseHeld, UnknownSession, UsageError
from holdfast.journal.port import GRAVE, INBOX_LIMIT, URGENT_LIMIT, Head, Lease, Park, Posted, Record, Unread
from holdfast.types import BatchId, Digest, StreamId, WorkerId, tenant_of

__all__ = (
    "appended",
    "buried",
    "check_replaced",
    "claimed",
    "created",
    "due_at",
    "forked",
    "grave",
    "is_free",
    "names",
    "opened",
    "owned",
    "posted",
    "released",
    "renewed",
    "segments",
    "shared",
)

_SEQ = attrgetter("seq")


def created(stream: StreamId, now: int, epoch: int) -> Head:
    """Returns the head of a stream that holds nothing yet; `epoch` is the highest that a deleted stream had."""
    return Head(stream=stream, epoch=epoch, created_at=now, updated_at=now)


def opened(stream: StreamId, now: int, epoch: int, lease: Lease | None) -> Head:
    """Returns the head of a stream that is made for its first message, and claimed with it where a lease is wanted.

    It is what `created`, `posted` and `claimed` come to one after the other.
    """
    if lease is None:
        return Head(stream=stream, epoch=epoch, inbox_seq=1, created_at=now, updated_at=now)
    return Head(
        stream=stream,
        epoch=epoch + 1,
        owner=lease.worker,
        lease_until=now + lease.ttl,
        inbox_seq=1,
        created_at=now,
        updated_at=now,
    )


def is_free(head: Head, now: int) -> bool:
    """Returns whether nobody's lease on the stream is live."""
    return head.owner is None or head.lease_until <= now


def claimed(head: Head, worker: WorkerId, ttl: int, over: int | None, now: int) -> Head:
    """Returns the head with `worker` as its owner under the next epoch.

    Raises:
        LeaseHeld: a lease is live, and `over` is not its epoch.
    """
    if head.owner is not None and head.lease_until > now and over != head.epoch:
        raise LeaseHeld(
            f"stream {head.stream!r} is owned by {head.owner!r} for another {(head.lease_until - now) / 1e6:.1f} s "
            f"(epoch {head.epoch}); wait for it, or claim over that epoch if the owner is dead",
            owner=head.owner,
            epoch=head.epoch,
            until=head.lease_until,
        )
    return replace(head, epoch=head.epoch + 1, owner=worker, lease_until=now + ttl, updated_at=now)


def renewed(head: Head, epoch: int, ttl: int, now: int) -> Head | None:
    """Returns the head with a longer lease, or None when the lease is not ours any more."""
    if head.epoch != epoch or head.owner is None:
        return None
    return replace(head, lease_until=now + ttl)


def released(head: Head, epoch: int, now: int) -> Head | None:
    """Returns the head without an owner, or None when the lease is not ours any more."""
    if head.epoch != epoch or head.owner is None:
        return None
    return replace(head, owner=None, lease_until=0, updated_at=now)


def appended(
    head: Head,
    epoch: int,
    expected_seq: int,
    batch: BatchId,
    records: Sequence[Record],
    *,
    taken: int | None,
    park: Park | None,
    now: int,
) -> Head | Unread:
    """Returns the head after the batch; the very same object when the batch was written before.

    Raises:
        Fenced: the epoch is not the current one, or the stream was given up.
        Corrupt: the epoch is right and the numbers are not.
    """
    if head.last_batch == batch and head.epoch == epoch:
        return head
    if head.epoch != epoch or head.owner is None:
        raise Fenced(
            f"stream {head.stream!r} has epoch {head.epoch} and owner {head.owner!r}, and this append carries epoch "
            f"{epoch}; stop and touch nothing, or claim the stream again"
        )
    read = head.inbox_taken if taken is None else taken
    if head.seq != expected_seq or not head.inbox_taken <= read <= head.inbox_seq:
        raise _mistaken(head, expected_seq, read)
    _check_order(head.stream, expected_seq, records)
    if park is not None and head.inbox_seq > read:
        return Unread(head)
    return Head(
        stream=head.stream,
        seq=expected_seq + len(records),
        epoch=epoch,
        owner=head.owner if park is None else None,
        lease_until=head.lease_until if park is None else 0,
        last_batch=batch,
        inbox_seq=head.inbox_seq,
        inbox_taken=read,
        state="running" if park is None else park.state,
        wake_at=None if park is None else park.wake_at,
        parent=head.parent,
        parent_seq=head.parent_seq,
        created_at=head.created_at,
        updated_at=now,
    )


def posted(head: Head, *, if_idle: bool, urgent: bool, now: int) -> Head | Posted:
    """Returns the head with one more message, or the refusal."""
    if head.state == "ended":
        return Posted("ended")
    if if_idle and (head.state != "idle" or head.unread):
        return Posted("busy")
    if head.inbox_seq - head.inbox_taken >= INBOX_LIMIT + (URGENT_LIMIT if urgent else 0):
        return Posted("full")
    return replace(head, inbox_seq=head.inbox_seq + 1, updated_at=now)


def forked(
    parent: Head | None,
    name: StreamId,
    at: int,
    child: Head,
    batch: BatchId,
    records: Sequence[Record],
) -> Head:
    """Returns the head of a new stream, as it was `created`, that shares the parent's records up to `at`.

    Raises:
        UnknownSession: there is no parent.
        UsageError: the parent has no record `at`, or the child would belong to another tenant.
    """
    if parent is None:
        raise UnknownSession(f"there is no stream {name!r} to fork; list the sessions to see which there are")
    if not 1 <= at <= parent.seq:
        raise UsageError(f"stream {name!r} has no record {at}; fork it at one from 1 to {parent.seq}")
    if tenant_of(child.stream) != tenant_of(name):
        raise UsageError(f"{child.stream!r} belongs to another tenant than {name!r}; fork within one tenant")
    _check_order(child.stream, at, records)
    return replace(child, seq=at + len(records), last_batch=batch, parent=name, parent_seq=at)


def owned(head: Head | None, stream: StreamId, epoch: int) -> Head:
    """Returns the head of a stream that is ours.

    Raises:
        Fenced: it is not, or not any more.
    """
    if head is None or head.epoch != epoch or head.owner is None:
        there = "is gone" if head is None else f"has epoch {head.epoch} and owner {head.owner!r}"
        raise Fenced(f"stream {stream!r} {there}, and this was asked under epoch {epoch}; claim it again")
    return head


def shared(children: Sequence[Head]) -> int:
    """Returns the last record that one of a stream's forks shares."""
    return max((child.parent_seq for child in children), default=0)


def grave(stream: StreamId, exists: Callable[[StreamId], bool]) -> StreamId:
    """Returns the name under which a deleted stream keeps what forks share: one that no session can have."""
    number = 1
    while exists(name := StreamId(f"{stream}{GRAVE}{number}")):
        number += 1
    return name


def buried(head: Head, name: StreamId, up_to: int) -> Head:
    """Returns the head of a deleted stream, of which the records up to a number stay."""
    return Head(
        stream=name,
        seq=up_to,
        epoch=head.epoch,
        parent=head.parent,
        parent_seq=head.parent_seq,
        created_at=head.created_at,
        updated_at=head.updated_at,
    )


def check_replaced(stream: StreamId, kinds: Mapping[int, str], records: Sequence[Record]) -> None:
    """Sees that each record replaces one of its number and type.

    Raises:
        UsageError: one does not.
    """
    for record in records:
        if kinds.get(record.seq) != record.type:
            raise UsageError(
                f"stream {stream!r} has no record {record.seq} of the type {record.type!r}: replace one that it has, "
                "by one of the same type"
            )


def names(record: Record, digest: Digest) -> bool:
    """Returns whether a record refers to a blob."""
    return record.blob == digest or digest.encode() in record.body


def due_at(head: Head, before: int | None, now: int) -> int | None:
    """Returns from when on the stream wants an owner, µs UTC, or None when it wants none.

    `before` is the answer for the head as it was: who waits already keeps its place.
    """
    if head.inbox_seq > head.inbox_taken or head.state == "running":
        since = now if before is None or before > now else before
    elif head.wake_at is not None:
        since = head.wake_at
    else:
        return None
    return max(since, head.lease_until)


def segments(heads: Sequence[Head], after: int) -> list[tuple[StreamId, int, int]]:
    """Returns, oldest first, which stream holds the records over `after`, as (stream, over, up to).

    `heads` is the stream's own head and those of its ancestors, nearest first, as far as they are needed.
    """
    found: list[tuple[StreamId, int, int]] = []
    top = heads[0].seq
    for head in heads:
        if top > max(head.parent_seq, after):
            found.append((head.stream, max(head.parent_seq, after), top))
        top = min(top, head.parent_seq)
    found.reverse()
    return found


def _mistaken(head: Head, expected_seq: int, read: int) -> Corrupt:
    if head.seq != expected_seq:
        return Corrupt(
            f"stream {head.stream!r} ends at {head.seq} and its owner believes at {expected_seq}; "
            "stop this session and report it as a bug"
        )
    return Corrupt(
        f"the owner of stream {head.stream!r} took mail up to {read}, and it lies between {head.inbox_taken} and "
        f"{head.inbox_seq}; stop this session and report it as a bug"
    )


def _check_order(stream: StreamId, seq: int, records: Sequence[Record]) -> None:
    if all(map(eq, map(_SEQ, records), count(seq + 1))):
        return
    for place, record in enumerate(records, seq + 1):
        if record.seq != place:
            raise Corrupt(f"record {record.seq} of stream {stream!r} comes where {place} belongs; report it as a bug")
