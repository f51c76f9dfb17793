"""Calls that reach beyond the workspace: what must not happen twice does not, whenever the process dies."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.effects import LINES, MARK, PAY, UNKNOWN
from tests.durability.campaign.evidence import flaws_of_log, read_log
from tests.durability.campaign.program import SESSION
from tests.durability.campaign.tally import CAMPAIGN, Tally
from tests.durability.campaign.trial import Reference, Stage, Trial

from holdfast.engine.events import CallReopened, ToolFinished, ToolStarted
from holdfast.types import Event

FEW = {"follow_up": ""}


def logged(trial: Trial) -> list[Event]:
    return asyncio.run(read_log(trial.folder / "store.db", SESSION))[0]


def results(events: list[Event]) -> list[str]:
    return [event.data.result.content for event in events if isinstance(event.data, ToolFinished)]


def line_from(pipe: int) -> str:
    assert select.select([pipe], [], [], 5)[0], "the command did not come so far"
    return os.read(pipe, 4096).decode()


@pytest.mark.requirement(
    "engine:crash-unsafe-never-again", "engine:append-before-unsafe-effect", "sandbox:commands-end-with-the-runtime"
)
def test_a_command_whose_process_dies_ends_with_it_and_is_never_run_again(stage: Stage) -> None:
    trial = stage.trial("waiting", tools=("bash", "read"), **FEW)
    for name in ("ready", "gate"):
        os.mkfifo(trial.workspace / name)
    with ExitStack() as stack:
        pipe = os.open(trial.workspace / "ready", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, pipe)
        process = trial.begin()
        watches = [os.pidfd_open(int(pid)) for pid in line_from(pipe).split()]
        for watch in watches:
            stack.callback(os.close, watch)
        assert [event.type for event in logged(trial)][-1] == ToolStarted.type, "it acts before its start is durable"
        process.kill()
        assert trial.end(process).killed
        for watch in watches:
            assert select.select([watch], [], [], 5)[0], "a process of the command outlived the runtime"
    assert trial.finish().outcome is not None
    events = logged(trial)
    first, second = results(events)
    assert first.startswith(UNKNOWN)
    assert second == (trial.workspace / LINES).read_text() == "once\n"
    assert [event.type for event in events].count(ToolStarted.type) == 2  # the command and the look at the file


@pytest.mark.requirement("engine:crash-unsafe-never-again")
@pytest.mark.parametrize(("script", "called"), [("shell", "bash"), ("mark", MARK)])
def test_what_cannot_be_put_back_is_done_at_most_once_whenever_it_is_killed(
    stage: Stage, tally: Callable[[str], Tally], script: str, called: str
) -> None:
    account = tally(f"once-{script}")
    more = {"tools": (called, "read"), **FEW}
    reference = stage.reference(script, **more)

    def play(note: Note) -> None:
        trial = stage.trial(script, **more)
        if trial.go(note.boundary).killed:
            account.count("boundaries", note.boundary.kind)
            trial.finish()
        events, head = asyncio.run(read_log(trial.folder / "store.db", SESSION))
        account.add(trial, [*flaws_of_log(events, head), *misdeeds(trial, events)])

    account.play(reference.notes if CAMPAIGN else from_the_decision_on(reference), play)
    account.close()
    commands = {"command: started", "command: on the leash", "command: over"} if script == "shell" else set[str]()
    assert {"effect: before", "effect: after", *commands} <= set(account.kinds)


def misdeeds(trial: Trial, events: list[Event]) -> list[str]:
    file = trial.workspace / LINES
    times = file.read_text().count("once") if file.exists() else 0
    told = results(events)[0]
    if times == 1 or (times == 0 and told.startswith(UNKNOWN)):
        return []
    return [f"it was done {times} times, and the model was told {told!r}"]


def from_the_decision_on(reference: Reference) -> list[Note]:
    """The boundaries from the decision to run it to what came of it being durable."""
    return reference.notes[[note.boundary for note in reference.notes].index(Boundary("model: answered", 1)) :]


@pytest.mark.requirement("engine:crash-effectless-runs-again")
def test_a_payment_killed_at_any_boundary_is_made_again_under_its_key(
    stage: Stage, tally: Callable[[str], Tally]
) -> None:
    account = tally("payments")

    def begun() -> tuple[Trial, Path]:
        book = stage.folder / f"book-{next(numbers)}"
        return stage.trial("pay", tools=(PAY,), prompt=str(book), **FEW), book

    numbers = iter(range(1_000))
    listing, _ = begun()
    notes = listing.finish().notes

    def play(note: Note) -> None:
        trial, book = begun()
        if trial.go(note.boundary).killed:
            account.count("boundaries", note.boundary.kind)
            trial.finish()
        events, head = asyncio.run(read_log(trial.folder / "store.db", SESSION))
        keys = book.read_text().split()
        again = sum(isinstance(event.data, CallReopened) for event in events)
        wrong = flaws_of_log(events, head)
        if len(set(keys)) != 1 or len(keys) > 1 + trial.kills or results(events) != ["paid"]:
            wrong.append(f"it was asked for under {keys} and the model was told {results(events)}")
        if note.boundary.kind in ("effect: before", "effect: after") and again != 1:
            wrong.append(f"{again} calls were begun again")
        if note.boundary.kind == "effect: after" and len(keys) != 2:
            wrong.append(f"it was asked for {len(keys)} times")
        account.add(trial, wrong)

    account.play(notes, play)
    account.close()
    assert account.kinds["effect: after"] == account.kinds["effect: before"] == 1
