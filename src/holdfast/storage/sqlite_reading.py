"""The threads of a database that read: each on a connection of its own, which sees everything committed before."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, final

from holdfast.errors import StorageError
from holdfast.storage.connecting import Connection, open_reader
from holdfast.storage.sqlite_errors import storage_error
from holdfast.storage.sqlite_jobs import Job, answer

__all__ = ("Readers",)

_MOST = 2


@final
class Readers:
    """A few threads that are started when there is something to read."""

    def __init__(self, path: str, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._lock = threading.Lock()
        self._closed = False
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Held here and not by their threads: a forked child must not finalise what its parent uses.
        self._connections: list[Connection] = []
        self._watcher: Connection | None = None

    def read(self, call: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Runs `call(connection, *args)` in one of the threads; the future is its answer.

        Raises:
            StorageError: the database was closed.
        """
        loop = asyncio.get_running_loop()
        job = Job(call, args, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise StorageError(f"the database {self._path!r} was closed; open it again")
            if len(self._threads) < _MOST:
                reader = threading.Thread(target=self._read_all, name="holdfast-reader", daemon=True)
                self._threads.append(reader)
                reader.start()
            self._jobs.put(job)
        return job.future

    def version(self) -> asyncio.Future[int]:
        """Returns a number that differs from the last one whenever anybody committed in between."""
        return self.read(self._data_version, ())

    def stop(self) -> None:
        """Takes nothing more, and lets the threads end when they have done what they were given."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)

    def hang_up(self) -> None:
        """Waits for the threads to end, and closes their connections."""
        for reader in self._threads:
            reader.join()
        for connection in reversed(self._connections):
            connection.close()
        self._connections.clear()

    def _read_all(self) -> None:
        connection: Connection | None = None
        while (job := self._jobs.get()) is not None:
            try:
                if connection is None:
                    connection = self._add_connection()
                job.result = job.call(connection, *job.args)
            except sqlite3.Error as error:
                job.error = storage_error(error, self._path)
            except Exception as error:  # noqa: BLE001 - the answer of the one who caused it
                job.error = error
            answer([job])
            del job

    def _add_connection(self) -> Connection:
        connection = open_reader(self._path, self._patience)
        self._connections.append(connection)
        return connection

    def _data_version(self, _: Connection) -> int:
        # The number compares only with earlier ones of the same connection.
        if self._watcher is None:
            self._watcher = self._add_connection()
        return self._watcher.execute("pragma data_version").fetchone()[0]
