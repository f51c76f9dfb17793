"""The sign of life of a process: the leases of all that it drives, renewed together; what it has lost, it stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import final

from holdfast.errors import StorageError
from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.runtime.lanes.claiming import LEASE_SECONDS
from holdfast.runtime.lanes.living import Live
from holdfast.types import StreamId

__all__ = ("Heartbeat",)


@final
class Heartbeat:
    """One task for all sessions of a worker, from the first one on."""

    def __init__(self, journal: Journal, clock: Clock, live: Mapping[StreamId, Live]) -> None:
        self._journal = journal
        self._clock = clock
        self._live = live
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Sees to it that it beats."""
        if self.task is None:
            self.task = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(LEASE_SECONDS / 3)
            leases = {stream: live.attempt.pen.epoch for stream, live in self._live.items()}
            if not leases:
                continue
            try:
                lost = await self._journal.renew(list(leases.items()), LEASE_SECONDS * 1_000_000)
            except StorageError:
                continue  # the leases hold a while longer, and a lost one is fenced at its next write
            for stream in lost:
                with contextlib.suppress(StorageError):  # the same
                    await self._lose(stream, leases[stream])

    async def _lose(self, stream: StreamId, epoch: int) -> None:
        """Stops driving a session that somebody else owns, or nobody any more."""
        head = await self._journal.head(stream)
        if head is not None and head.epoch == epoch:
            return  # it was parked here, and the word of that is on its way
        live = self._live.get(stream)
        # Meanwhile it may have been claimed anew: that lease was not asked about.
        if live and live.task and live.attempt.pen.epoch == epoch:
            live.fenced = True
            live.task.cancel()
