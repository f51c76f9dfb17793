"""Sessions that want to be driven here, and wait until there is a place.

A session in line holds nothing: no task, no lease, no state. It lies in the store as whoever left it there has left it,
with its mail, so that a kill loses nothing and another process that has room may take it up first. What is wanted of it
without delay, to end it, is done out of turn: see `sharing.py`.

Places are shared by `flow.lane`: users are served in turn, and priority orders one user's sessions. A session keeps its
place while it is driven and gives it up when it parks, so who waits for somebody else's answer, a child's or a
person's, is in nobody's way. A tool that itself waits for a run of the same runtime is: it keeps its place meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import final

import msgspec

from holdfast.engine.decide import opens
from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.engine.letters import Prompt, Setup
from holdfast.engine.state import State
from holdfast.errors import HoldfastError, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import is_alive
from holdfast.flow.lane import Lane, Ticket
from holdfast.journal.port import Head, Journal, Letter, Mail, Posted
from holdfast.journal.reading import read_events
from holdfast.journal.stores.heads import claimed, is_free
from holdfast.types import StreamId, WorkerId, tenant_of

__all__ = ("HIGHEST", "NOBODYS", "Line", "Load", "Turn", "Whose", "checked", "key_of", "whose", "with_more")

Whose = tuple[str, int, bool]
"""For which user a session is driven, with which priority, and whether in the background."""
NOBODYS: Whose = ("user", 0, False)
"""Of a session that says nothing of it."""
HIGHEST = 1000
"""The highest priority; the lowest is as far below zero."""
_ENDING = frozenset(("abort", "exit"))

_OPENING = frozenset(("prompt", "proceed"))
"""Letters that open a run."""
_prompt = msgspec.json.Decoder(Prompt)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a process does for its sessions at one moment."""

    at_once: int | None
    """How many sessions it drives at once at most; None for any number."""
    driven: int
    """Sessions it drives."""
    parked: int
    """Sessions it has driven that wait for mail, or for a time."""
    queued: int = 0
    """Sessions that wait for a place."""
    queued_by_user: dict[str, int] = {}
    """Those of each user who has any, whoever is served next first; one of another tenant is `tenant/user`."""


def checked(priority: int) -> int:
    """Returns a priority that somebody gave.

    Raises:
        UsageError: it is none.
    """
    if type(priority) is not int or not -HIGHEST <= priority <= HIGHEST:
        raise UsageError(f"{priority!r} is no priority: give a whole number from {-HIGHEST} to {HIGHEST}")
    return priority


def with_more(
    setup: Setup, user: str | None, priority: int, background: bool, origin: Mapping[str, str] | None
) -> Setup:
    """Returns how a run is set up of which more is said: for whom, how urgent it is, and where it comes from.

    Raises:
        UsageError: the priority is none.
    """
    if not (priority or background or origin or user is not None):
        return setup  # as of most
    return msgspec.structs.replace(
        setup,
        user=user or setup.user,
        priority=checked(priority),
        background=background,
        origin=dict(origin or {}),
    )


def whose(setup: Setup) -> Whose:
    """Returns for whom a run with that setup is driven."""
    return setup.user or "user", setup.priority, setup.background


def key_of(state: State, unread: Sequence[Mail]) -> str | None:
    """Returns the key of the open run, or of the one that is about to open, or of the last one."""
    if state.run is not None:
        return state.run.key
    waiting = [state.keys[seq] for seq, received in state.queue.items() if opens(state, received)]
    waiting += [mail.key for mail in unread if mail.kind in _OPENING]
    return waiting[0] if waiting else state.last.key if state.last else None


def _whose(state: State, mail: Sequence[Mail]) -> Whose:
    """Returns for whom a session would be driven."""
    run = state.run or state.last
    setups = [run.setup.setup] if run is not None else []
    setups += [each.setup for each in state.queue.values() if each.setup is not None]
    setups += [found for each in mail if each.kind in _OPENING and (found := _setup(each)) is not None]
    return whose(setups[0]) if setups else NOBODYS


