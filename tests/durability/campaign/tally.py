"""The account of many trials: counted while they run, told now and then, and left behind as a file.

`make campaign` takes every count of trials higher and keeps the accounts in `campaign-results`.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, final

import msgspec
from tests.durability.campaign.job import STEPS
from tests.durability.campaign.trial import Reference, Trial

__all__ = ("CAMPAIGN", "Tally")

CAMPAIGN = os.environ.get("HOLDFAST_CAMPAIGN") == "1"
"""Whether this is the long campaign, and not the slice of it that every test run plays."""
_RESULTS = Path("campaign-results")

T = TypeVar("T")


@final
class Tally:
    """What came of the trials of one test."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        """Kills by the kind of their boundary."""
        self.lost: Counter[int] = Counter()
        """Runs by the number of model calls the kills cost."""
        self.mismatches: list[str] = []
        self.facts: dict[str, Any] = {}
        self._say = say
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def play(self, trials: Iterable[T], play: Callable[[T], None], at_once: int = 1) -> None:
        """Plays every one of them, so many at once; a trial that raises is a mismatch."""

        def played(each: T) -> None:
            try:
                play(each)
            except Exception:  # noqa: BLE001  the boundary of a trial: the others are played all the same
                with self._lock:
                    self.mismatches.append(f"{each}: {traceback.format_exc(limit=-3)}")

        with ThreadPoolExecutor(at_once) as pool:
            for number, _ in enumerate(pool.map(played, trials), 1):
                if CAMPAIGN and number % 50 == 0:
                    self._say(f"  {self}")

    def judge(self, trial: Trial, reference: Reference) -> None:
        """Judges a finished trial and counts it."""
        self.add(trial, trial.judge(reference))

    def add(self, trial: Trial, problems: list[str]) -> None:
        """Counts a trial that was judged, and removes what it left if nothing is wrong with it."""
        with self._lock:
            self.counts["runs"] += 1
            self.counts["kills"] += trial.kills
            self.counts["resumes"] += trial.processes - 1
            if trial.model.startswith("job-") and len(trial.requests) >= STEPS:
                self.lost[len(trial.requests) - STEPS] += 1
            self.mismatches += [f"{trial.model}: {problem}; {trial.story}" for problem in problems]
        if not problems:
            trial.clear()

    def count(self, what: str, kind: str = "") -> None:
        """Counts something else, or a kill by its kind."""
        with self._lock:
            self.counts[what] += 1
            if kind:
                self.kinds[kind] += 1

    def close(self, folder: Path | None = None) -> dict[str, Any]:
        """Writes the account down, ends the test if there is a mismatch, and returns the account.

        Without a folder it is kept only in the campaign.
        """
        account: dict[str, Any] = {
            "name": self.name,
            **self.counts,
            "mismatches": len(self.mismatches),
            "seconds": round(time.monotonic() - self._began, 1),
            **self.facts,
            "kills by kind": dict(sorted(self.kinds.items())),
            "runs by model calls lost": {str(n): count for n, count in sorted(self.lost.items())},
            "what is wrong": self.mismatches,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "system": f"{platform.system()} {platform.machine()}",
        }
        if CAMPAIGN or folder is not None:
            target = (folder or _RESULTS) / f"{self.name}.json"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(msgspec.json.format(msgspec.json.encode(account), indent=2) + b"\n")
        if CAMPAIGN:
            self._say(f"  {self}; all done")
        assert not self.mismatches, f"{len(self.mismatches)} mismatches:\n" + "\n".join(self.mismatches[:5])
        return account

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        return f"{self.name}: {counts}, {len(self.mismatches)} mismatches, {time.monotonic() - self._began:.0f} s"
