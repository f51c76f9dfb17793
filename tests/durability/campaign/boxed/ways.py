"""The ways in which commands run in sandboxes, and the runs of each."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from tests.durability.campaign.boundaries import Note
from tests.durability.campaign.boxed.job import TOOLS, lay_out_more
from tests.durability.campaign.evidence import Evidence, differences
from tests.durability.campaign.program import Shift
from tests.durability.campaign.trial import Stage, Trial

from holdfast.sandbox.policy.profile import Profile, Tree

__all__ = ("ORDINARY", "Play", "Way")

ORDINARY = 40001
_HOW_LONG = re.compile(r", (under 1|\d+) s\]")
_UNKNOWN = "Outcome unknown"


class Way(NamedTuple):
    """How sandboxes are made, and when what happens in them counts."""

    apply: Literal["at-once", "when-ended", "when-succeeded"]
    user: int = 0

    def __str__(self) -> str:
        return f"{self.apply}{'-rootless' if self.user else ''}"


class Play:
    """The runs of one way."""

    def __init__(self, stage: Stage, way: Way, **more: Any) -> None:
        """`more` are fields of the orders."""
        self._stage = stage
        self._way = way
        self._more: dict[str, Any] = {"user": way.user, **({"python": everybodys_python()} if way.user else {}), **more}
        self.trial().finish()  # not this one: it imports what is not imported yet
        trial = self.trial()
        ended = trial.finish()
        self.notes: list[Note] = ended.notes
        self.wanted = plain(trial.gather())
        assert len(self.wanted.files) > 20
        assert book_of(trial) == ["rang"]

    def trial(self, **more: Any) -> Trial:
        profile = Profile(backend="native", workspace=Tree(apply=self._way.apply))
        trial = self._stage.trial("boxed", sandbox=profile, tools=TOOLS, follow_up="", **self._more, **more)
        trial.set(prompt=str(trial.folder / "book"))
        lay_out_more(trial.workspace, self._way.user)
        Shift.set(trial.folder / "seconds-ahead", 0)
        os.chown(trial.folder, self._way.user, self._way.user)
        return trial

    def judge(self, trial: Trial) -> list[str]:
        """Returns what is wrong with a finished run."""
        found = plain(trial.gather())
        rang = book_of(trial)
        unknown = [number for number, each in enumerate(found.conversation) if _UNKNOWN in str(each)]
        for number in unknown:
            found.conversation[number] = self.wanted.conversation[number]
        problems = differences(found, self.wanted)
        if len(rang) > 1 or len(unknown) > 1 or (not rang and not unknown):
            problems.append(f"it rang {len(rang)} times, and {len(unknown)} outcomes are unknown")
        return problems


def plain(evidence: Evidence) -> Evidence:
    """Returns evidence without how long commands took, and where the trial's book is."""
    talk = [re.sub(r"/\S*/boxed-\d+/", "", _HOW_LONG.sub(", under 1 s]", repr(each))) for each in evidence.conversation]
    return msgspec.structs.replace(evidence, conversation=talk)


def book_of(trial: Trial) -> list[str]:
    book = trial.folder / "book"
    return book.read_text().split() if book.exists() else []


def everybodys_python() -> str:
    """Returns a Python that any user may run and that our libraries are made for; skips where there is none."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = shutil.which(f"python{mine}", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"takes a Python {mine} that everybody may run")
    return found
