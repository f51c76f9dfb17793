"""A run that is killed from outside, at an instant nobody chose, ends like one that never was."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from tests.durability.campaign.tally import CAMPAIGN, Tally
from tests.durability.campaign.trial import Reference, Stage

from holdfast.types import Event

KILLS = 200 if CAMPAIGN else 30
LONGEST = 4
"""Kills of one run at most."""


@pytest.mark.requirement(
    "engine:crash-at-random-instants", "engine:crash-files-equal", "engine:crash-campaign", "runtime:resume-by-session"
)
def test_a_run_killed_at_random_instants_ends_like_an_uninterrupted_one(
    stage: Stage, reference: Reference, tally: Callable[[str], Tally], tmp_path: Path
) -> None:
    account = tally("instants")
    seed = int(os.environ.get("HOLDFAST_SEED", random.SystemRandom().randrange(1 << 32)))
    account.facts |= {"seed": seed, "seconds of a run": round(reference.seconds, 3)}
    print(f"the instants follow from HOLDFAST_SEED={seed}")  # shown when the test fails
    luck = random.Random(seed)

    def play(instants: list[float]) -> None:
        trial = stage.trial(retry=len(instants) == 2)
        logs: list[list[Event]] = []
        for instant in instants:
            if not trial.go(after=instant * reference.seconds).killed:
                break
            logs.append(trial.log_so_far())
        else:
            trial.finish()
        if not trial.kills:
            account.count("runs that were over before")
        logs.append(trial.gather().events)
        shrunk = any(later[: len(log)] != log for log, later in pairwise(logs))
        account.add(trial, [*trial.judge(reference), *(["what the log held is not in it any more"] if shrunk else [])])

    while account.counts["kills"] < KILLS and not account.mismatches:
        more = (KILLS - account.counts["kills"] + 1) // 2
        account.play([[luck.random() for _ in range(luck.randint(1, LONGEST))] for _ in range(more)], play)
    folder = None if CAMPAIGN else tmp_path
    account.close(folder)
    left = msgspec.json.decode((folder or Path("campaign-results")).joinpath("instants.json").read_bytes())
    assert left["kills"] >= KILLS
    assert left["mismatches"] == 0
    assert left["seed"] == seed
