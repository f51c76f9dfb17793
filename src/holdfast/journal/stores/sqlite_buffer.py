"""What one transaction of the writer's thread changes, kept back until its end and then written at once.

Each statement gives up the interpreter's lock and has to win it back from a busy event loop, which costs more than
the statement. So a group of appends is not a group of statements: heads are remembered between transactions, as
long as no other process wrote, and records, mail and heads go out in one statement each, whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import final

from holdfast.journal.port import Head, Mail, Record
from holdfast.journal.stores import heads as rules
from holdfast.journal.stores import sqlite_tables as tables
from holdfast.journal.stores.sqlite_tables import MAIL, NOTHING, Row
from holdfast.storage.sqlite import Buffer, Connection
from holdfast.types import StreamId

__all__ = ("HeadBuffer",)

_REMEMBERED = 8192
"""Heads kept between transactions."""
_ROWS = 64
"""Rows in one statement; more take another."""


@final
class HeadBuffer(Buffer):
    """Heads as the transaction sees them, and rows on their way; used by the writer's thread alone."""

    def __init__(self) -> None:
        self._rows: dict[StreamId, Row] = {}
        self._changed: dict[StreamId, Row | None] = {}
        """Streams whose head has to be written, and what is stored of them."""
        self._records: list[object] = []
        """Rows one after another, as a statement takes them; so is the mail."""
        self._mail: list[object] = []
        self._keys: dict[tuple[int, str], int] = {}
        """The numbers of that mail, by stream and key."""
        self.version = -1
        """As the last transaction found it: differs from an earlier one when others committed in between."""
        self.begun = 0
        """How many transactions have found it."""
        self._last = 0
        """The highest number of a stream."""
        self.epoch = 0
        """The highest that a deleted stream had."""
        self.written = 0
        """Differs from an earlier value when this process wrote anything in between."""

    def begin(self, connection: Connection) -> None:
        """Forgets everything when another process has written since the last transaction."""
        version = connection.execute("pragma data_version").fetchone()[0]
        if version != self.version:
            self._rows.clear()
            self.version = version
            self._last, self.epoch = tables.fetch_last(connection)
        elif len(self._rows) > _REMEMBERED:
            self._rows.clear()
        self.begun += 1

    def flush(self, connection: Connection) -> None:
        """Writes what was kept back."""
        records, mail, changed = self._records, self._mail, self._changed
        self._records, self._mail, self._changed, self._keys = [], [], {}, {}
        if records:
            _insert(connection, tables.RECORD, records)
        if mail:
            _insert(connection, tables.INBOX, mail)
        if changed:
            self._write_heads(connection, changed)
        self.written = connection.total_changes

    def _write_heads(self, connection: Connection, changed: dict[StreamId, Row | None]) -> None:
        new: list[object] = []
        still: list[object] = []
        moved: list[object] = []
        rows = self._rows
        for stream, stored in changed.items():
            row = rows[stream]
            kind = new if stored is None else still if row.due_at == stored.due_at else moved
            kind += tables.head_row(row)
        if new:
            _insert(connection, tables.HEAD, new)
        # Setting `due_at` touches its index, which is spared where nothing changes.
        if still:
            _insert(connection, tables.HEAD, still, tables.SET_HEAD)
        if moved:
            _insert(connection, tables.HEAD, moved, tables.SET_HEAD_AND_DUE)

    def forget(self) -> None:
        """Drops everything: the transaction was rolled back."""
        self._rows.clear()
        self._changed.clear()
        self._records.clear()
        self._mail.clear()
        self._keys.clear()
        self.version = -1

    def settle(self, connection: Connection) -> None:
        """Writes what was kept back and remembers nothing: somebody changes rows without this."""
        self.flush(connection)
        self._rows.clear()

    def head(self, connection: Connection, stream: StreamId) -> Head | None:
        """Returns a head as this transaction sees it."""
        row = self._rows.get(stream) or tables.fetch_head(connection, stream)
        if row is None:
            return None
        self._rows[stream] = row
        return row.head

    def remembered(self, stream: StreamId) -> Head | None:
        """Returns a head without looking for it in the file; None when it may be there all the same."""
        row = self._rows.get(stream)
        return None if row is None else row.head

    def put(self, head: Head, now: int) -> int:
        """Sets a head that was looked at before, or of a stream that is new; returns the stream's number."""
        stream = head.stream
        before = self._rows.get(stream)
        if before is None:
            self._last += 1
            row = Row(self._last, head, rules.due_at(head, None, now))
        else:
            row = Row(before.sid, head, rules.due_at(head, before.due_at, now))
        self._rows[stream] = row
        self._changed.setdefault(stream, before)
        return row.sid

    def add_records(self, sid: int, records: Sequence[Record]) -> None:
        """Adds records of a stream whose head was set."""
        rows = self._records
        for record in records:
            rows += (sid, record.seq, record.type, bytearray(record.body), record.blob or NOTHING)

    def add_mail(self, sid: int, mail: Mail) -> None:
        """Adds a message to a stream whose head was set."""
        n, key = mail.n, mail.key
        self._mail += (sid * MAIL + n, sid, n, key, mail.kind, bytearray(mail.body), mail.actor, mail.at)
        self._keys[sid, key] = n

    def mail(self, connection: Connection, stream: StreamId, after: int) -> list[Mail]:
        """Returns messages numbered over `after`, those of this transaction included."""
        self.flush(connection)
        return tables.fetch_mail(connection, stream, after)

    def key(self, connection: Connection, stream: StreamId, key: str) -> int | None:
        """Returns the number of the message of that key, of this transaction or an earlier one."""
        sid = self._rows[stream].sid
        return self._keys.get((sid, key)) or tables.fetch_key(connection, sid, key)


def _insert(connection: Connection, table: str, values: list[object], conflict: str = "") -> None:
    """Inserts rows, given one after another, with as few statements as can be."""
    width = tables.WIDTH[table]
    rows = len(values) // width
    if rows <= _ROWS:
        connection.execute(_statement(table, conflict, rows), values)
        return
    for start in range(0, len(values), _ROWS * width):
        _insert(connection, table, values[start : start + _ROWS * width], conflict)


@lru_cache(maxsize=512)
def _statement(table: str, conflict: str, rows: int) -> str:
    return f"insert into {table} values {', '.join([f'({tables.PLACES[table]})'] * rows)} {conflict}"
