"""Opens connections the way all of Holdfast uses SQLite: WAL, explicit transactions, private files.

Not the place where transactions are run: see `sqlite.py`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from holdfast.errors import StorageError
from holdfast.storage.migrating import Schema, migrate, pending
from holdfast.storage.sqlite_errors import is_busy, storage_error, write_refusal

__all__ = ("CHECKPOINT", "Connection", "Synchronous", "begin", "open_reader", "open_writer", "rollback")

Connection = sqlite3.Connection
"""A connection to SQLite, for rooms that may not name the library."""
Synchronous = Literal["full", "normal"]
"""`full`: an answer means the disk has it. `normal`: a power cut may take the last moments, a crash may not."""

CHECKPOINT = 1000
"""Pages in the log before they are copied into the file (4 MB): busy pages are copied once for many commits."""

T = TypeVar("T")


def open_writer(path: str, schemas: Sequence[Schema], synchronous: Synchronous, patience: float) -> Connection:
    """Returns the connection that writes, with every table in place.

    Raises:
        StorageError: the file cannot be used; the subclass says why.
    """
    connection: Connection | None = None
    try:
        _create(path)
        connection = _connect(path, timeout=0)
        _prepare(connection, path, schemas, synchronous, patience)
    except (sqlite3.Error, OSError, StorageError) as error:
        if connection is not None:
            connection.close()
        raise storage_error(error, path) from error
    return connection


def open_reader(path: str, patience: float) -> Connection:
    """Returns a connection that only reads; it may wait for a recovery, never for a writer."""
    connection = _connect(path, timeout=patience)
    connection.execute("pragma query_only = on")
    return connection


def begin(connection: Connection, patience: float) -> None:
    """Takes the write lock, waiting up to `patience` seconds for other processes.

    SQLite's own waiting grows to a tenth of a second between two tries, and a process that always has work
    hardly leaves gaps that long: short, uneven waits get everybody a turn.
    """
    _patiently(lambda: connection.execute("begin immediate"), patience)


def rollback(connection: Connection) -> None:
    """Ends a transaction without its effects; SQLite has done so already after some errors."""
    if connection.in_transaction:
        connection.execute("rollback")


def _create(path: str) -> None:
    # Sessions are private; SQLite gives the files beside the database the same mode.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if os.path.isdir(path):  # noqa: PTH112 - no pathlib at start-up
            raise StorageError(f"{path!r} is a folder; name a file for the database") from None
        refusal = write_refusal(path)
        if refusal is not None:
            raise refusal from None


def _connect(path: str, timeout: float) -> Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=256)


def _prepare(
    connection: Connection, path: str, schemas: Sequence[Schema], synchronous: Synchronous, patience: float
) -> None:
    if _patiently(lambda: connection.execute("pragma journal_mode").fetchone()[0], patience) != "wal":
        # Only the program that makes the file comes here; a foreign one is refused before its mode is changed.
        _patiently(lambda: pending(connection, schemas, path), patience)
        # Only an empty file takes this: what is removed later can then be given back to the disk.
        _patiently(lambda: connection.execute("pragma auto_vacuum = incremental"), patience)
        _patiently(lambda: connection.execute("pragma journal_mode = wal"), patience)
    connection.execute(f"pragma synchronous = {synchronous}")
    # What is deleted is overwritten: it may have been a secret.
    connection.execute("pragma secure_delete = on")
    connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT}")
    if _patiently(lambda: pending(connection, schemas, path), patience):
        begin(connection, patience)
        try:
            migrate(connection, schemas, path)
            connection.execute("commit")
        finally:
            rollback(connection)


def _patiently(call: Callable[[], T], patience: float) -> T:
    try:
        return call()
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
    until = time.monotonic() + patience
    while True:
        time.sleep(random.uniform(0.0005, 0.002))
        try:
            return call()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= until:
                raise
