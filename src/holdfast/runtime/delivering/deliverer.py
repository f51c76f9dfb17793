"""The outbox at work: from runs that are over to targets that have their results.

What it keeps, whatever happens:

- **Nothing is missed.** It reads every beginning and end of a run in commit order, and moves on in the feed in the
  same transaction that says what it saw there.
- **A run ends as it ended.** Its log is only read. What a target does is written into the outbox's own book.
- **One at a time.** Whoever attempts owns the book, and has written down that it attempts before it does; so an
  attempt that a crash cut off is known, and judged by what the target promises.
- **Later, and not for ever.** What fails is tried again, after a time that grows, and is dead in the end; dead is told
  of. A target that this process does not know is left to one that does.

Attempts overlap, a few for each target, so that one that is slow holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from copy import deepcopy
from itertools import islice
from typing import final

from holdfast.engine.events import CODEC, Forked, InputDropped, InputReceived, Rewound, RunFinished, RunStarted
from holdfast.errors import Corrupt, DeliveryRefused
from holdfast.flow.clock import Clock
from holdfast.journal.owning import Pen
from holdfast.journal.port import Claim, FeedItem, Journal, Park, is_buried
from holdfast.journal.reading import decode_record
from holdfast.runtime.delivering.attempting import attempt, judge_lost
from holdfast.runtime.delivering.events import (
    BOOK_TYPES,
    DeliveryDone,
    DeliveryFailed,
    DeliveryRevived,
    DeliveryStarted,
    Pending,
    RunEnded,
    RunExpected,
    Seen,
    book_named,
)
from holdfast.runtime.delivering.gathering import gather
from holdfast.runtime.delivering.outbox import ATTEMPTS, Outbox
from holdfast.runtime.delivering.port import Target
from holdfast.runtime.delivering.projecting import Projection
from holdfast.types import Event, EventId, Payload, StreamId, TenantId

__all__ = ("Deliverer",)

_TYPES = (RunStarted.type, RunFinished.type, InputDropped.type, Rewound.type, Forked.type, *BOOK_TYPES)
"""What is read of the feed; the books themselves too, since each line of them says that all before it is read."""
_BEGIN = (RunStarted.type, InputDropped.type)
"""What may be of a session whose file says, behind it, that it happened elsewhere."""
_AT_ONCE, _EACH = 16, 4
"""Attempts that overlap, in all and for one target."""
_OPEN = 60_000_000
"""µs after which a sweep looks whether an expected run is over, in case that nobody who drove it is left."""

_Outcome = DeliveryDone | DeliveryFailed


@final
class Deliverer(Projection):
    """Delivers for one tenant; `find` gives a target by its name, or None for one that this process has not got."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        tenant: TenantId,
        claim: Callable[[StreamId], Awaitable[Claim]],
        find: Callable[[str], Target | None],
    ) -> None:
        super().__init__(journal, clock, book_named(tenant, "outbox"), claim)
        self._tenant = tenant
        self._find = find
        self._outbox = Outbox()
        self._unread: list[FeedItem] = []
        """What the last look found in the feed and nothing is written of yet."""
        self._begun: set[StreamId] = set()
        """Sessions in which a run began, or will not, of these."""
        self._position = 0
        """Up to where the feed was looked at."""
        self._reviving: set[str] = set()
        """Dead deliveries that somebody wants to be tried again."""
        self._watching: list[set[str]] = []
        """What each of those who want that waits for: what has arrived is taken out."""

    @property
    def outbox(self) -> Outbox:
        """The state as it was read last."""
        return self._outbox

    def forget(self) -> None:
        """Forgets what the book says: it is read again."""
        self._outbox, self._unread, self._begun, self._position = Outbox(), [], set(), 0

    async def refresh(self) -> None:
        """Reads on in the book; whoever else does meanwhile, or writes, or forgets, each event counts once."""
        while True:
            box = self._outbox
            events = await self.book_after(box.seq)
            if self._outbox is box:
                break
        for event in events:
            if event.seq > box.seq:
                self._fold(event)
        self._position = max(self._position, box.position)
        self._unread = [each for each in self._unread if each.position > box.position]

    async def foreseen(self) -> Outbox:
        """Returns the state as it will be once all that the feed says is written down; writes nothing itself."""
        await self.refresh()
        look = Deliverer(self.journal, self.clock, self._tenant, self._claim, self._find)
        look._outbox = self._outbox
        if self._task is None and not self._unread:
            look._position = self._position
        await look._read_feed()
        if not look._unread:
            return self._outbox
        box = look._outbox = deepcopy(look._outbox)
        async for payload in look._said([each for each in look._unread if each.position > box.position]):
            box.fold(Event(seq=box.seq + 1, id=EventId(""), type=payload.type, at=0, epoch=0, data=payload))
        return box

    async def has_work(self) -> bool:
        """Returns whether the feed says something new, or a delivery's time has come."""
        await self.refresh()
        await self._read_feed()
        return bool(self._unread or self._reviving) or self._can_try(self.clock.now())

    @contextlib.contextmanager
    def reviving(self, ids: Iterable[str]) -> Generator[set[str]]:
        """Has dead deliveries tried again at the next look, and keeps the set of those that have not arrived; those
        that are not dead are left as they are, and what was not begun at the end is not.
        """
        waiting = set(ids)
        self._reviving |= waiting
        self._watching.append(waiting)
        self.wake()
        try:
            yield waiting
        finally:
            self._watching = [each for each in self._watching if each is not waiting]
            self._reviving -= waiting

    async def work(self, pen: Pen) -> None:
        """Does all that can be done now; also what comes while something is under way."""
        await self.refresh()  # before the claim somebody else may have written
        await self._revive(pen)  # before the sum, which leaves the oldest dead ones out
        if self.outgrown(self._outbox.seq, self._outbox.summed):
            self._write(pen, self._outbox.sum())
        running: dict[asyncio.Task[_Outcome], str] = {}
        try:
            while True:
                await self._account(pen)
                await self._revive(pen)
                now = self.clock.now()
                self._begin(pen, running, now)
                if not running:
                    return
                await self._news(now)
                for task in [each for each in running if each.done()]:
                    del running[task]
                    self._write(pen, task.result())
                await pen.sync()
                await self._read_feed()
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    def next_in(self) -> float | None:
        """Returns the seconds until the next attempt."""
        now = self.clock.now()
        at = self._next_at(now)
        return None if at is None else (at - now) / 1e6

    def parked(self) -> Park:
        """Returns when a sweep should look here, wherever it runs."""
        now = self.clock.now()
        times = [now + _OPEN] if self._outbox.expected else []
        if (at := self._next_at(now)) is not None:
            times.append(at)
        return Park("waiting", min(times)) if times else Park("idle")

    # ---- the feed -------------------------------------------------------------------------------------------

    async def _read_feed(self) -> None:
        after = max(self._position, self._outbox.position)
        while items := await self.journal.feed(after=after, types=_TYPES, tenant=self._tenant):
            after = items[-1].position
            for each in items:
                if self._matters(each):  # which depends on those before it
                    self._unread.append(each)
                    if each.record.type in _BEGIN:
                        self._begun.add(each.stream)
        self._position = after

    def _matters(self, item: FeedItem) -> bool:
        if is_buried(item.stream):  # a book, or a session that was deleted
            return False
        if item.record.type in (RunFinished.type, Rewound.type, Forked.type):
            return item.stream in self._outbox.expected or item.stream in self._begun
        return item.record.blob is not None or b'"deliver"' in item.record.body or item.record.type == InputDropped.type

    async def _account(self, pen: Pen) -> None:
        """Writes down what the feed said, and how far it was read, in one transaction."""
        items, self._unread, self._begun = self._unread, [], set()
        async for payload in self._said(items):
            self._write(pen, payload)
        if items:
            self._write(pen, Seen(self._position))
            await pen.sync()

    async def _said(self, items: list[FeedItem]) -> AsyncGenerator[Payload]:
        """Yields what records say of runs whose results somebody wants; the next by what is known by then."""
        read = await self._read_from_files(items)
        for item in items:
            if item.record.seq > read.get(item.stream, 0) and (payload := await self._meaning(item)) is not None:
                yield payload

    async def _read_from_files(self, items: list[FeedItem]) -> dict[StreamId, int]:
        """Returns up to where sessions were read from a file, in one transaction: that happened elsewhere, and was
        delivered from there.
        """
        read: dict[StreamId, int] = {}
        for item in items:
            if item.record.type != Forked.type:
                continue
            with contextlib.suppress(Corrupt):  # its content was deleted meanwhile
                event = await decode_record(item.record, item.stream, CODEC, self.journal)
                if isinstance(event.data, Forked) and not event.data.parent:
                    read[item.stream] = item.record.seq
        return read

    async def _meaning(self, item: FeedItem) -> Payload | None:
        """Returns what a record says of a run whose result somebody wants."""
        stream, expected = item.stream, self._outbox.expected.get(item.stream)
        try:
            event = await decode_record(item.record, stream, CODEC, self.journal)
            match event.data:
                case RunStarted() as data if data.setup.deliver:
                    return RunExpected(stream, event.seq, event.id, data.setup.deliver)
                case RunFinished() | Rewound() if expected is not None:
                    return RunEnded(stream, expected.run, expected.began, event.seq)
                case InputDropped() as data:
                    return await self._dropped(stream, data.input, event.seq)
                case _:
                    return None
        except Corrupt:
            return None  # its content was deleted meanwhile, or is damaged: what reads the session says so

    async def _dropped(self, stream: StreamId, prompt: int, end: int) -> Payload | None:
        """Returns what is left to say of a prompt that never became a run: whoever waits for its result must hear."""
        for record in await self.journal.read(stream, after=prompt - 1, limit=1):
            event = await decode_record(record, stream, CODEC, self.journal)
            if isinstance(event.data, InputReceived) and event.data.setup and event.data.setup.deliver:
                return RunEnded(stream, prompt, event.id, end, event.data.setup.deliver)
        return None

    # ---- attempts -------------------------------------------------------------------------------------------

    async def _revive(self, pen: Pen) -> None:
        for each in (wanted := tuple(self._reviving)):
            if (pending := self._outbox.pending.get(each)) is not None and pending.dead:
                self._write(pen, DeliveryRevived(each))
        await pen.sync()
        self._reviving.difference_update(wanted)

    def _can_try(self, now: int) -> bool:
        return any(self._find(name) is not None for name in self._outbox.due_at(now))

    def _next_at(self, now: int) -> int | None:
        """Returns when something can be tried: at once, too, where its time came after the last look."""
        return now if self._can_try(now) else self._outbox.next_at(now)

    async def _news(self, now: int) -> None:
        """Returns when an attempt is over, somebody wakes it, or the time of one comes that was not due at `now`."""
        at = self._outbox.next_at(now)
        timer = None if at is None else self.clock.call_later((at - self.clock.now()) / 1e6, self.woken.set)
        try:
            await self.woken.wait()
            self.woken.clear()  # before it is looked at what came, so that nothing is overlooked
        finally:
            if timer is not None:
                timer.cancel()

    def _begin(self, pen: Pen, running: dict[asyncio.Task[_Outcome], str], now: int) -> None:
        """Begins what may begin; each writes down that it does before it acts."""
        under_way = set(running.values())
        busy = Counter(self._outbox.pending[each].target for each in under_way)
        for name, ids in self._outbox.due_at(now).items():
            free = min(_EACH - busy[name], _AT_ONCE - len(running))
            if free <= 0 or (target := self._find(name)) is None:
                continue
            for each in islice((each for each in ids if each not in under_way), free):
                task = asyncio.create_task(self._deliver(pen, self._outbox.pending[each], target))
                task.add_done_callback(lambda _: self.woken.set())
                running[task] = each
            if len(running) >= _AT_ONCE:
                return

    async def _deliver(self, pen: Pen, pending: Pending, target: Target) -> _Outcome:
        if pending.started_at and (judged := await judge_lost(target, pending, self.clock)) is not None:
            return judged
        if pending.attempts >= ATTEMPTS:
            return DeliveryFailed(pending.id, pending.error or "it was begun too often and never came to an end")
        try:
            delivery = await gather(self.journal, pending)
        except (Corrupt, DeliveryRefused) as error:
            return DeliveryFailed(pending.id, str(error))
        self._write(pen, DeliveryStarted(pending.id))
        await pen.sync()  # barrier: an attempt that is cut off must be known
        await pen.hold()
        return await attempt(target, pending, delivery, self.clock)

    def _write(self, pen: Pen, payload: Payload) -> None:
        self._fold(pen.write(payload))

    def _fold(self, event: Event) -> None:
        self._outbox.fold(event)
        if isinstance(event.data, DeliveryDone):
            for each in self._watching:
                each.discard(event.data.id)
