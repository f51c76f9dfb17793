"""Taking things out of a SQLite file again, so that nothing of them is left there.

Each statement here overwrites what it removes (`secure_delete`). What is left then are copies: in the log of the
database, which is cut off, and in pages of the inbox between which messages were moved, for which it is written anew.
Records and blobs are rows that are only ever added at the end, and so never moved.
"""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import Collection, Sequence

import msgspec

from holdfast.errors import StorageLocked
from holdfast.journal.port import Record, is_buried
from holdfast.journal.stores import heads as rules
from holdfast.journal.stores import sqlite_tables as tables
from holdfast.journal.stores.sqlite_tables import MAIL
from holdfast.storage.sqlite import Connection, Database
from holdfast.storage.stores.sqlite import remove_blobs
from holdfast.types import Digest, StreamId, TenantId

__all__ = ("delete", "discard", "drop_taken", "erase", "is_busy", "places_of", "replace")

_PATIENCE = 5.0
"""Seconds that others may read on before the log is cut off."""

Place = tuple[int, int]
"""A stream's number and a record's."""


def drop_taken(connection: Connection, streams: Collection[StreamId]) -> int:
    """Empties the bodies of mail that was taken; returns of how many messages."""
    # A cross join is done from left to right: each stream is looked up, and its mail lies in one piece.
    query = (
        "update inbox set body = x'' where length(body) > 0 and id in (select mail.id from json_each(?) as wanted "
        "cross join head on stream = wanted.value "
        f"cross join inbox as mail on mail.id > head.sid * {MAIL} and mail.id <= head.sid * {MAIL} + inbox_taken)"
    )
    return connection.execute(query, (msgspec.json.encode(list(streams)).decode(),)).rowcount


def delete(connection: Connection, stream: StreamId, epoch: int) -> int:
    """Removes a stream; returns how many of its records stay for forks. What is made later begins above `epoch`."""
    row = tables.fetch_head(connection, stream)
    assert row is not None
    connection.execute("update epoch set highest = ?", (epoch,))
    connection.execute("delete from inbox where id > ? and id < ?", (row.sid * MAIL, (row.sid + 1) * MAIL))
    children = tables.fetch_children(connection, stream)
    if not children:
        _remove(connection, row.sid)
        _tidy(connection, row.head.parent)
        return 0
    name = rules.grave(stream, lambda each: tables.fetch_head(connection, each) is not None)
    _put(connection, tables.Row(row.sid, rules.buried(row.head, name, rules.shared(children)), None))
    connection.execute("update head set parent = ? where parent = ?", (name, stream))
    _cut(connection, row.sid, rules.shared(children))
    return connection.execute("select count(*) from record where sid = ?", (row.sid,)).fetchone()[0]


def _tidy(connection: Connection, stream: StreamId | None) -> None:
    """Removes what nobody shares any more of a buried stream, and of those above it."""
    while stream is not None and is_buried(stream) and (row := tables.fetch_head(connection, stream)):
        children = tables.fetch_children(connection, stream)
        if children:
            up_to = rules.shared(children)
            _put(connection, tables.Row(row.sid, rules.buried(row.head, stream, up_to), None))
            return _cut(connection, row.sid, up_to)
        _remove(connection, row.sid)
        stream = row.head.parent
    return None


def _put(connection: Connection, row: tables.Row) -> None:
    values = tables.head_row(row)
    connection.execute("delete from head where sid = ?", (row.sid,))
    connection.execute(f"insert into {tables.HEAD} values ({tables.PLACES[tables.HEAD]})", values)


def _remove(connection: Connection, sid: int) -> None:
    _cut(connection, sid, 0)
    connection.execute("delete from head where sid = ?", (sid,))


def _cut(connection: Connection, sid: int, up_to: int) -> None:
    """Removes a stream's records behind a number; of the newest of the whole store, all but its position."""
    connection.execute(
        "update record set sid = 0, seq = position, type = '', body = x'', blob = null "
        "where position = (select max(position) from record) and sid = ? and seq > ?",
        (sid, up_to),
    )
    connection.execute("delete from record where sid = ? and seq > ?", (sid, up_to))
    connection.execute("delete from record where sid = 0 and position < (select max(position) from record)")


def places_of(connection: Connection, stream: StreamId, records: Sequence[Record]) -> list[Place]:
    """Returns where records are that others replace.

    Raises:
        UsageError: there is none of such a number and type.
    """
    line = tables.fetch_line(connection, stream, 0)
    numbers = {row.head.stream: row.sid for row in line}
    parts = rules.segments([row.head for row in line], 0)
    kinds: dict[int, str] = {}
    places: list[Place] = []
    for record in records:
        name = next((name for name, over, up_to in parts if over < record.seq <= up_to), None)
        if name is not None:
            place = (numbers[name], record.seq)
            row = connection.execute("select type from record where sid = ? and seq = ?", place).fetchone()
            if row is not None:
                kinds[record.seq] = row[0]
                places.append(place)
    rules.check_replaced(stream, kinds, records)
    return places


def replace(connection: Connection, places: Sequence[Place], records: Sequence[Record]) -> None:
    """Puts records in those places."""
    for place, record in zip(places, records, strict=True):
        query = "update record set body = ?, blob = ? where sid = ? and seq = ?"
        connection.execute(query, (record.body, record.blob, *place))


def is_busy(connection: Connection, bounds: tuple[str, str], now: int) -> bool:
    """Returns whether a stream between two ids has an owner."""
    query = "select 1 from head where stream > ? and stream < ? and owner is not null and lease_until > ? limit 1"
    return connection.execute(query, (*bounds, now)).fetchone() is not None


def discard(
    connection: Connection, tenant: TenantId, bounds: tuple[str, str], digests: Collection[Digest], after: int
) -> set[Digest]:
    """Removes blobs that are there and that no record over a position names; returns them."""
    later = [item.record for item in tables.fetch_feed(connection, after, (), bounds, 1 << 62)]
    wanted = msgspec.json.encode(list(digests)).decode()
    query = "select digest from blob_use where tenant = ? and digest in (select value from json_each(?))"
    there = [Digest(digest) for (digest,) in connection.execute(query, (tenant, wanted)).fetchall()]
    gone = {each for each in there if not any(rules.names(record, each) for record in later)}
    remove_blobs(connection, tenant, gone)
    return gone


async def erase(database: Database) -> None:
    """Returns when the files hold nothing any more of what was removed.

    Raises:
        StorageLocked: others read what was there before, and do not end.
    """
    await database.write(_rewrite_inbox)
    until = time.monotonic() + _PATIENCE
    while not await database.read(_cut_log_off):
        if time.monotonic() > until:
            raise StorageLocked(
                f"other programs are reading the database {database.path!r}, so what was removed cannot be "
                "overwritten in its log yet: end them, and do this again"
            )
        await sleep(0.02)


def _rewrite_inbox(connection: Connection) -> None:
    rows = connection.execute("select id, sid, n, key, kind, body, actor, at from inbox order by id").fetchall()
    connection.execute("delete from inbox")
    connection.executemany(f"insert into {tables.INBOX} values (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _cut_log_off(connection: Connection) -> bool:
    return connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
