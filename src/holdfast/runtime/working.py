"""Sessions in the hands of this process: claimed, driven, kept alive, and let go.

One task drives each running session. One heartbeat renews all leases. A session that waits holds no task and no
lease; a hint or its deadline brings it back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from holdfast.engine.attempt import Attempt, Bind
from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.engine.loop import drive
from holdfast.engine.state import State
from holdfast.errors import Fenced, HoldfastError, LeaseHeld, NotOwnable, StorageError, UsageError
from holdfast.flow.clock import Clock, Timer
from holdfast.flow.ids import is_alive, worker_name
from holdfast.flow.soon import Soon
from holdfast.journal.owning import FLUSH_SECONDS, Pen
from holdfast.journal.port import Claim, Journal, Lease
from holdfast.journal.reading import read_events
from holdfast.journal.tail import Tail
from holdfast.types import StreamId

__all__ = ("LEASE_SECONDS", "Worker")

LEASE_SECONDS = 30
"""How long a session stays ours without a sign of life."""


def _nothing() -> None:
    """Does nothing."""


@dataclass(slots=True, eq=False)
class _Live:
    """A session this process drives."""

    attempt: Attempt
    stop_listening: Callable[[], None]
    task: asyncio.Task[None] | None = None
    fenced: bool = False
    glance: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Lets go of what refers back to it, so that nothing is left to the garbage collector."""
        self.stop_listening()
        self.stop_listening = _nothing
        self.task = None
        self.attempt.end()


@dataclass(slots=True, eq=False)
class _Parked:
    """A session of ours that waits for mail or its time."""

    stop_listening: Callable[[], None]
    timer: Timer | None


