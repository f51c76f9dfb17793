"""One trial: a run in processes of its own, killed where it is told to be, resumed until it is over, and judged.

The processes are forked from a server that has everything imported and nothing open, so that a trial costs tens
of milliseconds and not the start of two interpreters. The model is one scripted server for all trials; each has a
model name of its own, by which its requests are told apart.
"""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import signal
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, final

import msgspec
from tests.durability.campaign.boundaries import Boundary, Note, notes_in
from tests.durability.campaign.evidence import Evidence, differences, gather, log_as_it_lies
from tests.durability.campaign.job import STEPS, lay_out
from tests.durability.campaign.program import PATIENCE, SESSION, Order, Outcome, perform

from holdfast.testing import Exchange, ScriptedModelServer
from holdfast.testing.scripts import ScriptFunction
from holdfast.types import Event

__all__ = ("Ended", "Process", "Reference", "Stage", "Trial", "first_ended", "staged")

_BEFORE_THE_FORK = [
    "tests.durability.campaign.program",
    "tests.durability.campaign.family.playing",
    "tests.durability.campaign.hostile.calls",
    "holdfast.journal.stores.sqlite",
    "holdfast.ledger.stores.sqlite",
    "holdfast.net.exchange",
    "holdfast.tools.builtin.table",
]
"""What a process would otherwise import by itself."""
_LOST = 2
"""Model calls a kill may cost: the one under way, and one whose answer was not durable yet."""


class Ended(msgspec.Struct, frozen=True):
    """How a process ended."""

    killed: bool
    outcome: Outcome | None
    notes: list[Note]


class Reference(msgspec.Struct, frozen=True):
    """An uninterrupted run, which the others should equal."""

    evidence: Evidence
    notes: list[Note]
    requests: dict[int, bytes]
    """What the model was asked, by how many answers it had given."""
    seconds: float


@final
class Stage:
    """What all trials share."""

    def __init__(self, folder: Path, server: ScriptedModelServer) -> None:
        self.folder = folder
        self.server = server
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_BEFORE_THE_FORK)
        self.lock = threading.Lock()
        """For what the library does to all processes at once whenever one is started or asked after."""
        self.requests: dict[str, list[Exchange]] = {}
        server.watch(lambda exchange: self.requests.setdefault(exchange.model, []).append(exchange))
        self._numbers = itertools.count(1)

    def trial(self, script: str = "job", **more: Any) -> Trial:
        """Returns a new trial whose model speaks by that script; `more` are fields of its orders."""
        return Trial(self, f"{script}-{next(self._numbers)}", **more)

    def reference(self, script: str = "job", **more: Any) -> Reference:
        """Runs a trial that nothing happens to."""
        self.trial(script, **more).finish()  # not this one: it imports what is not imported yet
        trial = self.trial(script, **more)
        began = time.monotonic()
        notes = trial.finish().notes
        seconds = time.monotonic() - began
        requests = {_place(exchange): _body(exchange) for exchange in trial.requests}
        return Reference(trial.gather(), notes, requests, seconds)


@contextmanager
def staged(folder: Path, scripts: Mapping[str, ScriptFunction]) -> Generator[Stage]:
    """Serves the model and gives the stage."""
    with ScriptedModelServer.in_thread(lambda request: scripts[request.model.partition("-")[0]](request)) as server:
        yield Stage(folder, server)


@final
class Process:
    """One process of a trial."""

    def __init__(self, stage: Stage, order: Order, together: Barrier | None) -> None:
        self.order = order
        self._lock = stage.lock
        with self._lock:
            self._process: ForkServerProcess = stage.context.Process(target=perform, args=(order, together))
            self._process.start()
        self.pid = self._process.pid or 0

    @property
    def notes(self) -> list[Note]:
        """The boundaries it came to until now."""
        return notes_in(self.order.record)

    @property
    def sentinel(self) -> int:
        """Can be read once it has ended."""
        return self._process.sentinel

    def ends_within(self, seconds: float) -> bool:
        """Waits for its end and returns whether it came."""
        return bool(wait([self.sentinel], seconds))

    def kill(self) -> None:
        """Kills it, if it is still there."""
        with self._lock:
            self._process.kill()

    def end(self) -> Ended:
        """Waits for it and returns how it ended.

        Raises:
            AssertionError: it hangs, or broke.
        """
        hung = not self.ends_within(PATIENCE)
        if hung:
            self.kill()
            self.ends_within(PATIENCE)
        with self._lock:
            self._process.join(PATIENCE)
            killed = self._process.exitcode == -signal.SIGKILL
            self._process.close()
        assert not hung, f"process {self.order.number} hung after {self.notes[-5:]}"
        outcome = None if killed else msgspec.json.decode(self.order.outcome.read_bytes(), type=Outcome)
        assert outcome is None or outcome.how != "broken", outcome
        return Ended(killed, outcome, self.notes)


