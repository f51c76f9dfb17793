"""Runs that mix every class of effect, against a service that answers badly, end as if they had never been killed."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.hostile.cases import ASKED, Case, Theatre
from tests.durability.campaign.hostile.plans import plan_of
from tests.durability.campaign.hostile.server import MANNERS, manner_of
from tests.durability.campaign.tally import CAMPAIGN, Tally

JOB = 3
"""The seed of the job that is killed at its boundaries."""
JOBS = (1, 2, 4, 5, 6, 7) if CAMPAIGN else (JOB,)
"""Those of the jobs that are killed at instants."""
KILLS = 500 if CAMPAIGN else 25
LONGEST = 4
"""Kills of one run at instants, at most."""
STEP, FIRSTS, SECONDS = (1, 16, 8) if CAMPAIGN else (60, 1, 3)
"""Every how many boundaries; how many calls are killed and then again while they are recovered, and how often."""
AT_ONCE = 4
"""Runs that are played at once: they wait for the service most of the time."""


@pytest.mark.requirement(
    "engine:crash-mixed-effects",
    "engine:crash-checkable-is-asked",
    "engine:crash-unsafe-never-again",
    "tools:nested-served-from-log",
    "tools:checkable-live",
    "tools:checkable-settles",
)
def test_whatever_a_killed_run_was_doing_outside_is_done_once_and_its_files_and_its_talk_are_whole(
    theatre: Theatre, tally: Callable[[str], Tally], tmp_path: Path
) -> None:
    account = tally("mixed")
    seed = int(os.environ.get("HOLDFAST_SEED", random.SystemRandom().randrange(1 << 32)))
    luck = random.Random(seed)
    seconds: list[float] = []

    def play(case: Case) -> None:
        began = time.monotonic()
        trial, wrong = theatre.play(case)
        seconds.append(time.monotonic() - began)
        if not trial.kills:
            account.count("runs that were over before, or did not come there")
        for kill in case.kills[: trial.kills]:
            account.count("at a boundary" if isinstance(kill, Boundary) else "at an instant", kind_of(kill))
        account.add(trial, [f"{each}; play it again: {case.command}" for each in wrong])

    if ASKED:
        account.play([Case.read(ASKED)], play)
        account.close(tmp_path)
        return
    for cases in (on_their_way(theatre), at_boundaries(theatre, luck), while_recovering(theatre)):
        account.play(cases, play, AT_ONCE)
    while (missing := max(KILLS - account.counts["kills"], KILLS // 3 - account.counts["at an instant"])) > 0:
        account.play([at_instants(theatre, luck) for _ in range((missing + 1) // 2)], play, AT_ONCE)
        assert not account.mismatches or len(account.mismatches) < KILLS, account.mismatches[:5]
    lasted = {"median": statistics.median(seconds), "longest": max(seconds)}
    account.facts |= {"seed": seed, "jobs": [JOB, *JOBS], "by the service's ledger": theatre.account()}
    account.facts["seconds of a run"] = {name: round(value, 2) for name, value in lasted.items()}
    left = close(account, tmp_path)
    assert left["kills"] >= KILLS
    assert set(left["by the service's ledger"]["manners"]) == set(MANNERS)


def close(account: Tally, folder: Path) -> dict[str, Any]:
    """Returns the account as it was left behind."""
    account.close(None if CAMPAIGN else folder)
    return msgspec.json.decode(((Path("campaign-results") if CAMPAIGN else folder) / "mixed.json").read_bytes())


def kind_of(kill: Boundary | float) -> str:
    return kill.kind if isinstance(kill, Boundary) else "an instant"


def at_boundaries(theatre: Theatre, luck: random.Random) -> Iterator[Case]:
    """Every boundary; a third of the runs are killed again later, a fifth are started again and not resumed."""
    run = theatre.uninterrupted(JOB)
    for number, note in enumerate(run.notes[::STEP]):
        again = (luck.random() * run.seconds,) if number % 3 == 0 else ()
        yield Case(JOB, (note.boundary, *again), retry=number % 5 == 0)


def on_their_way(theatre: Theatre) -> Iterator[Case]:
    """Runs that are killed while calls beside a look are under way, and one of them is not known of yet."""
    for note in theatre.uninterrupted(JOB).notes:
        if (note.boundary.kind, note.what) == ("effect: after", "look"):
            yield Case(JOB, (note.boundary,))


def while_recovering(theatre: Theatre) -> Iterable[Case]:
    """Runs that are killed in a call of each tool, and again while that is dealt with."""
    for note in one_of_each(theatre.uninterrupted(JOB).notes)[:FIRSTS]:
        seconds = theatre.resumed(Case(JOB, (note.boundary,)))
        asking = next(n for n, each in enumerate(seconds) if each.boundary.kind == "model: before")
        for second in seconds[: asking : max(1, asking // SECONDS)]:
            yield Case(JOB, (note.boundary, second.boundary))


def one_of_each(notes: list[Note]) -> list[Note]:
    """The last time each tool was about to act, and the last time each had acted; commands first."""
    found = {(note.what, note.boundary.kind): note for note in notes if note.boundary.kind.startswith("effect: ")}
    return sorted(found.values(), key=lambda note: (note.what != "bash", note.boundary.kind != "effect: after"))


def at_instants(theatre: Theatre, luck: random.Random) -> Case:
    """One run, to be killed at up to four instants."""
    job = luck.choice(JOBS)
    lasts = theatre.uninterrupted(job).seconds
    return Case(job, tuple(luck.random() * lasts for _ in range(luck.randint(1, LONGEST))), retry=luck.random() < 0.3)


def test_a_case_is_read_as_it_was_written() -> None:
    for case in (Case(3, (Boundary("append: committed", 12), 0.25), retry=True), Case(1, ()), Case(2, (1.5,))):
        assert Case.read(str(case)) == case


def test_every_job_meets_bad_answers_in_every_class() -> None:
    for seed in (JOB, *JOBS):
        for kind, labels in plan_of(seed).wanted.items():
            assert len(labels) == len(set(labels))
            assert {manner_of(str(seed), kind, label).name for label in labels} - {"prompt"}
    checkable = [manner_of(str(JOB), "checkable", label).name for label in plan_of(JOB).wanted["checkable"]]
    assert "hidden" in checkable  # else it would not show if a "no" were believed too soon
