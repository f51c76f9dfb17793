"""One session, as a talk holds it: what was said in it, the run that is open, and every way to speak to it.

It follows the log and nothing else: what is shown is what was written, whoever drives the session. One task follows
run after run while there is one; in an idle session nothing waits.

Not here: lines, keys and drawing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from holdfast.cli.chat.figures import Figures
from holdfast.cli.reaching.port import Sessions, Spoken, Terms
from holdfast.engine.events import Forked, InputReceived, RunStarted
from holdfast.engine.state import Run as OpenRun
from holdfast.errors import HoldfastError, LeaseHeld, UsageError
from holdfast.flow.ids import new_key, new_session
from holdfast.runtime.speaking import said
from holdfast.types import MODES, Delta, Event, Mode, SessionId, UserPart

__all__ = ("Conversation", "Terms")


@final
class Conversation:
    """A session and the open run in it, if there is one."""

    def __init__(self, sessions: Sessions, terms: Terms) -> None:
        self.sessions = sessions
        self.terms = terms
        self.session = SessionId(new_session())
        self._begun = False
        """Whether some session was opened, so that a new one needs another name."""
        self.home = terms.workspace
        """Where a session works that has no folder yet."""
        self.figures = Figures()
        self.on_event: Callable[[Event | Delta], None] = lambda _: None
        """Told what happens, after the figures know of it."""
        self.on_trouble: Callable[[BaseException], None] = lambda _: None
        """Told why this process cannot go on with the open run."""
        self._run: Spoken | None = None
        self._runs: deque[Spoken] = deque()
        self._watcher: asyncio.Task[None] | None = None
        self._sent: dict[str, InputReceived | None] = {}
        """What was sent and is not in the log yet, by its key."""
        self._agreed = ""
        """The session in which a person let go on what is in a freer mode than the talk."""
        self._posted = 0
        """How often something was sent, so that a look at the mail knows whether it was too early."""

    def now(self) -> int:
        """Returns the time, µs UTC."""
        return time.time_ns() // 1000

    # ---- which session --------------------------------------------------------------------------------------

    async def open(self, session: str | None) -> list[Event]:
        """Goes to a session, or to a new one, and returns what happened there; an open run is not taken up yet."""
        await self.leave()
        self._agreed = ""
        self.session = SessionId(session or (new_session() if self._begun else self.session))
        self._begun = True
        events = await self.events()
        self.figures = Figures(events)
        folder = _folder(events) if self.sessions.drives and not self.terms.pinned else None
        self.terms.pinned = False
        self.terms.workspace = folder if folder is not None and folder.is_dir() else self.home
        return events

    async def events(self) -> list[Event]:
        """Returns everything that happened in the session."""
        return [event async for event in self.sessions.events(self.session)]

    async def take_up(self) -> bool:
        """Goes on with what is open in the session, and returns whether there was something.

        A run that another process drives is followed and not taken from it.

        Raises:
            HoldfastError: this process cannot go on with it, or must not: it is in a freer mode than this talk.
        """
        stand = await self.sessions.stand(self.session)
        if stand is None or stand.state == "idle":
            return False
        if (mode := await self.freer()) is not None:
            if self.figures.run is None or stand.state != "running":
                raise UsageError(_held_back(mode, self.terms.mode))
            self._follow(self._known(self.figures.run))
            return True
        try:
            self._follow(await self.sessions.take_up(self.session))
        except LeaseHeld:
            if self.figures.run is None:
                raise
            self._follow(self._known(self.figures.run))
        return True

    def _known(self, run: OpenRun) -> Spoken:
        return self.sessions.run(self.session, run.key, after=run.setup.input - 1)

    async def freer(self) -> Mode | None:
        """Returns the mode of what is open here, where that is freer than the mode named for this talk; else None.

        What a person agreed to is not held back any more; nor is what somebody else drives, whatever is done here.
        """
        if not self.terms.strict or self.session == self._agreed or not self.sessions.drives:
            return None
        queued = [each.setup for each in self.figures.state.queue.values()]
        run = self.figures.run
        open_one = None if run is None else run.setup.setup
        modes: list[Mode] = [each.mode for each in (open_one, *queued) if each is not None]
        modes += await self.sessions.held(self.session)
        freest = max([MODES.index(mode) for mode in modes], default=0)
        return MODES[freest] if freest > MODES.index(self.terms.mode) else None

    async def agree(self) -> None:
        """Goes on with what is open here, in its own mode."""
        self._agreed = self.session
        await self.take_up()

    async def leave(self) -> None:
        """Stops following; an open run stays as it is."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._watcher = self._run = None
        self._runs.clear()
        self._sent.clear()

    # ---- speaking -------------------------------------------------------------------------------------------

    async def say(self, parts: Sequence[UserPart], *, later: bool = False) -> None:
        """Says something: to the open run, now or when it would be over, or else as a prompt that opens one.

        Raises:
            HoldfastError: it was not accepted; its message says why.
        """
        if self.open_run is None and self._following and self._watcher is not None:
            await asyncio.wait([self._watcher])  # the last run is over, and it is being looked for another
        if self.open_run is None and self.figures.busy:
            await self.take_up()  # this process let go of it, and may be able to go on by now
        if (run := self.open_run) is not None:
            key = new_key()
            self._sent[key] = None  # not shown as queued before it is, and not after the log has it
            try:
                await (run.follow_up if later else run.steer)(parts, key=key)
            except HoldfastError:
                self._sent.pop(key, None)
                raise
            if key in self._sent:
                self._sent[key] = InputReceived("follow_up" if later else "steer", said(parts))
            self._posted += 1
            if not self._following:  # the run ended while that was on its way
                await self.take_up()
            return
        self._follow(await self.sessions.start(self.terms, parts, session=self.session, after=self.figures.state.seq))

    async def abort(self) -> None:
        """Asks the open run to end; one that was held back is taken up for nothing else."""
        if self.open_run is not None:
            await self.open_run.abort("Ctrl-C")
        elif self.figures.run is not None:
            await self._known(self.figures.run).abort("on request")
            await self.agree()

    async def answer(self, token: str, content: str) -> None:
        """Gives a call, or an answer under review, a person's word."""
        await (await self._asking()).answer(token, content)
        self._posted += 1

    async def reply(self, token: str, answers: Sequence[Sequence[str]]) -> None:
        """Answers questions."""
        await (await self._asking()).reply(token, answers)
        self._posted += 1

    async def request_changes(self, token: str, feedback: str) -> None:
        """Has the answer that is under review done again."""
        await (await self._asking()).request_changes(token, feedback)
        self._posted += 1

    async def _asking(self) -> Spoken:
        if self.open_run is None:
            await self.take_up()
        if self.open_run is None:
            raise UsageError("no run waits for an answer any more")
        return self.open_run

    @property
    def open_run(self) -> Spoken | None:
        """The run that is followed and not over."""
        last = self.figures.state.last
        over = self._run is None or (last is not None and last.key == self._run.key)
        return self._run if self._following and not over else None

    @property
    def queued(self) -> list[InputReceived]:
        """What was said and has not joined the conversation yet, oldest first."""
        sent = [each for each in self._sent.values() if each is not None]
        return [*self.figures.queued, *sent] if self.busy else []

    @property
    def busy(self) -> bool:
        """Whether a run is open, or about to be."""
        return self.figures.busy or self.open_run is not None

    @property
    def _following(self) -> bool:
        return self._watcher is not None and not self._watcher.done()

    # ---- following ------------------------------------------------------------------------------------------

    def _follow(self, run: Spoken) -> None:
        self._run = self._run if self._following else run
        self._runs.append(run)
        if not self._following:
            self._watcher = asyncio.create_task(self._watch())
            self._watcher.add_done_callback(self._watched)

    async def _watch(self) -> None:
        while self._runs:
            run = self._runs.popleft()
            last = self.figures.state.last
            if last is None or last.key != run.key:
                self._run = run
                async for event in run.events(after=self.figures.state.seq):
                    self._see(event)
            await self._look_for_more(run)

    def _watched(self, watcher: asyncio.Task[None]) -> None:
        if not watcher.cancelled() and (error := watcher.exception()) is not None:
            self.on_trouble(error)

    async def _look_for_more(self, done: Spoken) -> None:
        """Finds the run that was opened by what came too late for the last one."""
        while not self._runs:
            posted = self._posted
            stand = await self.sessions.stand(self.session)
            if stand is not None and stand.state != "idle":
                if await self.freer() is not None:
                    return
                try:
                    later = await self.sessions.take_up(self.session)
                except LeaseHeld:  # another process sees to it
                    return
                if later.key != done.key:
                    self._runs.append(later)
                    return
            await self._catch_up()
            if posted == self._posted:
                return

    async def _catch_up(self) -> None:
        """Sees what was written while nobody followed."""
        async for event in self.sessions.events(self.session, after=self.figures.state.seq):
            self._see(event)

    def _see(self, event: Event | Delta) -> None:
        if isinstance(event, Event):
            if event.seq <= self.figures.state.seq:
                return
            self.figures.see(event)
            if isinstance(event.data, InputReceived):
                self._sent.pop(event.cause, None)
        self.on_event(event)


def _held_back(mode: Mode, own: Mode) -> str:
    """Returns what a person is told whose talk is stricter than the run that is open."""
    return (
        f"what is open here was started in mode {mode}, and this talk is in mode {own}: it stays as it is until you "
        f"say /abort, which ends it, or /go, which goes on with it in mode {mode}"
    )


def _folder(events: Sequence[Event]) -> Path | None:
    """Returns the folder that belongs to a session; None while it has none."""
    for event in reversed(events):
        match event.data:
            case Forked() as data if data.workspace:
                return Path(data.workspace)
            case RunStarted() as data if data.setup.workspace:
                return Path(data.setup.workspace)
            case _:
                pass
    return None
