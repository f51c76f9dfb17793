"""The port of the durable log: one owner, one inbox, per stream (brief 4).

A stream is an append-only list of records. Exactly one worker, the *owner*, may append; anybody may `post` into
its inbox. Ownership is a lease with an epoch: a claim raises the epoch, and an append that carries a lower one
is refused, so a worker that was presumed dead can wake up and do no harm.

Records are bytes here. What they mean, and how they become events, is the business of whoever appends.

Every adapter passes one conformance kit (`holdfast.testing.conformance.journal`); each sentence of these
docstrings is a test in it. All times are µs UTC by the *store's* clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

import msgspec

from holdfast.errors import UsageError
from holdfast.storage.blobs import BlobStore
from holdfast.types import BatchId, Digest, StreamId, TenantId, WorkerId

__all__ = (
    "GRAVE",
    "INBOX_LIMIT",
    "KEY_LIMIT",
    "URGENT_LIMIT",
    "Claim",
    "FeedItem",
    "Head",
    "Journal",
    "Lease",
    "Letter",
    "Mail",
    "Park",
    "Posted",
    "Record",
    "State",
    "Unread",
    "is_buried",
)

INBOX_LIMIT = 64
"""Unread messages a stream holds before `post` answers `full`."""
URGENT_LIMIT = 16
"""Places beyond that for urgent letters."""
KEY_LIMIT = 256
"""Characters of a letter's key: stores keep it for ever, to know a message that comes twice."""

GRAVE = "~"
"""Stands in the name under which a deleted stream keeps what forks share, and in no session's name."""

State = Literal["idle", "running", "waiting", "ended"]
"""`idle`: no run is open. `running`: a run is open and wants an owner. `waiting`: a run is open and parked,
or queued behind a pause. `ended`:
nobody may post any more."""


def is_buried(stream: StreamId) -> bool:
    """Returns whether a stream was deleted, and only what forks of it share is still there."""
    return GRAVE in stream


