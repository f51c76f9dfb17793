"""What the command line says of quotas that do not bind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.surfaces.commands import Shell

from holdfast.cli.sandbox.policies import explain, lint


@pytest.mark.requirement("sandbox:quota-that-does-not-bind")
def test_a_profile_with_a_quota_that_does_not_bind_is_found_fault_with_and_explained(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("kind: SandboxProfile\nbackend: native\nlimits: { disk: 1Mi }\n")
    found = CliRunner().invoke(lint, [str(profile)])
    assert found.exit_code == 1
    assert "profile.yaml:3:" in found.output
    assert "[quota-without-layer]" in found.output
    said = CliRunner().invoke(explain, [str(profile), "write", "big"])
    assert "which `disk` does not bound" in said.output
    assert "bound" not in CliRunner().invoke(explain, [str(profile), "read", "big"]).output
    profile.write_text(f"{profile.read_text()}workspace: {{ apply: when-ended }}\n")
    assert "quota-without-layer" not in CliRunner().invoke(lint, [str(profile)]).output
    assert "bound" not in CliRunner().invoke(explain, [str(profile), "write", "big"]).output


@pytest.mark.requirement("sandbox:quota-that-does-not-bind")
@pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
def test_the_command_line_says_which_quota_did_not_bind(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("kind: SandboxProfile\nbackend: native\nlimits: { disk: 1Mi }\n")
    done = Shell(tmp_path).run("sandbox", "run", "--sandbox", str(profile), "--", "true")
    assert done.returncode == 0
    assert "the quota of disk did not bound the workspace" in done.stderr