@final
class Trial:
    """One session in a folder of its own."""

    def __init__(self, stage: Stage, model: str, **more: Any) -> None:
        self.stage = stage
        self.model = model
        self.folder = stage.folder / model
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir(parents=True)
        lay_out(self.workspace)
        self.kills = 0
        self.stops = 0
        """Processes that were stopped for so long that another one went on."""
        self.processes = 0
        self.story: list[str] = []
        """How its processes ended, in order."""
        self._more: dict[str, Any] = {"folder": self.folder, "server": stage.server.base_url, "model": model, **more}

    def set(self, **more: Any) -> None:
        """Gives its processes other orders from now on."""
        self._more |= more

    @property
    def requests(self) -> Sequence[Exchange]:
        """What the model was asked."""
        return self.stage.requests.get(self.model, ())

    def begin(self, at: Boundary | None = None, *, freeze: bool = False, together: Barrier | None = None) -> Process:
        """Starts a process that starts the run, or goes on with it."""
        self.processes += 1
        return Process(self.stage, Order(number=self.processes, at=at, freeze=freeze, **self._more), together)

    def end(self, process: Process) -> Ended:
        """Waits for a process and returns how it ended."""
        ended = process.end()
        self.kills += ended.killed
        last = f"{ended.notes[-1].boundary} ({ended.notes[-1].what})" if ended.notes else "the door"
        self.story.append(f"{'killed at' if ended.killed else 'ended after'} {last}")
        return ended

    def go(self, at: Boundary | None = None, *, after: float | None = None) -> Ended:
        """Runs one process to its end, or to that boundary, or for so many seconds."""
        process = self.begin(at)
        if after is not None and not process.ends_within(after):
            process.kill()
        return self.end(process)

    def finish(self) -> Ended:
        """Runs a process to its end, which is the run's."""
        ended = self.go()
        assert ended.outcome is not None and ended.outcome.how == "finished", (self.story, ended.outcome)
        return ended

    def gather(self) -> Evidence:
        """Returns what the run left."""
        return gather(self.folder / "store.db", self.workspace, SESSION)

    def log_so_far(self) -> list[Event]:
        """Returns the events in the store, while no process has it open."""
        return log_as_it_lies(self.folder / "store.db", SESSION, self.folder / "copy")

    def judge(self, wanted: Reference) -> list[str]:
        """Returns what is wrong with a finished run that should equal another one."""
        found = differences(self.gather(), wanted.evidence)
        asked = len(self.requests)
        if not STEPS <= asked <= STEPS + _LOST * (self.kills + self.stops):
            found.append(f"{asked} model calls for {STEPS} steps, {self.kills} kills and {self.stops} stops")
        for exchange in self.requests:
            if _body(exchange) != wanted.requests.get(_place(exchange)):
                found.append(f"what the model is asked in step {_place(exchange) + 1} differs")
        return found

    def clear(self) -> None:
        """Removes its folder."""
        shutil.rmtree(self.folder)


def first_ended(processes: Sequence[Process]) -> tuple[Process, Process]:
    """Waits until one of two ends, and returns that one and the other."""
    one, other = processes
    assert wait([one.sentinel, other.sentinel], PATIENCE), "both hang"
    return (one, other) if one.ends_within(0) else (other, one)


def _place(exchange: Exchange) -> int:
    return exchange.body.count(b'"role":"assistant"')


def _body(exchange: Exchange) -> bytes:
    return exchange.body.replace(exchange.model.encode(), b"")
