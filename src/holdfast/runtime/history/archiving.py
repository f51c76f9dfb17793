"""What a runtime does with whole sessions: looks at their files, takes them back or elsewhere, deletes them, takes out
what was said, tidies up.

What does it is loaded when somebody asks for it: most programs only run agents.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from holdfast.engine.events import CODEC
from holdfast.engine.keeping.layers import folder_of
from holdfast.errors import HoldfastError, SandboxError, UnknownSession, UsageError
from holdfast.flow.clock import Clock
from holdfast.journal.port import Claim, Journal
from holdfast.journal.reading import read_events
from holdfast.ledger.port import Ledger
from holdfast.runtime.history.branching import Branching
from holdfast.runtime.history.reports import (
    Collected,
    Collecting,
    Deleted,
    Difference,
    Imported,
    Loading,
    Retention,
    ScrubReport,
    Snapshot,
)
from holdfast.runtime.sandboxes import Sandboxes
from holdfast.storage.blobs import GRACE
from holdfast.types import Changes, SessionId, SnapshotRef, StreamId, TenantId, session_of, stream_id, tenant_of

if TYPE_CHECKING:
    from holdfast.runtime.history.erasing import Erasing

__all__ = ("Archive",)


class Archive:
    """The sessions of a store, as something that is kept."""

    journal: Journal
    ledger: Ledger
    _clock: Clock
    _tenant: TenantId
    _user: str
    _sandboxes: Sandboxes
    _branching: Branching
    _claim: Callable[[StreamId], Awaitable[Claim]]
    _adopt: Callable[[StreamId], None]

    async def _known(self, session: str) -> StreamId:
        stream = stream_id(self._tenant, session)
        if await self.journal.head(stream) is None:
            raise UnknownSession(
                f"there is no session {session!r} in this store: `holdfast runs list` shows what there is"
            )
        return stream

    @property
    def __erasing(self) -> Erasing:
        from holdfast.runtime.history.erasing import Erasing

        keepers, end = self._sandboxes.keepers, self._sandboxes.end_processes
        return Erasing(self.journal, keepers, self._clock, self._claim, end, self.ledger)

    async def rewind(self, session: str, *, to: int) -> int:
        """Takes everything after event `to` out of an idle session's conversation, and puts its files back.

        The log keeps what was taken out, and the files as they were before, also what a person had done to them:
        a rewind to the event that this returns takes it all back. What was queued is dropped, and stays so: whoever
        waits for it hears of it.

        Raises:
            UnknownSession, UsageError: there is no such session or event, or another session waits for this one.
            LeaseHeld: a run is going on in it.
            SandboxError: the files of that moment are not known, or no longer kept; nothing was done.
        """
        claim = await self._claim(await self._known(session))
        return await self._branching.rewind(claim, to, self._adopt)

    async def workspace(self, session: str) -> str | None:
        """Returns the folder a session works in; None when it has none.

        Raises:
            UnknownSession: there is no such session.
        """
        stream = await self._known(session)
        return folder_of([event async for event in read_events(self.journal, stream, CODEC)]) or None

    async def changes(self, session: str, *, since: int = 0, until: int | None = None) -> Difference:
        """Returns what became of a session's files between two of its events: by default since its beginning, and up
        to now.

        Raises:
            UnknownSession, UsageError: there is no such session.
            SandboxError: the files of one of the moments are not known, or no longer kept.
        """
        from holdfast.runtime.history.differing import difference

        return await difference(self.journal, self._sandboxes, await self._known(session), since, until)

    async def snapshots(self, session: str, *, last: int = 50) -> list[Snapshot]:
        """Returns the newest snapshots of a session's files, oldest first: each can be gone back to with `rewind`.

        Raises:
            UnknownSession: there is no such session.
        """
        from holdfast.runtime.history.differing import snapshots

        return await snapshots(self.journal, self._sandboxes, await self._known(session), last)

    async def commit(
        self, session: str, paths: Sequence[str] = (), *, into: str | Path | None = None, dry_run: bool = False
    ) -> Changes:
        """Brings what a fork changed back into the folder it was made from (or `into`), and returns what that changed.

        All paths are checked before one is written; a `dry_run` only checks.

        Raises:
            UnknownSession, UsageError: there is no such session, or it is no fork with a folder.
            SandboxError: some paths are refused, all of them named: they changed in both, or would bring what acts
                later (a link that leads out, a setuid bit, a hook of git).
        """
        from holdfast.runtime.history.committing import bring_back

        stream = await self._known(session)
        return await bring_back(self.journal, self._sandboxes, stream, paths, into, dry_run=dry_run)

    async def export(self, session: str, *, blobs: bool = True) -> AsyncIterator[bytes]:
        """Yields a session as lines of JSON, each with its end of line, from which `load` makes it again: its events as
        they are stored and, with `blobs`, everything they refer to, the snapshots of its files too.

        Raises:
            UnknownSession, UsageError: there is no such session, or no event in it.
            Corrupt: the content of an event is lost.
        """
        from holdfast.runtime.history.exporting import export_lines

        stream = await self._known(session)
        head = await self.journal.head(stream)
        if head is None or not head.seq:
            raise UsageError(f"session {session!r} has no event yet: there is nothing to export")
        files: tuple[SnapshotRef, ...] = ()
        if blobs:
            with suppress(SandboxError):  # then they cannot come along, and the rest can
                files = (await self._branching.files(stream, head.seq))[1]
        async for line in export_lines(self.journal, self._sandboxes.keepers, stream, head, files, blobs=blobs):
            yield line

    async def load(
        self,
        file: IO[bytes],
        *,
        name: str | None = None,
        workspace: str | Path | None = None,
        progress: Loading | None = None,
    ) -> Imported:
        """Makes a session from what `export` gave; with all of it, or not at all.

        A run that was open there is left there, as with a fork: nothing begins to run by itself. The session works in a
        folder of its own, `workspace` or one in the data folder, with the files as they were where the file has them.
        Nobody knows who wrote the file: its words are read, and no run is set up, nothing delivered, removed or allowed
        as it says.

        Args:
            file: The lines, in a file that can be read twice.
            name: What to call it; its name there without.
            workspace: An empty folder for its files.
            progress: Is told how many bytes were read.

        Raises:
            UsageError: a line of the file is wrong, the name is taken, or the folder is not empty.
            SandboxError: the files cannot be put into the folder; no session is left.
        """
        from holdfast.runtime.history.importing import Importing

        importing = Importing(self.journal, self._clock, self._sandboxes, self._branching)
        tenant, claim, adopt = self._tenant, self._claim, self._adopt
        return await importing.load(file, tenant, name, workspace, claim, adopt, self._forget, progress)

    async def delete(self, *sessions: str) -> Deleted:
        """Deletes sessions, with all that only they need; their folders stay.

        What forks of them share stays until those are deleted, too. The names are free then, and caps on the sessions
        are gone.

        Raises:
            UnknownSession: there is no such session; none was deleted.
            UsageError, LeaseHeld: a run is open in one, or one that it started draws on its account, or it is being
                driven; those before it are deleted.
        """
        return await self.__erasing.delete([await self._known(session) for session in dict.fromkeys(sessions)])

    async def release(self, *sessions: str) -> Deleted:
        """Deletes sessions that were forked, and the folders that were made for them in the data folder; also the
        folder alone, where a release was killed before it.

        Raises:
            UnknownSession: there is neither a session nor a folder of one of these names; no session was deleted.
            UsageError, LeaseHeld: as `delete`; the folders of those that are deleted are gone.
        """
        streams: list[StreamId] = []
        for session in dict.fromkeys(sessions):
            try:
                streams.append(await self._known(session))
            except UnknownSession:
                if not await self._sandboxes.discard(self._tenant, SessionId(session)):
                    raise
        return await self.__erasing.delete(streams, self.__discard)

    async def __discard(self, stream: StreamId) -> None:
        await self._sandboxes.discard(tenant_of(stream), session_of(stream))

    async def _forget(self, streams: Sequence[StreamId]) -> None:
        """Takes away those of a number of sessions that were not all made; one in which somebody works stays."""
        with suppress(HoldfastError):  # why they were not all made is what is told
            await self.__erasing.delete_some(streams, self.__discard)

    async def scrub(self, session: str, *, at: Sequence[int] = (), match: str | None = None) -> ScrubReport:
        """Takes what was said out of the log and out of the store's files: all of the events `at`, or the words `match`
        wherever they stand. What was done and spent stays.

        Also events that the session shares with others are scrubbed, for all of them. Snapshots of files that hold the
        words cannot be restored afterwards; the files of the workspace itself are left alone.

        Raises:
            UnknownSession, UsageError: there is no such session or event, or a run is open in it.
            LeaseHeld: it is being driven.
        """
        if bool(at) == (match is not None):
            raise UsageError("say what to scrub: the events, or the words that they hold")
        return await self.__erasing.scrub(await self._known(session), at, match, self._user)

    async def collect(
        self,
        keep: Retention | None = None,
        *,
        grace: float = GRACE,
        dry_run: bool = False,
        progress: Collecting | None = None,
        everyone: bool = False,
    ) -> Collected:
        """Removes this tenant's blobs that the log does not need, or `everyone`'s, and this tenant's snapshots and
        sessions past what `keep` says; a `dry_run` only counts them. It may run beside anything else.

        A session past its time that cannot be deleted, because somebody uses it by now, is passed over and `refused`.

        Raises:
            UsageError: the grace, in seconds, is below two hours.
            SandboxError, Corrupt: something in the log cannot be read; no blob was removed but what only sessions named
                that were deleted for their age.
        """
        from holdfast.runtime.history.collecting import collect

        gone = Deleted()
        if keep is not None and keep.sessions is not None:
            gone = await self.__erasing.delete_idle(self._tenant, keep.sessions, dry_run=dry_run)
        done = await collect(
            self.journal,
            self._sandboxes.keepers,
            tenant=None if everyone else self._tenant,
            clock=self._clock,
            keep=keep,
            grace=grace,
            dry_run=dry_run,
            progress=progress,
        )
        return msgspec.structs.replace(done, sessions=gone.sessions, refused=gone.refused)