class Head(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The one mutable row of a stream."""

    stream: StreamId
    seq: int = 0
    """The last record."""
    epoch: int = 0
    """Raised by every claim; a stream begins at the highest that a deleted one had, and otherwise at 0."""
    owner: WorkerId | None = None
    lease_until: int = 0
    last_batch: BatchId | None = None
    inbox_seq: int = 0
    """The last message posted."""
    inbox_taken: int = 0
    """The last message whose effect the log holds."""
    state: State = "idle"
    wake_at: int | None = None
    parent: StreamId | None = None
    """The stream this one was forked from; of one that was deleted, the name under which its records stay."""
    parent_seq: int = 0
    """How much of the parent it shares."""
    created_at: int = 0
    updated_at: int = 0

    @property
    def unread(self) -> bool:
        """Whether the inbox holds messages nobody took."""
        return self.inbox_seq > self.inbox_taken


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of a stream, as stored."""

    seq: int
    type: str
    body: bytes
    blob: Digest | None = None
    """The blob that holds this record's content, when the content is too large for the record."""
    content: bytes | None = None
    """The blob's bytes, on their way in; None on the way out."""


class Letter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A message to be posted.

    Raises:
        UsageError: its key has more than `KEY_LIMIT` characters.
    """

    key: str
    """Two letters of one key are one message."""
    kind: str
    body: bytes
    actor: str = ""
    urgent: bool = False
    """Whether it may use the places that are kept free for what ends a run."""

    def __post_init__(self) -> None:
        if len(self.key) > KEY_LIMIT:
            raise UsageError(
                f"the key {self.key[:40]!r}... has {len(self.key):,} characters and {KEY_LIMIT} are allowed: "
                "use a shorter one, such as a digest of it"
            )


class Mail(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A message as it lies in an inbox."""

    n: int
    """Its number in the inbox, from 1, without gaps."""
    key: str
    kind: str
    body: bytes
    """Of mail that was taken it may be empty: see `drop_taken`."""
    actor: str = ""
    at: int = 0


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A stream that is ours."""

    head: Head
    mail: tuple[Mail, ...]
    """What lies unread, oldest first."""


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A wish to own a stream."""

    worker: WorkerId
    ttl: int
    """µs."""


class Posted(msgspec.Struct, frozen=True, gc=False):
    """What became of a letter. Accepted is not committed: committed is when the owner's log names its key."""

    status: Literal["accepted", "duplicate", "busy", "full", "ended"]
    n: int = 0
    """The message's number; of the first one for a duplicate; 0 when refused."""
    claim: Claim | None = None
    """The stream, if it was wanted along with the post and was free."""


class Park(msgspec.Struct, frozen=True, gc=False):
    """Give the stream up together with an append."""

    state: State
    """`idle` when the run is over, `waiting` when it waits for mail or a deadline, `ended` when nothing
    will come any more.
    """
    wake_at: int | None = None


class Unread(msgspec.Struct, frozen=True, gc=False):
    """The answer to a park that found unread mail: nothing was written, read the mail and decide again."""

    head: Head


class FeedItem(msgspec.Struct, frozen=True, gc=False):
    """One record, in the order in which the whole store committed them."""

    position: int
    stream: StreamId
    record: Record


class Journal(Protocol):
    """All streams of one store."""

    @property
    def blobs(self) -> BlobStore:
        """Where content over the size of a record goes; it shares the journal's durability."""
        ...

    async def claim(self, stream: StreamId, worker: WorkerId, ttl: int, *, over: int | None = None) -> Claim:
        """Makes `worker` the owner for `ttl` µs, raising the epoch, and returns the head and the unread mail.

        Creates the stream when there is none. A lease that has run out, or was given up, is free. A live lease is
        taken over only when `over` equals the current epoch: the caller knows that owner to be dead.

        Raises:
            LeaseHeld: somebody else's lease is live (or the same worker's, from another claim).
        """
        ...

    async def renew(self, leases: Sequence[tuple[StreamId, int]], ttl: int) -> set[StreamId]:
        """Prolongs leases given as (stream, epoch) to `ttl` µs from now and returns the streams whose epoch is
        no longer ours. A lease that ran out but that nobody claimed is ours again; one that was given up is not.
        """
        ...

    async def release(self, stream: StreamId, epoch: int) -> None:
        """Gives up a lease without writing anything: the state stays, so that another worker goes on. Does
        nothing when the epoch is not ours any more.
        """
        ...

    def append(
        self,
        stream: StreamId,
        epoch: int,
        expected_seq: int,
        batch: BatchId,
        records: Sequence[Record],
        *,
        taken: int | None = None,
        park: Park | None = None,
    ) -> asyncio.Future[Head | Unread]:
        """Writes records after `expected_seq`, all or none, and returns the new head.

        Appends take effect in the order of the calls, awaited or not. A record's `content` is kept as a blob of the
        stream's tenant in the same transaction. Raised errors arrive through the future.

        `taken` says that these records hold the effect of the inbox up to that message. With `park` the stream
        is given up in the same transaction; if mail beyond `taken` lies unread, `Unread` is returned and nothing
        is written. Without `park` the state becomes `running`. The same batch again, under the same epoch, writes
        nothing and returns the head as it is: a lost answer may be asked for again. Records may be empty.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up; nothing was written.
            Corrupt: the epoch is right but `expected_seq` is not the last record, the records are not numbered from
                there, or `taken` is not between what was taken and what was posted.
            StorageError: nothing of this batch was written.
        """
        ...

    async def post(
        self,
        stream: StreamId,
        letter: Letter,
        *,
        if_idle: bool = False,
        lease: Lease | None = None,
        new: bool = False,
    ) -> Posted:
        """Puts a letter into the inbox, whoever owns the stream; creates the stream when there is none.

        With `lease`, a letter that was accepted or is a duplicate also claims the stream if it is free, in the same
        transaction. With `new` the caller has just made the stream's name up, and the store need not look for it.

        Never conflicts with the owner. A key that was posted before gives `duplicate` with the number of the
        first, even when it was taken long ago. With `if_idle`, a stream that is not idle or has unread mail
        gives `busy`. Over `INBOX_LIMIT` unread messages give `full`;
        an urgent letter finds `URGENT_LIMIT` places more.

        Raises:
            StorageError: with `new`, there is such a stream all the same; nothing was written.
        """
        ...

    async def mail(self, stream: StreamId, after: int) -> list[Mail]:
        """Returns the messages numbered over `after`, oldest first."""
        ...

    async def drop_taken(self, streams: Collection[StreamId]) -> int:
        """Empties the bodies of those streams' mail that was taken, which nobody needs any more; returns of how many
        messages. Their keys stay, so that one of them that is posted again is still a duplicate.
        """
        ...

    async def head(self, stream: StreamId) -> Head | None:
        """Returns the head row, or None when there is no such stream."""
        ...

    async def heads(self, tenant: str, *, after: str = "", limit: int = 100) -> list[Head]:
        """Returns the heads of a tenant's streams whose id sorts after `after`, by id."""
        ...

    async def read(self, stream: StreamId, *, after: int = 0, limit: int = 1000) -> list[Record]:
        """Returns records with a seq over `after`, in order; of a fork, its parents' shared records as well."""
        ...

    async def feed(
        self, *, after: int = 0, types: Sequence[str] = (), tenant: str | None = None, limit: int = 1000
    ) -> list[FeedItem]:
        """Returns records of all streams in commit order, from a position on.

        A record never appears behind a position that was already given out: a projection that keeps its position
        misses nothing. Records a fork shares appear once, with the stream that wrote them. Empty `types` means
        all.
        """
        ...

    async def due(self, limit: int = 100, *, within: int = 0) -> list[StreamId]:
        """Returns streams without a live lease that have unread mail, an open run (`running`), or a `wake_at`
        that has passed; oldest first. The truth behind every hint.

        Of what holds `within` so many µs from now, too: of leases that run out by then, and of times that come.
        """
        ...

    async def fork(self, parent: StreamId, at: int, child: StreamId, batch: BatchId, records: Sequence[Record]) -> Head:
        """Creates `child` with the parent's records up to `at` and `records` after them, without copying any.

        Time and space do not depend on `at`. The parent is neither claimed nor changed.

        Raises:
            UnknownSession: there is no such parent.
            UsageError: `child` exists or belongs to another tenant, or the parent has no record `at`.
        """
        ...

    async def delete(self, stream: StreamId, epoch: int) -> int:
        """Removes a stream with its head, its mail and its records, and returns how many records stay for forks.

        The owner's act. What forks share can be read through them, and through nothing else, until the last of them is
        deleted; their `parent` is a name that no session can have. The stream's own name is free: one that is made
        under it later shares nothing with it. A position of the feed is never given out again; nor is an epoch that
        the stream had: whatever is made later, by a claim, a post or a fork, begins above it.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up or deleted; nothing was removed.
        """
        ...

    async def scrub(self, stream: StreamId, epoch: int, records: Sequence[Record]) -> None:
        """Puts records in the place of those with their numbers, all or none; the head stays as it is.

        The owner's act. They keep number, type and position, so that who reads from any of them goes on. Records that
        a fork shares are replaced for every stream that shares them.

        Raises:
            Fenced: the epoch is not the current one, or the stream was given up or deleted; nothing was changed.
            UsageError: the stream has no record of such a number and type; nothing was changed.
        """
        ...

    async def discard(
        self, tenant: TenantId, digests: Collection[Digest], after: int, *, busy: bool = False
    ) -> set[Digest]:
        """Removes those blobs at once that no record over position `after` names, however lately they were put, and
        returns them; for whoever has read the log to there and found nothing that names them.

        While one of the tenant's streams has a live lease it removes none: who works may have put a blob that no record
        names yet. With `busy` it does: for blobs that come into a store only together with the record that names them.
        """
        ...

    async def erase(self) -> None:
        """Returns when the store's files hold nothing any more of what was deleted, replaced, emptied or discarded.

        Raises:
            StorageLocked: others kept it from that; what was removed cannot be read through the store all the same.
        """
        ...

    def listen(self, stream: StreamId, hint: Callable[[], None], *, mail: bool = False) -> Callable[[], None]:
        """Calls `hint`, in the event loop, when the stream may have changed (mail, records, owner), by this
        process at once and by another soon; returns how to stop it.

        With `mail`, only when there may be new mail. Hints may be spurious and may be late; they are never the
        truth.
        """
        ...

    async def close(self) -> None:
        """Finishes what was asked for and lets go of files and threads."""
        ...
