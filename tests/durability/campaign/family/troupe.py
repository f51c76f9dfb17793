"""Runs with gates, children and phases that are killed, resumed and judged; each is a case that can be played again.

A case is written as those against the hostile service are: `job/kill/kill/…`, see `hostile/cases.py`; the job is the
number of its kind.
"""

from __future__ import annotations

import itertools
import shlex
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, final

import msgspec
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.family.players import LINES, USED
from tests.durability.campaign.family.records import Records, flaws, gather, over_a_cap, unknown_labels
from tests.durability.campaign.hostile.calls import ADDRESS
from tests.durability.campaign.hostile.cases import Case, Service
from tests.durability.campaign.trial import Ended, Stage, Trial

__all__ = ("JOBS", "Troupe", "command_for")

JOBS: Final = ("tree", "line", "tight", "lean")
"""An agent that has children and a pipeline; a pipeline; and both with so little money that they do not get far."""
_BELLS: Final = {
    "tree": ("door", "gate", "one-bell", "two-bell", "copy-bell", "line-bell", "scout-bell"),
    "line": ("line-bell", "scout-bell"),
}
_CHARGES: Final = {
    "tree": (
        *("ann", "typed", "one-due", "two-due", "copy-due", "line-due", "paper"),
        *("one-deep", "two-deep", "copy-deep", "line-deep"),
    ),
    "line": ("line-due", "line-deep", "paper"),
}


def command_for(case: Case) -> str:
    """Returns how to play this one case."""
    return f"HOLDFAST_CASE={shlex.quote(str(case))} .venv/bin/python -m pytest tests/durability/campaign/family"


class Uninterrupted(msgspec.Struct, frozen=True):
    """A run that nothing happened to."""

    records: Records
    notes: list[Note]
    seconds: float


@final
class Troupe:
    """Plays cases."""

    def __init__(self, stage: Stage, service: Service) -> None:
        self.stage = stage
        self.service = service
        self.done: Counter[str] = Counter()
        self.most_used: Counter[str] = Counter()
        """Of each kind of job, the most tokens a run was charged."""
        self.looks = 0
        """How often the ledger was looked at just after a kill."""
        self._books = itertools.count(1)
        self._lock = threading.Lock()
        self._uninterrupted: dict[str, Uninterrupted] = {}

    def uninterrupted(self, job: str) -> Uninterrupted:
        """Returns the run of that kind that the others should equal."""
        if not self._uninterrupted:
            self._begun(Case(JOBS.index(job), ()))[0].finish()  # it starts the server that forks, and imports
        if job not in self._uninterrupted:
            trial, book = self._begun(Case(JOBS.index(job), ()))
            began = time.monotonic()
            notes = trial.finish().notes
            seconds = time.monotonic() - began
            found = self._gather(trial)
            wrong = [*flaws(found, None, self._provided(trial)), *self._misdeeds(job, book, found)]
            assert not wrong, wrong
            self._uninterrupted[job] = Uninterrupted(found, notes, seconds)
        return self._uninterrupted[job]

    def play(self, case: Case) -> tuple[Trial, list[str]]:
        """Plays a case to its end and returns the trial and what is wrong with it."""
        job = JOBS[case.seed]
        wanted = self.uninterrupted(job).records if job in _BELLS else None
        trial, book = self._begun(case)
        wrong = self._kill(trial, case)[1]
        found = self._gather(trial)
        wrong += [*flaws(found, wanted, self._provided(trial)), *self._misdeeds(job, book, found)]
        with self._lock:
            self.most_used[job] = max(self.most_used[job], found.balance.settled.tokens)
        return trial, wrong

    def resumed(self, case: Case) -> list[Note]:
        """Returns the boundaries to which the process comes that goes on with a case after its kills."""
        trial, _ = self._begun(case)
        notes = self._kill(trial, case)[0].notes
        trial.clear()
        return notes

    def account(self) -> dict[str, Any]:
        """Returns what came of all cases together."""
        facts = {"times a thing was done": dict(sorted(self.done.items())), "ledger looked at after a kill": self.looks}
        return {**facts, "most tokens of a run": dict(self.most_used)}

    def _kill(self, trial: Trial, case: Case) -> tuple[Ended, list[str]]:
        """Kills a run where it shall be, looks at its ledger, and resumes it until it is over."""
        wrong: list[str] = []
        for kill in case.kills:
            at, after = (kill, None) if isinstance(kill, Boundary) else (None, kill)
            ended = trial.go(at, after=after)
            if not ended.killed:  # it was over first
                assert ended.outcome is not None and ended.outcome.how == "finished", (trial.story, ended.outcome)
                return ended, wrong
            if (trial.folder / "store.db").exists():
                wrong += [f"after a kill: {each}" for each in over_a_cap(self._gather(trial).balance)]
                with self._lock:
                    self.looks += 1
        return trial.finish(), wrong

    def _begun(self, case: Case) -> tuple[Trial, str]:
        book, job = f"family-{next(self._books)}", JOBS[case.seed]
        environment = {ADDRESS: f"{self.service.address}/{book}/{case.seed}"}
        play = "tests.durability.campaign.family.playing:play"
        return self.stage.trial("family", environment=environment, retry=case.retry, prompt=job, play=play), book

    def _gather(self, trial: Trial) -> Records:
        return gather(trial.folder / "store.db", trial.folder / "copy")

    def _provided(self, trial: Trial) -> int:
        number = trial.model.partition("-")[2]
        asked = [self.stage.requests.get(f"{name}-{number}", ()) for name in LINES if name != "odd"]
        return USED * sum(map(len, asked))

    def _misdeeds(self, job: str, book: str, found: Records) -> Iterator[str]:
        """What the service's ledger has against a run."""
        done = self.service.done_in(book)
        times = Counter((each.kind, each.label) for each in done)
        unknown = set(unknown_labels(found))
        with self._lock:
            self.done.update(f"{each.kind} {times[each.kind, each.label]}" for each in done)
        yield from (f"{kind} {label!r} was done {n} times" for (kind, label), n in times.items() if n > 1)
        if job not in _BELLS:
            return
        wanted = {("unsafe", label) for label in _BELLS[job]} | {("keyed", label) for label in _CHARGES[job]}
        missing = wanted - times.keys() - {("unsafe", label) for label in unknown}
        if missing or times.keys() - wanted:
            yield f"{sorted(missing)} were not done, and {sorted(times.keys() - wanted)} were that nobody wanted"
