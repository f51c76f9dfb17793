"""One SQLite file: a thread that writes in groups, and a few that read.

Theory of operation. Callers hand in functions; the writer thread takes everything that waits, runs it in one
transaction with one commit, and only then answers all of them, so that a hundred appenders share one fsync.
The functions of one event loop run in the order in which they were handed in.

A function that raises a `HoldfastError` before it wrote anything has been refused, and the others go on. After
any other failure the whole group is rolled back and each function gets a transaction of its own, so that only
the faulty one fails. A function may therefore run twice, and must touch nothing but the connection.

A caller that is cancelled does not know whether its function ran. A forked child may not use the database of
its parent and is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from holdfast.errors import HoldfastError, StorageError
from holdfast.storage.connecting import Connection, Synchronous, begin, open_reader, open_writer, rollback
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite_errors import storage_error

__all__ = ("Buffer", "Connection", "Database", "Synchronous")

P = ParamSpec("P")
T = TypeVar("T")

_GROUP = 256
"""How many functions share a commit, more or less, at most: the first of them waits for the last."""
_GATHER = 0.0002
"""Seconds a function waits for others when the last commit was shared; one that is alone waits for nobody."""
_READERS = 2


class Buffer(Protocol):
    """What somebody keeps back during a transaction, to write it at its end; called by the writer's thread."""

    def begin(self, connection: Connection) -> None:
        """Called when a transaction has begun."""
        ...

    def flush(self, connection: Connection) -> None:
        """Called before it is committed."""
        ...

    def forget(self) -> None:
        """Called when it was rolled back."""
        ...


class _Job:
    __slots__ = ("args", "call", "error", "future", "loop", "result")

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.args = args
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


_Trays = dict[asyncio.AbstractEventLoop, list[_Job]]


