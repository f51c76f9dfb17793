"""Fork and rewind: going on from an earlier point, beside the original or in its place, with the files as they were.

Both write down what has to be put back before a file is touched. Who is killed in the middle leaves a session that
says so, and whoever goes on with it finishes the work first (`engine/attempt.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

import msgspec

from holdfast.engine.attempt import receive
from holdfast.engine.events import CODEC, FilesKept, FilesRestored, Forked, InputDropped, InputReceived, Rewound
from holdfast.engine.folding import replay
from holdfast.engine.keeping.layers import Layers, files_at
from holdfast.engine.state import State
from holdfast.errors import SandboxError, SessionExited, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import Pen, to_record
from holdfast.journal.port import Claim, Head, Journal, Mail, Park
from holdfast.journal.reading import read_events
from holdfast.runtime.sandboxes import Sandboxes, fill
from holdfast.tools.gateway import owner_of
from holdfast.types import Digest, Event, EventId, SnapshotRef, StreamId, TenantId, session_of, tenant_of

__all__ = ("Branching", "layers_at")


_PATIENCE = 10.0
"""Seconds that somebody else's change of the folder is waited for."""
_LEFT = "left for another branch"
"""Why what was queued is dropped."""


async def layers_at(journal: Journal, stream: StreamId, at: int) -> Layers:
    """Returns how a session's files were at event `at`.

    Raises:
        SandboxError: that is not known.
    """
    return files_at([event async for event in read_events(journal, stream, CODEC)], at)


class _Origin(msgspec.Struct, frozen=True):
    """A state that sessions branch off from."""

    parent: StreamId
    at: int
    workspace: str
    snapshots: tuple[SnapshotRef, ...]
    foreign: bool = False
    """Whether all of it came from a file, as the parent says behind it."""


