"""`holdfast sandbox bench`: what it measures, and what it says where there is nothing to measure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("cli:sandbox-bench")
def test_ratios_and_times_of_a_new_and_of_a_live_sandbox_are_shown(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("sandbox", "bench", "--sandbox", "native", "--rounds", "3", "-o", "json")
    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["backend"], found["works"], found["rounds"]) == (0, "native", True, 3)
    took = found["ms"]
    assert 0 < took["spawn"] < took["cold"]
    assert found["cold"] == pytest.approx(took["cold"] / took["spawn"], abs=0.01)
    assert found["warm"] == pytest.approx(took["warm"] / took["spawn"], abs=0.01)
    assert took["warm"] < took["cold"]
    shown = sh.run("sandbox", "bench", "--sandbox", "native", "--rounds", "1").stdout
    assert all(words in shown for words in ("sandbox", "cold", "warm", "spawned", "native", " x ", " ms"))


@pytest.mark.requirement("cli:sandbox-bench")
def test_a_sandbox_that_does_not_work_here_is_named_with_the_reason(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nbackend: native\nrequire: [own-kernel]\n")
    done = sh.run("sandbox", "bench", "--sandbox", "p.yaml", "--rounds", "1")
    assert (done.returncode, "✗ native" in done.stdout, "own-kernel" in done.stdout) == (1, True, True)
