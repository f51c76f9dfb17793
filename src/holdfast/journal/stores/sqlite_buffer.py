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
from holdfast.journal.stores.sqlite_tables import Row
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
        self._version = -1
        self._last = 0
        """The highest number of a stream."""
        self.epoch = 0
        """The highest that a deleted stream had."""
        self.written = 0
        """Differs from an earlier value when this process wrote anything in between."""

    def version(self, _: Connection) -> int:
        """Returns, inside a transaction, a number that differs from an earlier one when others committed in between."""
        return self._version

    def begin(self, connection: Connection) -> None:
        """Forgets everything when another process has written since the last transaction."""
        version = connection.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            self._rows.clear()
            self._version = version
            self._last, self.epoch = tables.fetch_last(connection)
        elif len(self._rows) > _REMEMBERED:
            self._rows.clear()

    def flush(self, connection: Connection) -> None:
        """Writes what was kept back."""
        records, mail, changed = self._records, self._mail, self._changed
        self._records, self._mail, self._changed, self._keys = [], [], {}, {}
        _insert(connection, tables.RECORD, records)
        _insert(connection, tables.INBOX, mail)
        new: list[object] = []
        still: list[object] = []
        moved: list[object] = []
        for stream, stored in changed.items():
            row = self._rows[stream]
            kind = new if stored is None else still if row.due_at == stored.due_at else moved
            kind += tables.head_row(row)
        _insert(connection, tables.HEAD, new)
        # Setting `due_at` touches its index, which is spared where nothing changes.
        _insert(connection, tables.HEAD, still, tables.SET_HEAD)
        _insert(connection, tables.HEAD, moved, tables.SET_HEAD_AND_DUE)
        self.written = connection.total_changes

    def forget(self) -> None:
        """Drops everything: the transaction was rolled back."""
        self._rows.clear()
        self._changed.clear()
        self._records.clear()
        self._mail.clear()
        self._keys.clear()
        self._version = -1

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

    def put(self, head: Head, now: int) -> None:
        """Sets a head that was looked at before, or of a stream that is new."""
        before = self._rows.get(head.stream)
        if before is None:
            self._last += 1
        due_at = rules.due_at(head, before.due_at if before else None, now)
        self._rows[head.stream] = Row(before.sid if before else self._last, head, due_at)
        self._changed.setdefault(head.stream, before)

    def add_records(self, stream: StreamId, records: Sequence[Record]) -> None:
        """Adds records of a stream whose head was set."""
        rows, sid = self._records, self._rows[stream].sid
        for record in records:
            rows += (sid, record.seq, record.type, bytearray(record.body), record.blob or tables.NOTHING)

    def add_mail(self, stream: StreamId, mail: Mail) -> None:
        """Adds a message to a stream whose head was set."""
        sid = self._rows[stream].sid
        place = sid * tables.MAIL + mail.n
        self._mail += (place, sid, mail.n, mail.key, mail.kind, bytearray(mail.body), mail.actor, mail.at)
        self._keys[sid, mail.key] = mail.n

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
    most = _ROWS * tables.WIDTH[table]
    if len(values) > most:
        for start in range(0, len(values), most):
            _insert(connection, table, values[start : start + most], conflict)
    elif values:
        connection.execute(_statement(table, conflict, len(values) // tables.WIDTH[table]), values)


@lru_cache(maxsize=512)
def _statement(table: str, conflict: str, rows: int) -> str:
    return f"insert into {table} values {', '.join([f'({tables.PLACES[table]})'] * rows)} {conflict}"
