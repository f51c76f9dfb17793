"""Values in the SQLite file of a runtime's store; its tables are made when the first value is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import msgspec

from holdfast.flow.clock import Clock, SystemClock
from holdfast.storage.migrating import Schema, migrate
from holdfast.storage.sqlite import Connection, Database
from holdfast.tools.keeping.port import REMEMBERED, Caps, Change, Entry, KeyValues, Place
from holdfast.types import Digest, TenantId

__all__ = ("KEEPING", "SqliteKeyValues")

KEEPING = Schema(
    "keeping",
    (
        (
            "create table keep_entry (tenant text not null, place text not null, key text not null, "
            "value text not null, size integer not null, version integer not null, written_at integer not null, "
            "refers text not null)",
            "create unique index keep_entry_key on keep_entry (tenant, place, key)",
            "create index keep_entry_refers on keep_entry (tenant) where refers != ''",
            "create table keep_place (tenant text not null, place text not null, count integer not null, "
            "total integer not null, version integer not null, primary key (tenant, place)) without rowid",
            "create table keep_operation (tenant text not null, operation text not null, change text not null, "
            "done_at integer not null, primary key (tenant, operation)) without rowid",
            "create index keep_operation_done on keep_operation (done_at)",
        ),
    ),
)
"""The tables of values."""

_PUT = (
    "insert into keep_entry (tenant, place, key, value, size, version, written_at, refers) "
    "values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (tenant, place, key) do update set value = excluded.value, "
    "size = excluded.size, version = excluded.version, written_at = excluded.written_at, refers = excluded.refers"
)
_PUT_PLACE = (
    "insert into keep_place (tenant, place, count, total, version) values (?, ?, ?, ?, ?) on conflict (tenant, place) "
    "do update set count = excluded.count, total = excluded.total, version = excluded.version"
)
_FORGET = (
    "delete from keep_operation where (tenant, operation) in (select tenant, operation from keep_operation "
    "indexed by keep_operation_done where done_at < ? order by done_at limit 4)"
)
_LIST = (
    "select key, size, version, written_at from keep_entry where tenant = ? and place = ? and key > ? and key >= ? "
    "and substr(key, 1, ?) = ? order by key limit ?"
)


class _Change(msgspec.Struct, frozen=True):
    """What a change wants."""

    place: Place
    key: str
    value: str
    operation: str
    caps: Caps
    size: int
    version: int | None
    refers: str
    now: int


@final
class SqliteKeyValues(KeyValues):
    """Values in tables of their own of a database; closing it is its opener's."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._made = False
        """Whether the tables are known to be there."""

    async def get(self, place: Place, key: str) -> Entry | None:
        """Returns what is kept under a key."""
        return await self._database.read(_get, place, key)

    async def set(
        self,
        place: Place,
        key: str,
        value: str,
        *,
        operation: str,
        caps: Caps,
        size: int | None = None,
        version: int | None = None,
        refers: Sequence[Digest] = (),
    ) -> Change:
        """Keeps a value.

        Raises:
            StorageError: nothing was changed, or the answer got lost.
        """
        size = len(value.encode()) if size is None else size
        wanted = _Change(place, key, value, operation, caps, size, version, " ".join(refers), self._clock.now())
        await self._make()
        return await self._database.write(_set, wanted)

    async def delete(self, place: Place, key: str, *, operation: str) -> Change:
        """Removes a key.

        Raises:
            StorageError: nothing was changed, or the answer got lost.
        """
        await self._make()
        return await self._database.write(_delete, place, key, operation, self._clock.now())

    async def list(self, place: Place, prefix: str = "", *, after: str = "", limit: int = 100) -> list[Entry]:
        """Returns entries in order of their keys."""
        return await self._database.read(_list, place, prefix, after, limit)

    async def digests(self, tenant: TenantId) -> list[Digest]:
        """Returns the blobs that a tenant's entries refer to."""
        return await self._database.read(_digests, tenant)

    async def clear(self, place: Place) -> set[Digest]:
        """Removes a place.

        Raises:
            StorageError: nothing was changed, or the answer got lost.
        """
        return await self._database.write(_clear, place)

    async def _make(self) -> None:
        if not self._made:
            await self._database.write(_migrate, self._database.path)
            self._made = True


# What follows runs inside a transaction, in the writer's thread or a reader's.