@final
class Worker:
    """The sessions of one process."""

    def __init__(self, journal: Journal, clock: Clock, bind: Bind) -> None:
        self.name = worker_name()
        self.lease = Lease(self.name, LEASE_SECONDS * 1_000_000)
        self._journal = journal
        self._clock = clock
        self._bind = bind
        self._soon = Soon(clock, FLUSH_SECONDS)
        self._live: dict[StreamId, _Live] = {}
        self._parked: dict[StreamId, _Parked] = {}
        self._wakes: set[asyncio.Task[None]] = set()
        self._heartbeat: asyncio.Task[None] | None = None
        self._closing = False

    def tail(self, stream: StreamId) -> Tail | None:
        """Returns the live tail of a session this process drives."""
        live = self._live.get(stream)
        return live.attempt.tail if live else None

    def state(self, stream: StreamId) -> State | None:
        """Returns the state of a session this process drives."""
        live = self._live.get(stream)
        return live.attempt.state if live else None

    async def claim(self, stream: StreamId) -> Claim:
        """Claims a session, also from an owner that is known to be dead.

        Raises:
            LeaseHeld: its owner is, or may be, alive.
        """
        try:
            return await self._journal.claim(stream, self.name, LEASE_SECONDS * 1_000_000)
        except LeaseHeld as held:
            if held.owner == self.name or is_alive(held.owner):
                raise
            return await self._journal.claim(stream, self.name, LEASE_SECONDS * 1_000_000, over=held.epoch)

    async def load(self, claim: Claim) -> State:
        """Returns the state of a claimed session.

        Raises:
            NotOwnable: the log holds what this version must not continue.
            Corrupt: a record cannot be read.
        """
        head = claim.head
        events = [event async for event in read_events(self._journal, head.stream, CODEC)]
        for event in events:
            if event.must_understand and not CODEC.knows(event.type):
                raise NotOwnable(
                    f"event {event.seq} of session {head.stream!r} is a {event.type!r} (version {event.v}), which this "
                    "version of Holdfast must understand and does not: upgrade Holdfast, or look at it with `runs show`"
                )
        return replay(events)

    async def begin(self, claim: Claim) -> State:
        """Starts driving a claimed session and returns its state as it was found."""
        stream = claim.head.stream
        try:
            state = State() if claim.head.seq == 0 else await self.load(claim)
        except HoldfastError:
            await self._journal.release(stream, claim.head.epoch)
            raise
        self._unpark(stream)
        tail = Tail(stream, claim.head.seq)
        pen = Pen(self._journal, claim, CODEC, self._clock, tail.commit, self._soon)
        attempt = Attempt(state, pen, tail, self._clock, self._bind)
        live = _Live(attempt, _nothing)
        live.stop_listening = self._journal.listen(stream, lambda: self._hinted(live), mail=True)
        self._live[stream] = live
        live.task = asyncio.create_task(self._drive(live))
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat())
        return state

    async def close(self) -> None:
        """Stops driving, without a word in any log: whatever is open stays open."""
        self._closing = True
        for stream in list(self._parked):
            self._unpark(stream)
        tasks = [live.task for live in self._live.values() if live.task]
        tasks += [self._heartbeat] if self._heartbeat else []
        tasks += self._wakes
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drive(self, live: _Live) -> None:
        attempt = live.attempt
        stream, tail, error = attempt.pen.stream, attempt.tail, None
        try:
            await drive(attempt)
        except Fenced:
            pass  # somebody else goes on with it, and readers follow the log from here
        except asyncio.CancelledError:
            if live.fenced:
                return
            error = UsageError(f"the runtime was closed while session {stream!r} was running: resume it to go on")
            await self._release(attempt)
        except HoldfastError as caught:
            error = caught
            await self._release(attempt)
        finally:
            live.end()
            del self._live[stream]
            if error is None:
                self._park(attempt)
            tail.close(error)

    async def _release(self, attempt: Attempt) -> None:
        with contextlib.suppress(StorageError):  # then the lease runs out by itself
            await asyncio.shield(self._journal.release(attempt.pen.stream, attempt.pen.epoch))

    def _hinted(self, live: _Live) -> None:
        if live.task is not None and live.glance is None:
            live.glance = asyncio.create_task(self._glance(live))

    async def _glance(self, live: _Live) -> None:
        try:
            await live.attempt.glance()
        except HoldfastError:
            pass  # the store refuses: the loop meets that by itself
        finally:
            live.glance = None

    def _park(self, attempt: Attempt) -> None:
        head = attempt.pen.head
        if self._closing or head.state != "waiting":
            return
        timer = None
        if head.wake_at is not None:
            delay = max(0.0, (head.wake_at - self._clock.now()) / 1e6)
            timer = self._clock.call_later(delay, lambda: self._wake(head.stream))
        stop = self._journal.listen(head.stream, lambda: self._wake(head.stream), mail=True)
        self._parked[head.stream] = _Parked(stop, timer)

    def _unpark(self, stream: StreamId) -> None:
        parked = self._parked.pop(stream, None)
        if parked is not None:
            parked.stop_listening()
            if parked.timer is not None:
                parked.timer.cancel()

    def _wake(self, stream: StreamId) -> None:
        if not self._closing:
            task = asyncio.create_task(self._rouse(stream))
            self._wakes.add(task)
            task.add_done_callback(self._wakes.discard)

    async def _rouse(self, stream: StreamId) -> None:
        """Takes a parked session up again if there is a reason to."""
        head = await self._journal.head(stream)
        if head is None or stream in self._live or stream not in self._parked:
            return
        due = head.wake_at is not None and head.wake_at <= self._clock.now()
        if head.unread or due or head.state == "running":
            with contextlib.suppress(LeaseHeld):  # then another worker was quicker
                await self.begin(await self.claim(stream))

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(LEASE_SECONDS / 3)
            leases = [(stream, live.attempt.pen.epoch) for stream, live in self._live.items()]
            if not leases:
                continue
            try:
                lost = await self._journal.renew(leases, LEASE_SECONDS * 1_000_000)
            except StorageError:
                continue  # the leases hold a while longer, and a lost one is fenced at its next write
            for stream in lost:
                live = self._live.get(stream)
                if live and live.task:
                    live.fenced = True
                    live.task.cancel()
