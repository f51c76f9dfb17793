"""A session that is watched: what happened, what is happening, and every way for a person to speak to it.

It follows the log, whoever drives the session, and writes nothing by itself. While an open run is driven in this
process its words come as they are said; of any other run they come when they are durable.

Not here: anything that draws.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import final

from holdfast.cli.chat.figures import Figures, Question
from holdfast.cli.reaching.port import Said, Sessions, Spoken, Stand
from holdfast.cli.watch.rows import Rows
from holdfast.engine.events import InputReceived, Rewound
from holdfast.engine.state import Run as OpenRun
from holdfast.errors import HoldfastError, SessionExited, UsageError
from holdfast.flow.ids import new_key
from holdfast.types import Delta, Event

__all__ = ("Watched",)


@final
class Watched:
    """One session of a place."""

    def __init__(self, sessions: Sessions, session: str) -> None:
        self.sessions = sessions
        self.session = session
        self.events: list[Event] = []
        self.rows = Rows()
        self.figures = Figures()
        self.stand: Stand | None = None
        """How the session stood when it was last looked at."""
        self.trouble: HoldfastError | None = None
        """Why this process cannot go on with the run it took up."""
        self.sent: dict[str, str] = {}
        """What was said here and is not in the log yet, by its key."""
        self._answered: set[str] = set()
        self._lost = ""
        """Key of the run that this process cannot go on with."""

    async def load(self) -> None:
        """Reads what happened so far."""
        self.events = [event async for event in self.sessions.events(self.session)]
        self.rows, self.figures = Rows(self.events), Figures(self.events)
        await self.look()

    async def look(self) -> None:
        """Looks at who drives the session and whether it has unread mail."""
        self.stand = await self.sessions.stand(self.session)

    async def follow(self) -> AsyncGenerator[Event | Delta]:
        """Yields what comes after what is known, for ever; each event is known when it is given out."""
        while True:
            own, known = self._own, self.figures.state.seq
            items = self.sessions.follow(self.session, after=known) if own is None else self._run_events(own)
            try:
                async with aclosing(items):
                    async for item in items:
                        if isinstance(item, Event):
                            if item.seq <= self.figures.state.seq:
                                continue
                            self._learn(item)
                        yield item
                        if own is None and self._own is not None:
                            break
            except HoldfastError as error:
                if own is None:
                    raise
                self.trouble, self._lost = error, own.key

    @property
    def _own(self) -> OpenRun | None:
        """The open run, where this process may drive it and so has its words first."""
        run = self.figures.run
        return run if run is not None and run.key != self._lost and self.sessions.drives else None

    async def _run_events(self, run: OpenRun) -> AsyncGenerator[Event | Delta]:
        begin, known = run.setup.input - 1, self.figures.state.seq
        async for item in self.sessions.run(self.session, run.key, after=begin).events(after=known):
            yield item

    def _learn(self, event: Event) -> None:
        self.events.append(event)
        self.rows.add(event)
        if isinstance(event.data, InputReceived):
            self.sent.pop(event.cause, None)
        if isinstance(event.data, Rewound):
            self.figures = Figures(self.events)
        else:
            self.figures.see(event)

    # ---- how it stands --------------------------------------------------------------------------------------

    @property
    def standing(self) -> str:
        """`idle`, `running`, `waiting` (for a person, mail or its time) or `open`: nobody drives it."""
        if self.figures.run is None:
            return "idle"
        if self.questions or self.figures.waits_for:
            return "waiting"
        return "running" if self.stand is None or self.stand.state in ("idle", "ended") else self.stand.state

    @property
    def unheard(self) -> bool:
        """Whether something was said to it a while ago and no process took it up."""
        stand = self.stand
        if stand is None or not stand.unread or stand.state == "running":
            return False
        return stand.updated_at < time.time_ns() // 1000 - 1_500_000

    @property
    def questions(self) -> list[Question]:
        """The calls that wait for a person's word and have none from here yet."""
        return [each for each in self.figures.questions if each.token not in self._answered]

    # ---- speaking -------------------------------------------------------------------------------------------

    @property
    def run(self) -> Spoken:
        """The open run.

        Raises:
            UsageError: there is none to speak to.
        """
        run = self.figures.run
        if self.figures.state.ended:
            raise SessionExited("this session has ended for good: go on in a copy of it (f on an event forks)")
        if run is None:
            raise UsageError(
                f'no run is open in this session: give it a prompt with holdfast run --session {self.session} "…"'
            )
        return self.sessions.run(self.session, run.key, after=run.setup.input - 1)

    async def say(self, words: str, *, later: bool = False) -> Said:
        """Says something to the open run, now or when it would be over."""
        run, key = self.run, new_key()
        self.sent[key] = words
        try:
            return await (run.follow_up if later else run.steer)(words, key=key)
        except HoldfastError:
            del self.sent[key]
            raise

    async def answer(self, question: Question, answer: str, reason: str = "") -> None:
        """Answers a question: `once`, `always` or `no`."""
        if answer == "no":
            await self._give(question, self.run.deny(question.token, reason))
        else:
            await self._give(question, self.run.approve(question.token, always=answer == "always"))

    async def reply(self, question: Question, answers: Sequence[Sequence[str]]) -> None:
        """Answers the questions of a call."""
        await self._give(question, self.run.reply(question.token, answers))

    async def request_changes(self, question: Question, feedback: str) -> None:
        """Has the answer that is under review done again."""
        await self._give(question, self.run.request_changes(question.token, feedback))

    async def _give(self, question: Question, answer: Awaitable[Said]) -> None:
        self._answered.add(question.token)
        try:
            await answer
        except HoldfastError:
            self._answered.discard(question.token)
            raise

    async def go_on(self) -> str:
        """Has the open run driven, and returns in words by whom.

        Raises:
            HoldfastError: another process drives it, or this one cannot.
        """
        if self.figures.run is None:
            raise UsageError("no run is open in this session, so there is nothing to go on with")
        self._lost, self.trouble = "", None
        return await self.sessions.go_on(self.session)

    async def rewind(self, to: int) -> None:
        """Takes the session and its files back to an event.

        Raises:
            UsageError: a run is open in it.
        """
        if self.figures.run is not None:
            raise UsageError("a run is open in this session: let it end, or abort it with Ctrl-X, and rewind then")
        await self.sessions.rewind(self.session, to=to)
