"""The places in a run at which its process can be made to die or stop: hooks, for the processes of the campaign alone.

Each place has a kind, and the n-th time a process comes to that kind it is a boundary. `reach` is called there;
the boundary that was asked for is the last thing the process does, or the last for a while.

The hooks stand around the ports (journal, blobs, ledger, model), around the gateway's effect, at each event the owner
writes and around the system calls that change files. Nothing of this is in the package, and nothing is undone:
whoever installs it is about to end.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.journal.owning import Pen
from holdfast.models import calling
from holdfast.runtime import runtime as building
from holdfast.runtime.configuring import entering
from holdfast.sandbox import leash
from holdfast.tools.gateway import Gateway
from holdfast.types import AssistantMessage

__all__ = ("Boundaries", "Boundary", "Note", "notes_in")


class Boundary(NamedTuple):
    """The n-th time that a process comes to a place of that kind."""

    kind: str
    n: int

    def __str__(self) -> str:
        return f"{self.kind} {self.n}"


class Boundaries:
    """Counts the boundaries of this process, notes each in a file, and ends or stops it at one of them."""

    def __init__(self, record: Path, at: Boundary | None, stop: Callable[[], object] | None = None) -> None:
        """`stop` is called at the boundary in place of dying there."""
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._at = at
        self._stop = stop or partial(os.kill, os.getpid(), signal.SIGKILL)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, kind: str, what: str = "") -> None:
        """Says that the process is at a place of that kind."""
        with self._lock:
            self._counts[kind] += 1
            boundary = Boundary(kind, self._counts[kind])
            os.write(self._record, f"{boundary}\t{what}\n".encode())
            if boundary == self._at:
                self._stop()

    def install(self) -> None:
        """Puts the hooks in place."""
        _watch_events(self.reach)
        _watch_journal(self.reach)
        _watch_ledger(self.reach)
        _watch_model(self.reach)
        _watch_tools(self.reach)
        _watch_files(self.reach)
        _watch_commands(self.reach)


class Note(NamedTuple):
    """That a process came to a boundary."""

    boundary: Boundary
    what: str
    """What it was about there: the types of events, a tool, a file."""


def notes_in(record: Path) -> list[Note]:
    """Returns what a process noted, in order."""
    found: list[Note] = []
    for line in record.read_text().splitlines() if record.exists() else ():
        place, _, what = line.partition("\t")
        kind, _, n = place.rpartition(" ")
        found.append(Note(Boundary(kind, int(n)), what))
    return found


Reach = Callable[..., None]


def _watch_events(reach: Reach) -> None:
    write = Pen.write

    def watched(pen: Pen, payload: Any, **more: Any) -> Any:
        event = write(pen, payload, **more)
        reach("event: in memory", event.type)
        return event

    setattr(Pen, "write", watched)  # noqa: B010  so that its parameters may have other names


def _watch_journal(reach: Reach) -> None:
    open_journal = entering.open_journal

    async def watched(*given: Any) -> Any:
        return _Journal(await open_journal(*given), reach)

    entering.open_journal = watched


class _Journal:
    """The port, with a boundary before each write, after its commit and after its answer was seen."""

    def __init__(self, journal: Any, reach: Reach) -> None:
        self._journal = journal
        self._reach = reach
        self.blobs = _Blobs(journal.blobs, reach)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def claim(self, *given: Any, **more: Any) -> Any:
        self._reach("claim: before")
        claim = await self._journal.claim(*given, **more)
        self._reach("claim: after")
        return claim

    async def post(self, stream: Any, letter: Any, **more: Any) -> Any:
        self._reach("post: before", letter.kind)
        posted = await self._journal.post(stream, letter, **more)
        self._reach("post: after", letter.kind)
        return posted

    def append(
        self, stream: Any, epoch: int, expected: int, batch: Any, records: Any, **more: Any
    ) -> asyncio.Future[Any]:
        what = " ".join([*(record.type for record in records), *(["park"] if more.get("park") else [])])
        self._reach("append: before", what)
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[Any] = loop.create_future()

        def committed(answer: asyncio.Future[Any]) -> None:
            if seen.done():
                return
            if (error := answer.exception()) is not None:
                seen.set_exception(error)
                return
            self._reach("append: committed", what)
            seen.set_result(answer.result())
            loop.call_soon(self._reach, "append: acknowledged", what)

        self._journal.append(stream, epoch, expected, batch, records, **more).add_done_callback(committed)
        return seen


class _Blobs:
    def __init__(self, blobs: Any, reach: Reach) -> None:
        self._blobs = blobs
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def put(self, *given: Any) -> Any:
        self._reach("blob: before")
        digest = await self._blobs.put(*given)
        self._reach("blob: after")
        return digest


def _watch_ledger(reach: Reach) -> None:
    open_ledger = building.open_ledger

    def watched(*given: Any) -> Any:
        return _Ledger(open_ledger(*given), reach)

    building.open_ledger = watched


class _Ledger:
    """The port, with a boundary before each write and after its commit."""

    def __init__(self, ledger: Any, reach: Reach) -> None:
        self._ledger = ledger
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)
        if name not in ("grant", "grow", "settle", "release", "set_caps"):
            return method

        async def watched(*given: Any, **more: Any) -> Any:
            self._reach("ledger: before", name)
            answer = await method(*given, **more)
            self._reach("ledger: after", name)
            return answer

        return watched


def _watch_model(reach: Reach) -> None:
    perform = calling.perform

    async def watched(*given: Any) -> AsyncGenerator[Any, None]:
        reach("model: before")
        speaking = False
        async with aclosing(perform(*given)) as stream:
            async for item in stream:
                if isinstance(item, AssistantMessage):
                    reach("model: answered")
                elif not speaking:
                    speaking = True
                    reach("model: speaking")
                yield item

    calling.perform = watched


def _watch_tools(reach: Reach) -> None:
    perform = Gateway.perform

    async def watched(gateway: Gateway, admitted: Any, *rest: Any, **more: Any) -> Any:
        reach("effect: before", admitted.call.name)
        outcome = await perform(gateway, admitted, *rest, **more)
        reach("effect: after", admitted.call.name)
        return outcome

    setattr(Gateway, "perform", watched)  # noqa: B010  as above


def _watch_files(reach: Reach) -> None:
    for name in ("mkdir", "rename", "unlink", "rmdir"):
        setattr(os, name, _around(getattr(os, name), name, reach))
    open_file, fdopen = os.open, os.fdopen
    creating = _around(open_file, "create", reach)

    def watched_open(path: Any, flags: int, *given: Any, **more: Any) -> int:
        return (creating if flags & os.O_CREAT else open_file)(path, flags, *given, **more)

    def watched_fdopen(descriptor: int, mode: str = "r", *given: Any, **more: Any) -> Any:
        return _Halves(descriptor, reach) if mode == "wb" else fdopen(descriptor, mode, *given, **more)

    os.open, os.fdopen = watched_open, watched_fdopen


def _around(call: Any, name: str, reach: Reach) -> Any:
    def watched(path: Any, *given: Any, **more: Any) -> Any:
        reach(f"{name}: before", os.fspath(path))
        answer = call(path, *given, **more)
        reach(f"{name}: after", os.fspath(path))
        return answer

    return watched


class _Halves(io.FileIO):
    """A file whose first write is a short one, as the system may make any."""

    def __init__(self, descriptor: int, reach: Reach) -> None:
        super().__init__(descriptor, "wb")
        self._reach: Reach | None = reach

    def write(self, data: Any) -> int:
        if self._reach is None:
            return super().write(data)
        reach, self._reach = self._reach, None
        count = super().write(data[: len(data) // 2])
        reach("write: half")
        return count


def _watch_commands(reach: Reach) -> None:
    start, hold, release = subprocess.Popen, leash.hold, leash.release

    def started(*given: Any, **more: Any) -> Any:
        process = start(*given, **more)
        reach("command: started")
        return process

    def held(*given: Any) -> None:
        hold(*given)
        reach("command: on the leash")

    def released(*given: Any) -> None:
        reach("command: over")
        release(*given)

    setattr(subprocess, "Popen", started)  # noqa: B010  a function in the place of a class
    leash.hold, leash.release = held, released
