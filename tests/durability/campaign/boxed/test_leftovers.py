"""What a command left where programs outside obey it is gone before anybody acts again, also when all were killed."""

from __future__ import annotations

import os
import sys

import pytest
from tests.durability.campaign.boundaries import Boundary, Note
from tests.durability.campaign.evidence import flaws_of_log, tree_of
from tests.durability.campaign.trial import Stage, Trial

from holdfast.engine.events import FilesKept, ToolFinished
from holdfast.sandbox.policy.profile import BackendName, Profile, Tree

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="root starts them, on Linux")


def planting(theatre: Stage, profile: Profile) -> Trial:
    more = {"tools": ("bash",), "follow_up": "", "effects": {"bash": "unsafe"}}
    return theatre.trial("planting", sandbox=profile, **more)


NATIVE = Profile(backend="native")


@pytest.mark.requirement("sandbox:killed-leftovers-taken-away")
def test_what_a_killed_command_put_at_protected_paths_is_gone_before_the_next_call(theatre: Stage) -> None:
    trial = planting(theatre, NATIVE)
    assert trial.go(Boundary("box: command over: before", 1)).killed
    assert (trial.workspace / ".vscode/tasks.json").exists(), "it was killed too early to tell"
    assert (trial.workspace / ".git/hooks/pre-commit").exists()
    assert trial.go(Boundary("event: in memory", 1)).killed, "it dies as it keeps what is there"
    trial.finish()
    left = trial.gather()
    names = {path for path in left.files if path.startswith((".vscode", ".git/hooks", "kept", ".git/config"))}
    assert names == {"kept", ".git/config"}
    (told,) = [event.data.result.content for event in left.events if isinstance(event.data, ToolFinished)]
    assert told.startswith("Outcome unknown")
    assert "Removed, because programs outside the sandbox obey it: .git/hooks, .vscode." in told
    assert any(isinstance(event.data, FilesKept) for event in left.events), "it can be had back"
    assert flaws_of_log(left.events, left.head) == []


@pytest.mark.requirement("sandbox:killed-leftovers-taken-away")
def test_what_was_there_before_a_killed_command_stays(theatre: Stage) -> None:
    trial = planting(theatre, NATIVE)
    (trial.workspace / ".vscode").mkdir()
    (trial.workspace / ".vscode/mine.json").write_text("{}")
    assert trial.go(Boundary("box: command over: before", 1)).killed
    trial.finish()
    assert trial.gather().files[".vscode/mine.json"][1] == b"{}"
    assert not (trial.workspace / ".git/hooks").exists()


def removes(note: Note) -> bool:
    """Whether something is removed from the workspace: that is done by names in open folders."""
    return note.boundary.kind in ("unlink: before", "rmdir: before") and not note.what.startswith("/")


@pytest.mark.requirement("sandbox:rollback-finished-after-a-crash", "sandbox:rollback-after-failed-tool")
@pytest.mark.parametrize(("backend", "kind"), [("native", "box: command over: before"), ("none", "command: over")])
def test_what_a_killed_call_did_is_put_back_also_by_one_that_is_killed_as_it_does_so(
    theatre: Stage, backend: BackendName, kind: str
) -> None:
    profile = Profile(backend=backend, workspace=Tree(rollback="failed"))
    rehearsal, trial = planting(theatre, profile), planting(theatre, profile)
    whole = tree_of(trial.workspace)
    for each in (rehearsal, trial):
        assert each.go(Boundary(kind, 1)).killed
        assert (each.workspace / "kept").exists(), "it was killed too early to tell"
    removals = [note.boundary for note in rehearsal.finish().notes if removes(note)]
    assert trial.go(removals[len(removals) // 2]).killed, "it puts files back, and dies"
    assert tree_of(trial.workspace) != whole
    trial.finish()
    left = trial.gather()
    assert left.files == whole
    (done,) = [event.data for event in left.events if isinstance(event.data, ToolFinished)]
    assert done.rolled_back
    assert done.result.content.startswith("Outcome unknown")
    assert "the files are back as they were before it" in done.result.content
    assert flaws_of_log(left.events, left.head) == []
