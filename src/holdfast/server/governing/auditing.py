"""The record of every decision about who may: durable, bounded, and never in anybody's way.

What is decided is noted in memory, and written in batches, a second after the first of each at the latest. So a crash
loses the last second. A request never waits for it: where more is noted than can be written, what comes is dropped,
counted, and the count written with the next batch. It is kept by days, in places of the store that no tenant can name;
a day that is too old goes as a whole. A day holds so much, and what is more is counted, too. So that strangers do not
fill it, of what they are refused so many are written by address, and by all addresses together; the rest is counted.

Whoever reads it gets a tenant's part, or all of it. The batches of all tenants lie together, so a page looks through a
bounded number of them and says where to go on; it may hold less than was asked for, or nothing, before the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Final, final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.flow.clock import Clock, Timer
from holdfast.flow.ids import new_batch, new_key
from holdfast.server.access.buckets import Buckets, Rate, client_name
from holdfast.server.access.principal import Principal
from holdfast.server.access.shelf import OWNER
from holdfast.server.governing.recording import Record, plain, record_of
from holdfast.server.parts import Heard, Observer
from holdfast.tools.keeping.port import Caps, KeyValues, Place

__all__ = ("EVERY", "Audit", "Page")

EVERY: Final = 1.0
"""Seconds after which what was noted is written."""
_NOTED: Final = 20_000
"""Decisions that wait in memory at most."""
_BATCH: Final = 1_000
_DAY: Final = Caps(count=200_000, total=2 * 1024**3)
_DAYS: Final = Place(OWNER, "audit")
_LOOKED: Final = 50
"""Batches that one page looks through."""
_US: Final = 1_000_000
_LOST: Final = "audit.lost"
_STRANGERS: Final = "audit.strangers"
_ONE: Final = Rate(0.2, 30.0)
"""Refusals of one address, of people nobody knows, that are written: one in five seconds, and so many at once."""
_ALL: Final = Rate(1.0, 300.0)
"""Of all addresses: half a day's places at most."""


class Page(msgspec.Struct, frozen=True):
    """Records, and after which to go on; empty at the end."""

    records: tuple[Record, ...]
    after: str


