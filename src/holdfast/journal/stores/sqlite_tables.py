"""The tables of a journal in SQLite, and the statements on them.

A stream's head is one row. Records are rows whose key is the order in which the whole store committed them; the
newest row cannot be deleted, because a position that was given out must never come again. Where it belonged to a
stream that is deleted, it stays without its content and belongs to stream 0, which there is not.
The highest epoch of a stream that was deleted is kept, too: no other stream is given one of those again.
`due_at` is kept beside each head so that a sweep looks at nothing but the streams that want an owner.

Many rows are fetched as one: the library gives up the interpreter's lock at each row, and while an event loop is
busy in another thread it may wait 5 ms to get it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec

from holdfast.journal.port import FeedItem, Head, Mail, Record
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Connection
from holdfast.types import Digest, StreamId

__all__ = (
    "HEAD",
    "INBOX",
    "JOURNAL",
    "MAIL",
    "Mark",
    "NOTHING",
    "PLACES",
    "RECORD",
    "Row",
    "SET_HEAD",
    "SET_HEAD_AND_DUE",
    "fetch_children",
    "fetch_due",
    "fetch_feed",
    "fetch_head",
    "fetch_heads",
    "fetch_key",
    "fetch_last",
    "fetch_line",
    "fetch_mail",
    "fetch_marks",
    "fetch_records",
    "head_row",
)

_FIRST = 8
"""Messages of a stream that are looked through for a key; those behind them are in an index. It is part of a step."""

JOURNAL = Schema(
    "journal",
    (
        (
            "create table head (sid integer primary key, stream text not null, seq integer not null, "
            "epoch integer not null, owner text, lease_until integer not null, last_batch text, "
            "inbox_seq integer not null, inbox_taken integer not null, state text not null, wake_at integer, "
            "updated_at integer not null, parent text, parent_seq integer not null, created_at integer not null, "
            "due_at integer)",
            "create unique index head_stream on head (stream)",
            "create index head_due on head (due_at, stream) where due_at is not null",
            "create table record (position integer primary key, sid integer not null, seq integer not null, "
            "type text not null, body blob not null, blob text)",
            "create unique index record_seq on record (sid, seq)",
            "create trigger record_last before delete on record "
            "when old.position = (select max(position) from record) "
            "begin select raise(abort, 'the newest record stays: its position must not be given out again'); end",
            "create table inbox (id integer primary key, sid integer not null, n integer not null, key text not null, "
            "kind text not null, body blob not null, actor text not null, at integer not null)",
            "create unique index inbox_key on inbox (sid, key)",
        ),
        ("create index head_parent on head (parent) where parent is not null",),
        ("create table epoch (highest integer not null)", "insert into epoch values (0)"),
        (
            "drop index inbox_key",
            # Most streams never have more, so most commits write a page less.
            f"create unique index inbox_key on inbox (sid, key) where n > {_FIRST}",
        ),
    ),
)
"""The tables of a journal; open the database with it."""

_HEAD = (
    "stream, seq, epoch, owner, lease_until, last_batch, inbox_seq, inbox_taken, state, wake_at, updated_at, parent, "
    "parent_seq, created_at"
)
MAIL = 2**28
"""Messages a stream can have. The n-th of stream `sid` is row `sid * MAIL + n`: the mail of a stream lies together, and
that of new streams at the end, where a row is added without moving others.
"""
_ALIVE = "instr(stream, '~') = 0"
"""Whether a stream was not deleted: see `heads.grave`."""
_PAGE = 1000
"""Rows fetched as one; SQLite joins at most a gigabyte."""

_Row = tuple[int, StreamId | int, int, str, int, Digest | None]
_rows = msgspec.json.Decoder(list[_Row])


class Row(msgspec.Struct, frozen=True, gc=False):
    """A head as it is stored."""

    sid: int
    """The stream's number: what records and mail are filed under, so that streams that are busy at one time lie
    close together on the disk."""
    head: Head
    due_at: int | None
    """From when on it is due."""


class Mark(NamedTuple):
    """What of a head tells that its stream changed."""

    seq: int
    inbox_seq: int
    epoch: int
    free: int
    """1 when nobody owns it, else 0."""


_marks = msgspec.json.Decoder(list[tuple[StreamId, Mark]])


def fetch_head(connection: Connection, stream: StreamId) -> Row | None:
    """Returns a stored head, or None when there is no such stream."""
    row = connection.execute(f"select {_HEAD}, due_at, sid from head where stream = ?", (stream,)).fetchone()
    return None if row is None else Row(row[15], _head(row), row[14])


def fetch_last(connection: Connection) -> tuple[int, int]:
    """Returns the highest number of a stream, and the highest epoch that a deleted one had."""
    return connection.execute("select coalesce(max(sid), 0), (select highest from epoch) from head").fetchone()


def fetch_heads(connection: Connection, over: str, below: str, limit: int) -> list[Head]:
    """Returns the heads of streams whose id sorts between two others, by id."""
    query = f"select {_HEAD} from head where stream > ? and stream < ? and {_ALIVE} order by stream limit ?"
    return [_head(row) for row in connection.execute(query, (over, below, limit)).fetchall()]


def fetch_children(connection: Connection, stream: StreamId) -> list[Head]:
    """Returns the heads of a stream's forks."""
    return [
        _head(row) for row in connection.execute(f"select {_HEAD} from head where parent = ?", (stream,)).fetchall()
    ]


