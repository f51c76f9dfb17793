"""Blobs as rows, written by the same thread as whatever refers to them.

A put that was handed in before an append is in the same commit or an earlier one: no record can outlive a power
cut that its blob did not.

When a blob was last used stands in a table of its own: a row that holds its bytes would be written whole for each new
time, and read to its end for its age.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar, final

import msgspec

from holdfast.errors import StorageDamaged, StorageFull
from holdfast.flow.clock import Clock
from holdfast.storage.blobs import REFRESH, BlobStore, Marks, Stored, Swept
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Connection, Database
from holdfast.storage.stores.sweeping import check_before, portions
from holdfast.types import Digest, FaultClass, TenantId, digest_of

__all__ = ("BLOBS", "SqliteBlobStore", "insert_blob", "remove_blobs")

BLOBS = Schema(
    "blobs",
    (
        (
            "create table blob (tenant text not null, digest text not null, size integer not null, "
            "bytes blob not null, created_at integer not null)",
            "create unique index blob_digest on blob (tenant, digest)",
        ),
        (
            "create table blob_use (tenant text not null, digest text not null, size integer not null, "
            "touched_at integer not null, primary key (tenant, digest)) without rowid",
            # When they were last put again nobody wrote down: they count as put now.
            "insert into blob_use select tenant, digest, size, cast(strftime('%s', 'now') as integer) * 1000000 "
            "from blob",
        ),
    ),
)
"""The tables of blobs; open the database with it."""

_PAGE = 1000
"""Blobs looked at in one read."""
_SHRINK = 128
"""Pages at the end of the file that are moved in one transaction."""
_SPARE = 256
"""Free pages that are left for what is written next."""

_INCREMENTAL = 2

_page = msgspec.json.Decoder(list[tuple[Digest, int, int]])
_found = msgspec.json.Decoder(list[tuple[Digest, int | None]])
_T = TypeVar("_T")


@final
class SqliteBlobStore(BlobStore):
    """Bytes by tenant and digest, in a table."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def survives(self) -> FaultClass:
        """A power cut, unless the database was opened to sync less."""
        return "power" if self._database.synchronous == "full" else "process"

    async def put(self, tenant: TenantId, data: bytes) -> Digest:
        """Returns the digest under which the bytes can be read from now on, once they are durable."""
        return await self._database.write(self._put, tenant, data)

    async def put_many(self, tenant: TenantId, blobs: Sequence[bytes]) -> list[Digest]:
        """Puts all of them, or none, in one transaction; returns the digest of each, in order."""
        if not blobs:
            return []
        # Hashed before the transaction: others wait for that.
        digests = await asyncio.to_thread(lambda: [digest_of(data) for data in blobs])
        await self._database.write(self._put_all, tenant, list(zip(digests, blobs, strict=True)))
        return digests

    async def get(self, tenant: TenantId, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            KeyError: this tenant has no blob of that digest.
            StorageDamaged: what lies there is not what was put.
        """
        return await self._database.read(self._get, tenant, digest)

    async def get_many(self, tenant: TenantId, digests: Sequence[Digest]) -> list[bytes]:
        """Returns the bytes of each digest, in order.

        Raises:
            KeyError: this tenant has no blob of one of them.
            StorageDamaged: what lies there is not what was put.
        """
        return await self._database.read(self._get_all, tenant, digests) if digests else []

    async def has(self, tenant: TenantId, digest: Digest) -> bool:
        """Returns whether this tenant has a blob of that digest."""
        return await self._database.read(_has, tenant, digest)

    async def touch(self, tenant: TenantId, digests: Collection[Digest]) -> set[Digest]:
        """Counts as putting those that are there; returns those that are not, which have to be put."""
        wanted = _json(digests)
        missing, stale = await self._database.read(_missing, tenant, wanted, self._clock.now() - REFRESH)
        if stale:  # what is not was used within the hour, and no collection goes there
            missing |= await self._database.write(_touch, tenant, _json(stale), self._clock.now())
        return missing

    async def tenants(self) -> list[TenantId]:
        """Returns whoever has blobs here, in order."""
        return await self._database.read(_tenants)

    async def usage(self, tenant: TenantId) -> Stored:
        """Returns how many blobs a tenant has, and of what size."""
        return await self._database.read(_usage, tenant)

    async def now(self) -> int:
        """Returns the time by the store's clock, µs UTC."""
        return self._clock.now()

    async def collect(
        self,
        tenant: TenantId,
        marks: Marks,
        *,
        before: int,
        dry_run: bool = False,
        progress: Callable[[Swept], None] | None = None,
    ) -> Swept:
        """Removes a tenant's blobs that are not marked and were last put or touched before that time.

        Other writers have a turn after each few of them; then the file gives its free pages back.

        Raises:
            UsageError: `before` is too late.
        """
        check_before(before, self._clock.now())
        swept = Swept()
        after = Digest("")
        while page := await self._database.read(_fetch, tenant, after):
            after = page[-1][0]
            old = [(digest, size) for digest, size, at in page if at < before and digest not in marks]
            swept = Swept(swept.kept + len(page) - len(old), swept.removed, swept.bytes)
            for portion in portions(old):
                gone = portion if dry_run else await self._gently(_remove, tenant, portion, before)
                size = sum(size for _, size in gone)
                # What is not gone was touched meanwhile, or removed by another collector.
                kept = swept.kept + len(portion) - len(gone)
                swept = Swept(kept, swept.removed + len(gone), swept.bytes + size)
            if progress is not None:
                progress(swept)
        if swept.removed and not dry_run:
            await self._give_back()
        return swept

    async def _give_back(self) -> None:
        with suppress(StorageFull):  # moving pages needs some space; what is free in the file is used again
            while await self._gently(_shrink):
                pass
            await self._database.read(_checkpoint)

    async def _gently(self, call: Callable[..., _T], *args: object) -> _T:
        """Writes, then leaves the file to others for as long."""
        started = time.monotonic()
        try:
            done = await self._database.write(call, *args)
        except StorageFull:
            # Once the log was copied into the file it begins anew, in the space it has.
            await self._database.read(_checkpoint)
            done = await self._database.write(call, *args)
        await asyncio.sleep(time.monotonic() - started)
        return done

    def _put(self, connection: Connection, tenant: TenantId, data: bytes) -> Digest:
        # Hashed here, so that a large blob does not hold up the event loop.
        digest = digest_of(data)
        insert_blob(connection, tenant, digest, data, self._clock.now())
        return digest

    def _put_all(self, connection: Connection, tenant: TenantId, items: Iterable[tuple[Digest, bytes]]) -> None:
        now = self._clock.now()
        for digest, data in items:
            insert_blob(connection, tenant, digest, data, now)

    def _get_all(self, connection: Connection, tenant: TenantId, digests: Sequence[Digest]) -> list[bytes]:
        return [self._get(connection, tenant, digest) for digest in digests]

    def _get(self, connection: Connection, tenant: TenantId, digest: Digest) -> bytes:
        query = "select bytes from blob where tenant = ? and digest = ?"
        row = connection.execute(query, (tenant, digest)).fetchone()
        if row is None:
            raise KeyError(digest)
        if digest_of(row[0]) != digest:
            raise StorageDamaged(
                f"blob {digest!r} in the database {self._database.path!r} holds other bytes than were put; "
                "restore the file from a backup"
            )
        return row[0]


def insert_blob(connection: Connection, tenant: TenantId, digest: Digest, data: bytes, now: int) -> None:
    """Keeps bytes under their digest; keeping them again writes at most that they are still wanted."""
    query = "select touched_at from blob_use where tenant = ? and digest = ?"
    row = connection.execute(query, (tenant, digest)).fetchone()
    if row is None:
        connection.execute("insert or ignore into blob values (?, ?, ?, ?, ?)", (tenant, digest, len(data), data, now))
        connection.execute("insert into blob_use values (?, ?, ?, ?)", (tenant, digest, len(data), now))
    elif row[0] < now - REFRESH:
        connection.execute("update blob_use set touched_at = ? where tenant = ? and digest = ?", (now, tenant, digest))


def _has(connection: Connection, tenant: TenantId, digest: Digest) -> bool:
    query = "select 1 from blob where tenant = ? and digest = ?"
    return connection.execute(query, (tenant, digest)).fetchone() is not None


def _missing(connection: Connection, tenant: TenantId, wanted: str, since: int) -> tuple[set[Digest], set[Digest]]:
    """Returns those that are not there, and those that were not touched since."""
    # A cross join is done from left to right; rows are fetched as one, as everywhere in this house.
    query = (
        "select json_group_array(json_array(wanted.value, touched_at)) from json_each(?) as wanted "
        "left join blob_use on tenant = ? and digest = wanted.value"
    )
    found = _found.decode(connection.execute(query, (wanted, tenant)).fetchone()[0])
    missing = {digest for digest, at in found if at is None}
    return missing, {digest for digest, at in found if at is not None and at < since}


def _touch(connection: Connection, tenant: TenantId, wanted: str, now: int) -> set[Digest]:
    """Touches those that are there; returns those that are not."""
    connection.execute(
        "update blob_use set touched_at = ? where tenant = ? and digest in (select value from json_each(?))",
        (now, tenant, wanted),
    )
    return _missing(connection, tenant, wanted, 0)[0]


def _tenants(connection: Connection) -> list[TenantId]:
    # One step for each tenant, not for each blob.
    query = (
        "with recursive whose (name) as (select min(tenant) from blob_use union all "
        "select (select min(tenant) from blob_use where tenant > name) from whose where name is not null) "
        "select name from whose where name is not null"
    )
    return [TenantId(name) for (name,) in connection.execute(query).fetchall()]


def _usage(connection: Connection, tenant: TenantId) -> Stored:
    query = "select count(*), coalesce(sum(size), 0) from blob_use where tenant = ?"
    return Stored(*connection.execute(query, (tenant,)).fetchone())


def _fetch(connection: Connection, tenant: TenantId, after: Digest) -> list[tuple[Digest, int, int]]:
    """Returns (digest, size, last use) of the next blobs by digest."""
    query = (
        "select json_group_array(json_array(digest, size, touched_at)) from "
        "(select * from blob_use where tenant = ? and digest > ? order by digest limit ?)"
    )
    return _page.decode(connection.execute(query, (tenant, after, _PAGE)).fetchone()[0])


def _remove(
    connection: Connection, tenant: TenantId, blobs: Iterable[tuple[Digest, int]], before: int
) -> list[tuple[Digest, int]]:
    """Removes those that are still there and were not touched meanwhile, and returns them."""
    query = (
        "select json_group_array(json_array(digest, size, touched_at)) from blob_use "
        "where tenant = ? and touched_at < ? and digest in (select value from json_each(?))"
    )
    wanted = _json([digest for digest, _ in blobs])
    found = _page.decode(connection.execute(query, (tenant, before, wanted)).fetchone()[0])
    gone = [(digest, size) for digest, size, _ in found]
    remove_blobs(connection, tenant, [digest for digest, _ in gone])
    return gone


def remove_blobs(connection: Connection, tenant: TenantId, digests: Collection[Digest]) -> None:
    """Removes blobs, however lately they were put."""
    for table in ("blob_use", "blob"):
        connection.execute(
            f"delete from {table} where tenant = ? and digest in (select value from json_each(?))",
            (tenant, _json(digests)),
        )


def _shrink(connection: Connection) -> bool:
    """Gives pages at the end of the file back; returns whether there are more to be had."""
    if connection.execute("pragma auto_vacuum").fetchone()[0] != _INCREMENTAL:
        return False  # made before files could shrink: its free pages are used again
    free: int = connection.execute("pragma freelist_count").fetchone()[0]
    for _ in range(min(_SHRINK, free - _SPARE)):
        connection.execute("pragma incremental_vacuum(1)")  # the library takes one step only, which is one page
    return free - _SHRINK > _SPARE


def _checkpoint(connection: Connection) -> None:
    # The file becomes shorter when the log is copied into it.
    connection.execute("pragma wal_checkpoint(passive)").fetchall()


def _json(digests: Collection[Digest]) -> str:
    return msgspec.json.encode(list(digests)).decode()