@final
class Audit(Observer):
    """Records what was decided; hands what it is told on to another observer."""

    def __init__(self, values: KeyValues, clock: Clock, then: Observer | None = None, days: int = 90) -> None:
        self._values = values
        self._clock = clock
        self._then = then or Observer()
        self._days = days
        self._noted: deque[Record] = deque()
        self._lost = 0
        """Not written down yet."""
        self._strangers = Buckets(clock)
        self._counted = 0
        """What strangers were refused and is not written but counted; the count is not written down yet."""
        self.lost = 0
        """Decisions that were dropped, all in all."""
        self.failure = ""
        """Why the last batch could not be written; empty where it was."""
        self._timer: Timer | None = None
        self._writing: asyncio.Task[None] | None = None
        self._today = ""
        self._lock = asyncio.Lock()

    def heard(self, heard: Heard) -> None:
        """Records a request, unless nobody had to be anybody for it and it was answered."""
        self._then.heard(heard)
        if heard.who is None:
            if heard.status in (401, 403, 429):
                self._add_stranger(heard)
        elif heard.scope or heard.status in (401, 403, 429):
            self._add(record_of(heard, self._clock.now()))

    def broken(self, request_id: str, error: Exception) -> None:
        """Hands it on."""
        self._then.broken(request_id, error)

    def streams(self, change: int) -> None:
        """Hands it on."""
        self._then.streams(change)

    def note(self, what: str, about: str, who: Principal | None = None, *, refused: str = "", client: str = "") -> None:
        """Records what was done that a route does not tell: `user.added`, and to whom."""
        self._add(
            Record(
                at=self._clock.now(),
                verdict="refused" if refused else "allowed",
                route=what,
                about=plain(about),
                code=refused,
                tenant="" if who is None else who.tenant,
                user="" if who is None else plain(who.user),
                how="" if who is None else who.how,
                id="" if who is None else plain(who.id),
                client=plain(client, 64),
            )
        )

    async def write(self) -> None:
        """Writes all that was noted. What the store refuses is kept, and tried again."""
        async with self._lock:
            while self._noted or self._lost or self._counted:
                if not await self._write_batch():
                    return

    async def read(self, tenant: str | None, day: str, after: str = "", limit: int = 100) -> Page:
        """Returns records of a day (`2026-11-20`), the oldest first: those of a tenant, or all.

        Raises:
            StorageError: the store does not answer.
        """
        batch, _, number = after.partition("/")
        skipped = int(number) + 1 if number.isdigit() else 0
        place, found = _place(day), list[Record]()
        # The batch that was read in part comes again: keys are in order, and its own is the last before those after it.
        names = [batch] if batch else []
        names += [each.key for each in await self._values.list(place, after=batch, limit=_LOOKED)]
        for name in names:
            records = await self._batch(place, name)
            for at, record in enumerate(records):
                if name == batch and at < skipped:
                    continue
                if tenant is None or record.tenant == tenant:
                    found.append(record)
                if len(found) == limit:
                    return Page(tuple(found), f"{name}/{at}")
        over = len(names) - bool(batch) < _LOOKED
        return Page(tuple(found), "" if over else f"{names[-1]}/{_NOTED}")

    async def days(self) -> list[str]:
        """Returns the days of which there is a record, the oldest first."""
        return [each.key for each in await self._values.list(_DAYS, limit=10_000)]

    async def close(self) -> None:
        """Writes what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self.write()

    def _add_stranger(self, heard: Heard) -> None:
        name = client_name(heard.client)
        if self._strangers.wait(name, _ONE) > 0 or self._strangers.wait("", _ALL) > 0:
            self._counted += 1
            self._wake()
            return
        self._strangers.take(name, _ONE)
        self._strangers.take("", _ALL)
        self._add(record_of(heard, self._clock.now()))

    def _add(self, record: Record) -> None:
        if len(self._noted) >= _NOTED:
            self._lost += 1
            self.lost += 1
        else:
            self._noted.append(record)
        self._wake()

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(EVERY, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_or_wait())
        else:
            self._timer = self._clock.call_later(EVERY, self._due)

    async def _write_or_wait(self) -> None:
        await self.write()
        if (self._noted or self._lost or self._counted) and self._timer is None:
            self._timer = self._clock.call_later(EVERY, self._due)

    async def _write_batch(self) -> bool:
        """Writes one batch; returns whether the store took it, or dropped it for good."""
        records = [self._noted[at] for at in range(min(len(self._noted), _BATCH))]
        lost, counted = self._lost, self._counted
        now = self._clock.now()
        written = list(records)
        if lost:
            written.append(Record(at=now, verdict="allowed", route=_LOST, about=str(lost)))
        if counted:
            written.append(Record(at=now, verdict="refused", route=_STRANGERS, about=str(counted)))
        day = datetime.fromtimestamp((records[0].at if records else now) / _US, UTC).date().isoformat()
        name, text = f"{now:020d}-{new_batch()}", msgspec.json.encode(written).decode()
        try:
            await self._turn(day)
            change = await self._values.set(_place(day), name, text, operation=new_key(), caps=_DAY)
        except HoldfastError as error:
            self.failure = str(error)
            return False
        for _ in records:
            self._noted.popleft()
        if change.done == "written":
            self.failure = ""
            self._lost -= lost
            self._counted -= counted
        else:  # the day is full: what it cannot hold is counted, and the count written tomorrow
            self.failure = f"the record of {day} is full"
            self._lost += len(records)
            self.lost += len(records)
            return bool(self._noted)
        return True

    async def _turn(self, day: str) -> None:
        """Enters a day once, and lets go of those that are too old."""
        if day == self._today:
            return
        await self._values.set(_DAYS, day, "", operation=f"audit-{day}", caps=_DAY)
        oldest = datetime.fromtimestamp(self._clock.now() / _US - self._days * 86_400, UTC).date().isoformat()
        for each in await self.days():
            if each < oldest:
                await self._values.clear(_place(each))
                await self._values.delete(_DAYS, each, operation=new_key())
        self._today = day

    async def _batch(self, place: Place, name: str) -> list[Record]:
        found = await self._values.get(place, name)
        if found is None:
            return []
        try:
            return msgspec.json.decode(found.value, type=list[Record])
        except msgspec.MsgspecError:
            return []  # written by another version, or damaged: the others are to be read all the same


def _place(day: str) -> Place:
    return Place(OWNER, f"audit of {day}")
