"""The owner's pen: turns payloads into events, batches them, and makes them durable in order.

`write` gives a payload its place in the stream at once and keeps it in memory. `sync` is the barrier: when it
returns, everything written before is durable. `flush` sees to the same soon, without waiting. A batch keeps its id
until it is acknowledged, so that a lost answer can be asked for again.

Readers are told of events after the acknowledgement, never before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import final

import msgspec

from holdfast.errors import Fenced, HoldfastError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_batch
from holdfast.flow.soon import Soon
from holdfast.journal.port import Claim, Head, Journal, Mail, Park, Record, Unread
from holdfast.types import BatchId, Codec, Event, EventId, Payload, StreamId, TenantId, digest_of, tenant_of

__all__ = ("BLOB_BYTES", "FLUSH_SECONDS", "Pen", "Reference", "to_record")

BLOB_BYTES = 32 * 1024
"""An event larger than this leaves its content in a blob."""
FLUSH_SECONDS = 0.02
"""How long a flush may leave events in memory."""
_SEQ, _TYPE = attrgetter("seq"), attrgetter("type")


class Reference(Payload, frozen=True, gc=False):
    """What stands in an event whose content is a blob."""

    blob: str
    size: int


@final
class Pen(msgspec.Struct, eq=False):
    """One attempt's right to write one stream."""

    _journal: Journal
    _claim: Claim | None
    """Until it is opened: its mail may be large, and is let go of when it was read."""
    _codec: Codec
    _clock: Clock
    _on_commit: Callable[[Sequence[Event]], None]
    _soon: Soon | None = None
    hinted: bool = False
    """Whether somebody heard that there may be more mail than is known of."""
    head: Head = Head(stream=StreamId(""))
    """The head as last acknowledged, or as a hint told us."""
    taken: int = 0
    """The last message whose effect is written, durable or not."""
    first_mail: Sequence[Mail] = ()
    """What lay unread when the stream was claimed, until it is read."""
    epoch: int = 0
    """The attempt this pen belongs to."""
    _ttl: int = 0
    """How long a lease lasts, µs."""
    _tenant: TenantId = TenantId("")
    _seq: int = 0
    _batch: BatchId = BatchId("")
    _pending: list[Event] = []
    _inflight: asyncio.Future[Head | Unread] | None = None
    _waiting: list[asyncio.Future[None]] | None = None
    """Those who wait until what is on its way has landed."""
    _last: int = 0
    """How many of `_pending` are the last words of a park that is on its way."""
    _refused: bool = False
    """Whether the last append failed, so that nobody knows whether it was written."""
    _flushing: int = 0
    """The last event that waits for a flush; 0 when none was asked for."""

    def __post_init__(self) -> None:
        claim, self._claim = self._claim, None
        assert claim is not None  # whoever makes a pen has one
        self.head = head = claim.head
        self._ttl = head.lease_until - head.updated_at
        self.taken, self.first_mail = head.inbox_taken, claim.mail
        self.epoch, self._seq = head.epoch, head.seq
        self._tenant, self._batch = tenant_of(head.stream), new_batch()

    @property
    def stream(self) -> StreamId:
        """The stream this pen writes."""
        return self.head.stream

    @property
    def held(self) -> bool:
        """Whether nobody else can own the stream: the lease, as far as is known here, is not over."""
        return self._clock.now() < self.head.lease_until

    async def hold(self) -> None:
        """Returns when nobody else can own the stream; asks the store only when the lease may be over.

        For whoever is about to act outside the log: a process that was stopped for long does not know it.

        Raises:
            Fenced: somebody else owns the stream now.
        """
        if self.held:
            return
        until = self._clock.now() + self._ttl
        if await self._journal.renew([(self.stream, self.epoch)], self._ttl):
            raise Fenced(
                f"stream {self.stream!r} was claimed by somebody else while epoch {self.epoch} was not looking; "
                "stop and touch nothing, or claim the stream again"
            )
        self.head = msgspec.structs.replace(self.head, lease_until=until)

    def write(self, payload: Payload, *, actor: str = "", cause: str = "") -> Event:
        """Returns the payload as the stream's next event; it is not durable yet."""
        self._seq += 1
        event = Event(
            seq=self._seq,
            id=EventId(f"{self._batch}-{len(self._pending)}"),
            type=payload.type,
            at=self._clock.now(),
            epoch=self.epoch,
            v=payload.v,
            tenant=self._tenant,
            actor=actor,
            cause=cause,
            must_understand=payload.must_understand,
            data=payload,
        )
        self._pending.append(event)
        return event

    @property
    def has_mail(self) -> bool:
        """Whether, as far as is known here, something lies unread."""
        return self.hinted or self.head.inbox_seq > self.taken

    def take_first(self) -> Sequence[Mail]:
        """Returns what lay unread when the stream was claimed, as long as nobody has read it."""
        mail, self.first_mail = self.first_mail, ()
        return mail

    async def mail(self) -> Sequence[Mail]:
        """Returns what lies unread, oldest first."""
        if self.first_mail:
            return self.take_first()
        self.hinted = False
        return await self._journal.mail(self.stream, self.taken)

    async def peek(self) -> list[Mail]:
        """Returns what lies unread by asking the store, and leaves it unread."""
        mail = await self._journal.mail(self.stream, self.taken)
        if mail and mail[-1].n > self.taken:  # it may have been read meanwhile
            self.hinted = True
        return mail

    def flush(self) -> None:
        """Makes everything written durable soon, without waiting for it.

        Soon is a moment later: what a barrier takes along in that time saves a transaction.
        """
        if not self._flushing and self._pending:
            self._flushing = self._seq
            if self._soon is None:
                self._soon = Soon(self._clock, FLUSH_SECONDS)
            self._soon(self._flush)

    def _flush(self) -> None:
        flushing, self._flushing = self._flushing, 0
        pending = self._pending
        if self._inflight is None and pending and pending[0].seq <= flushing:
            with contextlib.suppress(HoldfastError):  # it is tried again, and fails again, at the next sync
                self._begin()
        else:
            self.flush()  # what is on its way may not take everything along; what came later has its own moment

    async def sync(self) -> None:
        """Returns when everything written before is durable.

        Being cancelled here cancels the waiting, not the writing.

        Raises:
            Fenced: somebody else owns the stream now.
            StorageError: the store refused; what was acknowledged earlier is safe.
        """
        while self._pending or self._inflight is not None:
            await self._arrival(self._inflight or self._begin())

    async def _arrival(self, answer: asyncio.Future[Head | Unread]) -> None:
        # What is awaited is not the answer itself: being cancelled here would cancel that, too.
        try:
            if not answer.done():
                waiting: asyncio.Future[None] = answer.get_loop().create_future()
                self._waiting = [*self._waiting, waiting] if self._waiting else [waiting]
                await waiting
        finally:
            if answer.done():
                self._landed(answer)  # its callback may not have had its turn yet
        answer.result()

    async def park(self, park: Park, *last: Payload) -> bool:
        """Gives the stream up, with `last` as its last words, and returns True; returns False, with `last`
        unwritten, when there is mail to be read first.
        """
        while self._inflight is not None:
            await self._arrival(self._inflight)
        if self._refused:
            await self.sync()  # what was refused may be written all the same: its batch is asked for as it was
        for payload in last:
            self.write(payload)
        self._last = len(last)
        answer = self._begin(park)
        if not answer.done():
            await self._arrival(answer)
        if isinstance(answer.result(), Unread):
            return False
        if self._flushing and self._soon is not None:
            self._soon.forget(self._flush)
        return True

    def _begin(self, park: Park | None = None) -> asyncio.Future[Head | Unread]:
        """Hands over what is pending; a store that answers at once leaves nothing in flight."""
        events, head = self._pending, self.head
        bodies = list(map(self._codec.encode_known, events))
        records = list(map(Record, map(_SEQ, events), map(_TYPE, events), bodies))
        if max(map(len, bodies), default=0) > BLOB_BYTES:
            records = [
                record if len(record.body) <= BLOB_BYTES else _split(event, self._codec)
                for event, record in zip(events, records, strict=True)
            ]
        taken = self.taken if self.taken > head.inbox_taken else None
        answer = self._journal.append(head.stream, self.epoch, head.seq, self._batch, records, taken=taken, park=park)
        self._inflight = answer
        if answer.done():
            self._landed(answer)
        else:
            answer.add_done_callback(self._landed)
        return answer

    def _landed(self, answer: asyncio.Future[Head | Unread]) -> None:
        # A failure stays in the future for whoever waits; a flush nobody waits for is tried again, and fails
        # again, at the next sync.
        if self._inflight is not answer:
            return
        self._inflight = None
        if self._waiting is not None:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_result(None)
            self._waiting = None
        last, self._last = self._last, 0
        self._refused = answer.cancelled() or answer.exception() is not None
        head = None if self._refused else answer.result()
        if isinstance(head, Head):
            self._acknowledge(head)
            return
        # Last words are said with a park, or not at all.
        del self._pending[len(self._pending) - last :]
        self._seq -= last
        if head is not None:
            self.head = head.head

    def _acknowledge(self, head: Head) -> None:
        self.head = head
        self._batch = new_batch()
        events, self._pending = self._pending, []
        if head.seq < self._seq:  # more was written meanwhile, or since the batch whose answer was lost
            count = len(events) - (self._seq - head.seq)
            events, self._pending = events[:count], events[count:]
        if events:
            self._on_commit(events)


def to_record(event: Event, codec: Codec) -> Record:
    """Returns an event as the store keeps it; large content goes beside it, as a blob."""
    body = codec.encode(event)
    return Record(event.seq, event.type, body) if len(body) <= BLOB_BYTES else _split(event, codec)


def _split(event: Event, codec: Codec) -> Record:
    content = msgspec.json.encode(event.data)
    digest = digest_of(content)
    light = msgspec.structs.replace(event, data=Reference(digest, len(content)))
    return Record(event.seq, event.type, codec.encode(light), digest, content)
