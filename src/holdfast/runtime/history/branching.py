"""Fork and rewind: going on from an earlier point, beside the original or in its place, with the files as they were.

Both write down what has to be put back before a file is touched. Who is killed in the middle leaves a session that
says so, and whoever goes on with it finishes the work first (`engine/attempt.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import final

from holdfast.engine.attempt import receive
from holdfast.engine.events import CODEC, FilesRestored, Forked, Rewound
from holdfast.engine.layers import Layers, files_at
from holdfast.errors import SandboxError, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import Pen, to_record
from holdfast.journal.port import Claim, Journal, Park
from holdfast.journal.reading import read_events
from holdfast.runtime.sandboxes import Sandboxes, fill
from holdfast.sandbox.sandbox import Sandbox
from holdfast.types import Event, EventId, SnapshotRef, StreamId, TenantId, session_of, tenant_of

__all__ = ("Branching", "layers_at")


async def layers_at(journal: Journal, stream: StreamId, at: int) -> Layers:
    """Returns how a session's files were at event `at`.

    Raises:
        SandboxError: that is not known.
    """
    return files_at([event async for event in read_events(journal, stream, CODEC)], at)


@final
class Branching:
    """Forks and rewinds the sessions of one store."""

    def __init__(self, journal: Journal, clock: Clock, sandboxes: Sandboxes) -> None:
        self._journal = journal
        self._clock = clock
        self._sandboxes = sandboxes

    async def fork(
        self,
        parent: StreamId,
        at: int | None,
        child: StreamId,
        folder: str | Path | None,
        claim: Callable[[StreamId], Awaitable[Claim]],
    ) -> None:
        """Creates `child` with the parent's log up to `at`, by default all of it, without copying any, and gives it a
        folder of its own with the files as they were then.

        Raises:
            UsageError: the parent has no event `at`, or `child` exists, or `folder` is not empty.
            SandboxError: the files of that moment are not known, or no longer kept.
        """
        head = await self._journal.head(parent)
        end = head.seq if head else 0
        at = end if at is None else at
        if not 1 <= at <= end:
            raise UsageError(f"session {session_of(parent)!r} has no event {at}: name one from 1 to {end}")
        layers = await layers_at(self._journal, parent, at)
        place, snapshots, source = "", layers.snapshots, None
        if layers.workspace:
            source = self._sandboxes.at(tenant_of(parent), layers.workspace)
            if not layers.whole:
                snapshots = (await source.snapshots.capture(source.workspace), *snapshots)
            await self._secure(source, snapshots, tenant_of(parent))
            place = str(self._sandboxes.place(tenant_of(child), session_of(child), folder))
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
            data=Forked(parent, at, place, snapshots if place else ()),
        )
        await self._journal.fork(parent, at, child, batch, [to_record(event, CODEC)])
        if source is not None:
            owned = await claim(child)
            try:
                target = self._sandboxes.at(tenant_of(child), place)
                await fill(source, target, snapshots)
                whole = snapshots[0] if len(snapshots) == 1 else await target.snapshots.capture(target.workspace)
                pen = Pen(self._journal, owned, CODEC, self._clock, lambda _: None)
                if not await pen.park(
                    Park("idle"), FilesRestored(whole)
                ):  # it has mail already: somebody will drive it
                    pen.write(FilesRestored(whole))
                    await pen.sync()
            finally:
                await asyncio.shield(self._journal.release(child, owned.head.epoch))

    async def rewind(self, claim: Claim, to: int) -> None:
        """Takes everything after `to` out of a claimed session's conversation, puts the files back, and gives it up.

        Raises:
            UsageError: there is no event `to`.
            SandboxError: the files of that moment are not known, or no longer kept; then nothing was done.
        """
        head = claim.head
        try:
            if not 0 <= to <= head.seq:
                raise UsageError(
                    f"session {session_of(head.stream)!r} has no event {to}: name one from 0 to {head.seq}"
                )
            layers = await layers_at(self._journal, head.stream, to)
            sandbox = self._sandboxes.at(tenant_of(head.stream), layers.workspace) if layers.snapshots else None
            before: SnapshotRef | None = None
            if sandbox is not None:
                await self._secure(sandbox, layers.snapshots, tenant_of(head.stream))
                await sandbox.backend.attach(f"{sandbox.store}{head.stream}", head.epoch)
                before = await sandbox.snapshots.capture(sandbox.workspace)
            pen = Pen(self._journal, claim, CODEC, self._clock, lambda _: None)
            await _take_mail(pen)
            end = pen.write(Rewound(to, layers.snapshots, before, layers.workspace)).seq
            await pen.sync()  # barrier: from here on files may be neither as they were nor as they will be
            if sandbox is not None:
                for snapshot in layers.snapshots:
                    await sandbox.snapshots.restore(sandbox.workspace, snapshot)
                end = pen.write(FilesRestored()).seq
            while not await pen.park(Park("idle")):
                await _take_mail(pen)
                pen.write(Rewound(end))
        finally:
            await asyncio.shield(self._journal.release(head.stream, head.epoch))  # a cancelled caller's, too

    async def _secure(self, sandbox: Sandbox, snapshots: Sequence[SnapshotRef], tenant: TenantId) -> None:
        """Sees to it that a collection that is under way spares old snapshots, which the log is about to name anew."""
        needed = [digest for ref in snapshots for digest in [each async for each in sandbox.snapshots.digests(ref)]]
        if await self._journal.blobs.touch(tenant, needed):
            raise SandboxError("the files of that moment are no longer kept: go back to a newer event")


async def _take_mail(pen: Pen) -> None:
    """What was said to the part that goes, goes with it."""
    for mail in await pen.mail():
        for payload in receive(mail):
            pen.write(payload, actor=mail.actor, cause=mail.key)
        pen.taken = mail.n
