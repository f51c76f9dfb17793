"""What a runtime offers of its sessions to whoever looks at them, beside those who started them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from holdfast.engine.events import CODEC
from holdfast.engine.keeping.layers import folder_of
from holdfast.errors import AuthFailed, JournalError, UnknownSession, UsageError
from holdfast.flow.ids import new_session
from holdfast.journal.port import Claim, Journal
from holdfast.journal.reading import Sink, read_events
from holdfast.runtime.binding import Binder
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.driving.working import Worker
from holdfast.runtime.recalling.letters import LastAsked, last_asked
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.runtime.sessions.following import Until, following
from holdfast.runtime.sessions.glancing import Glance, glance_at
from holdfast.runtime.sessions.keeping import Kept, keep, kept
from holdfast.runtime.sessions.listing import Page, Standing, list_sessions
from holdfast.runtime.sessions.viewing import SessionView, view_of
from holdfast.storage.chunks import get_chunked
from holdfast.types import Attachment, Delta, Event, SessionId, StreamId, TenantId, session_of, stream_id

__all__ = ("Looks",)


class Looks:
    """The sessions of a store, as something to look at."""

    journal: Journal
    _tenant: TenantId
    _worker: Worker
    _bindings: Binder
    _sandboxes: Sandboxes
    _claim: Callable[[StreamId], Awaitable[Claim]]

    async def create(self, name: str | None = None) -> SessionId:
        """Makes a session that nothing was said to yet, and returns its name: a random one without.

        Raises:
            UsageError: the name is none, or taken.
        """
        stream = stream_id(self._tenant, name or new_session())
        taken = UsageError(f"there is a session {session_of(stream)!r} already: choose another name")
        if await self.journal.head(stream) is not None:
            raise taken
        try:
            claim = await self._claim(stream)
        except JournalError as held:
            raise taken from held
        await self.journal.release(stream, claim.head.epoch)
        if claim.head.created_at != claim.head.updated_at:  # somebody else made it a moment ago
            raise taken
        return session_of(stream)

    async def sessions(self, *, after: str = "", limit: int = 50, states: Collection[Standing] = ()) -> Page:
        """Returns a page of the sessions by name, those behind the name `after`; of these states, if any are said.

        What a page costs does not depend on how long the logs are.
        """
        return await list_sessions(self.journal, self._tenant, after=after, limit=limit, states=states)

    async def view(self, session: str) -> SessionView:
        """Returns how a session stands: what it does, what it waits for, what it came to and cost. Reads its log.

        Raises:
            UnknownSession: there is no such session.
        """
        return await view_of(self.journal, stream_id(self._tenant, session))

    async def events(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Returns events of a session that are durable, those after `after`, in order.

        Raises:
            UnknownSession: there is no such session.
        """
        stream = await self.__known(session)
        return [event async for event in read_events(self.journal, stream, CODEC, after=after, until=after + limit)]

    def follow(
        self, session: str, *, after: int = 0, until: Until = "forever", sink: Sink | None = None
    ) -> AsyncGenerator[Sequence[Event | Delta]]:
        """Yields what happens in a session, wherever it is driven, from the events after `after` on: lists of what
        came together. Ends when it is idle, if that is wanted, and when it is deleted; close it when you end earlier.

        Durable events come in order, each once. Deltas come in between while the session is driven in this process;
        whoever joins in mid-answer is given the answer so far. Nobody has to be woken for deltas that `sink` takes: it
        is called with them on the spot while the next list is waited for, must not wait, and says whether it took them.

        Raises:
            UnknownSession: there is no such session.
            HoldfastError: this process drove the session and cannot go on with it, and nobody else has.
        """
        stream = stream_id(self._tenant, session)
        return following(self.journal, stream, self._worker.tail, after=after, until=until, sink=sink)

    async def wake(self, session: str, agents: Iterable[BoundAgent] = ()) -> None:
        """Has a session driven here if there is something to do in it and nobody does it: after a word to it, or a
        crash. `agents` bring functions along that cannot be imported again by name.

        One that cannot be driven here is left to another process.

        Raises:
            UnknownSession: there is no such session.
        """
        stream = await self.__known(session)
        head = await self.journal.head(stream)
        if head is None or self._worker.has(stream) or not (head.unread or head.state == "running"):
            return
        for agent in agents:
            if not self._bindings.knows(self._tenant, agent):
                await self._bindings.remember(self._tenant, agent)
        with suppress(JournalError, UsageError, AuthFailed):
            await self._worker.take(stream)

    async def home(self, session: str) -> Path:
        """Returns the folder a session works in; one of its own in the data folder, where it has none yet."""
        stream = stream_id(self._tenant, session)
        own = await asyncio.to_thread(self._sandboxes.folder_for, self._tenant, session_of(stream))
        head = await self.journal.head(stream)
        if head is None or not head.seq:
            return own
        return Path(folder_of([event async for event in read_events(self.journal, stream, CODEC)]) or own)

    async def glance(self, session: str) -> Glance | None:
        """Returns how a session stands, as far as its head tells; None where there is none."""
        return await glance_at(self.journal, stream_id(self._tenant, session))

    async def exists(self, session: str) -> bool:
        """Returns whether there is such a session."""
        return await self.journal.head(stream_id(self._tenant, session)) is not None

    async def last_asked(self, session: str) -> LastAsked | None:
        """Returns whom the last prompt of a session asked; None where there was none. Reads the log back to there."""
        return await last_asked(self.journal, stream_id(self._tenant, session))

    async def is_blank(self, session: str) -> bool:
        """Returns whether nothing was ever said to a session."""
        head = await self.journal.head(stream_id(self._tenant, session))
        return head is None or not (head.seq or head.unread)

    async def keep(self, name: str, data: bytes, media_type: str = "") -> Kept:
        """Keeps a file for a prompt that is still to come, and returns what to ask for it by.

        It is kept until the first collection that comes hours after; the prompt that is given it keeps it from then on.

        Raises:
            InputTooLarge: it has more than 50 MB.
        """
        return await keep(self.journal.blobs, self._tenant, name, data, media_type)

    async def kept(self, ids: Sequence[str]) -> list[tuple[str, bytes]]:
        """Returns files that were kept, as `start(files=...)` takes them.

        Raises:
            UsageError: one of them is not there, or not any more; or all of them are too much for one prompt.
        """
        return await kept(self.journal.blobs, self._tenant, ids)

    async def attached(self, file: Attachment) -> bytes:
        """Returns the bytes of a file that a call made, as its result names it.

        Raises:
            KeyError: they are not kept any more.
            StorageDamaged: what lies there is not what was put.
        """
        return await get_chunked(self.journal.blobs, self._tenant, file.digest, file.chunks)

    async def __known(self, session: str) -> StreamId:
        stream = stream_id(self._tenant, session)
        if await self.journal.head(stream) is None:
            raise UnknownSession(f"there is no session {session!r} in this store: look at which there are")
        return stream
