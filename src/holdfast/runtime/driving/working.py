"""Sessions in the hands of this process: claimed, driven, kept alive, and let go.

One task drives each running session. One heartbeat renews all leases. A session that waits holds no task and no
lease; a hint or its deadline brings it back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import final

from holdfast.engine.attempt import Attempt, Bind, Reach
from holdfast.engine.events import CODEC
from holdfast.engine.loop import drive
from holdfast.engine.state import State
from holdfast.errors import Fenced, HoldfastError, LeaseHeld, StorageError, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import worker_name
from holdfast.flow.soon import Soon
from holdfast.journal.owning import FLUSH_SECONDS, Pen
from holdfast.journal.port import Claim, Head, Journal, Letter, Posted
from holdfast.journal.tail import Tail
from holdfast.ledger.port import Ledger
from holdfast.runtime.driving.renewing import Heartbeat
from holdfast.runtime.lanes.claiming import Claims
from holdfast.runtime.lanes.keeping import Kept, left_alone
from holdfast.runtime.lanes.line import NOBODYS, Line, Load, Whose, key_of, whose
from holdfast.runtime.lanes.living import Live
from holdfast.runtime.lanes.parking import Parking
from holdfast.runtime.lanes.sharing import Sharing, without_place
from holdfast.runtime.lanes.tallying import Tally
from holdfast.types import StreamId, stream_id, tenant_of

__all__ = ("Worker",)

_AGAIN = 1.0
"""Seconds until a session that could not be woken is looked at again."""
_MOMENT = 2.0
"""Seconds that sessions have to end, which were told to before this process stops driving."""
_FAILURES = 1024
"""Sessions of which it is kept why they could not be gone on with."""
_CLOSED = "the runtime was closed before session {!r} was loaded: resume it again"


def _ignore(_stream: StreamId, _state: State) -> None:
    """Does nothing."""


def _stopped(live: Live) -> UsageError:
    stream = live.attempt.pen.stream
    return UsageError(f"the runtime was closed while session {stream!r} was running: resume it to go on")


@final
class Worker:
    """The sessions of one process."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        bind: Bind,
        forget: Callable[[StreamId], None],
        ledger: Ledger,
        at_once: int | None = None,
    ) -> None:
        self.name = worker_name()
        self.claims = Claims(journal, self.name, self._holds)
        self._journal = journal
        self._clock = clock
        self._bind = bind
        self._reach = Reach(self._send, ledger)
        self._forget = forget
        self._soon = Soon(clock, FLUSH_SECONDS)
        self._live: dict[StreamId, Live] = {}
        self._parked = Parking(journal, clock, self._wake)
        self._kept = Kept(journal)
        self._failed: dict[StreamId, Tail] = {}
        """Sessions this process could not go on with, for readers that come too late to have seen it."""
        self._wakes: set[asyncio.Task[None]] = set()
        self._taking: dict[StreamId, asyncio.Task[str | None]] = {}
        """Sessions on their way into our hands, so that whoever wants the same one gets the same."""
        self._beginning: dict[StreamId, asyncio.Event] = {}
        """Sessions that are ours and not driven yet; set when they are, or are given up."""
        self.let_go: Callable[[StreamId, State], None] = _ignore
        """Is told of each session that is driven here no longer, and how it was left."""
        self.tally: Tally | None = None
        """Counts what becomes of sessions that are taken up from now on; None where nobody asks."""
        self._heartbeat = Heartbeat(journal, clock, self._live)
        self._closed: Tail | None = None
        """Of every session, once this is closed."""
        self._draining = False
        """Whether nothing new begins."""
        self.line: Line | None = None
        """Where sessions wait for a place; None where all are driven at once."""
        if at_once is not None:
            self.line = Line(journal, clock, self.name, at_once, self._enter, self._not_entered, self._hurry)

    def work(self) -> Load:
        """Returns how much there is to do."""
        driven = len(self._live)
        if self.line is None:
            return Load(at_once=None, driven=driven, parked=len(self._parked))
        return self.line.load(driven, sum(stream not in self.line for stream in self._parked))

    def tail(self, stream: StreamId) -> Tail | None:
        """Returns the live tail of a session this process drives; a closed one where it cannot, and why."""
        live = self._live.get(stream)
        return live.attempt.tail if live else self._failed.get(stream) or self._closed

    def state(self, stream: StreamId) -> State | None:
        """Returns the state of a session this process drives, and goes on with."""
        live = self._live.get(stream)
        return live.attempt.state if live and not live.failed else None

    @property
    def closed(self) -> bool:
        """Whether nothing is driven here any more."""
        return self._closed is not None

    def _holds(self, stream: StreamId) -> bool:
        return stream in self._live or stream in self._beginning

    def has(self, stream: StreamId) -> bool:
        """Whether a session is driven here, or waits for a place."""
        return self.state(stream) is not None or (self.line is not None and stream in self.line)

    async def take(self, stream: StreamId) -> str | None:
        """Drives a session and returns the key of its open run, else of the one about to open, else of the last one.

        One this process drives already, or is about to, is left as it is. A caller that is cancelled leaves the
        session driven.

        Raises:
            LeaseHeld, NotOwnable, Corrupt: as `claim` and `load` say.
            UsageError: the runtime was closed meanwhile.
        """
        if (state := self.state(stream)) is not None:
            return key_of(state, self._live[stream].attempt.pen.first_mail)
        if (beginning := self._beginning.get(stream)) is not None and stream not in self._taking:
            await beginning.wait()
            return await self.take(stream)
        if self._closed:
            raise UsageError(_CLOSED.format(stream))
        if self.line is not None:
            return await self.line.take(stream)
        task = self._taking.get(stream) or self._take_in_a_task(stream, orphan=False)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not task.cancelled() or (caller is not None and caller.cancelling()):
                raise
            raise UsageError(_CLOSED.format(stream)) from None

    def _take_in_a_task(self, stream: StreamId, *, orphan: bool) -> asyncio.Task[str | None]:
        task = self._taking[stream] = asyncio.create_task(self._take(stream, orphan=orphan))
        task.add_done_callback(lambda _: self._taking.pop(stream))
        return task

    async def _take(self, stream: StreamId, *, orphan: bool, hurried: bool = False) -> str | None:
        claim = await self.claims.claim(stream, orphan=orphan)
        # An end needs nothing to act through.
        aborted = any(mail.kind in ("abort", "exit") for mail in claim.mail)
        state = await self.begin(claim, check=not aborted and not hurried, hurried=hurried)
        return key_of(state, claim.mail)  # at once: soon the state is another one

    async def _enter(self, stream: StreamId) -> tuple[str | None, asyncio.Task[None] | None]:
        """Begins to drive a session that has a place now."""
        key = await self._take(stream, orphan=False)
        live = self._live.get(stream)
        return key, live.task if live is not None else None

    def _not_entered(self, stream: StreamId, error: HoldfastError) -> None:
        if isinstance(error, LeaseHeld | StorageError) and self._parked.again(stream, _AGAIN):
            return
        if not isinstance(error, LeaseHeld):  # then another process drives it
            self._parked.remove(stream)
            self._fail(stream, error)

    def _hurry(self, stream: StreamId, *, orphan: bool = False) -> None:
        """Has a session do what needs no place, such as to end; for the rest it waits for one."""

        async def hurry() -> None:
            while True:
                try:
                    await self._take(stream, orphan=orphan, hurried=True)
                except StorageError:  # it has left the line for this
                    await self._clock.sleep(_AGAIN)
                except HoldfastError:
                    return  # whoever else drives it sees to it
                else:
                    return

        if not self._closed:
            self._run(hurry())

    def begin_new(self, claim: Claim, *, hurried: bool = False) -> State | None:
        """Starts driving a claimed session that nothing was written of yet; None where its log has to be read."""
        head = claim.head
        return None if head.seq or head.stream in self._live else self._begun(claim, State(), hurried)

    async def begin(self, claim: Claim, *, check: bool = False, hurried: bool = False) -> State:
        """Starts driving a claimed session and returns its state as it was found; gives it up if that fails.

        With `check`, a run that is open is left open where this process has not got what it acts through. One that is
        `hurried` has no place and leaves where it would need one.
        """
        if (new := self.begin_new(claim, hurried=hurried)) is not None:
            return new
        stream = claim.head.stream
        begun = self._beginning[stream] = asyncio.Event()
        try:
            state = await self._kept.load(claim)
            if check and state.run is not None:
                bound = await self._bind(stream, state.run)
                if bound.model is not None:
                    bound.model.check()
            while (stale := self._live.get(stream)) is not None:
                await self._displace(stale, claim)
            if self._closed:
                raise UsageError(_CLOSED.format(stream))
        except BaseException:  # a cancelled caller's, too: nobody else would give it back
            await self.claims.give_up(stream, claim.head.epoch)
            raise
        finally:
            begun.set()
            if self._beginning.get(stream) is begun:
                del self._beginning[stream]
        return self._begun(claim, state, hurried)

    async def _displace(self, stale: Live, claim: Claim) -> None:
        """Ends a driver that gave the session up or slept through the end of its lease, and has not heard of it yet."""
        if stale.attempt.pen.epoch > claim.head.epoch:
            raise Fenced(f"session {claim.head.stream!r} was claimed again before it was loaded: it goes on there")
        stale.fenced = True
        if stale.task is not None:
            stale.task.cancel()
            await asyncio.wait([stale.task])
        self._let_go(stale, None)

    def _begun(self, claim: Claim, state: State, hurried: bool) -> State:
        head = claim.head
        stream = head.stream
        if not self._parked.remove(stream) and state.run is not None and (awaited := state.awaited):
            # Whoever had it may have had these, too.
            self._run(self._look_after([stream_id(tenant_of(stream), each) for each in awaited]))
        if self._failed:
            self._failed.pop(stream, None)
        loop = asyncio.get_running_loop()  # asked for all who need it below: it is a call of the system's
        tail = Tail(stream, head.seq, loop)
        commit = tail.commit if self.tally is None else self.tally.over(tail.commit)
        pen = Pen(self._journal, claim, CODEC, self._clock, commit, self._soon)
        attempt = Attempt(state, pen, tail, self._clock, self._bind, self._reach)
        live = Live(attempt, self._journal.listen(stream, partial(self._hinted, stream), mail=True))
        if self.line is not None:
            live.decide = without_place if hurried else Sharing(lambda: self.line is not None and self.line.crowded)
        if self._draining:
            live.decide = without_place
        self._live[stream] = live
        live.task = attempt.task = loop.create_task(self._drive(live))
        if head.seq:
            self._hinted(stream)  # mail may have come while it was loaded and nobody listened
        self._heartbeat.begin()
        return state

    async def drain(self, seconds: float) -> None:
        """Begins no answer and no call more; returns when no call is under way that may not be made again, or so many
        seconds later. What goes on after a stop by itself is not waited for.
        """
        self._draining = True
        for live in self._live.values():
            live.decide = without_place
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            if not (doing := [live.task for live in self._live.values() if live.task and live.is_doing]):
                return
            await asyncio.wait(doing, timeout=left)

    async def close(self) -> None:
        """Stops driving, without a word in any log: whatever is open stays open."""
        await self._let_end()
        self._closed = Tail(StreamId(""), 0)
        self._closed.close(UsageError("the runtime was closed: open the store again to go on, or to see what happened"))
        for stream in self._parked:
            self._parked.remove(stream)
        if self.line is not None:
            await self.line.close()
        tasks = [task for live in self._live.values() for task in (live.task, live.glance) if task]
        tasks += [self._heartbeat.task] if self._heartbeat.task else []
        tasks += [*self._wakes, *self._taking.values()]
        taking = list(self._taking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in taking:  # one that was cancelled before its first step may be ours
            self.adopt(stream)
        for live in list(self._live.values()):  # a task that was cancelled before its first step did not see to it
            await self._release(live)
            self._let_go(live, _stopped(live))

    async def _let_end(self) -> None:
        """Gives sessions that were told to end a moment to do it: nobody else may come by for long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _MOMENT
        while (left := until - loop.time()) > 0:
            ending = [live.glance or live.task for live in self._live.values() if live.is_ending]
            if not ending:
                return
            await asyncio.wait([task for task in ending if task], timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _drive(self, live: Live) -> None:
        attempt = live.attempt
        error: BaseException | None = None
        left: Whose | None = None
        try:
            if not await drive(attempt, live.step):
                left = None if self._draining else whose(attempt.run.setup.setup)
                await self._release(live)
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
        if left is not None and self.line is not None:
            self.line.join(attempt.pen.stream, left)

    def _let_go(self, live: Live, error: BaseException | None) -> None:
        """Forgets a session that is driven no longer, and ends its readers; a second call does nothing."""
        attempt = live.attempt
        head = attempt.pen.head
        stream = head.stream
        if self._live.get(stream) is not live:
            return
        del self._live[stream]
        live.stop_listening()
        self.let_go(stream, attempt.state)
        if error is not None:
            self._fail(stream, error)
        elif not live.fenced:
            if head.state in ("idle", "ended"):
                self._forget(stream)
            elif head.state == "waiting" and not self._closed:
                self._park(attempt, head)
        attempt.tail.close(error)

    def _fail(self, stream: StreamId, error: BaseException) -> None:
        if len(self._failed) >= _FAILURES and stream not in self._failed:
            oldest = next(iter(self._failed))
            del self._failed[oldest]
            self._forget(oldest)
        self._failed[stream] = Tail(stream, 0)
        self._failed[stream].close(error.with_traceback(None))  # a traceback would keep the whole session

    async def _release(self, live: Live) -> None:
        live.failed = True
        await self.claims.give_up(live.attempt.pen.stream, live.attempt.pen.epoch)

    def _hinted(self, stream: StreamId) -> None:
        live = self._live.get(stream)
        if live is None:
            if stream in self._parked:
                self._wake(stream)  # the hint was on its way when it was parked
            return
        live.hinted = live.attempt.pen.hinted = True
        if live.glance is None:
            live.glance = asyncio.create_task(self._glance(live))

    async def _glance(self, live: Live) -> None:
        try:
            while live.hinted:
                live.hinted = False
                await live.attempt.glance()
        except HoldfastError:
            pass  # the store refuses: the loop meets that by itself
        finally:
            live.glance = None

    def _park(self, attempt: Attempt, head: Head) -> None:
        self._kept.keep(head, attempt.state)
        run = attempt.state.run
        self._parked.add(head, NOBODYS if run is None else whose(run.setup.setup))
        if attempt.pen.hinted:
            self._wake(head.stream)  # somebody spoke after it was parked, and before this process knew that it was

    def _wake(self, stream: StreamId) -> None:
        if not self._closed:
            self._run(self._rouse(stream))

    async def _send(self, stream: StreamId, letter: Letter) -> Posted:
        """Puts a letter from one of our sessions into another one's inbox, and takes that one up if nobody has it."""
        if await self._journal.head(stream) is None:
            return Posted("ended")  # it was deleted; a letter would bring its name back
        posted = await self._journal.post(stream, letter)
        if posted.status == "full" and self.line is not None:
            self.line.hurry(stream)  # it has to read, and would wait for a place that whoever writes to it may have
        if posted.status in ("accepted", "full") and stream not in self._live and stream not in self._parked:
            self._run(self._take_up(stream))
        return posted

    async def _take_up(self, stream: StreamId) -> None:
        # Whoever else has heard of the letter may be quicker, and have what it acts through where we have not.
        with contextlib.suppress(HoldfastError):
            await self.take(stream)

    async def _look_after(self, streams: Iterable[StreamId]) -> None:
        """Takes up what one of our sessions waits for, where nobody else has it."""
        with contextlib.suppress(HoldfastError):  # the store refuses: a sweep finds them
            async for stream in left_alone(self._journal, streams):
                if stream not in self._live and stream not in self._parked:
                    await self._take_up(stream)

    def adopt(self, stream: StreamId) -> None:
        """Takes up a session that may be ours without anybody driving it: whoever began it was cancelled. Once this is
        closed it is given back, so that whoever opens the store next need not wait for its lease.
        """
        if self._closed:
            self._run(self._disown(stream))
        elif self.line is not None:
            self._hurry(stream, orphan=True)
        elif stream not in self._taking:
            task = self._take_in_a_task(stream, orphan=True)
            task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody waits to hear of it

    async def _disown(self, stream: StreamId) -> None:
        with contextlib.suppress(HoldfastError):  # somebody else has it, or the store is gone
            claim = await self.claims.claim(stream, orphan=True)
            await self.claims.give_up(stream, claim.head.epoch)

    async def settle(self) -> None:
        """Returns when what was given back after the end is given back."""
        while self._wakes:
            await asyncio.wait(self._wakes)

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def _rouse(self, stream: StreamId) -> None:
        """Takes a parked session up again if there is a reason to."""
        try:
            head = await self._journal.head(stream)
            if stream in self._live or stream not in self._parked:
                return
            if head is None:  # it was deleted
                self._parked.remove(stream)
                self._forget(stream)
                return
            due = head.wake_at is not None and head.wake_at <= self._clock.now()
            if head.unread or due or head.state == "running":
                await self._take_again(stream)
            elif head.state in ("idle", "ended"):  # another process went on with it to its end
                self._parked.remove(stream)
                self._forget(stream)
            elif head.wake_at is not None:  # too early: the wall clock is not the one timers run by
                self._parked.again(stream, (head.wake_at - self._clock.now()) / 1e6)
        except (LeaseHeld, StorageError):  # another worker was quicker, for now at least
            self._parked.again(stream, _AGAIN)
        except HoldfastError as error:
            self._parked.remove(stream)
            self._fail(stream, error)

    async def _take_again(self, stream: StreamId) -> None:
        if self.line is None:
            await self.take(stream)
        elif not await self.line.queue(stream, self._parked.whose(stream)):
            self._parked.again(stream, _AGAIN)
