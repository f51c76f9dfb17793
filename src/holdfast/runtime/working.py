"""Sessions in the hands of this process: claimed, driven, kept alive, and let go.

One task drives each running session. One heartbeat renews all leases. A session that waits holds no task and no
lease; a hint or its deadline brings it back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
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
from holdfast.journal.port import Claim, Journal, Lease, Mail
from holdfast.journal.reading import read_events
from holdfast.journal.tail import Tail
from holdfast.types import StreamId

__all__ = ("LEASE_SECONDS", "Worker")

LEASE_SECONDS = 30
"""How long a session stays ours without a sign of life."""
_AGAIN = 1.0
"""Seconds until a session that could not be woken is looked at again."""


def _nothing() -> None:
    """Does nothing."""


@dataclass(slots=True, eq=False)
class _Live:
    """A session this process drives."""

    attempt: Attempt
    stop_listening: Callable[[], None]
    task: asyncio.Task[None] | None = None
    fenced: bool = False
    failed: bool = False
    """Whether it cannot go on, and is about to be let go."""
    glance: asyncio.Task[None] | None = None
    hinted: bool = False
    """Whether mail may have come since the glance that is under way began."""

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


def _stopped(live: _Live) -> UsageError:
    stream = live.attempt.pen.stream
    return UsageError(f"the runtime was closed while session {stream!r} was running: resume it to go on")


def _key(state: State, unread: Sequence[Mail]) -> str | None:
    """Returns the key of the open run, or of the one that is about to open, or of the last one."""
    if state.run is not None:
        return state.run.key
    waiting = [*state.keys.values(), *(mail.key for mail in unread if mail.kind == "prompt")]
    return waiting[0] if waiting else state.last.key if state.last else None


@final
class Worker:
    """The sessions of one process."""

    def __init__(self, journal: Journal, clock: Clock, bind: Bind, forget: Callable[[StreamId], None]) -> None:
        self.name = worker_name()
        self.lease = Lease(self.name, LEASE_SECONDS * 1_000_000)
        self._journal = journal
        self._clock = clock
        self._bind = bind
        self._forget = forget
        self._soon = Soon(clock, FLUSH_SECONDS)
        self._live: dict[StreamId, _Live] = {}
        self._parked: dict[StreamId, _Parked] = {}
        self._failed: dict[StreamId, Tail] = {}
        """Sessions this process could not go on with, for readers that come too late to have seen it."""
        self._wakes: set[asyncio.Task[None]] = set()
        self._taking: dict[StreamId, asyncio.Task[str | None]] = {}
        """Sessions on their way into our hands, so that whoever wants the same one gets the same."""
        self._beginning: dict[StreamId, asyncio.Event] = {}
        """Sessions that are ours and not driven yet; set when they are, or are given up."""
        self._heartbeat: asyncio.Task[None] | None = None
        self._closed: Tail | None = None
        """Of every session, once this is closed."""

    def tail(self, stream: StreamId) -> Tail | None:
        """Returns the live tail of a session this process drives; a closed one where it cannot, and why."""
        live = self._live.get(stream)
        return live.attempt.tail if live else self._failed.get(stream) or self._closed

    def state(self, stream: StreamId) -> State | None:
        """Returns the state of a session this process drives, and goes on with."""
        live = self._live.get(stream)
        return live.attempt.state if live and not live.failed else None

    async def take(self, stream: StreamId) -> str | None:
        """Drives a session and returns the key of its open run, else of the one about to open, else of the last one.

        One this process drives already, or is about to, is left as it is. A caller that is cancelled leaves the
        session driven.

        Raises:
            LeaseHeld, NotOwnable, Corrupt: as `claim` and `load` say.
            UsageError: the runtime was closed meanwhile.
        """
        if (state := self.state(stream)) is not None:
            return _key(state, self._live[stream].attempt.pen.first_mail)
        if (beginning := self._beginning.get(stream)) is not None and stream not in self._taking:
            await beginning.wait()
            return await self.take(stream)
        closed = f"the runtime was closed before session {stream!r} was loaded: resume it again"
        if self._closed:
            raise UsageError(closed)
        task = self._taking.get(stream) or self._take_in_a_task(stream, orphan=False)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not task.cancelled() or (caller is not None and caller.cancelling()):
                raise
            raise UsageError(closed) from None

    def _take_in_a_task(self, stream: StreamId, *, orphan: bool) -> asyncio.Task[str | None]:
        task = self._taking[stream] = asyncio.create_task(self._take(stream, orphan=orphan))
        task.add_done_callback(lambda _: self._taking.pop(stream))
        return task

    async def _take(self, stream: StreamId, *, orphan: bool) -> str | None:
        claim = await self.claim(stream, orphan=orphan)
        aborted = any(mail.kind == "abort" for mail in claim.mail)  # an end needs nothing to act through
        return _key(await self.begin(claim, check=not aborted), claim.mail)  # at once: soon the state is another one

    async def claim(self, stream: StreamId, *, orphan: bool = False) -> Claim:
        """Claims a session, also from an owner that is known to be dead; an `orphan` also from this process, as long as
        nobody here drives it.

        A caller that is cancelled owns nothing.

        Raises:
            LeaseHeld: its owner is, or may be, alive.
        """
        claiming = asyncio.ensure_future(self._claim(stream, orphan=orphan))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.shield(self._unclaim(claiming))
            raise

    async def _claim(self, stream: StreamId, *, orphan: bool) -> Claim:
        try:
            return await self._journal.claim(stream, self.name, LEASE_SECONDS * 1_000_000)
        except LeaseHeld as held:
            ours = held.owner == self.name
            held_here = stream in self._live or stream in self._beginning
            if is_alive(held.owner) and not (ours and orphan and not held_here):
                raise
            return await self._journal.claim(stream, self.name, LEASE_SECONDS * 1_000_000, over=held.epoch)

    async def _unclaim(self, claiming: asyncio.Future[Claim]) -> None:
        with contextlib.suppress(HoldfastError):  # then there is nothing to give back
            claim = await claiming
            await self._give_up(claim.head.stream, claim.head.epoch)

    async def inherit(self, stream: StreamId) -> Claim | None:
        """Claims a session whose owner is known to be dead; None when it is, or may be, in good hands."""
        head = None if stream in self._live else await self._journal.head(stream)
        if head is None or head.owner is None or is_alive(head.owner):
            return None
        try:
            return await self._journal.claim(stream, self.name, LEASE_SECONDS * 1_000_000, over=head.epoch)
        except LeaseHeld:
            return None  # another heir was quicker

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

    async def begin(self, claim: Claim, *, check: bool = False) -> State:
        """Starts driving a claimed session and returns its state as it was found; gives it up if that fails.

        With `check`, a run that is open is left open where this process has not got what it acts through.
        """
        stream = claim.head.stream
        if claim.head.seq == 0 and stream not in self._live:
            return self._begun(claim, State())
        begun = self._beginning[stream] = asyncio.Event()
        try:
            state = await self.load(claim)
            if check and state.run is not None:
                (await self._bind(stream, state.run)).model.check()
            while (stale := self._live.get(stream)) is not None:
                await self._displace(stale, claim)
        except BaseException:  # a cancelled caller's, too: nobody else would give it back
            await self._give_up(stream, claim.head.epoch)
            raise
        finally:
            begun.set()
            if self._beginning.get(stream) is begun:
                del self._beginning[stream]
        return self._begun(claim, state)

    async def _displace(self, stale: _Live, claim: Claim) -> None:
        """Ends a driver that gave the session up or slept through the end of its lease, and has not heard of it yet."""
        if stale.attempt.pen.epoch > claim.head.epoch:
            raise Fenced(f"session {claim.head.stream!r} was claimed again before it was loaded: it goes on there")
        stale.fenced = True
        if stale.task is not None:
            stale.task.cancel()
            await asyncio.wait([stale.task])
        self._let_go(stale, None)

    def _begun(self, claim: Claim, state: State) -> State:
        stream = claim.head.stream
        self._unpark(stream)
        self._failed.pop(stream, None)
        tail = Tail(stream, claim.head.seq)
        pen = Pen(self._journal, claim, CODEC, self._clock, tail.commit, self._soon)
        attempt = Attempt(state, pen, tail, self._clock, self._bind)
        live = _Live(attempt, _nothing)
        live.stop_listening = self._journal.listen(stream, partial(self._hinted, live), mail=True)
        self._live[stream] = live
        live.task = asyncio.create_task(self._drive(live))
        if claim.head.seq:
            self._hinted(live)  # mail may have come while it was loaded and nobody listened
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat())
        return state

    async def close(self) -> None:
        """Stops driving, without a word in any log: whatever is open stays open."""
        self._closed = Tail(StreamId(""), 0)
        self._closed.close(UsageError("the runtime was closed: open the store again to go on, or to see what happened"))
        for stream in list(self._parked):
            self._unpark(stream)
        tasks = [task for live in self._live.values() for task in (live.task, live.glance) if task]
        tasks += [self._heartbeat] if self._heartbeat else []
        tasks += [*self._wakes, *self._taking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for live in list(self._live.values()):  # a task that was cancelled before its first step did not see to it
            await self._release(live)
            self._let_go(live, _stopped(live))

    async def _drive(self, live: _Live) -> None:
        attempt = live.attempt
        error: BaseException | None = None
        try:
            await drive(attempt)
        except Fenced:
            pass  # somebody else goes on with it, and readers follow the log from here
        except asyncio.CancelledError:
            if live.fenced:
                return
            error = _stopped(live)
            with contextlib.suppress(HoldfastError):  # what is finished is written down, if it can be
                await asyncio.shield(attempt.pen.sync())
            await self._release(live)
        except Exception as caught:  # noqa: BLE001 - boundary: a run; whoever waits for it must hear of it
            error = caught
            await self._release(live)
        finally:
            self._let_go(live, error)

    def _let_go(self, live: _Live, error: BaseException | None) -> None:
        """Forgets a session that is driven no longer, and ends its readers; a second call does nothing."""
        attempt = live.attempt
        stream = attempt.pen.stream
        live.end()
        if self._live.get(stream) is not live:
            return
        del self._live[stream]
        if error is not None:
            self._fail(stream, error)
        elif not live.fenced:
            if attempt.pen.head.state == "idle":
                self._forget(stream)
            self._park(attempt)
        attempt.tail.close(error)

    def _fail(self, stream: StreamId, error: BaseException) -> None:
        self._failed[stream] = Tail(stream, 0)
        self._failed[stream].close(error.with_traceback(None))  # a traceback would keep the whole session

    async def _release(self, live: _Live) -> None:
        live.failed = True
        await self._give_up(live.attempt.pen.stream, live.attempt.pen.epoch)

    async def _give_up(self, stream: StreamId, epoch: int) -> None:
        with contextlib.suppress(StorageError):  # then the lease runs out by itself
            await asyncio.shield(self._journal.release(stream, epoch))

    def _hinted(self, live: _Live) -> None:
        live.hinted = live.attempt.pen.hinted = True
        if live.task is not None and live.glance is None:
            live.glance = asyncio.create_task(self._glance(live))

    async def _glance(self, live: _Live) -> None:
        try:
            while live.hinted:
                live.hinted = False
                await live.attempt.glance()
        except HoldfastError:
            pass  # the store refuses: the loop meets that by itself
        finally:
            live.glance = None

    def _park(self, attempt: Attempt) -> None:
        head = attempt.pen.head
        if self._closed or head.state != "waiting":
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
        if not self._closed:
            self._run(self._rouse(stream))

    def adopt(self, stream: StreamId) -> None:
        """Takes up a session that may be ours without anybody driving it: whoever began it was cancelled."""
        if not self._closed and stream not in self._taking:
            task = self._take_in_a_task(stream, orphan=True)
            task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody waits to hear of it

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def _rouse(self, stream: StreamId) -> None:
        """Takes a parked session up again if there is a reason to."""
        try:
            head = await self._journal.head(stream)
            if head is None or stream in self._live or stream not in self._parked:
                return
            due = head.wake_at is not None and head.wake_at <= self._clock.now()
            if head.unread or due or head.state == "running":
                await self.take(stream)
            elif head.wake_at is not None:  # too early: the wall clock is not the one timers run by
                delay = (head.wake_at - self._clock.now()) / 1e6
                self._parked[stream].timer = self._clock.call_later(delay, lambda: self._wake(stream))
            elif head.state == "idle":
                self._unpark(stream)
        except (LeaseHeld, StorageError):  # another worker was quicker, for now at least
            if (parked := self._parked.get(stream)) is not None:
                parked.timer = self._clock.call_later(_AGAIN, lambda: self._wake(stream))
        except HoldfastError as error:
            self._unpark(stream)
            self._fail(stream, error)

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(LEASE_SECONDS / 3)
            leases = {stream: live.attempt.pen.epoch for stream, live in self._live.items()}
            if not leases:
                continue
            try:
                lost = await self._journal.renew(list(leases.items()), LEASE_SECONDS * 1_000_000)
            except StorageError:
                continue  # the leases hold a while longer, and a lost one is fenced at its next write
            for stream in lost:
                live = self._live.get(stream)
                # Meanwhile it may have been claimed anew: that lease was not asked about.
                if live and live.task and live.attempt.pen.epoch == leases[stream]:
                    live.fenced = True
                    live.task.cancel()
