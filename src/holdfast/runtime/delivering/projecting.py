"""A projection that acts: it looks at the feed when somebody wakes it, and owns a book of its own while it writes.

A book is a stream in which it says what it has done. Looking costs no claim and writes nothing; only when there is
something to do is the book claimed, so that no two processes do it at once, and given up again afterwards. Whoever
lost the book stops, and reads it again. Nothing runs between two looks: no task, no lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from holdfast.errors import Fenced, HoldfastError, LeaseHeld, NotOwnable
from holdfast.flow.clock import Clock, Timer
from holdfast.journal.owning import Pen
from holdfast.journal.port import Claim, Journal, Park
from holdfast.journal.reading import decode_record
from holdfast.runtime.delivering.events import BOOKS, Summed
from holdfast.runtime.lanes.claiming import LEASE_SECONDS
from holdfast.types import Event, StreamId

__all__ = ("Projection",)

_AGAIN = 1.0
"""Seconds until it looks again where the book was taken, or the store refused."""
_BUSY = 0.25
"""Seconds between two looks of somebody who waits until another process has given the book up."""
_PAGE = 500
"""Events of a book that are read at once; twice as many are written before it is summed up."""


class Projection(ABC):
    """One reader of the feed, with a book."""

    def __init__(
        self, journal: Journal, clock: Clock, book: StreamId, claim: Callable[[StreamId], Awaitable[Claim]]
    ) -> None:
        self.journal = journal
        self.clock = clock
        self.book = book
        self._claim = claim
        self._wanted = False
        self.woken = asyncio.Event()
        """Is set by whoever wakes it: something may have come while it works."""
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._clean = True
        """Whether the last look came to its end."""
        self._error: HoldfastError | None = None
        """What the store refused at the last look."""
        self._own_epoch = (0, 0)
        """The last one that was ours, behind when the book was made."""
        self._heard = (0, 0, 0)
        """How far the book was, and in which epoch, when somebody else had written and this had it look."""
        self._made = 0
        """When the book was, µs UTC; 0 as long as there is none."""
        self._lost = False
        """Whether somebody else took the book while it was ours."""

    # ---- what it is about -----------------------------------------------------------------------------------

    @abstractmethod
    async def has_work(self) -> bool:
        """Returns whether there is something to do, by a look that writes nothing."""

    @abstractmethod
    async def work(self, pen: Pen) -> None:
        """Does what there is to do, and writes it down."""

    @abstractmethod
    def forget(self) -> None:
        """Forgets what the book says: it is read again."""

    @abstractmethod
    def next_in(self) -> float | None:
        """Returns the seconds until it has to look again by itself; None for never."""

    @abstractmethod
    def parked(self) -> Park:
        """Returns how the book is given up."""

    # ---- waking ---------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Has it look soon, in the background."""
        if self._closed:
            return
        self._wanted = True
        self.woken.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"projection {self.book}")

    async def flush(self, patience: float | None = None) -> None:
        """Returns when what there was to do now is done, by whichever process.

        Raises:
            LeaseHeld: another process was at it for so many seconds of `patience`.
            HoldfastError: the store refuses, or the log cannot be read.
        """
        waited = 0.0
        while not self._closed:
            self.wake()
            if (task := self._task) is not None:
                await asyncio.wait([task])
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            if self._error is not None:
                raise self._error
            if self._clean and self._task is None:
                return
            if patience is not None and waited >= patience:
                raise LeaseHeld(f"another process has been delivering for {patience:g} s: try again when it is done")
            await asyncio.sleep(_BUSY)  # somebody else is at it
            waited += _BUSY

    async def close(self, patience: float) -> None:
        """Ends it, after so many seconds at most for what is under way and what is left to do."""
        if self._task is None and self._timer is None and not self._wanted:
            self._closed = True
            return
        with contextlib.suppress(TimeoutError, HoldfastError):  # what is not done now is done by whoever comes next
            async with asyncio.timeout(patience):
                await self.flush()
        self._closed = True
        self._cancel_timer()
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def heard(self) -> None:
        """Has it look when another process wrote into the book, each time: what it wrote before may have been looked at
        while it goes on.
        """
        try:
            head = await self.journal.head(self.book)
        except HoldfastError:
            self.wake()  # nobody knows; a look that is refused, too, is made again
            return
        if head is None or (head.created_at, head.epoch) == self._own_epoch:
            return  # an epoch has one owner
        if (known := (head.created_at, head.epoch, head.seq)) != self._heard:
            self._heard = known
            self.wake()

    # ---- one look -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        again: float | None = None
        self._cancel_timer()
        try:
            while self._wanted:
                self._wanted = self._clean = False
                self.woken.clear()
                again = await self._look()
        finally:
            self._task = None
        if again is not None and not self._closed:
            self._timer = self.clock.call_later(again, self.wake)

    async def _look(self) -> float | None:
        self._error = None
        try:
            if await self.has_work():
                await self._own()
        except LeaseHeld:  # nothing was written: what is known is read on, not anew
            return _AGAIN
        except Fenced:
            self.forget()
            return _AGAIN
        except NotOwnable:
            self._clean = True  # a newer version is at it: nothing for us to do
            return None
        except HoldfastError as error:
            self.forget()
            self._error = error
            return _AGAIN
        self._clean = True
        return self.next_in()

    async def _own(self) -> None:
        claim = await self._claim(self.book)
        self._own_epoch = (claim.head.created_at, claim.head.epoch)
        pen = Pen(self.journal, claim, BOOKS, self.clock, lambda _: None)
        task, self._lost = asyncio.current_task(), False
        beat = asyncio.create_task(self._beat(pen, task))
        try:
            await self.work(pen)
            await pen.sync()
            if not await pen.park(self.parked()):
                await self.journal.release(self.book, pen.epoch)
        except BaseException as error:
            self.forget()
            with contextlib.suppress(HoldfastError):
                await asyncio.shield(self.journal.release(self.book, pen.epoch))
            if self._lost and task is not None and isinstance(error, asyncio.CancelledError):
                task.uncancel()
                raise Fenced(f"{self.book!r} was taken by somebody else") from None
            raise
        finally:
            beat.cancel()
            await asyncio.wait([beat])

    async def _beat(self, pen: Pen, owner: asyncio.Task[object] | None) -> None:
        """Renews the lease; a book that somebody else took is left at once, in the middle of whatever it is."""
        while True:
            await self.clock.sleep(LEASE_SECONDS / 3)
            with contextlib.suppress(HoldfastError):  # the lease holds a while longer
                if await self.journal.renew([(self.book, pen.epoch)], LEASE_SECONDS * 1_000_000) and owner is not None:
                    self._lost = True
                    owner.cancel()
                    return

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- reading the book -----------------------------------------------------------------------------------

    async def book_after(self, seq: int) -> list[Event]:
        """Returns what the book says after an event; from its beginning, only what came since it was summed up.

        Raises:
            NotOwnable: it says something this version does not understand.
        """
        head = await self.journal.head(self.book)
        if (made := head.created_at if head else 0) != self._made and (made or seq):
            self._made = made
            if seq:  # what was known is of a book that was dropped
                self.forget()
                seq = 0
        if head is None or head.seq <= seq:
            return []
        after = seq or await self._last_sum(head.seq)
        events: list[Event] = []
        while records := await self.journal.read(self.book, after=after, limit=_PAGE):
            events += [await decode_record(each, self.book, BOOKS, self.journal) for each in records]
            after = records[-1].seq
        for event in events:
            if event.must_understand and not BOOKS.knows(event.type):
                raise NotOwnable(f"a newer version of Holdfast writes {self.book!r}: upgrade this one to go on with it")
        return events

    async def _last_sum(self, last: int) -> int:
        """Returns the number before the last event that sums up; 0 when there is none."""
        end = last
        while end > 0:
            start = max(0, end - _PAGE)
            found = [each for each in await self.journal.read(self.book, after=start, limit=_PAGE) if each.seq <= end]
            sums = [each.seq for each in found if each.type == Summed.type]
            if sums:
                return sums[-1] - 1
            end = start
        return 0

    @staticmethod
    def outgrown(seq: int, summed: int) -> bool:
        """Returns whether a book should be summed up."""
        return seq - summed > 2 * _PAGE