def fetch_line(connection: Connection, stream: StreamId, after: int) -> list[Row]:
    """Returns a stream's head and those of the ancestors that hold records over `after`, nearest first."""
    line: list[Row] = []
    name: StreamId | None = stream
    while name is not None and (found := fetch_head(connection, name)):
        line.append(found)
        name = found.head.parent if found.head.parent_seq > after else None
    return line


def fetch_due(connection: Connection, now: int, limit: int) -> list[StreamId]:
    """Returns the streams that are due, oldest first."""
    query = "select stream from head where due_at <= ? order by due_at, stream limit ?"
    return [stream for (stream,) in connection.execute(query, (now, limit)).fetchall()]


def fetch_marks(connection: Connection, streams: Sequence[StreamId]) -> dict[StreamId, Mark]:
    """Returns the marks of those of the streams that exist."""
    (found,) = connection.execute(_MARKS, (msgspec.json.encode(streams).decode(),)).fetchone()
    return dict(_marks.decode(found))


def head_row(row: Row) -> tuple[object, ...]:
    """Returns a stored head as a row of `HEAD`."""
    head = row.head
    return (
        row.sid,
        head.stream,
        head.seq,
        head.epoch,
        head.owner or NOTHING,
        head.lease_until,
        head.last_batch or NOTHING,
        head.inbox_seq,
        head.inbox_taken,
        head.state,
        NOTHING if head.wake_at is None else head.wake_at,
        head.updated_at,
        head.parent or NOTHING,
        head.parent_seq,
        head.created_at,
        NOTHING if row.due_at is None else row.due_at,
    )


def fetch_records(connection: Connection, sid: int, over: int, up_to: int, limit: int) -> list[Record]:
    """Returns a stream's own records numbered over one and up to another, in order."""
    records: list[Record] = []
    while len(records) < limit and over < up_to:
        page = min(limit - len(records), _PAGE)
        heading, bodies = connection.execute(_RECORDS, (sid, over, up_to, page)).fetchone()
        found = [Record(seq, kind, body, blob) for (_, _, seq, kind, _, blob), body in _split(heading, bodies)]
        if not found:
            break
        records += found
        over = found[-1].seq
    return records


def fetch_feed(
    connection: Connection, after: int, types: Sequence[str], streams: tuple[str, str] | None, limit: int
) -> list[FeedItem]:
    """Returns records of all streams, or of those between two ids, in the order in which they were committed."""
    query, values = _feed_query(types, streams)
    items: list[FeedItem] = []
    while len(items) < limit:
        page = min(limit - len(items), _PAGE)
        heading, bodies = connection.execute(query, {**values, "after": after, "page": page}).fetchone()
        found = [
            FeedItem(position, StreamId(str(stream)), Record(seq, kind, body, blob))
            for (position, stream, seq, kind, _, blob), body in _split(heading, bodies)
        ]
        items += found
        if len(found) < page:
            break
        after = found[-1].position
    return items


def fetch_mail(connection: Connection, stream: StreamId, after: int) -> list[Mail]:
    """Returns the messages numbered over `after`, oldest first."""
    # A cross join is done from left to right: one stream is looked up, and its mail lies in one piece.
    query = (
        "select n, key, kind, body, actor, at from head cross join inbox "
        f"on id > head.sid * {MAIL} + ? and id < (head.sid + 1) * {MAIL} where stream = ? order by id"
    )
    return [
        Mail(n=n, key=key, kind=kind, body=body, actor=actor, at=at)
        for n, key, kind, body, actor, at in connection.execute(query, (after, stream)).fetchall()
    ]


