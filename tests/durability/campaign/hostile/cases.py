"""Runs against the hostile service that are killed, resumed and judged; each is a case that can be played again.

A case is written `seed/kill/kill/…`, a kill being a boundary (`append: committed 12`) or seconds after the start of
its process (`0.418`); a `!` at the end says that the run is started again in place of being resumed. Which boundary
is reached is the same each time; what exactly happens at an instant is a matter of luck.

Judged is, first of all, by the ledger of the service. Files and conversation equal those of an uninterrupted run of
the same seed, save the results of unsafe calls that say that their outcome is unknown. Unsafe tools change no files
here, so the files are equal without exception.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import msgspec
from msgspec.structs import replace
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.evidence import Evidence, differences
from tests.durability.campaign.hostile import server
from tests.durability.campaign.hostile.calls import ADDRESS
from tests.durability.campaign.hostile.plans import TOOLS, Plan, plan_of
from tests.durability.campaign.trial import Ended, Stage, Trial

from holdfast.engine.events import ModelFinished, Nested, ToolFinished, ToolStarted
from holdfast.types import ToolError

__all__ = ("ASKED", "Case", "Service", "Theatre", "Uninterrupted", "serving")

ASKED: Final = os.environ.get("HOLDFAST_CASE", "")
"""The one case that shall be played, in place of all others."""
_UNSAFE: Final = "ring"
_ONE_OF_EACH: Final = {"keyed": 1, "checkable": 1, "unsafe": 0}
"""How often a thing has to be done at least; at most once, all of them."""
_HOW_LONG: Final = re.compile(r", (under 1|\d+) s\]")
"""How long a command took is told in whole seconds: on a busy machine a short one may take one."""
_LOST: Final = 2
"""Model calls a kill may cost."""


class Case(NamedTuple):
    """A job and where it is killed."""

    seed: int
    kills: tuple[Boundary | float, ...]
    retry: bool = False
    """Whether the run is started again in place of being resumed."""

    def __str__(self) -> str:
        kills = (str(kill) if isinstance(kill, Boundary) else f"{kill:.4f}" for kill in self.kills)
        return "/".join((str(self.seed), *kills)) + ("!" if self.retry else "")

    @property
    def command(self) -> str:
        """How to play this one case."""
        return f"HOLDFAST_CASE={shlex.quote(str(self))} .venv/bin/python -m pytest tests/durability/campaign/hostile"

    @classmethod
    def read(cls, text: str) -> Case:
        """Returns the case that is written so."""
        seed, *kills = text.removesuffix("!").split("/")
        return cls(int(seed), tuple(map(_kill, kills)), text.endswith("!"))


def _kill(text: str) -> Boundary | float:
    kind, _, n = text.rpartition(" ")
    return Boundary(kind, int(n)) if kind else float(text)


class Done(msgspec.Struct, frozen=True):
    """One line of the service's ledger."""

    book: str
    kind: str
    label: str
    key: str
    manner: str


class Service(NamedTuple):
    """The hostile service, a process of its own."""

    address: str
    ledger: Path

    def done_in(self, book: str) -> list[Done]:
        """Returns what was done, once nothing is under way any more."""
        with urllib.request.urlopen(f"{self.address}/{book}/0/quiet/all", timeout=10):
            pass
        lines = self.ledger.read_bytes().splitlines()
        ours = f'{{"book": "{book}"'.encode()
        return [msgspec.json.decode(line, type=Done) for line in lines if line.startswith(ours)]


