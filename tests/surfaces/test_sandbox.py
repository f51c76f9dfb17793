"""`holdfast sandbox`, and what `holdfast run` runs commands in."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell

from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.scripts import Call

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
POLICY = """
version: 1
network_policies:
  code: { name: code, endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce,
          access: read-only }], binaries: [/usr/bin/git] }
"""


@pytest.mark.requirement("cli:sandbox-probe")
def test_it_tries_each_backend_and_says_what_is_on_and_why_not(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("sandbox", "probe", "--sandbox", "native", "-o", "json")
    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["backend"], found["works"]) == (0, "native", True)
    assert {"netns", "pidns", "seccomp", "private-root"} <= set(found["posture"]["layers"])
    assert all(each["reason"] for each in found["missing"])
    shown = sh.run("sandbox", "probe", "--sandbox", "native").stdout
    assert "✓ native" in shown
    assert "no own-kernel: " in shown


@pytest.mark.requirement("cli:sandbox-run")
def test_a_command_runs_in_it_and_ends_as_it_does(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    outside = tmp_path.parent / f"{tmp_path.name}.outside"
    done = sh.run("sandbox", "run", "--sandbox", "native", "--", "bash", "-c", f"echo x > {outside}; echo y; exit 7")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (7, "y")
    assert not outside.exists()
    done = sh.run("sandbox", "run", "--sandbox", "native", "--seconds", "0.3", "sleep", "60")
    assert (done.returncode, "stopped after 0.3 s" in done.stderr) == (124, True)


@pytest.mark.requirement("cli:sandbox-fails-closed")
def test_what_is_required_and_missing_starts_nothing(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nbackend: native\nrequire: [own-kernel]\n")
    done = sh.run("sandbox", "run", "--sandbox", "p.yaml", "--", "touch", "made")
    assert (done.returncode, "own-kernel" in done.stderr) == (125, True)
    assert not (tmp_path / "made").exists()
    done = sh.run("sandbox", "run", "--sandbox", "nothing", "true")
    assert (done.returncode, "there is no sandbox 'nothing'" in done.stderr) == (2, True)


@pytest.mark.requirement("cli:sandbox-policies")
def test_a_policy_is_explained_linted_compared_and_exported(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "before.yaml").write_text(POLICY)
    (tmp_path / "after.yaml").write_text(POLICY.replace("read-only", "read-write"))
    asked = sh.run("sandbox", "explain", "before.yaml", "GET", "https://api.example.com/x", "/usr/bin/git")
    assert (asked.returncode, asked.stdout.startswith("allowed: ")) == (0, True)
    asked = sh.run("sandbox", "explain", "before.yaml", "POST", "https://api.example.com/x", "/usr/bin/git")
    assert (asked.returncode, asked.stdout.startswith("denied: ")) == (1, True)
    compared = sh.run("sandbox", "diff", "before.yaml", "after.yaml")
    assert (compared.returncode, "POST" in compared.stdout) == (1, True)
    assert sh.run("sandbox", "diff", "before.yaml", "before.yaml").returncode == 0
    exported = sh.run("sandbox", "export", "before.yaml").stdout
    (tmp_path / "again.yaml").write_text(exported)
    assert sh.run("sandbox", "export", "again.yaml").stdout == exported
    (tmp_path / "wrong.yaml").write_text("version: 1\nversion: 1\nsurprise: 2\n")
    wrong = sh.run("sandbox", "lint", "wrong.yaml")
    assert (wrong.returncode, "wrong.yaml:2" in wrong.stderr, "wrong.yaml:3" in wrong.stderr) == (2, True, True)


@pytest.mark.requirement("cli:sandbox-lint-notes")
def test_notes_alone_are_no_failure_and_a_list_that_replaces_the_default_says_so(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\n")
    done = sh.run("sandbox", "lint", "p.yaml")
    assert (done.returncode, ": note: " in done.stdout) == (0, True)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nworkspace: { protect: [.git/hooks] }\n")
    done = sh.run("sandbox", "lint", "p.yaml")
    assert (done.returncode, "replaces the default" in done.stdout) == (1, True)


@pytest.mark.requirement("cli:sandbox-questions")
def test_a_question_that_is_none_says_which_word_is_wrong(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "p.yaml").write_text(POLICY)
    assert "'eat' is neither read" in sh.run("sandbox", "explain", "p.yaml", "eat", "cake").stderr
    assert "`https://` is missing" in sh.run("sandbox", "explain", "p.yaml", "GET", "api.example.com").stderr
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nbackend: native\nrequire: [disk-qouta]\n")
    done = sh.run("sandbox", "run", "--sandbox", "p.yaml", "true")
    assert (done.returncode, "did you mean 'disk-quota'?" in done.stderr) == (2, True)


@pytest.mark.requirement("cli:sandbox-setting")
def test_a_sandbox_is_looked_at_when_it_is_set_and_its_file_holds_in_every_folder(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("config", "set", "sandbox", "nativ")
    assert (done.returncode, "did you mean 'native'?" in done.stderr) == (2, True)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\n")
    assert sh.run("config", "set", "sandbox", "p.yaml").returncode == 0
    assert sh.run("config", "show", "sandbox", HOLDFAST_SANDBOX="").stdout == f"{tmp_path / 'p.yaml'}\n"
    assert sh.run("config", "set", "sandbox", "native").returncode == 0
    assert sh.run("config", "show", "sandbox", HOLDFAST_SANDBOX="").stdout == "native\n"
    assert sh.run("sandbox", "run", "--sandbox", "", "true").returncode == 2


@pytest.mark.requirement("cli:sandbox-is-the-default")
async def test_commands_of_a_run_are_in_a_sandbox_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}.outside"
    command = f"echo inside > made; echo x > {outside}; cat made"
    turns = [Turn(calls=[Call("bash", {"command": command})]), Turn(text="done")]
    async with ScriptedModelServer(turns + turns) as server:
        sh = Shell(tmp_path, server)
        done = await asyncio.to_thread(sh.run, "run", "job", HOLDFAST_SANDBOX="")
        assert done.returncode == 0, done.stderr
        assert "sandbox native: commands reach this folder alone" in done.stdout + done.stderr
        assert (tmp_path / "made").read_text() == "inside\n"
        assert not outside.exists()
        done = await asyncio.to_thread(sh.run, "run", "job", "--yes", "--sandbox", "none")
        assert "no sandbox" in done.stdout + done.stderr
        assert outside.exists()
