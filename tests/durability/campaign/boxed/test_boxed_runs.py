"""Runs whose commands run in real sandboxes, killed anywhere, leave the workspace as an uninterrupted run leaves it."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator

import pytest
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.boxed.ways import ORDINARY, Play, Way
from tests.durability.campaign.tally import CAMPAIGN, Tally
from tests.durability.campaign.trial import Stage

KILLS = 400
"""At instants, of runs of each way of root's; another user's start an interpreter each, and get a tenth."""
pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="root starts them, on Linux")


WAYS = (Way("at-once"), Way("when-ended"), Way("when-succeeded"), Way("at-once", ORDINARY), Way("when-ended", ORDINARY))
NAMED = {
    "box: told to make": 2,  # the launcher forks
    "box: making: after": 2,  # the layer was made
    "box: told to start": 3,
    "box: command over: before": 3,
    "bring: before": 2,
    "bring: one more": 9,  # while it is being brought in
    "bring: after": 2,  # between that and the event
    "guard: before": 1,
    "guard: after": 1,
    "effect: after": 3,
}
"""Where runs are killed in the slice, dealt out to the ways; in the campaign they are killed everywhere."""


@pytest.mark.requirement("sandbox:crash-files-equal")
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_workspace_after_kills_is_that_of_an_uninterrupted_run(
    theatre: Stage, tally: Callable[[str], Tally], way: Way
) -> None:
    play = Play(theatre, way)
    account = tally(f"boxed-{way}")
    seed = int(os.environ.get("HOLDFAST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"the instants follow from HOLDFAST_SEED={seed}")  # shown when the test fails
    account.facts["seed"] = seed

    def once(kills: tuple[Boundary | float, ...]) -> None:
        trial = play.trial()
        for kill in kills:
            ended = trial.go(kill) if isinstance(kill, Boundary) else trial.go(after=kill)
            if not ended.killed:
                account.count("runs that did not come there, or were over before")
                break
            account.count("boundaries" if isinstance(kill, Boundary) else "instants", kind_of(kill))
        else:
            trial.finish()
        account.add(trial, play.judge(trial))

    account.play(at_boundaries(play.notes, way), once, at_once=3)
    account.play(at_instants(random.Random(seed), way), once, at_once=3)
    account.close()
    assert account.counts["kills"] >= 2
    missed = {each for each in NAMED if any(note.boundary.kind == each for note in play.notes)} - set(account.kinds)
    assert not (CAMPAIGN and missed), missed


def kind_of(kill: Boundary | float) -> str:
    return kill.kind if isinstance(kill, Boundary) else "an instant"


def at_boundaries(notes: list[Note], way: Way) -> Iterator[tuple[Boundary | float, ...]]:
    """The named ones, or all; every third run is killed there again."""
    come = [note.boundary for note in notes]
    named = [Boundary(kind, n) for kind, n in NAMED.items() if Boundary(kind, n) in come]
    place = WAYS.index(way)
    wanted = come[:: 8 if way.user else 1] + named if CAMPAIGN else named[place % 2 :: 5 if way.user else 2]
    for number, each in enumerate(wanted):
        yield (each, each) if number % 3 == 2 else (each,)


def at_instants(luck: random.Random, way: Way) -> Iterable[tuple[float, ...]]:
    kills = KILLS // 10 if way.user else KILLS
    for _ in range(kills // 2 if CAMPAIGN else not way.user):
        yield tuple(luck.random() * 1.2 for _ in range(luck.randint(1, 3)))
