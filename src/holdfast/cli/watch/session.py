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
from holdfast.cli.listing import state_of
from holdfast.cli.watch.rows import Rows
from holdfast.engine.events import CODEC, InputReceived, Rewound
from holdfast.engine.state import Run as OpenRun
from holdfast.errors import HoldfastError, UsageError
from holdfast.flow.ids import new_key
from holdfast.journal.port import Head
from holdfast.journal.reading import Follower, read_events
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.runtime.speaking import Receipt
from holdfast.types import Delta, Event, stream_id

__all__ = ("Watched",)


@final
class Watched:
    """One session of a store."""

    def __init__(self, runtime: Runtime, session: str) -> None:
        self.runtime = runtime
        self.session = session
        self.events: list[Event] = []
        self.rows = Rows()
        self.figures = Figures()
        self.head: Head | None = None
        """How the session stood when it was last looked at."""
        self.trouble: HoldfastError | None = None
        """Why this process cannot go on with the run it took up."""
        self.sent: dict[str, str] = {}
        """What was said here and is not in the log yet, by its key."""
        self._stream = stream_id("local", session)
        self._answered: set[str] = set()
        self._lost = ""
        """Key of the run that this process cannot go on with."""

    async def load(self) -> None:
        """Reads what happened so far."""
        self.events = [event async for event in read_events(self.runtime.journal, self._stream, CODEC)]
        self.rows, self.figures = Rows(self.events), Figures(self.events)
        await self.look()

    async def look(self) -> None:
        """Looks at who drives the session and whether it has unread mail."""
        self.head = await self.runtime.journal.head(self._stream)

    async def follow(self) -> AsyncGenerator[Event | Delta]:
        """Yields what comes after what is known, for ever; each event is known when it is given out."""
        while True:
            run = self.figures.run
            elsewhere = run is None or run.key == self._lost
            items = self._rest() if run is None or elsewhere else self._run_events(run)
            try:
                async with aclosing(items):
                    async for item in items:
                        if isinstance(item, Event):
                            if item.seq <= self.figures.state.seq:
                                continue
                            self._learn(item)
                        yield item
                        now = self.figures.run
                        if elsewhere and now is not None and now.key != self._lost:
                            break
            except HoldfastError as error:
                if run is None or elsewhere:
                    raise
                self.trouble, self._lost = error, run.key

    async def _run_events(self, run: OpenRun) -> AsyncGenerator[Event | Delta]:
        begin, known = run.setup.input - 1, self.figures.state.seq
        async for item in self.runtime.run(self.session, run.key, after=begin).events(after=known):
            yield item

    async def _rest(self) -> AsyncGenerator[Event | Delta]:
        follower = Follower(self.runtime.journal, self._stream, CODEC, lambda _: None, after=self.figures.state.seq)
        try:
            while True:
                for item in await follower.next():
                    yield item
        finally:
            follower.close()

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
        return "running" if self.head is None else state_of(self.head)

    @property
    def unheard(self) -> bool:
        """Whether something was said to it a while ago and no process took it up."""
        head = self.head
        if head is None or not head.unread or state_of(head) == "running":
            return False
        return head.updated_at < time.time_ns() // 1000 - 1_500_000

    @property
    def questions(self) -> list[Question]:
        """The calls that wait for a person's word and have none from here yet."""
        return [each for each in self.figures.questions if each.token not in self._answered]

    # ---- speaking -------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """The open run.

        Raises:
            UsageError: there is none to speak to.
        """
        run = self.figures.run
        if run is None:
            raise UsageError(
                f'no run is open in this session: give it a prompt with holdfast run --session {self.session} "…"'
            )
        return self.runtime.run(self.session, run.key)

    async def say(self, words: str, *, later: bool = False) -> Receipt:
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

    async def _give(self, question: Question, answer: Awaitable[Receipt]) -> None:
        self._answered.add(question.token)
        try:
            await answer
        except HoldfastError:
            self._answered.discard(question.token)
            raise

    async def go_on(self) -> None:
        """Takes the open run up in this process.

        Raises:
            HoldfastError: another process drives it, or this one cannot.
        """
        if self.figures.run is None:
            raise UsageError("no run is open in this session, so there is nothing to go on with")
        self._lost, self.trouble = "", None
        await self.runtime.resume(self.session)

    async def rewind(self, to: int) -> None:
        """Takes the session and its files back to an event.

        Raises:
            UsageError: a run is open in it.
        """
        if self.figures.run is not None:
            raise UsageError("a run is open in this session: let it end, or abort it with Ctrl-X, and rewind then")
        await self.runtime.rewind(self.session, to=to)