def _migrate(connection: Connection, path: str) -> None:
    migrate(connection, (KEEPING,), path)


def _exists(connection: Connection) -> bool:
    query = "select 1 from sqlite_master where type = 'table' and name = 'keep_entry'"
    return connection.execute(query).fetchone() is not None


def _get(connection: Connection, place: Place, key: str) -> Entry | None:
    if not _exists(connection):
        return None
    query = "select value, size, version, written_at from keep_entry where tenant = ? and place = ? and key = ?"
    row = connection.execute(query, (place.tenant, place.name, key)).fetchone()
    return None if row is None else Entry(key, *row)


def _list(connection: Connection, place: Place, prefix: str, after: str, limit: int) -> list[Entry]:
    if not _exists(connection):
        return []
    values = (place.tenant, place.name, after, prefix, len(prefix), prefix, max(limit, 0))
    return [Entry(key, "", size, version, at) for key, size, version, at in connection.execute(_LIST, values)]


def _digests(connection: Connection, tenant: TenantId) -> list[Digest]:
    if not _exists(connection):
        return []
    query = "select refers from keep_entry indexed by keep_entry_refers where tenant = ? and refers != ''"
    rows = cast("list[tuple[str]]", connection.execute(query, (tenant,)).fetchall())
    return [Digest(each) for (refers,) in rows for each in refers.split()]


def _set(connection: Connection, wanted: _Change) -> Change:
    place, caps = wanted.place, wanted.caps
    if (known := _known(connection, place, wanted.operation)) is not None:
        return known
    there = _get(connection, place, wanted.key)
    current = 0 if there is None else there.version
    if wanted.version is not None and wanted.version != current:
        return Change("other version", current)
    count, total, version = _place(connection, place)
    weight = len(wanted.key.encode())
    count += there is None
    total += wanted.size + weight - (0 if there is None else there.size + weight)
    if count > caps.count:
        return Change("too many", current)
    if total > caps.total:
        return Change("too large", current)
    row = (place.tenant, place.name, wanted.key, wanted.value, wanted.size, version + 1, wanted.now, wanted.refers)
    connection.execute(_PUT, row)
    connection.execute(_PUT_PLACE, (place.tenant, place.name, count, total, version + 1))
    return _note(connection, place, wanted.operation, Change("written", version + 1), wanted.now)


def _delete(connection: Connection, place: Place, key: str, operation: str, now: int) -> Change:
    if (known := _known(connection, place, operation)) is not None:
        return known
    there = _get(connection, place, key)
    if there is None:
        return _note(connection, place, operation, Change("absent"), now)
    count, total, version = _place(connection, place)
    query = "delete from keep_entry where tenant = ? and place = ? and key = ?"
    connection.execute(query, (place.tenant, place.name, key))
    total -= there.size + len(key.encode())
    connection.execute(_PUT_PLACE, (place.tenant, place.name, count - 1, total, version))
    return _note(connection, place, operation, Change("removed"), now)


def _clear(connection: Connection, place: Place) -> set[Digest]:
    if not _exists(connection):
        return set()
    where = (place.tenant, place.name)
    query = "select refers from keep_entry where tenant = ? and place = ? and refers != ''"
    rows = cast("list[tuple[str]]", connection.execute(query, where).fetchall())
    connection.execute("delete from keep_entry where tenant = ? and place = ?", where)
    connection.execute("delete from keep_place where tenant = ? and place = ?", where)
    return {Digest(each) for (refers,) in rows for each in refers.split()}


def _place(connection: Connection, place: Place) -> tuple[int, int, int]:
    query = "select count, total, version from keep_place where tenant = ? and place = ?"
    row = connection.execute(query, (place.tenant, place.name)).fetchone()
    return cast("tuple[int, int, int]", row or (0, 0, 0))


def _known(connection: Connection, place: Place, operation: str) -> Change | None:
    query = "select change from keep_operation where tenant = ? and operation = ?"
    row = connection.execute(query, (place.tenant, operation)).fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=Change)


def _note(connection: Connection, place: Place, operation: str, change: Change, now: int) -> Change:
    row = (place.tenant, operation, msgspec.json.encode(change).decode(), now)
    connection.execute("insert into keep_operation values (?, ?, ?, ?)", row)
    connection.execute(_FORGET, (now - REMEMBERED,))
    return change