def _setup(mail: Mail) -> Setup | None:
    try:
        return _prompt.decode(mail.body).setup
    except msgspec.MsgspecError:
        return None  # a letter nobody can read


@final
class Turn:
    """A session in line."""

    __slots__ = ("entered", "glance", "hinted", "stop_listening", "stream", "ticket", "whose")

    def __init__(self, stream: StreamId, whose: Whose) -> None:
        self.stream = stream
        self.whose = whose
        self.ticket: Ticket[None] | None = None
        self.entered: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """The key of the run it was taken up with, once it is; cancelled when it leaves the line."""
        self.stop_listening: Callable[[], None] | None = None
        self.glance: asyncio.Task[None] | None = None
        self.hinted = False
        """Whether mail may have come since the glance that is under way began."""

    @property
    def queued(self) -> bool:
        """Whether it waits for a place."""
        return self.ticket is not None and self.ticket.state == "queued"

    def end(self) -> None:
        """Lets go of what listens."""
        if self.stop_listening is not None:
            self.stop_listening()
            self.stop_listening = None


@final
class Line:
    """Shares a number of places among the sessions of one process."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        worker: WorkerId,
        width: int,
        enter: Callable[[StreamId], Awaitable[tuple[str | None, asyncio.Task[None] | None]]],
        failed: Callable[[StreamId, HoldfastError], None],
        hurry: Callable[[StreamId], None],
    ) -> None:
        """`enter` claims a session and returns what drives it; `failed` hears why one could not be entered; `hurry`
        has one do what needs no place.

        Raises:
            UsageError: the width is negative.
        """
        self._journal = journal
        self._clock = clock
        self._worker = worker
        self._lane = Lane(clock, width)
        self._enter = enter
        self._failed = failed
        self._hurry = hurry
        self._turns: dict[StreamId, Turn] = {}
        self._jobs: set[asyncio.Task[object]] = set()
        self._closed = False

    def __contains__(self, stream: StreamId) -> bool:
        """Whether a session waits for a place, or is just being entered."""
        return stream in self._turns

    @property
    def crowded(self) -> bool:
        """Whether anybody waits for a place."""
        return any(turn.queued for turn in self._turns.values())

    async def take(self, stream: StreamId) -> str | None:
        """Has a session driven, at once where there is a place; returns the key of its run, as `key_of` does.

        Raises:
            LeaseHeld: its owner is, or may be, alive.
            HoldfastError: it was entered at once, and that failed, or the runtime was closed meanwhile.
        """
        head = await self._journal.head(stream) or Head(stream=stream)
        if not self._free(head):
            claimed(head, self._worker, 0, None, self._clock.now())  # says who holds it
        state = replay([event async for event in read_events(self._journal, stream, CODEC)])
        mail = await self._journal.mail(stream, head.inbox_taken)
        turn = self.join(stream, _whose(state, mail))
        if turn.queued or turn.entered.cancelled():
            return key_of(state, mail)
        try:
            return await asyncio.shield(turn.entered)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not turn.entered.cancelled() or (caller is not None and caller.cancelling()):
                raise
            gone = f"the runtime was closed before session {stream!r} was loaded: resume it again"
            raise UsageError(gone) from None

    async def post(self, stream: StreamId, letter: Letter, *, if_idle: bool, new: bool) -> Posted:
        """Posts a prompt, and has its session wait for a place if nobody drives it; `new` is what the journal means."""
        posted = await self._journal.post(stream, letter, if_idle=if_idle, new=new)
        if posted.n:
            setup = _prompt.decode(letter.body).setup
            await self.queue(stream, NOBODYS if setup is None else whose(setup))
        return posted

    async def queue(self, stream: StreamId, whose: Whose) -> bool:
        """Puts a session in line; returns False when somebody drives it already."""
        free = self._free(await self._journal.head(stream) or Head(stream=stream))
        if free:
            self.join(stream, whose)
        return free

    def _free(self, head: Head) -> bool:
        return is_free(head, self._clock.now()) or (head.owner is not None and not is_alive(head.owner))

    def join(self, stream: StreamId, whose: Whose) -> Turn:
        """Puts a session in line, once."""
        if (turn := self._turns.get(stream)) is not None:
            return turn
        turn = Turn(stream, whose)
        if self._closed:
            turn.entered.cancel()
            return turn
        self._turns[stream] = turn
        user, priority, background = whose
        if (tenant := tenant_of(stream)) != "local":
            user = f"{tenant}/{user}"  # another tenant's of the same name is somebody else
        turn.ticket = self._lane.submit(partial(self._drive, turn), user=user, priority=priority, background=background)
        if turn.queued:
            turn.stop_listening = self._journal.listen(stream, partial(self._hinted, turn), mail=True)
            self._hinted(turn)  # mail may have come while nobody listened
        return turn

    def hurry(self, stream: StreamId) -> bool:
        """Has a session that waits do now what needs no place; returns False for one that does not wait."""
        turn = self._turns.get(stream)
        if turn is None or turn.ticket is None or not turn.ticket.cancel():
            return False
        self._leave(turn)
        self._hurry(stream)
        return True

    def resize(self, width: int) -> None:
        """Lets so many be driven at once from now on; those that are driven above that go on until they park.

        Raises:
            UsageError: the width is negative.
        """
        self._lane.resize(width)

    def load(self, driven: int, parked: int) -> Load:
        """Returns how the places are taken, where so many are driven and so many parked."""
        stats = self._lane.stats()
        return Load(
            at_once=stats.width,
            driven=driven,
            parked=parked,
            queued=stats.queued,
            queued_by_user=stats.queued_by_user,
        )

    async def close(self) -> None:
        """Takes nobody in any more; what waits goes on waiting in the store."""
        self._closed = True
        self._lane.resize(0)
        glances = [turn.glance for turn in self._turns.values() if turn.glance is not None]
        for turn in list(self._turns.values()):
            if turn.ticket is not None and turn.ticket.cancel():
                self._leave(turn)
        for task in (*self._jobs, *glances):
            task.cancel()
        await asyncio.gather(*self._jobs, *glances, return_exceptions=True)
        await self._lane.close()

    async def _drive(self, turn: Turn) -> None:
        """Has a place: enters the session, and keeps the place as long as it is driven."""
        job = asyncio.current_task()
        assert job is not None
        self._jobs.add(job)
        turn.end()
        try:
            key, task = await self._enter(turn.stream)
        except HoldfastError as error:
            self._leave(turn, error)
        except BaseException:
            self._leave(turn)
            raise
        else:
            if not turn.entered.done():
                turn.entered.set_result(key)
            self._leave(turn)
            if task is not None:
                await asyncio.wait((task,))
        finally:
            self._jobs.discard(job)

    def _leave(self, turn: Turn, error: HoldfastError | None = None) -> None:
        turn.end()
        self._turns.pop(turn.stream, None)
        if error is not None and not turn.entered.done():
            turn.entered.set_exception(error)
            turn.entered.exception()  # nobody may be waiting
        turn.entered.cancel()
        if error is not None:
            self._failed(turn.stream, error)

    def _hinted(self, turn: Turn) -> None:
        turn.hinted = True
        if turn.glance is None and turn.queued and not self._closed:
            turn.glance = asyncio.create_task(self._glance(turn))

    async def _glance(self, turn: Turn) -> None:
        """Looks whether somebody wants a session that waits to end."""
        try:
            while turn.hinted and turn.queued:
                turn.hinted = False
                head = await self._journal.head(turn.stream)
                unread = await self._journal.mail(turn.stream, head.inbox_taken) if head is not None else []
                if any(mail.kind in _ENDING for mail in unread):
                    self.hurry(turn.stream)
        except HoldfastError:
            pass  # the store refuses: it is found when its turn comes
        finally:
            turn.glance = None
