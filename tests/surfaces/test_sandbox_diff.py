"""`holdfast sandbox diff` with two files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.sandbox.files import diff

OLD = "kind: SandboxProfile\nbackend: native\nrequire: [netns]\nenv: { secrets: { KEY: [api.example.com] } }\n"
NEW = (
    "kind: SandboxProfile\nbackend: none\nworkspace: { protect: [] }\n"
    "env: { allow: [AWS_SECRET], secrets: { KEY: [api.example.com, evil.example.net] } }\n"
)


def compared(tmp_path: Path, old: str, new: str, *more: str) -> tuple[int, str]:
    before, after = tmp_path / "before.yaml", tmp_path / "after.yaml"
    before.write_text(old)
    after.write_text(new)
    result = CliRunner().invoke(diff, [str(before), str(after), *more])
    return result.exit_code, result.output


@pytest.mark.requirement("sandbox:policy-diff-profiles", "sandbox:policy-diff-complete")
def test_the_whole_profile_is_compared_and_the_exit_code_says_so(tmp_path: Path) -> None:
    code, output = compared(tmp_path, OLD, NEW)
    assert code == 1
    assert {
        "+ backend: native -> none",
        "+ require netns: yes -> no",
        "+ env.allow AWS_SECRET: no -> yes",
        "+ env.secrets KEY to evil.example.net: no -> yes",
        "+ write the workspace/.git/hooks",
    } <= set(output.splitlines())
    assert compared(tmp_path, OLD, OLD) == (0, "nothing became reachable, and nothing stopped being so\n")
    code, output = compared(tmp_path, OLD, OLD.replace("native", "process"))
    assert (code, output.startswith("? cannot tell: backend: native -> process")) == (1, True)


@pytest.mark.requirement("sandbox:policy-diff-complete")
def test_a_program_reads_the_same_as_json(tmp_path: Path) -> None:
    code, output = compared(tmp_path, OLD, NEW, "-o", "json")
    found = json.loads(output)
    assert (code, sorted(found)) == (1, ["closed", "opened", "unsure"])
    assert {"name": "backend", "before": "native", "after": "none"} in found["opened"]
