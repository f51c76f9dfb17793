"""One SQLite file: a thread that commits for groups, and a few that read.

Theory of operation. Callers hand in functions. Those that wait together take a turn: they run in one transaction
with one commit, and only then are all of them answered, so that a hundred appenders share one fsync. What comes
meanwhile waits for the next turn. The functions of one event loop run in the order in which they were handed in.

Who runs them? Statements take microseconds, and in a thread of their own each would have to win the interpreter's
lock back from a busy event loop, which costs more than the statement. So functions that are known to be quick
(`stage`) run in the event loop that handed them in, unless the lock on the file is not to be had at once; all others
(`write`) run in the thread. The commit waits for the disk, and belongs to the writer's thread unless the disk has
shown that it takes less than the way into a thread and back: see `sqlite_pace.py`. What is copied from the log into
the file is copied in the thread.

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
import time
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from holdfast.errors import HoldfastError, StorageError
from holdfast.storage.connecting import CHECKPOINT, Connection, Synchronous, begin, open_writer, rollback
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite_errors import storage_error
from holdfast.storage.sqlite_jobs import Job, answer, settle
from holdfast.storage.sqlite_pace import Pace
from holdfast.storage.sqlite_reading import Readers

__all__ = ("SQLITE_VERSION", "Buffer", "Connection", "Database", "Synchronous")

SQLITE_VERSION = sqlite3.sqlite_version
"""The version of the SQLite library that is in use."""

P = ParamSpec("P")
T = TypeVar("T")

_GROUP = 256
"""How many functions share a commit at most: the first of them waits for the last."""
_STAGED = 64
"""How many of them may run in the event loop, which does nothing else meanwhile."""
_GATHER = 0.0006
"""Seconds a function waits at most for as many others as shared the last commit; one that is alone waits for nobody.
About what a commit takes: shorter, and a sixth more commits are made for the same work.
"""


_forks = 0
"""How often this process is a fork of another that had loaded this: asking for the process id costs a system call."""


def _forked() -> None:
    global _forks  # noqa: PLW0603 - a child must not use its parent's databases
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Buffer(Protocol):
    """What somebody keeps back during a transaction, to write it at its end; called by whoever has the turn."""

    def begin(self, connection: Connection) -> None:
        """Called when a transaction has begun."""
        ...

    def flush(self, connection: Connection) -> None:
        """Called before it is committed."""
        ...

    def forget(self) -> None:
        """Called when it was rolled back."""
        ...


class _Turn:
    """What the writer's thread is to do next."""

    __slots__ = ("error", "jobs", "over", "staged")

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.staged = False
        """Whether the functions ran, so that only the commit is left."""
        self.over = False
        """Whether all of it is done, so that nothing is left to the thread."""
        self.error: BaseException | None = None
        """Why they did not run to their end."""


_Trays = dict[asyncio.AbstractEventLoop, list[Job]]