def fetch_key(connection: Connection, sid: int, key: str) -> int | None:
    """Returns the number of the message with that key, or None."""
    row = connection.execute(_KEY, (sid * MAIL, sid * MAIL + _FIRST, key, sid, key)).fetchone()
    return None if row is None else row[0]


_KEY = (
    "select n from inbox where id > ? and id <= ? and key = ? "
    f"union all select n from inbox where sid = ? and key = ? and n > {_FIRST} limit 1"
)
_CHANGING = (
    "seq",
    "epoch",
    "owner",
    "lease_until",
    "last_batch",
    "inbox_seq",
    "inbox_taken",
    "state",
    "wake_at",
    "updated_at",
)
HEAD = f"head (sid, {_HEAD}, due_at)"
"""The columns of a head, in the order of `head_row` and of the table: values in another order are moved once more."""
RECORD = "record (sid, seq, type, body, blob)"
INBOX = "inbox (id, sid, n, key, kind, body, actor, at)"
WIDTH = {table: table.count(",") + 1 for table in (HEAD, RECORD, INBOX)}
"""How many columns each has."""
NOTHING = -(2**63)
"""Stands for None among the values of a row, and bytes go as a bytearray: for each None and each bytes object the
library looks for somebody who would adapt it, and makes an exception of not finding one. That takes longer than the
rest of the statement. It is a number, and no time that anybody could mean: texts are copied to where they are compared.
"""
_NULLABLE = {"owner", "last_batch", "wake_at", "parent", "due_at", "blob"}
PLACES = {
    table: ", ".join(f"nullif(?, {NOTHING})" if column in _NULLABLE else "?" for column in columns)
    for table, columns in ((table, table[table.index("(") + 1 : -1].split(", ")) for table in WIDTH)
}
"""What stands in a statement for the values of one row."""
SET_HEAD = f"on conflict (sid) do update set {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)}"
"""What makes an insert of a head a change of it."""
SET_HEAD_AND_DUE = f"{SET_HEAD}, due_at = excluded.due_at"
# A cross join is done from left to right: each stream is looked up, and no others are gone through.
_MARKS = (
    "select json_group_array(json_array(stream, json_array(seq, inbox_seq, epoch, owner is null))) "
    "from json_each(?) as wanted cross join head on stream = wanted.value"
)
_AS_ONE = (
    "select json_group_array(json_array(position, name, seq, type, length(body), blob)), "
    "cast(group_concat(cast(body as text), '') as blob) from"
)
_RECORDS = f"{_AS_ONE} (select *, sid as name from record where sid = ? and seq > ? and seq <= ? order by seq limit ?)"


def _feed_query(types: Sequence[str], streams: tuple[str, str] | None) -> tuple[str, dict[str, object]]:
    values: dict[str, object] = {}
    conditions = ["position > :after"]
    if types:
        names = [f"type{number}" for number in range(len(types))]
        values.update(zip(names, types, strict=True))
        conditions.append(f"type in ({', '.join(f':{name}' for name in names)})")
    if streams is not None:
        values.update(over=streams[0], below=streams[1])
        conditions.append("stream > :over and stream < :below")
    # A cross join is done from left to right: by position, which is the order that is wanted.
    return (
        f"{_AS_ONE} (select record.*, stream as name from record cross join head using (sid) "
        f"where {' and '.join(conditions)} order by position limit :page)"
    ), values


def _split(heading: str, bodies: bytes | None) -> Iterator[tuple[_Row, bytes]]:
    rows = _rows.decode(heading)
    ends = accumulate((row[4] for row in rows), initial=0)
    bodies = bodies or b""
    return ((row, bodies[start:end]) for row, (start, end) in zip(rows, pairwise(ends), strict=True))


def _head(row: Any) -> Head:
    return Head(
        stream=row[0],
        seq=row[1],
        epoch=row[2],
        owner=row[3],
        lease_until=row[4],
        last_batch=row[5],
        inbox_seq=row[6],
        inbox_taken=row[7],
        state=row[8],
        wake_at=row[9],
        updated_at=row[10],
        parent=row[11],
        parent_seq=row[12],
        created_at=row[13],
    )