@final
class Branching:
    """Forks and rewinds the sessions of one store."""

    def __init__(self, journal: Journal, clock: Clock, sandboxes: Sandboxes) -> None:
        self._journal = journal
        self._clock = clock
        self._sandboxes = sandboxes
        self.left: Callable[[StreamId], None] = lambda stream: None
        """Is called when a rewind has left what somebody wants the result of."""

    async def fork(
        self,
        parent: StreamId,
        at: int | None,
        child: StreamId,
        folder: str | Path | None,
        claim: Callable[[StreamId], Awaitable[Claim]],
        adopt: Callable[[StreamId], None],
    ) -> None:
        """Creates `child` with the parent's log up to `at`, by default all of it, without copying any, and gives it a
        folder of its own with the files as they were then.

        Raises:
            UsageError: the parent has no event `at`, or `child` exists, or `folder` is not empty.
            SandboxError: the files of that moment are not known, or no longer kept.
        """
        origin = await self._origin(parent, at)
        if place := await self._branch(origin, child, folder):
            await self.furnish(child, place, origin.snapshots, claim, adopt)

    async def fork_all(
        self,
        parent: StreamId,
        at: int | None,
        children: Sequence[StreamId],
        claim: Callable[[StreamId], Awaitable[Claim]],
        adopt: Callable[[StreamId], None],
        undo: Callable[[Sequence[StreamId]], Awaitable[None]],
    ) -> None:
        """Creates all `children` from one state, each as `fork` does in a folder of the data folder; or none of them:
        where one cannot be made, `undo` takes away those that were made here, and never one that somebody else made
        under such a name meanwhile. Whoever is killed leaves those that were made.

        Raises:
            UsageError, SandboxError: as `fork`; nothing is left of any.
        """
        origin = await self._origin(parent, at)
        for child in children:
            if await self._journal.head(child) is not None:
                raise UsageError(f"there is a session {session_of(child)!r} already: choose another name")
        begun: list[StreamId] = []
        try:
            for child in children:
                place = await self._branch(origin, child, None, begun.append)
                if place:
                    await self.furnish(child, place, origin.snapshots, claim, adopt)
        except BaseException:  # a cancelled caller's, too
            await asyncio.shield(undo(begun))
            raise

    async def _origin(self, parent: StreamId, at: int | None) -> _Origin:
        """Returns the state that is branched off.

        Raises:
            UsageError: the parent has no event `at`.
            SandboxError: the files of that moment are not known, or no longer kept.
        """
        head = await self._journal.head(parent)
        end = head.seq if head else 0
        at = end if at is None else at
        if not 1 <= at <= end:
            raise UsageError(f"session {session_of(parent)!r} has no event {at}: name one from 1 to {end}")
        layers, snapshots = await self.files(parent, at)
        await self._check_whole(parent, at, layers)
        if layers.workspace:
            await self.secure(snapshots, tenant_of(parent))
        return _Origin(parent, at, layers.workspace, snapshots, layers.foreign)

    async def _branch(
        self,
        origin: _Origin,
        child: StreamId,
        folder: str | Path | None,
        made: Callable[[StreamId], None] = lambda _: None,
    ) -> str:
        """Creates a session whose log asks for its files, and returns the folder they are to be put into, if any; tells
        `made` before anything else can fail or be cancelled.
        """
        parent, at, snapshots = origin.parent, origin.at, origin.snapshots
        place = ""
        if origin.workspace:
            place = str(self._sandboxes.place(tenant_of(child), session_of(child), folder, parent=origin.workspace))
        elif folder is not None:
            raise UsageError(f"session {session_of(parent)!r} has no workspace at event {at}: leave the folder out")
        batch = new_batch()
        event = Event(
            seq=at + 1,
            id=EventId(f"{batch}-0"),
            type=Forked.type,
            at=self._clock.now(),
            epoch=0,
            tenant=tenant_of(child),
            actor="user",
            must_understand=Forked.must_understand,
            data=Forked(parent, at, place, snapshots if place else (), origin.foreign),
        )
        forking = asyncio.ensure_future(self._journal.fork(parent, at, child, batch, [to_record(event, CODEC)]))
        try:
            await asyncio.wait([forking])
            forking.result()
        except BaseException:
            await asyncio.shield(self._settle(forking, child, Path(place) if place and folder is None else None, made))
            raise
        made(child)
        return place

    async def _settle(
        self, forking: asyncio.Future[Head], child: StreamId, place: Path | None, made: Callable[[StreamId], None]
    ) -> None:
        """Sees how a fork ended whose caller was cancelled, and takes away the empty folder of one that failed."""
        await asyncio.wait([forking])
        if forking.exception() is None:
            made(child)
        elif place is not None and await self._journal.head(child) is None:  # else it is another's by now
            with suppress(OSError):
                await asyncio.to_thread(place.rmdir)

    async def files(self, stream: StreamId, at: int) -> tuple[Layers, tuple[SnapshotRef, ...]]:
        """Returns how a session's files were, and what to put back into an empty folder to have them.

        Raises:
            SandboxError: that is not known.
        """
        layers = await layers_at(self._journal, stream, at)
        if not layers.workspace or layers.whole:
            return layers, layers.snapshots
        # What is there now is kept before the log is read: what begins meanwhile lies over it.
        sandbox = self._sandboxes.at(tenant_of(stream), layers.workspace)
        async with sandbox.exclusive(owner_of(stream), _PATIENCE):
            now = await sandbox.snapshots.capture(sandbox.workspace)
        layers = await layers_at(self._journal, stream, at)
        return layers, layers.snapshots if layers.whole else (now, *layers.snapshots)

    async def furnish(
        self,
        child: StreamId,
        place: str,
        snapshots: tuple[SnapshotRef, ...],
        claim: Callable[[StreamId], Awaitable[Claim]],
        adopt: Callable[[StreamId], None],
    ) -> None:
        """Puts the files of a new session, which its log asks for, into its folder, and writes down that it is done."""
        owned = await claim(child)
        parked = False
        try:
            target = self._sandboxes.at(tenant_of(child), place)
            await fill(target, target, snapshots)
            whole = snapshots[0] if len(snapshots) == 1 else await target.snapshots.capture(target.workspace)
            pen = Pen(self._journal, owned, CODEC, self._clock, lambda _: None)
            parked = await pen.park(Park("idle"), FilesRestored(whole))
            if not parked:  # it has mail already
                pen.write(FilesRestored(whole))
                await pen.sync()
        finally:
            await asyncio.shield(self._journal.release(child, owned.head.epoch))
            if not parked:
                adopt(child)

    async def rewind(self, claim: Claim, to: int, adopt: Callable[[StreamId], None]) -> int:
        """Takes everything after `to` out of a claimed session's conversation, puts the files back, and gives it up.

        What was queued, or comes meanwhile, is dropped and said to be. An exit that comes meanwhile is not: then the
        session goes to `adopt`, to be ended.

        Returns the event to rewind to in order to take that back.

        Raises:
            UsageError: there is no event `to`.
            SandboxError: the files of that moment are not known, or no longer kept, or somebody else is changing the
                folder; then nothing was done.
        """
        head = claim.head
        leaving: _Leaving | None = None
        try:
            if head.state == "ended" or any(mail.kind == "exit" for mail in claim.mail):
                raise SessionExited(
                    f"session {session_of(head.stream)!r} has ended for good: fork it to go on from there"
                )
            if not 0 <= to <= head.seq:
                raise UsageError(
                    f"session {session_of(head.stream)!r} has no event {to}: name one from 0 to {head.seq}"
                )
            layers = await layers_at(self._journal, head.stream, to)
            await self._check_whole(head.stream, to, layers)
            state = await self._check_alone(head.stream, claim.mail)
            pen = Pen(self._journal, claim, CODEC, self._clock, lambda _: None)
            leaving = _Leaving(pen, state)
            await leaving.take_mail()
            if layers.workspace and layers.snapshots:
                back, end = await self._put_back(pen, to, layers)
            else:
                end = pen.write(Rewound(to, workspace=layers.workspace)).seq
                back = end - 1
            while not leaving.stays and not await pen.park(Park("idle")):
                await leaving.take_mail()
                pen.write(Rewound(end))
            await pen.sync()
            return back
        finally:
            await asyncio.shield(self._journal.release(head.stream, head.epoch))  # a cancelled caller's, too
            if leaving is not None and leaving.stays:
                adopt(head.stream)
            if leaving is not None and leaving.wanted:
                self.left(head.stream)

    async def _check_whole(self, stream: StreamId, at: int, layers: Layers) -> None:
        """Sees that a log which came from a file is a session at that event, too: what the file had taken back by its
        end was not looked at then.

        Raises:
            Corrupt: it is none.
        """
        if layers.foreign:
            replay([event async for event in read_events(self._journal, stream, CODEC, until=at)])

    async def _check_alone(self, stream: StreamId, mail: Sequence[Mail]) -> State:
        """Returns the state of a session in which nobody waits for the open run, for what it spends, or for one that is
        queued: its end would have to be told and its books closed.

        Raises:
            UsageError: somebody does.
        """
        state = replay([event async for event in read_events(self._journal, stream, CODEC)])
        run = state.run
        awaited = any(_is_awaited(each) for each in state.queue.values()) or any(map(_brings_awaited, mail))
        if (
            awaited
            or state.owed is not None
            or (run and (run.account or run.children or run.setup.setup.lineage is not None))
        ):
            raise UsageError(
                f"the open run of session {session_of(stream)!r} has others that wait for it or share what it spends: "
                "abort it first, and rewind when it is over"
            )
        return state

    async def _put_back(self, pen: Pen, to: int, layers: Layers) -> tuple[int, int]:
        """Brings the files back, and returns the event that keeps what they were and the one that says it is done."""
        tenant = tenant_of(pen.stream)
        sandbox = self._sandboxes.at(tenant, layers.workspace)
        async with sandbox.exclusive(owner_of(pen.stream), _PATIENCE):
            await self.secure(layers.snapshots, tenant)
            await sandbox.backend.attach(f"{sandbox.store}{pen.stream}", pen.epoch)
            kept = pen.write(FilesKept(await sandbox.snapshots.capture(sandbox.workspace))).seq
            pen.write(Rewound(to, layers.snapshots, layers.workspace))
            await pen.sync()  # barrier: from here on files may be neither as they were nor as they will be
            for snapshot in layers.snapshots:
                await sandbox.snapshots.restore(sandbox.workspace, snapshot)
            return kept, pen.write(FilesRestored()).seq

    async def secure(self, snapshots: Sequence[SnapshotRef], tenant: TenantId) -> None:
        """Sees to it that a collection that is under way spares old snapshots, which the log is about to name anew.

        Raises:
            SandboxError: some are not there any more.
        """
        needed: set[Digest] = set()
        for ref in snapshots:
            if (keeper := self._sandboxes.keepers(tenant).get(ref.store)) is None:
                raise SandboxError(
                    f"the files of that moment are in a store of snapshots, {ref.store!r}, that is not here"
                )
            needed |= {digest async for digest in keeper.digests(ref)}
        if await self._journal.blobs.touch(tenant, needed):
            raise SandboxError("the files of that moment are no longer kept: go back to a newer event")


