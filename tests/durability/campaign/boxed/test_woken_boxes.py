"""A worker that was stopped while it brought in what a command had changed brings in nothing more when it wakes up."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from tests.durability.campaign.boundaries import Boundary
from tests.durability.campaign.boxed.ways import Play, Way
from tests.durability.campaign.program import Shift
from tests.durability.campaign.tally import CAMPAIGN
from tests.durability.campaign.test_fencing import LEASE, fingerprint, frozen
from tests.durability.campaign.trial import Stage

STOPS = (1, 3, 5, 9, 17, 26, 33, 40) if CAMPAIGN else (9, 26)
pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="root starts them, on Linux")


@pytest.mark.requirement("engine:fenced-touches-nothing", "sandbox:fenced-brings-nothing")
def test_a_worker_that_wakes_up_in_the_middle_of_bringing_changes_in_stops_there(theatre: Stage) -> None:
    play = Play(theatre, Way("when-ended"), shifted=True)
    for number in STOPS:
        trial = play.trial()
        sleeper = trial.begin(Boundary("bring: one more", number), freeze=True)
        assert frozen(sleeper)
        Shift.set(trial.folder / "seconds-ahead", LEASE)
        trial.finish()
        files = fingerprint(trial.workspace)
        os.kill(sleeper.pid, signal.SIGCONT)
        trial.end(sleeper)
        assert fingerprint(trial.workspace) == files, "a file was touched"
        assert play.judge(trial) == []
