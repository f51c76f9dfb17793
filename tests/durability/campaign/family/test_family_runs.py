"""Runs that ask people, have children and go through phases, from one purse, end as if they had never been killed."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durability.campaign.boundaries import Boundary
from tests.durability.campaign.family.troupe import JOBS, Troupe, command_for
from tests.durability.campaign.hostile.cases import ASKED, Case
from tests.durability.campaign.tally import CAMPAIGN, Tally

KILLS = int(os.environ.get("HOLDFAST_KILLS", "2000" if CAMPAIGN else "40"))
LONGEST = 4
"""Kills of one run at instants, at most."""
SHARE = 0.55 if CAMPAIGN else 0.6
"""Of the kills, those at boundaries."""
AGAIN = 3
"""Every how many of those is killed again while it is resumed."""
AT_ONCE = 4
"""Runs that are played at once: they wait for the service most of the time."""


@pytest.mark.requirement(
    "engine:crash-family",
    "engine:crash-unsafe-never-again",
    "engine:crash-at-random-instants",
    "engine:every-call-one-result",
    "ledger:campaign-below-cap",
)
def test_whoever_is_killed_with_gates_children_and_phases_open_loses_no_run_and_does_nothing_twice(
    troupe: Troupe, tally: Callable[[str], Tally], tmp_path: Path
) -> None:
    account = tally("family")
    seed = int(os.environ.get("HOLDFAST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"the kills follow from HOLDFAST_SEED={seed}")  # shown when the test fails
    luck = random.Random(seed)
    seconds: list[float] = []

    def play(case: Case) -> None:
        began = time.monotonic()
        trial, wrong = troupe.play(case)
        seconds.append(time.monotonic() - began)
        if not trial.kills:
            account.count("runs that were over before, or did not come there")
        for kill in case.kills[: trial.kills]:
            at_boundary = isinstance(kill, Boundary)
            account.count(
                "at a boundary" if at_boundary else "at an instant", kill.kind if at_boundary else "an instant"
            )
        account.add(trial, [f"{each}; play it again: {command_for(case)}" for each in wrong])

    if ASKED:
        account.play([Case.read(ASKED)], play)
        account.close(tmp_path)
        return
    account.play(at_boundaries(troupe, luck), play, AT_ONCE)
    while (missing := KILLS - account.counts["kills"]) > 0:
        account.play([at_instants(troupe, luck) for _ in range((missing + 1) // 2)], play, AT_ONCE)
        assert len(account.mismatches) < KILLS, account.mismatches[:5]
    lasted = {"median": statistics.median(seconds), "longest": max(seconds)}
    account.facts |= {"seed": seed, "jobs": list(JOBS), **troupe.account()}
    account.facts["seconds of a run"] = {name: round(value, 2) for name, value in lasted.items()}
    left = close(account, tmp_path)
    assert left["kills"] >= KILLS
    assert left["mismatches"] == 0


def close(account: Tally, folder: Path) -> dict[str, Any]:
    """Returns the account as it was left behind."""
    account.close(None if CAMPAIGN else folder)
    return msgspec.json.decode(((Path("campaign-results") if CAMPAIGN else folder) / "family.json").read_bytes())


def at_boundaries(troupe: Troupe, luck: random.Random) -> Iterator[Case]:
    """Boundaries all over each job, those in turn that come rarely first; some are killed again, and some started again
    in place of being resumed.
    """
    wanted = int(KILLS * SHARE / (1 + 1 / AGAIN)) // len(JOBS) + 1
    for job, name in enumerate(JOBS):
        run = troupe.uninterrupted(name)
        notes = [note.boundary for note in run.notes]
        step = max(1.0, len(notes) / wanted)
        offset = luck.random() * step
        for number in range(min(wanted, len(notes))):
            again = (luck.random() * run.seconds,) if number % AGAIN == 0 else ()
            yield Case(job, (notes[int(offset + number * step) % len(notes)], *again), retry=number % 5 == 0)


def at_instants(troupe: Troupe, luck: random.Random) -> Case:
    """One run, to be killed at up to so many instants."""
    job = luck.randrange(len(JOBS))
    lasts = troupe.uninterrupted(JOBS[job]).seconds
    kills = tuple(luck.random() * lasts for _ in range(luck.randint(1, LONGEST)))
    return Case(job, kills, retry=luck.random() < 0.3)