@contextmanager
def serving(folder: Path) -> Generator[Service]:
    """Runs the service."""
    ledger = folder / "ledger.jsonl"
    command = [sys.executable, server.__file__, str(ledger)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Service(f"http://127.0.0.1:{int(process.stdout.readline())}", ledger)


class Uninterrupted(msgspec.Struct, frozen=True):
    """A run that nothing happened to."""

    evidence: Evidence
    notes: list[Note]
    seconds: float
    steps: int
    """How often the model was asked."""


@final
class Theatre:
    """Plays cases."""

    def __init__(self, stage: Stage, service: Service) -> None:
        self.stage = stage
        self.service = service
        self.done: dict[str, Counter[int]] = {kind: Counter() for kind in _ONE_OF_EACH}
        """How many things were done how often, by kind."""
        self.manners: Counter[str] = Counter()
        self.unknown = 0
        """Results that said that an outcome is unknown."""
        self._books = itertools.count(1)
        self._lock = threading.Lock()
        self._uninterrupted: dict[int, Uninterrupted] = {}

    def uninterrupted(self, seed: int) -> Uninterrupted:
        """Returns the run of that seed that the others should equal."""
        if not self._uninterrupted:
            self._begun(seed, retry=False)[0].finish()  # it starts the server that forks processes, and imports
        if seed not in self._uninterrupted:
            trial, book = self._begun(seed, retry=False)
            began = time.monotonic()
            notes = trial.finish().notes
            found = Uninterrupted(trial.gather(), notes, time.monotonic() - began, len(trial.requests))
            wrong = [*self._misdeeds(plan_of(seed), book, found.evidence), *_failures(found.evidence)]
            assert not wrong, wrong
            self._uninterrupted[seed] = found
        return self._uninterrupted[seed]

    def play(self, case: Case) -> tuple[Trial, list[str]]:
        """Plays a case to its end and returns the trial and what is wrong with it."""
        wanted = self.uninterrupted(case.seed)
        trial, book = self._begun(case.seed, retry=case.retry)
        self._kill(trial, case.kills)
        found = trial.gather()
        wrong = [*self._misdeeds(plan_of(case.seed), book, found), *_differences(found, wanted.evidence)]
        asked = len(trial.requests)
        if not wanted.steps <= asked <= wanted.steps + _LOST * trial.kills:
            wrong.append(f"{asked} model calls for {wanted.steps} steps and {trial.kills} kills")
        return trial, wrong

    def resumed(self, case: Case) -> list[Note]:
        """Returns the boundaries to which the process comes that goes on with a case after its kills."""
        trial, _ = self._begun(case.seed, retry=case.retry)
        notes = self._kill(trial, case.kills).notes
        trial.clear()
        return notes

    def _kill(self, trial: Trial, kills: Sequence[Boundary | float]) -> Ended:
        """Kills a run where it shall be, resumes it each time, and returns how its last process ended."""
        for kill in kills:
            at, after = (kill, None) if isinstance(kill, Boundary) else (None, kill)
            ended = trial.go(at, after=after)
            if not ended.killed:  # it was over first
                assert ended.outcome is not None and ended.outcome.how == "finished", (trial.story, ended.outcome)
                return ended
        return trial.finish()

    def account(self) -> dict[str, Any]:
        """Returns what the service did, over all cases."""
        per_class = {
            kind: {"least": min(done, default=0), "most": max(done, default=0), "things": sum(done.values())}
            for kind, done in self.done.items()
        }
        return {"done per thing": per_class, "manners": dict(self.manners), "outcomes unknown": self.unknown}

    def _begun(self, seed: int, *, retry: bool) -> tuple[Trial, str]:
        book = f"book-{next(self._books)}"
        environment = {ADDRESS: f"{self.service.address}/{book}/{seed}"}
        words = {"prompt": f"Do all of job {seed}", "follow_up": "", "tools": TOOLS, "effects": {"bash": "none"}}
        return self.stage.trial("mixed", environment=environment, retry=retry, **words), book

    def _misdeeds(self, plan: Plan, book: str, found: Evidence) -> Iterator[str]:
        """What the ledger has against a run."""
        ledger = self.service.done_in(book)
        times = Counter((done.kind, done.label) for done in ledger)
        unknown = set(_labels_unknown(found))
        with self._lock:
            self.manners.update(done.manner for done in ledger)
            self.unknown += len(unknown)
            for kind, labels in plan.wanted.items():
                self.done[kind].update(times[kind, label] for label in labels)
        for kind, labels in plan.wanted.items():
            for label in labels:
                n = times.pop((kind, label), 0)
                least = 1 if kind == "unsafe" and label not in unknown else _ONE_OF_EACH[kind]
                if not least <= n <= 1:
                    keys = [done.key for done in ledger if (done.kind, done.label) == (kind, label)]
                    yield f"{kind} {label!r} was done {n} times, under {keys}"
        yield from (f"{kind} {label!r} was never asked for and was done" for kind, label in times)


def _failures(found: Evidence) -> Iterator[str]:
    """What went wrong in a run that should show how it is done: bad answers have to be coped with."""
    for message in found.conversation:
        match message:
            case ("tool", (name, _), content, _, ToolError() as error, _) if name != _UNSAFE or _is_unknown(error):
                yield f"{name}: {content}"
            case _:
                pass


def _labels_unknown(found: Evidence) -> Iterator[str]:
    """The unsafe things whose outcome the log says is unknown, also those below other calls."""
    calls: dict[str, tuple[str, str]] = {}
    for event in found.events:
        match event.data:
            case ModelFinished() as data:
                calls |= {call.id: (call.name, call.arguments) for call in data.message.calls}
            case ToolStarted(nested=Nested() as nested) as data:
                calls[data.call_id] = nested.name, nested.arguments
            case ToolFinished() as data if _is_unknown(data.result.error) and calls[data.call_id][0] == _UNSAFE:
                yield msgspec.json.decode(calls[data.call_id][1])["label"]
            case _:
                pass


def _differences(found: Evidence, wanted: Evidence) -> list[str]:
    """Where a run differs from the one it should equal, apart from what may."""
    pairs = zip_longest(found.conversation, wanted.conversation)
    said = [_plain(other if one is not None and _may_differ(one) else one) for one, other in pairs if one is not None]
    talk = [_plain(message) for message in wanted.conversation]
    return differences(replace(found, conversation=said), replace(wanted, conversation=talk))


def _may_differ(message: Any) -> bool:
    return message[0] == "tool" and message[1][0] == _UNSAFE and _is_unknown(message[4])


def _is_unknown(error: ToolError | None) -> bool:
    return error is not None and error.reason == "outcome_unknown"


def _plain(message: Any) -> Any:
    if message is None or message[0] != "tool":
        return message
    return (*message[:2], _HOW_LONG.sub(", some s]", message[2]), *message[3:])
