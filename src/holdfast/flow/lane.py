"""A bounded pool for the jobs of many users.

A job is a function that returns something to await. Submitting one never waits: it runs at once while there is room,
else it queues. Users are served in turn (`queueing.py`), so that whoever has ten thousand jobs delays the first one
of somebody else by one job for each user who waits, and no more. Priority orders one user's jobs only. Jobs in the
background, which nobody waits for, go behind all others, and a quarter of the places is never theirs: however many of
them run for however long, somebody who waits finds one.

Deliberately not here: durability, which is a layer above, and time limits, which are the job's own. A lane belongs to
one event loop; close it before that loop ends. A job that waits for another one of the same lane keeps its own room
meanwhile, and where there is no other the two wait for ever.

Invariants: no more run than `width`, except those that already ran when it was made smaller; while there is room
nothing queues that may have it, because freeing room and filling it is one step, in which nothing is awaited; every
ticket ends exactly once; no job ends, delays or sees the context of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, Generic, Literal, TypeVar, cast, final

from holdfast.errors import LaneFull, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.fanning import outlast
from holdfast.flow.lane_stats import Ending, LaneRecord, LaneStats
from holdfast.flow.queueing import FairQueue, Place

__all__ = ("Lane", "Ticket", "TicketState")

T = TypeVar("T")

TicketState = Literal["queued", "running", "finished", "failed", "cancelled"]


@final
class Ticket(Generic[T]):
    """What whoever submitted a job has of it; `Lane.submit` makes them."""

    __slots__ = ("_job", "_withdraw", "name", "priority", "user")

    def __init__(
        self, job: _Job[T], withdraw: Callable[[_Job[Any]], bool], user: str, priority: int, name: str
    ) -> None:
        self._job = job
        self._withdraw = withdraw
        self.user = user
        self.priority = priority
        self.name = name

    @property
    def state(self) -> TicketState:
        """Where the job is; "cancelled" is one that was withdrawn, or that a cancellation ended while it ran."""
        return self._job.state

    @property
    def position(self) -> int:
        """Its position among what its user has queued, 1 for what starts first; 0 when it does not queue any more.

        `LaneStats.eta` makes seconds of it.
        """
        return self._job.position

    async def result(self) -> T:
        """Returns what the job returned, as often as it is asked for; cancelling who waits leaves the job alone.

        An error that nobody asks for is reported by the event loop, as that of a task is.

        Raises:
            BaseException: what the job raised.
            CancelledError: the job is cancelled, and perhaps not who waits: `state` tells.
        """
        await asyncio.wait((self._job.over,))
        return self._job.over.result()

    def cancel(self) -> bool:
        """Withdraws the job if it still queues, and returns whether it did; one that runs is left alone."""
        return self._withdraw(self._job)


@final
class Lane:
    """Runs at most `width` jobs at once."""

    def __init__(self, clock: Clock, width: int, *, max_queued: int = 0, max_queued_per_user: int = 0) -> None:
        """A lane that queues at most so many jobs in all, and of one user; 0 is no bound.

        Raises:
            UsageError: a number is negative.
        """
        _check("max_queued", max_queued)
        _check("max_queued_per_user", max_queued_per_user)
        self._clock = clock
        self._width = _check("width", width)
        self._max = max_queued
        self._max_per_user = max_queued_per_user
        self._queue: FairQueue[_Job[Any]] = FairQueue()
        self._behind: FairQueue[_Job[Any]] = FairQueue()
        """What waits in the background."""
        self._running = 0
        self._in_background = 0
        """Those of them that run in the background."""
        self._tasks: dict[asyncio.Task[Any], _Job[Any]] = {}
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._record = LaneRecord(clock)

    def submit(
        self,
        job: Callable[[], Awaitable[T]],
        *,
        user: str,
        priority: int = 0,
        name: str = "",
        background: bool = False,
    ) -> Ticket[T]:
        """Takes a job, which runs from the next turn of the event loop while there is room and else queues.

        Among the jobs of one user a higher priority goes first; one in the `background` lets all others go first. The
        job sees the context variables of this call, and
        its task is called `name`.

        Raises:
            LaneFull: it would have to queue, and no more may; nothing was taken.
            UsageError: the lane is closed.
        """
        taken = self._take(job, user, priority, name, background=background)
        return Ticket(taken, self._withdraw, user, priority, name)

    async def run(self, job: Callable[[], Awaitable[T]], *, user: str, priority: int = 0, name: str = "") -> T:
        """Submits a job and returns what it returned, as if the caller awaited the job itself.

        So a cancellation of the caller withdraws the job if it still queues; if it runs, it is cancelled as well,
        and the cancellation goes on to the caller when it has ended. What it raises in doing so is reported by the
        event loop.

        Raises:
            LaneFull: it would have to queue, and no more may; nothing was taken.
            UsageError: the lane is closed.
            CancelledError: also when the lane was closed before the job started.
            BaseException: what the job raised.
        """
        taken = self._take(job, user, priority, name)
        await outlast(taken.over, lambda: self._stop(taken))
        return taken.over.result()

    def resize(self, width: int) -> None:
        """Lets so many run at once from now on; what runs above that goes on to its end, and 0 starts nothing more.

        Raises:
            UsageError: the width is negative.
        """
        self._width = _check("width", width)
        self._fill()

    def stats(self) -> LaneStats:
        """Returns how it is now, at the cost of a step for each user who has something queued."""
        queued = self._queue.counts()
        for user, count in self._behind.counts().items():
            queued[user] = queued.get(user, 0) + count
        return self._record.stats(self._width, self._running, queued)

    async def close(self, *, drain: bool = False) -> None:
        """Takes no more jobs, and returns when none runs or queues; those that run are waited for.

        What queues is cancelled, or with `drain` still run, which takes a lane that is not paused. May be called
        again, also to cancel after all what another call drains. If the caller is cancelled the lane stays closed,
        and what runs goes on.

        Raises:
            UsageError: a job closes the lane it runs in, and would wait for itself.
        """
        if asyncio.current_task() in self._tasks:
            raise UsageError("a job cannot close its own lane, which waits for it: close it from outside the lane")
        self._closed = True
        while not drain and (job := self._queue.pop() or self._behind.pop()) is not None:
            self._drop(job, "the lane was closed")
        self._fill()
        await self._empty.wait()

    def _withdraw(self, job: _Job[Any]) -> bool:
        """Cancels a job that queues; returns False for any other."""
        if job.place is None or not job.queue.remove(job.place):
            return False
        self._drop(job, "the job was withdrawn")
        self._fill()
        return True

    def _take(
        self, call: Callable[[], Awaitable[T]], user: str, priority: int, name: str, *, background: bool = False
    ) -> _Job[T]:
        self._admit(user, background=background)
        queue = self._behind if background else self._queue
        job = _Job(call, name, queue, background=background)
        job.place = queue.push(job, user, priority)
        self._empty.clear()
        self._fill()
        return job

    def _admit(self, user: str, *, background: bool) -> None:
        if self._closed:
            raise UsageError(f"the lane is closed and takes no job of user {user!r}: submit to one that is open")
        if self._running < self._width and (not background or self._in_background < self._for_background):
            return
        if self._max and len(self._queue) + len(self._behind) >= self._max:
            raise LaneFull(
                f"{self._max} jobs wait in the lane, as many as may: submit that of user {user!r} when some have run"
            )
        if self._max_per_user and (self._queue.count_of(user) + self._behind.count_of(user) >= self._max_per_user):
            raise LaneFull(
                f"{self._max_per_user} jobs of user {user!r} wait in the lane, as many as may: withdraw some, or "
                "submit another when some have run"
            )

    def _fill(self) -> None:
        """Starts what there is room for: to be called in the same step as whatever makes room, or fills the queue."""
        while self._running < self._width and (job := self._next()) is not None:
            self._running += 1
            self._in_background += job.background
            task = job.start(self._clock.monotonic())
            self._tasks[task] = job
            task.add_done_callback(self._ended)
        if not self._running and not self._queue and not self._behind:
            self._empty.set()

    @property
    def _for_background(self) -> int:
        """How many may run in the background: all but a quarter, and the one place there is."""
        return self._width - (-(-self._width // 4) if self._width > 1 else 0)

    def _next(self) -> _Job[Any] | None:
        """Takes out what runs next; what waits in the background may have to wait on, with room to spare."""
        if (job := self._queue.pop()) is not None or self._in_background >= self._for_background:
            return job
        return self._behind.pop()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        job = self._tasks.pop(task)
        self._running -= 1
        self._in_background -= job.background
        self._record.ran(job.end(task), job.began)
        self._fill()

    def _drop(self, job: _Job[Any], why: str) -> None:
        self._record.withdrawn()
        job.drop(why)

    def _stop(self, job: _Job[Any]) -> None:
        if not self._withdraw(job) and job.task is not None:
            job.task.cancel()


class _Job(Generic[T]):
    """A job on its way through a lane."""

    __slots__ = ("_call", "_context", "_name", "background", "began", "over", "place", "queue", "state", "task")

    def __init__(
        self, call: Callable[[], Awaitable[T]], name: str, queue: FairQueue[_Job[Any]], *, background: bool = False
    ) -> None:
        self.queue = queue
        self.background = background
        self._call: Callable[[], Awaitable[T]] | None = call
        self._context = copy_context()  # it is started from where another job ended, whose context is not its own
        self._name = name
        self.state: TicketState = "queued"
        self.over: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.place: Place[_Job[Any]] | None = None
        self.task: asyncio.Task[T] | None = None
        self.began = 0.0

    @property
    def position(self) -> int:
        return 0 if self.place is None else self.queue.position(self.place)

    def start(self, now: float) -> asyncio.Task[T]:
        self.place = None
        self.state = "running"
        self.began = now
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._run(), name=self._name or None, context=self._context)
        return self.task

    def drop(self, why: str) -> None:
        self.place = self._call = None
        self.state = "cancelled"
        self.over.cancel(why)

    def end(self, task: asyncio.Task[T]) -> Ending:
        """Ends it the way its task did, and returns which that is."""
        self.task = self._call = None
        if task.cancelled():
            self.over.cancel("the job was cancelled while it ran")
            self.state = "cancelled"
        elif (error := task.exception()) is not None:
            self.over.set_exception(error)
            self.state = "failed"
        else:
            self.over.set_result(task.result())
            self.state = "finished"
        return self.state

    async def _run(self) -> T:
        call, self._call = self._call, None
        return await cast("Callable[[], Awaitable[T]]", call)()


def _check(what: str, number: int) -> int:
    if number < 0:
        raise UsageError(f"{what} is {number!r}: give 0 or more")
    return number