class Database:
    """A file and its threads; make one with `open`."""

    def __init__(
        self, path: str, schemas: Sequence[Schema], buffer: Buffer | None, synchronous: Synchronous, patience: float
    ) -> None:
        self.path = path
        self._schemas = schemas
        self._buffer = buffer
        self._synchronous: Synchronous = synchronous
        self._patience = patience
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._trays: _Trays = {}
        """What each event loop handed in and has not passed on yet."""
        self._crowded = False
        """Whether the last group was one of several, so that waiting a moment makes the next one larger."""
        self._writes: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._reads: SimpleQueue[_Job | None] = SimpleQueue()
        self._readers: list[threading.Thread] = []
        self._hung_up: asyncio.Future[None] | None = None
        # Held here and not by their threads: a forked child must not finalise what its parent uses.
        self._connections: list[Connection] = []
        self._watcher: Connection | None = None

    @classmethod
    async def open(
        cls,
        path: str,
        schemas: Sequence[Schema],
        *,
        buffer: Buffer | None = None,
        synchronous: Synchronous = "full",
        patience: float = 5.0,
    ) -> Database:
        """Returns the database with every schema in place; `patience` is how many seconds we wait for others.

        `buffer` may keep back what the functions of one transaction want written, and write it together.

        Raises:
            StorageError: the file cannot be used; the subclass says why.
        """
        full = os.path.abspath(path)  # noqa: PTH100, ASYNC240 - no pathlib at start-up; it reads no disk
        database = cls(full, schemas, buffer, synchronous, patience)
        opened = _Job(bool, (), asyncio.get_running_loop())
        threading.Thread(target=database._write_all, args=(opened,), name="holdfast-writer", daemon=True).start()
        try:
            await opened.future
        except asyncio.CancelledError:
            database._writes.put(None)
            raise
        return database

    def write(self, call: Callable[Concatenate[Connection, P], T], *args: P.args, **_: P.kwargs) -> asyncio.Future[T]:
        """Runs `call(connection, *args)` in a durable transaction; the future is its answer after the commit."""
        return self._hand_in(call, args)

    def read(self, call: Callable[Concatenate[Connection, P], T], *args: P.args, **_: P.kwargs) -> asyncio.Future[T]:
        """Runs `call(connection, *args)` on a connection that sees everything committed before."""
        if len(self._readers) < _READERS:
            self._add_reader()
        self._check_process()
        job = _Job(call, args, asyncio.get_running_loop())
        with self._lock:
            self._check_open()
            self._reads.put(job)
        return job.future

    def version(self) -> asyncio.Future[int]:
        """Returns a number that differs from the last one whenever anybody committed in between."""
        return self.read(self._data_version)

    async def close(self) -> None:
        """Finishes what was handed in, then lets go of the file; a second call does nothing."""
        self._check_process()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._hung_up = asyncio.get_running_loop().create_future()
            for _ in self._readers:
                self._reads.put(None)
            for tray in self._trays.values():
                self._writes.put(tray)
            self._trays.clear()
            self._writes.put(None)
        await self._hung_up

    def _hand_in(self, call: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[T]:
        """Puts a function to the others that this event loop hands in at about the same time."""
        self._check_process()
        loop = asyncio.get_running_loop()
        job = _Job(call, args, loop)
        with self._lock:
            self._check_open()
            tray = self._trays.setdefault(loop, [])
            tray.append(job)
        if len(tray) == 1:
            if self._crowded:
                loop.call_later(_GATHER, self._pass_on, loop)
            else:
                loop.call_soon(self._pass_on, loop)
        return job.future

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if tray := self._trays.pop(loop, None):
                self._writes.put(tray)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"the database {self.path!r} was closed; open it again")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise StorageError(f"the database {self.path!r} was opened before this process was forked; open it again")

    # The writer's thread.

    def _write_all(self, opened: _Job) -> None:
        try:
            connection = open_writer(self.path, self._schemas, self._synchronous, self._patience)
        except StorageError as error:
            opened.error = error
            _answer([opened])
            return
        self._connections.append(connection)
        _answer([opened])
        del opened
        more = True
        while more:
            jobs, more = _drain(self._writes)
            self._crowded = len(jobs) > 1
            if jobs:
                self._commit(connection, jobs)
                _answer(jobs)
            del jobs
        self._hang_up()

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        try:
            begin(connection, self._patience)
        except sqlite3.Error as error:
            # Nobody's fault, so nobody is tried again: waiting once is long enough.
            for job in jobs:
                job.error = storage_error(error, self.path)
            return
        try:
            if self._buffer is not None:
                self._buffer.begin(connection)
            for job in jobs:
                self._perform(connection, job)
            if self._buffer is not None:
                self._buffer.flush(connection)
            connection.execute("commit")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer of the one who caused it
            self._recover(connection, jobs, error)

    def _perform(self, connection: Connection, job: _Job) -> None:
        changes = connection.total_changes
        try:
            job.result = job.call(connection, *job.args)
        except HoldfastError as error:
            if connection.total_changes != changes:
                raise
            job.error = error

    def _recover(self, connection: Connection, jobs: list[_Job], error: Exception) -> None:
        if self._buffer is not None:
            self._buffer.forget()
        try:
            rollback(connection)
        except sqlite3.Error as worse:
            error = worse
        for job in jobs:
            job.result = job.error = None
        if len(jobs) > 1:
            for job in jobs:
                self._commit(connection, [job])
        elif isinstance(error, HoldfastError | sqlite3.Error | OSError):
            jobs[0].error = error if isinstance(error, HoldfastError) else storage_error(error, self.path)
        else:
            jobs[0].error = error

    def _hang_up(self) -> None:
        for reader in self._readers:
            reader.join()
        # The connection that closes last folds the log back into the file, and readers may not do that.
        for connection in reversed(self._connections):
            connection.close()
        self._connections.clear()
        if self._hung_up is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._hung_up.get_loop().call_soon_threadsafe(_done, self._hung_up)

    # The readers' threads.

    def _add_reader(self) -> None:
        self._check_process()
        with self._lock:
            if self._closed or len(self._readers) >= _READERS:
                return
            reader = threading.Thread(target=self._read_all, name="holdfast-reader", daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read_all(self) -> None:
        connection: Connection | None = None
        while (job := self._reads.get()) is not None:
            try:
                if connection is None:
                    connection = self._add_connection()
                job.result = job.call(connection, *job.args)
            except sqlite3.Error as error:
                job.error = storage_error(error, self.path)
            except Exception as error:  # noqa: BLE001 - the answer of the one who caused it
                job.error = error
            _answer([job])
            del job

    def _add_connection(self) -> Connection:
        connection = open_reader(self.path, self._patience)
        self._connections.append(connection)
        return connection

    def _data_version(self, _: Connection) -> int:
        # The number compares only with earlier ones of the same connection.
        if self._watcher is None:
            self._watcher = self._add_connection()
        return self._watcher.execute("pragma data_version").fetchone()[0]


def _drain(queue: SimpleQueue[list[_Job] | None]) -> tuple[list[_Job], bool]:
    tray = queue.get()
    jobs: list[_Job] = []
    try:
        while tray is not None:
            jobs += tray
            if len(jobs) >= _GROUP:
                break
            tray = queue.get_nowait()
    except Empty:
        return jobs, True
    return jobs, tray is not None


def _answer(jobs: list[_Job]) -> None:
    """Resolves futures with one call into each event loop."""
    loop = jobs[0].loop
    mine = jobs if len(jobs) == 1 else [job for job in jobs if job.loop is loop]
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, mine)
    if len(mine) < len(jobs):
        _answer([job for job in jobs if job.loop is not loop])


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