class Database:
    """A file and its threads; make one with `open`."""

    def __init__(
        self, path: str, schemas: Sequence[Schema], buffer: Buffer | None, synchronous: Synchronous, patience: float
    ) -> None:
        self.path = path
        self._schemas = schemas
        self._buffer = buffer
        self.synchronous: Synchronous = synchronous
        """Whether each commit waits for the disk: `full`, or `normal`, which may lose the last to a power cut."""
        self._patience = patience
        self._forks = _forks
        self._closed = False
        self._lock = threading.Lock()
        self._trays: _Trays = {}
        """What each event loop handed in and has not passed on yet."""
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}
        """When it is passed on at the latest, complete or not."""
        self._taken = False
        """Whether somebody has the turn: the writing connection is theirs until it was committed."""
        self._last = 0
        """How many were in the last group: of several, so that waiting a moment makes the next one as large."""
        self._turns: SimpleQueue[_Turn] = SimpleQueue()
        self._pace = Pace()
        self._checkpoints = True
        """Whether a commit may copy the log into the file."""
        self._readers = Readers(path, patience)
        self._hung_up: asyncio.Future[None] | None = None
        # Held here and not by their threads: a forked child must not finalise what its parent uses.
        self._connections: list[Connection] = []

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
        loop = asyncio.get_running_loop()
        opened = Job(bool, (), loop, loop.create_future())
        threading.Thread(target=database._write_all, args=(opened,), name="holdfast-writer", daemon=True).start()
        try:
            await opened.future
        except asyncio.CancelledError:
            database._closed = True
            database._turns.put(_Turn([]))
            raise
        return database

    def write(self, call: Callable[Concatenate[Connection, P], T], *args: P.args, **_: P.kwargs) -> asyncio.Future[T]:
        """Runs `call(connection, *args)` in a durable transaction; the future is its answer after the commit."""
        return self._hand_in(call, args, quick=False)

    def stage(self, call: Callable[Concatenate[Connection, P], T], *args: P.args, **_: P.kwargs) -> asyncio.Future[T]:
        """As `write`, for what takes microseconds: it may run in this very event loop."""
        return self._hand_in(call, args, quick=True)

    def read(self, call: Callable[Concatenate[Connection, P], T], *args: P.args, **_: P.kwargs) -> asyncio.Future[T]:
        """Runs `call(connection, *args)` on a connection that sees everything committed before."""
        self._check_process()
        return self._readers.read(call, args)

    def version(self) -> asyncio.Future[int]:
        """Returns a number that differs from the last one whenever anybody committed in between."""
        self._check_process()
        return self._readers.version()

    async def close(self) -> None:
        """Finishes what was handed in, then lets go of the file; a second call does nothing."""
        self._check_process()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._hung_up = asyncio.get_running_loop().create_future()
            self._readers.stop()
            if not self._taken:
                self._taken = True
                self._turns.put(_Turn([]))  # its end is where the thread finds that this is the last
        await self._hung_up

    def _hand_in(self, call: Callable[..., T], args: tuple[Any, ...], *, quick: bool) -> asyncio.Future[T]:
        """Puts a function to the others that this event loop hands in at about the same time."""
        if self._forks != _forks:
            self._check_process()
        loop = asyncio.get_running_loop()
        job = Job(call, args, loop, loop.create_future(), quick)
        with self._lock:
            if self._closed:
                raise StorageError(f"the database {self.path!r} was closed; open it again")
            tray = self._trays.get(loop)
            if tray is None:
                tray = self._trays[loop] = []
            tray.append(job)
            count, taken = len(tray), self._taken
        # Who comes first sees to it that they are passed on, and who makes them complete; or else the end of a turn.
        if not taken and count in (1, self._last):
            self._pass_on_soon(loop)
        return job.future

    def _pass_on_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._trays.get(loop, ())) < self._last:
            if loop not in self._timers:
                self._timers[loop] = loop.call_later(_GATHER, self._pass_on, loop)
        else:
            loop.call_soon(self._pass_on, loop)  # those that came together come together: nobody is missing

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the turn for what this loop handed in, if it is to be had."""
        if (timer := self._timers.pop(loop, None)) is not None:
            timer.cancel()  # it would pass on the next group before that is complete
        with self._lock:
            tray = self._trays.get(loop)
            if not tray or self._taken or self._closed:
                return
            self._taken = True
            if len(tray) > _GROUP:
                tray, self._trays[loop] = tray[:_GROUP], tray[_GROUP:]
            else:
                del self._trays[loop]
            self._last = len(tray)
        turn = _Turn(tray)
        try:
            slow = [job for job in tray if not job.quick]
            if not slow and len(tray) <= _STAGED and self._stage(turn):
                self._end_turn(turn)
        except Exception as error:  # noqa: BLE001 - as in the thread, which finds out whose it is
            turn.error = error
        except BaseException as error:  # somebody wants the program to end: the thread ends the transaction first
            turn.error = error if not turn.staged or self._connections[0].in_transaction else None
            raise
        finally:
            if not turn.over:
                self._turns.put(turn)

    def _stage(self, turn: _Turn) -> bool:
        """Runs the functions of a turn, and commits if that is quick; whether it did."""
        connection = self._connections[0]
        try:
            connection.execute("begin immediate")
        except sqlite3.Error:
            return False  # the thread can wait for the lock, and meets everything else again
        self._run(connection, turn.jobs)
        turn.staged = True
        if not self._pace.quick(connection.total_changes):
            return False
        self._checkpoint_at_commit(connection, wanted=False)
        begun = time.perf_counter()
        connection.execute("commit")
        self._pace.committed_here(time.perf_counter() - begun)
        return True

    def _checkpoint_at_commit(self, connection: Connection, *, wanted: bool) -> None:
        if self._checkpoints is not wanted:
            connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT if wanted else 0}")
            self._checkpoints = wanted

    def _end_turn(self, turn: _Turn) -> None:
        """Answers this event loop, and lets others have the turn, last of all: until then the thread may end it."""
        mine = turn.jobs[0].loop
        settle(turn.jobs)
        with self._lock:
            if mine in self._trays:
                self._pass_on_soon(mine)
            if self._closed:
                self._turns.put(_Turn([]))  # its end is where the thread finds that this was the last
            else:
                self._tell([loop for loop in self._trays if loop is not mine])
            turn.over = True
            self._taken = self._closed

    def _tell(self, waiting: Iterable[asyncio.AbstractEventLoop]) -> None:
        for loop in waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._pass_on, loop)

    def _pass_on_next(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waiting = loop in self._trays and not self._taken
        if waiting:
            self._pass_on_soon(loop)

    def _check_process(self) -> None:
        if self._forks != _forks:
            raise StorageError(f"the database {self.path!r} was opened before this process was forked; open it again")

    # The writer's thread.

    def _write_all(self, opened: Job) -> None:
        try:
            connection = open_writer(self.path, self._schemas, self.synchronous, self._patience)
        except StorageError as error:
            opened.error = error
            answer([opened])
            return
        self._connections.append(connection)
        answer([opened])
        del opened
        while self._take_turn(connection):
            pass
        self._hang_up()

    def _take_turn(self, connection: Connection) -> bool:
        """Does the next turn; False when it was the last."""
        turn = self._turns.get()
        if turn.error is not None:
            self._recover(connection, turn.jobs, turn.error)
        elif turn.staged:
            self._finish(connection, turn.jobs)
        elif turn.jobs:
            self._commit(connection, turn.jobs)
        with self._lock:
            closed = self._taken = self._closed
            waiting = dict(self._trays)
            if closed:
                self._trays.clear()
        if turn.jobs:
            answer(turn.jobs, self._pass_on_next)
        if closed:
            self._commit_last(connection, [job for tray in waiting.values() for job in tray])
            return False
        mine = turn.jobs[0].loop if turn.jobs else None  # it hears of the next turn with its answers
        self._tell(loop for loop in waiting if loop is not mine)
        return True

    def _commit_last(self, connection: Connection, jobs: list[Job]) -> None:
        for start in range(0, len(jobs), _GROUP):
            group = jobs[start : start + _GROUP]
            self._commit(connection, group)
            answer(group)

    def _commit(self, connection: Connection, jobs: list[Job]) -> None:
        try:
            begin(connection, self._patience)
        except sqlite3.Error as error:
            # Nobody's fault, so nobody is tried again: waiting once is long enough.
            for job in jobs:
                job.error = storage_error(error, self.path)
            return
        try:
            self._run(connection, jobs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer of the one who caused it
            self._recover(connection, jobs, error)
        else:
            self._finish(connection, jobs)

    def _run(self, connection: Connection, jobs: list[Job]) -> None:
        buffer = self._buffer
        if buffer is not None:
            buffer.begin(connection)
        for job in jobs:
            changes = connection.total_changes
            try:
                job.result = job.call(connection, *job.args)
            except HoldfastError as error:
                if connection.total_changes != changes:
                    raise
                job.error = error
        if buffer is not None:
            buffer.flush(connection)

    def _finish(self, connection: Connection, jobs: list[Job]) -> None:
        if not connection.in_transaction:
            return  # whoever committed was interrupted right after
        try:
            self._checkpoint_at_commit(connection, wanted=True)
            begun = time.perf_counter()
            connection.execute("commit")
            self._pace.committed_in_thread(time.perf_counter() - begun, connection.total_changes)
        except sqlite3.Error as error:
            self._recover(connection, jobs, error)

    def _recover(self, connection: Connection, jobs: list[Job], error: BaseException) -> None:
        if self._buffer is not None:
            self._buffer.forget()
        try:
            rollback(connection)
        except sqlite3.Error as worse:
            error = worse
        for job in jobs:
            job.result = job.error = None
        if len(jobs) > 1 or not isinstance(error, Exception):
            for job in jobs:
                self._commit(connection, [job])
        elif isinstance(error, HoldfastError | sqlite3.Error | OSError):
            jobs[0].error = error if isinstance(error, HoldfastError) else storage_error(error, self.path)
        else:  # a future takes no StopIteration
            jobs[0].error = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error

    def _hang_up(self) -> None:
        # The connection that closes last folds the log back into the file, and readers may not do that.
        self._readers.hang_up()
        for connection in reversed(self._connections):
            connection.close()
        self._connections.clear()
        if self._hung_up is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._hung_up.get_loop().call_soon_threadsafe(_done, self._hung_up)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
