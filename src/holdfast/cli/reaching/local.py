"""The sessions of a store, through the runtime of this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, final

import msgspec

from holdfast.cli.completion.finding import known_session
from holdfast.cli.listing import Listed, list_runs
from holdfast.cli.reaching.port import Offered, Sessions, Spoken, Stand, Terms
from holdfast.cli.screen import store_option
from holdfast.engine.events import CODEC
from holdfast.engine.letters import Prompt
from holdfast.journal.reading import Follower, read_events
from holdfast.models.counting import TokenCount
from holdfast.runtime.agent import Agent
from holdfast.runtime.delivering.outgoing import Undelivered
from holdfast.runtime.history.reports import Difference
from holdfast.runtime.history.waiting import Waiting
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.runtime.sessions.listing import standing_of
from holdfast.types import Delta, Event, Mode, SessionId, StreamId, UserPart, session_of, stream_id

__all__ = ("LocalSessions",)


@final
class LocalSessions(Sessions):
    """Sessions that this process reads from their store, and drives."""

    drives = True

    def __init__(self, runtime: Runtime, url: str = "memory:") -> None:
        self.runtime = runtime
        self.place = url
        self.option = store_option(url)
        self.on_notice: Callable[[str], None] = lambda _: None

    @property
    def away(self) -> str:
        """Returns nothing: it is here."""
        return ""

    async def named(self, session: str) -> SessionId:
        """Returns the session of that name, else the only one whose name begins so."""
        return session_of((await known_session(self.runtime.journal, session, self.place))[0])

    async def stand(self, session: str) -> Stand | None:
        """Returns how a session stands."""
        head = await self.runtime.journal.head(_stream(session))
        if head is None:
            return None
        return Stand(state=standing_of(head), seq=head.seq, unread=head.unread, updated_at=head.updated_at)

    def events(self, session: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Event]:
        """Yields what happened in a session."""
        return read_events(self.runtime.journal, _stream(session), CODEC, after=after, until=until)

    async def follow(self, session: str, *, after: int = 0) -> AsyncGenerator[Event | Delta]:
        """Yields what happens in a session."""
        follower = Follower(self.runtime.journal, _stream(session), CODEC, lambda _: None, after=after)
        try:
            while True:
                for item in await follower.next():
                    yield item
        finally:
            follower.close()

    def run(self, session: str, key: str, *, after: int = 0) -> Run[Any]:
        """Returns a run by the key of its prompt."""
        return self.runtime.run(session, key, after=after)

    async def take_up(self, session: str) -> Run[Any]:
        """Drives what is open in a session."""
        return await self.runtime.resume(session)

    async def go_on(self, session: str) -> str:
        """Drives the open run."""
        await self.runtime.resume(session)
        return "this process goes on with the run; leaving leaves it open"

    async def start(self, terms: Terms, parts: Sequence[UserPart], *, session: str, after: int = 0) -> Spoken:
        """Gives a session a prompt."""
        del after  # the runtime knows
        agent = _coder(terms, terms.model)
        return await self.runtime.start(agent, parts, session=session, workspace=terms.workspace, mode=terms.mode)

    async def held(self, session: str) -> list[Mode]:
        """Returns the modes of prompts in the session's inbox."""
        head = await self.runtime.journal.head(_stream(session))
        mail = [] if head is None else await self.runtime.journal.mail(head.stream, head.inbox_taken)
        setups = [msgspec.json.decode(each.body, type=Prompt).setup for each in mail if each.kind == "prompt"]
        return [each.mode for each in setups if each is not None]

    async def fork(self, session: str, *, at: int | None = None, name: str | None = None) -> SessionId:
        """Returns a new session that shares the log of another one."""
        return await self.runtime.fork(session, at=at, name=name)

    async def rewind(self, session: str, *, to: int) -> int:
        """Takes everything after an event out of a session."""
        return await self.runtime.rewind(session, to=to)

    async def changes(self, session: str, *, since: int = 0, until: int | None = None) -> Difference:
        """Returns what became of a session's files."""
        return await self.runtime.changes(session, since=since, until=until)

    async def listed(self, limit: int) -> list[Listed]:
        """Returns the newest runs."""
        return await list_runs(self.runtime.journal, limit)

    async def names(self, limit: int) -> list[str]:
        """Returns names of sessions."""
        heads = await self.runtime.journal.heads("local", after="", limit=limit)
        heads.sort(key=lambda head: head.updated_at, reverse=True)
        return [session_of(head.stream) for head in heads]

    async def waiting(self, session: str | None = None) -> list[Waiting]:
        """Returns what people are asked."""
        return await self.runtime.waiting(session)

    async def undelivered(self) -> list[Undelivered]:
        """Returns results that their targets have not got."""
        return list(await self.runtime.undelivered())

    async def agents(self) -> list[Offered]:
        """Returns nobody: a prompt names a model."""
        return []

    async def tools(self, terms: Terms) -> list[Offered]:
        """Returns the tools of the agent behind `holdfast run`."""
        return [Offered(name=tool.spec.name, about=tool.spec.description) for tool in _coder(terms, terms.model).tools]

    async def count_tokens(
        self, terms: Terms, model: str, parts: Sequence[UserPart], *, session: str, ask: bool
    ) -> TokenCount:
        """Returns the input tokens of the next request."""
        return await self.runtime.count_tokens(_coder(terms, model), parts, session=session, ask=ask)

    def estimate(self, model: str, size: int) -> int:
        """Returns about how many tokens so many bytes are."""
        return self.runtime.estimator.estimate(model, size)


def _coder(terms: Terms, model: str) -> Agent:
    from holdfast.cli.run import coder  # most who look at sessions start none

    return coder(model, terms.limits, asks=True, thinking=terms.thinking, roles=terms.roles)


def _stream(session: str) -> StreamId:
    return stream_id("local", session)
