"""Of two processes that have one run in hand, one goes on and the other touches nothing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.program import Shift
from tests.durability.campaign.tally import CAMPAIGN, Tally
from tests.durability.campaign.trial import Process, Reference, Stage, first_ended

from holdfast.flow.ids import is_alive, start_of, worker_name

RACES = 100 if CAMPAIGN else 20
LOOKING = {"claim: before", "mkdir: before", "create: before"}
"""What a process may come to that only looks: it opens the store, which is there, and asks for the session."""
DOING = {"rename: after", "mkdir: after", "rmdir: after"}
"""What a process comes to that changes something, except that it removes what it had not put in its place yet."""
LEASE = 31
"""Seconds after which a lease is over that was not renewed."""


def frozen(process: Process) -> bool:
    """Waits until a process is stopped; False when it ended instead. Only its parent is told by the kernel, and
    that is the fork server."""
    for _ in range(5000):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return True
        if process.ends_within(0.001):
            return False
    raise AssertionError("neither stopped nor ended")


def fingerprint(folder: Path) -> dict[str, tuple[int, ...]]:
    """Returns what changes when a file is as much as touched; of folders only that they are there."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {
        str(path): (status.st_mode,)
        if stat.S_ISDIR(status.st_mode)
        else (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path, status in found.items()
    }


def owned(notes: list[Note]) -> list[Note]:
    """The boundaries from which on the process owns the session."""
    began = [note.boundary for note in notes].index(Boundary("event: in memory", 1))
    return notes[began:]


@pytest.mark.requirement("engine:fenced-touches-nothing", "engine:fenced-mid-tool")
def test_an_owner_that_wakes_up_after_its_lease_touches_nothing(
    stage: Stage, reference: Reference, tally: Callable[[str], Tally]
) -> None:
    account = tally("woken")

    def play(note: Note) -> None:
        trial = stage.trial(shifted=True)
        Shift.set(trial.folder / "seconds-ahead", 0)
        sleeper = trial.begin(note.boundary, freeze=True)
        if not frozen(sleeper):
            trial.end(sleeper)
            account.count("boundaries that did not come again")
            return
        trial.stops = 1
        slept = sleeper.notes
        # A request that was on its way out when the process was stopped goes out when it is continued.
        on_its_way = [each.boundary.kind for each in slept].count("model: before") - len(trial.requests)
        Shift.set(trial.folder / "seconds-ahead", LEASE)
        trial.finish()
        done, files, asked = trial.gather(), fingerprint(trial.workspace), len(trial.requests)
        os.kill(sleeper.pid, signal.SIGCONT)
        woken = trial.end(sleeper).notes[len(slept) :]
        account.count("stops", note.boundary.kind)
        wrong = trial.judge(reference)
        if trial.gather() != done:
            wrong.append("the log or a file is not as the new owner left it")
        if fingerprint(trial.workspace) != files:
            wrong.append("a file was touched")
        if len(trial.requests) - asked > on_its_way:
            wrong.append(f"{len(trial.requests) - asked} model calls after it woke up")
        wrong += [f"{each} after it woke up" for each in woken if each.boundary.kind in DOING]
        account.add(trial, wrong)

    notes = owned(reference.notes)
    account.play(notes if CAMPAIGN else notes[::9], play)
    account.close()
    assert account.counts["stops"] >= len(notes) * (0.9 if CAMPAIGN else 0.09)


@pytest.mark.requirement("engine:fenced-touches-nothing")
def test_of_two_processes_that_resume_at_the_same_instant_one_is_refused(
    stage: Stage, reference: Reference, tally: Callable[[str], Tally], gates: dict[str, threading.Event]
) -> None:
    account = tally("races")

    def play(note: Note) -> None:
        trial = stage.trial()
        if not trial.go(note.boundary).killed:
            account.count("boundaries that did not come again")
            return
        gates[trial.model] = threading.Event()  # the winner waits for it, so that it is there when the other comes
        together = stage.context.Barrier(2)
        racers = [trial.begin(together=together), trial.begin(together=together)]
        early, late = first_ended(racers)
        loser = trial.end(early)
        gates[trial.model].set()
        winner = trial.end(late)
        wrong: list[str] = []
        if loser.outcome is None or loser.outcome.text != "lease_held":
            wrong.append(f"the loser ended with {loser.outcome}")
        wrong += [f"the loser came to {note}" for note in loser.notes if note.boundary.kind not in LOOKING]
        if winner.outcome is None or winner.outcome.how != "finished":
            wrong.append(f"the winner ended with {winner.outcome}")
        account.count("races", note.boundary.kind)
        account.add(trial, [*wrong, *trial.judge(reference)])

    # Killed before its last request, so that there is one for which the winner has to wait.
    last = [note.boundary for note in reference.notes].index(Boundary("model: answered", 11))
    notes = owned(reference.notes[:last])
    account.play([notes[number * 7 % len(notes)] for number in range(RACES)], play)
    account.close()
    assert account.counts["races"] >= RACES * 0.8


def test_an_owner_that_was_killed_and_not_buried_is_known_to_be_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        head, _, _ = worker_name().rpartition(f"{os.getpid()}:")
        name = f"{head}{process.pid}:{start_of(process.pid)}.1"
        assert is_alive(name)
        watch = os.pidfd_open(process.pid)
        process.kill()
        assert select.select([watch], [], [], 5)[0]
        os.close(watch)
        assert Path(f"/proc/{process.pid}").exists()
        assert not is_alive(name)
