"""A run that is killed at any of its boundaries, and again while it is resumed, ends like one that never was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.tally import CAMPAIGN, Tally
from tests.durability.campaign.trial import Reference, Stage

from holdfast.engine.events import RunFinished

PARTS = 4
"""Tests the boundaries are dealt out to, so that they are played side by side."""
TRIES = 3
"""How events are put together into appends is a matter of luck, so the last appends of one run may be missing in
the next."""
AGAIN = (Boundary("write: half", 1), Boundary("rename: after", 3), Boundary("effect: after", 8))
"""Where runs are killed first that are killed twice: in a write below new folders, in the first of two edits, after
a write whose result nobody wrote down."""

THIN = (
    *("append: before", "append: committed", "append: acknowledged", "post: before", "post: after"),
    *("blob: before", "blob: after", "create: before", "create: after", "mkdir: before", "mkdir: after"),
    *("model: before", "model: speaking", "model: answered", "rename: before", "rename: after"),
)
"""Kinds of which the slice has every third, each beginning at another one."""


def test_the_uninterrupted_run_comes_to_every_kind_of_boundary(reference: Reference) -> None:
    kinds = {note.boundary.kind for note in reference.notes}
    assert kinds >= {
        *("post: before", "post: after", "event: in memory", "blob: before", "blob: after"),
        *("append: before", "append: committed", "append: acknowledged"),
        *("model: before", "model: speaking", "model: answered", "effect: before", "effect: after"),
        *("mkdir: before", "mkdir: after", "create: before", "create: after", "write: half"),
        *("rename: before", "rename: after"),
    }
    written = [note for note in reference.notes if note.boundary.kind == "event: in memory"]
    assert len(written) == len(reference.evidence.events)
    assert written[-1].what == RunFinished.type


@pytest.mark.requirement(
    "engine:crash-at-every-boundary",
    "engine:crash-files-equal",
    "engine:crash-workspace-rolled-back",
    "engine:resume-continues",
    "engine:mail-applied-exactly-once",
)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_killed_at_a_boundary_ends_like_an_uninterrupted_one(
    stage: Stage, reference: Reference, tally: Callable[[str], Tally], part: int
) -> None:
    account = tally(f"boundaries-{part}")
    missed: list[Boundary] = []

    def play(given: tuple[Note, bool]) -> None:
        note, retry = given
        for _ in range(TRIES):
            trial = stage.trial(retry=retry)
            killed = trial.go(note.boundary).killed
            if killed:
                trial.finish()
                account.count("boundaries", note.boundary.kind)
            account.judge(trial, reference)
            if killed:
                return
        missed.append(note.boundary)

    notes = (reference.notes if CAMPAIGN else in_the_slice(reference.notes))[part::PARTS]
    ways = [(note, again) for note in notes for again in (False, True)] if CAMPAIGN else alternating(notes)
    account.play(ways, play)
    account.facts["boundaries that did not come again"] = [str(boundary) for boundary in missed]
    account.close()
    assert not [boundary for boundary in missed if not boundary.kind.startswith("append: ")]
    assert len(missed) <= len(notes) // 10


def in_the_slice(notes: list[Note]) -> list[Note]:
    """Every boundary of an event and of an effect, and of those where little differs every third of each kind.

    Kinds take turns: whichever append or answer of the model it is, one of its three boundaries is there.
    """
    turns = {kind: turn for turn, kind in enumerate(THIN)}
    return [note for note in notes if (note.boundary.n + turns.get(note.boundary.kind, -note.boundary.n)) % 3 == 0]


def alternating(notes: list[Note]) -> list[tuple[Note, bool]]:
    """Every third is started again by somebody who got no answer, instead of being resumed."""
    return [(note, number % 3 == 2) for number, note in enumerate(notes)]


@pytest.mark.requirement("engine:crash-at-every-boundary", "engine:crash-files-equal")
def test_a_run_killed_again_while_it_is_resumed_ends_like_an_uninterrupted_one(
    stage: Stage, reference: Reference, tally: Callable[[str], Tally]
) -> None:
    account = tally("killed-again")
    firsts = [note.boundary for note in reference.notes[7::25]] if CAMPAIGN else []

    def second_of(first: Boundary) -> list[tuple[Boundary, Boundary]]:
        trial = stage.trial()
        trial.go(first)
        notes = trial.finish().notes
        trial.clear()
        return [(first, note.boundary) for note in (notes[::2] if CAMPAIGN else notes[3:36:3])]

    def play(boundaries: tuple[Boundary, Boundary]) -> None:
        trial = stage.trial()
        for boundary in boundaries:
            if trial.go(boundary).killed:
                account.count("boundaries", boundary.kind)
        trial.finish()
        account.judge(trial, reference)

    account.play([pair for first in (*AGAIN, *firsts) for pair in second_of(first)], play)
    account.close()
    assert account.counts["kills"] > account.counts["runs"] * 1.5
