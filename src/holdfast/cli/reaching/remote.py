"""The sessions behind a server, as whoever has this key sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, final

import msgspec

from holdfast.cli.listing import Listed
from holdfast.cli.reaching.calling import Caller, path_of
from holdfast.cli.reaching.port import Offered, Sessions, Spoken, Stand, Terms
from holdfast.cli.reaching.rows import PAGES, Row, newest, row_of
from holdfast.cli.reaching.running import RemoteRun, parts_of
from holdfast.cli.reaching.streaming import following
from holdfast.engine.events import CODEC
from holdfast.errors import UnknownSession, UsageError
from holdfast.errors.hinting import hint
from holdfast.flow.ids import new_key
from holdfast.models.counting import TokenCount
from holdfast.models.estimating import TokenEstimator
from holdfast.runtime.delivering.outgoing import Undelivered
from holdfast.runtime.history.reports import Difference
from holdfast.runtime.history.waiting import Waiting
from holdfast.runtime.sessions.listing import Listed as Entry
from holdfast.runtime.sessions.listing import Page
from holdfast.runtime.sessions.viewing import SessionView
from holdfast.types import Change, Delta, Event, Limits, Mode, SessionId, UserPart

__all__ = ("RemoteSessions",)

_EVENTS = 500
"""Events of one page."""
_TOLD = 6
"""Sessions that are named of those whose names begin alike."""
_PATIENCE = 10.0
"""Seconds in which a run that is about to open does."""
_BOUNDS = ("steps", "tool_calls", "tokens", "dollars", "seconds")
"""How far a client may say that a run goes."""


class _Events(msgspec.Struct, frozen=True):
    events: tuple[msgspec.Raw, ...]
    after: int
    more: bool


class _Made(msgspec.Struct, frozen=True):
    session: SessionId


class _Prompted(msgspec.Struct, frozen=True):
    session: str
    key: str


class _Taken(msgspec.Struct, frozen=True):
    seq: int


class _Diff(msgspec.Struct, frozen=True):
    changes: tuple[Change, ...]
    text: str


class _Waits(msgspec.Struct, frozen=True):
    waits: tuple[Waiting, ...]


class _Deliveries(msgspec.Struct, frozen=True):
    deliveries: tuple[Undelivered, ...]


class _Agent(msgspec.Struct, frozen=True):
    name: str
    model: str


class _Agents(msgspec.Struct, frozen=True):
    agents: tuple[_Agent, ...]


class _Tool(msgspec.Struct, frozen=True):
    name: str
    description: str
    agents: tuple[str, ...]


class _Tools(msgspec.Struct, frozen=True):
    tools: tuple[_Tool, ...]


@final
class RemoteSessions(Sessions):
    """Sessions of one tenant of a server, which drives them."""

    drives = False

    def __init__(self, caller: Caller, option: str = "") -> None:
        """`option` is what commands have to be given to reach it again, where the environment does not say it."""
        self.place = caller.url
        self.option = option
        self._caller = caller
        self._estimator = TokenEstimator()
        self.on_notice: Callable[[str], None] = lambda _: None
        caller.on_notice = self._noticed

    @property
    def away(self) -> str:
        """Why nothing comes from there."""
        return self._caller.away

    # ---- looking ----------------------------------------------------------------------------------------------

    async def named(self, session: str) -> SessionId:
        """Returns the session of that name, else the only one whose name begins so."""
        found = await self._beginning(session, _TOLD + 1)
        if any(each.session == session for each in found):
            return SessionId(session)
        if len(found) == 1:
            return found[0].session
        where = f"there is no session {session!r} at {self.place}"
        if found:
            several = ", ".join(repr(each.session) for each in found[:_TOLD])
            more = " and more" if len(found) > _TOLD else ""
            raise UnknownSession(f"{where}; {several}{more} begin so: write more of the name")
        names = [each.session for each in await self._newest(200)]
        meant = hint(session, names, f"`holdfast runs list --server {self.place}` shows what there is")
        raise UnknownSession(f"{where}: {meant}")

    async def stand(self, session: str) -> Stand | None:
        """Returns how a session stands, as lists tell it: that costs the server no look into its log."""
        for each in await self._beginning(session, 1):
            if each.session == session:
                return Stand(state=each.state, seq=each.seq, unread=each.unread > 0, updated_at=each.updated_at)
        return None

    async def events(self, session: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Event]:
        """Yields what happened in a session."""
        while (most := _EVENTS if until is None else min(_EVENTS, until - after)) > 0:
            try:
                query = {"after": after, "limit": most}
                page = await self._caller.get(_Events, path_of("sessions", session, "events"), query)
            except UnknownSession:
                return
            for each in page.events:
                yield CODEC.decode(bytes(each))
            if not page.more:
                return
            after = page.after

    async def follow(self, session: str, *, after: int = 0) -> AsyncGenerator[Event | Delta]:
        """Yields what happens in a session."""
        async with aclosing(following(self._caller, session, after=after)) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    async def changes(self, session: str, *, since: int = 0, until: int | None = None) -> Difference:
        """Returns what became of a session's files."""
        path = path_of("sessions", session, "diff")
        found = await self._caller.get(_Diff, path, {"since": since, "until": until})
        return Difference(found.changes, found.text)

    async def listed(self, limit: int) -> list[Listed]:
        """Returns the last run of each of the newest sessions."""
        entries = [each for each in await self._newest(limit) if each.last is not None or each.parent]
        gate = asyncio.Semaphore(8)

        async def row(entry: Entry) -> Listed:
            async with gate:
                return row_of(entry, await self._row(entry))

        rows = await asyncio.gather(*[row(each) for each in entries])
        return sorted(rows, key=lambda each: each.started, reverse=True)

    async def names(self, limit: int) -> list[str]:
        """Returns names of sessions."""
        return [each.session for each in await self._newest(limit)]

    async def waiting(self, session: str | None = None) -> list[Waiting]:
        """Returns what people are asked."""
        path = path_of("waits") if session is None else path_of("sessions", session, "waits")
        try:
            return list((await self._caller.get(_Waits, path)).waits)
        except UnknownSession:
            return []

    async def undelivered(self) -> list[Undelivered]:
        """Returns results that their targets have not got."""
        return list((await self._caller.get(_Deliveries, path_of("deliveries"))).deliveries)

    async def agents(self) -> list[Offered]:
        """Returns the server's agents that may be asked."""
        found = await self._caller.get(_Agents, path_of("agents"))
        return [Offered(name=each.name, about=each.model or "pipeline") for each in found.agents]

    async def tools(self, terms: Terms) -> list[Offered]:
        """Returns the tools of an agent of the server."""
        found = await self._caller.get(_Tools, path_of("tools"))
        return [Offered(name=each.name, about=each.description) for each in found.tools if terms.agent in each.agents]

    # ---- doing ------------------------------------------------------------------------------------------------

    def run(self, session: str, key: str, *, after: int = 0) -> RemoteRun:
        """Returns a run by the key of its prompt."""
        return RemoteRun(self._caller, session, key, after=after)

    async def take_up(self, session: str) -> RemoteRun:
        """Returns the run that is open, or about to be; the last one where none is."""
        view = await self._view(session)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while _comes(view):
                    await self._changed(session, view.seq)
                    view = await self._view(session)
        run = view.run or view.last
        if run is None:
            raise UnknownSession(f"session {session!r} has no run yet: give it a prompt")
        return RemoteRun(self._caller, session, run.key, started=run.run)

    async def go_on(self, session: str) -> str:
        """Has the server drive the open run; a session that was paused goes on, too."""
        await self.run(session, "").resume()
        return "the server goes on with the run"

    async def start(self, terms: Terms, parts: Sequence[UserPart], *, session: str, after: int = 0) -> Spoken:
        """Gives a session a prompt."""
        key = new_key()
        limits = _bounds(terms.limits)
        prompt: dict[str, Any] = {**parts_of(parts), "agent": terms.agent, "mode": terms.mode, "key": key}
        if limits:
            prompt["limits"] = limits
        if await self.stand(session) is None:
            body = {"name": session, "prompt": prompt}
            await self._caller.ask("POST", path_of("sessions"), body, again=True)
        else:
            await self._caller.post(_Prompted, path_of("sessions", session, "prompts"), prompt)
        return RemoteRun(self._caller, session, key, after=after)

    async def held(self, session: str) -> list[Mode]:
        """Returns nothing: what lies there the server begins."""
        del session
        return []

    async def fork(self, session: str, *, at: int | None = None, name: str | None = None) -> SessionId:
        """Returns a new session that shares the log of another one."""
        return (await self._caller.post(_Made, path_of("sessions", session, "fork"), {"at": at, "name": name})).session

    async def rewind(self, session: str, *, to: int) -> int:
        """Takes everything after an event out of a session."""
        return (await self._caller.post(_Taken, path_of("sessions", session, "rewind"), {"to": to})).seq

    async def count_tokens(
        self, terms: Terms, model: str, parts: Sequence[UserPart], *, session: str, ask: bool
    ) -> TokenCount:
        """Raises: the server does not say what it would send.

        Raises:
            UsageError: always.
        """
        raise UsageError("a server does not count the next request beforehand: /cost shows what the last one held")

    def estimate(self, model: str, size: int) -> int:
        """Returns about how many tokens so many bytes are."""
        return self._estimator.estimate(model, size)

    # ---- inside -----------------------------------------------------------------------------------------------

    def _noticed(self, words: str) -> None:
        self.on_notice(words)

    async def _view(self, session: str) -> SessionView:
        return await self._caller.get(SessionView, path_of("sessions", session))

    async def _changed(self, session: str, after: int) -> None:
        """Returns when there is an event more."""
        async with aclosing(self.follow(session, after=after)) as items:
            async for item in items:
                if isinstance(item, Event):
                    return

    async def _page(self, after: str, limit: int) -> Page:
        return await self._caller.get(Page, path_of("sessions"), {"after": after, "limit": limit})

    async def _beginning(self, start: str, most: int) -> list[Entry]:
        """Returns the first sessions whose names begin like that, by name."""
        if not (start.isascii() and start):
            return []
        before = f"{start[:-1]}{chr(ord(start[-1]) - 1)}\x7f"  # sorts just before all of them
        page = await self._page(before, most)
        return [each for each in page.sessions if each.session.startswith(start)]

    async def _newest(self, most: int) -> list[Entry]:
        """Returns sessions, those that changed last first. Lists are by name: of very many the first are looked at."""
        found: list[Entry] = []
        after = ""
        for _ in range(PAGES):
            page = await self._page(after, 200)
            found += page.sessions
            if not (after := page.after):
                break
        return newest(found, most)

    async def _row(self, entry: Entry) -> Row:
        """Returns what a list shows of a session's last run beside what the list of the server says."""
        last = entry.last
        if last is None:
            return Row(started=entry.created_at)
        if last.run:
            path = path_of("sessions", entry.session, "events")
            page = await self._caller.get(_Events, path, {"after": last.run - 1, "limit": 1})
            return Row.of_event(CODEC.decode(bytes(page.events[0])))
        return Row.of_view(await self._view(entry.session))


def _comes(view: SessionView) -> bool:
    """Whether no run is open, and one is about to be."""
    return view.run is None and bool(view.unread or view.queued) and not view.paused and view.state != "ended"


def _bounds(limits: Limits) -> dict[str, Any]:
    """Returns how far a run may go; the agent's own bounds hold beside it."""
    return {name: value for name in _BOUNDS if (value := getattr(limits, name)) is not None}