@final
class _Leaving:
    """What was said to the part that goes, and goes with it: whoever waits for a run of it hears that none will be."""

    def __init__(self, pen: Pen, state: State) -> None:
        self._pen = pen
        self._queue = dict(state.queue)
        self.wanted = state.run is not None and bool(state.run.setup.setup.deliver)
        """Whether somebody wants the result of what is left."""
        self.stays = False
        """Whether something lies unread that does not go with it."""

    async def take_mail(self) -> None:
        """Writes down what came, up to what stays, and that everything queued is dropped."""
        pen = self._pen
        for mail in await pen.mail():
            if mail.kind == "exit" or _brings_awaited(mail):
                self.stays = True
                break
            for payload in receive(mail):
                event = pen.write(payload, actor=mail.actor, cause=mail.key)
                if isinstance(payload, InputReceived):
                    self._queue[event.seq] = payload
            pen.taken = mail.n
        for seq, received in self._queue.items():
            pen.write(InputDropped(seq, _LEFT))
            self.wanted = self.wanted or bool(received.setup and received.setup.deliver)
        self._queue.clear()


def _is_awaited(received: InputReceived) -> bool:
    """Returns whether another session waits for the run that this opens."""
    return received.setup is not None and received.setup.lineage is not None


def _brings_awaited(mail: Mail) -> bool:
    return any(isinstance(each, InputReceived) and _is_awaited(each) for each in receive(mail))
