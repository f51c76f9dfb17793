"""Runs plain functions beside the event loop.

The threads are daemons and are used again. A call that is cancelled is let go: Python cannot stop a thread, so
the function runs on to its end unseen, and what it returns is dropped. It does not count against the limit from
then on, and it does not keep the process from ending. A tool that must stop when it is told to is written as
`async def`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

__all__ = ("in_thread",)

T = TypeVar("T")

_LIMIT = 64
"""Calls that run at once; the others wait for their turn."""
_IDLE = 30.0
"""Seconds a thread waits for more work."""


class _Job:
    __slots__ = ("abandoned", "context", "function", "future", "loop", "running")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.context: Context = copy_context()
        self.running = False
        self.abandoned = False

    def run(self) -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            value = self.context.run(self.function)
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, who judges it
            error = raised
            if isinstance(raised, StopIteration) or not isinstance(raised, Exception):
                # These would steer the one who awaits: end its coroutine, its task, or the whole process.
                error = RuntimeError(f"the function raised {type(raised).__name__}: {raised}")
                error.__cause__ = raised
        if not self.abandoned:
            try:
                self.loop.call_soon_threadsafe(self._settle, value, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _settle(self, value: object, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class _Pool:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle: list[SimpleQueue[_Job]] = []
        self.waiting: deque[_Job] = deque()
        self.running = 0

    def start(self, job: _Job) -> None:
        with self.lock:
            if self.running >= _LIMIT:
                self.waiting.append(job)
            else:
                self._launch(job)

    def abandon(self, job: _Job) -> None:
        with self.lock:
            job.abandoned = True
            if job.running:
                self.running -= 1
                self._launch_waiting()
            elif job in self.waiting:
                self.waiting.remove(job)

    def _launch(self, job: _Job) -> None:
        self.running += 1
        job.running = True
        if self.idle:
            self.idle.pop().put(job)
            return
        jobs: SimpleQueue[_Job] = SimpleQueue()
        jobs.put(job)
        threading.Thread(target=self._work, args=(jobs,), name="holdfast-tool", daemon=True).start()

    def _launch_waiting(self) -> None:
        while self.waiting and self.running < _LIMIT:
            self._launch(self.waiting.popleft())

    def _work(self, jobs: SimpleQueue[_Job]) -> None:
        while True:
            try:
                job = jobs.get(timeout=_IDLE)
            except Empty:
                with self.lock:
                    if jobs in self.idle:
                        self.idle.remove(jobs)
                        return
                continue  # it was given work this very moment
            job.run()
            with self.lock:
                if not job.abandoned:
                    job.running = False
                    self.running -= 1
                self.idle.append(jobs)
                self._launch_waiting()


_pool = _Pool()


async def in_thread(function: Callable[[], T]) -> T:
    """Returns what the function returns, or raises what it raises; cancelling lets go of it."""
    job = _Job(function)
    _pool.start(job)
    try:
        return cast(T, await job.future)
    except asyncio.CancelledError:
        _pool.abandon(job)
        raise
