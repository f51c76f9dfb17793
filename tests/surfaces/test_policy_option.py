"""A policy's file, by an option or by a person's own setting, decides about the calls of run, chat and resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.surfaces.chatting import chatting
from tests.surfaces.commands import bash, shell
from tests.surfaces.test_settings import own, project

from holdfast.testing import Turn

TURNS = [bash("touch made"), Turn(text="Over.")]
BLOCKED = "version: 1\nblocked_tools: [bash]\n"


def denials(lines: str) -> list[str]:
    """Returns why calls of a run came to nothing."""
    data = [json.loads(line)["data"] for line in lines.splitlines()]
    return [each["result"]["error"]["reason"] for each in data if "error" in each.get("result", {})]


@pytest.mark.requirement("toolscli:policy")
@pytest.mark.parametrize("how", ["option", "setting", "environment"])
def test_a_call_that_a_policy_blocks_is_denied_whatever_the_mode(tmp_path: Path, how: str) -> None:
    (tmp_path / "p.yaml").write_text(BLOCKED)
    with shell(tmp_path, TURNS) as sh:
        if how == "setting":
            assert sh.run("config", "set", "policy", "p.yaml").returncode == 0
            assert str(tmp_path / "p.yaml") in sh.run("config", "show", "policy").stdout
        options = ["--policy", "p.yaml"] if how == "option" else []
        more = {"HOLDFAST_POLICY": "p.yaml"} if how == "environment" else {}
        done = sh.run("run", "go", "--yes", *options, "-o", "jsonl", **more)
    assert denials(done.stdout) == ["tool_permission_denied"]
    assert not (tmp_path / "made").exists()


@pytest.mark.requirement("toolscli:policy")
@pytest.mark.parametrize("quiet", [True, False])
def test_a_run_says_at_its_end_that_a_rule_denied_calls(tmp_path: Path, quiet: bool) -> None:
    (tmp_path / "p.yaml").write_text(BLOCKED)
    with shell(tmp_path, TURNS) as sh:
        done = sh.run("run", "go", "--yes", "--policy", "p.yaml", *(["-q"] if quiet else []))
    said = "1 call was denied; why:" if quiet else "1 call was denied by a policy or a hook"
    assert (done.returncode, said in done.stdout + done.stderr) == (0, True), done.stdout + done.stderr


@pytest.mark.requirement("toolscli:policy")
def test_a_talk_obeys_a_policy(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(BLOCKED)
    with shell(tmp_path, TURNS) as sh, chatting(sh, "--yes", "--policy", "p.yaml") as person:
        person.says("Go")
        person.sees(r"Denied[\s\S]*Over\.")
    assert not (tmp_path / "made").exists()


@pytest.mark.requirement("toolscli:policy")
def test_a_run_that_goes_on_obeys_the_policy_it_is_resumed_under(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(BLOCKED)
    turns = [bash("touch begun; kill -9 $PPID"), bash("touch made"), Turn(text="Over.")]
    with shell(tmp_path, turns) as sh:
        sh.run("run", "go", "--yes", "-s", "one")
        done = sh.run("runs", "resume", "one", "--policy", "p.yaml", "-o", "json")
    assert json.loads(done.stdout)["status"] == "completed", done.stdout
    assert not (tmp_path / "made").exists()


@pytest.mark.requirement("toolscli:policy")
def test_a_policy_that_is_wrong_stops_the_command_and_a_project_sets_none(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nblocked_tolls: [bash]\n")
    (tmp_path / "p.yaml").write_text(BLOCKED)
    with shell(tmp_path, TURNS) as sh:
        for arguments in (("run", "go", "--policy", "bad.yaml"), ("config", "set", "policy", "bad.yaml")):
            done = sh.run(*arguments)
            assert (done.returncode, "bad.yaml:2" in done.stderr) == (2, True), done.stderr
        assert sh.run("run", "go", "--policy", "none.yaml").returncode == 2
        project(tmp_path, "policy: p.yaml\n")
        shown = sh.run("config", "show", "-o", "json")
        assert "a project does not choose who decides about calls" in shown.stdout
        refused = sh.run("config", "set", "policy", "p.yaml", "--project")
        assert (refused.returncode, "without --project" in refused.stderr) == (2, True)
        own(tmp_path, f"policy: {tmp_path / 'p.yaml'}\n")
        done = sh.run("run", "go", "--yes", "-o", "jsonl")
    assert denials(done.stdout) == ["tool_permission_denied"]


ROLES = """\
version: 1
roles:
  builder:
    permissions: [tool:bash:invoke]
  reader:
    permissions: [tool:read:invoke]
"""


@pytest.mark.requirement("toolscli:policy")
@pytest.mark.parametrize(
    ("roles", "made"), [("builder", True), ("reader, builder", True), ("reader", False), ("gone", False)]
)
def test_what_the_agent_is_for_a_policy_is_said_on_the_command_line(tmp_path: Path, roles: str, made: bool) -> None:
    (tmp_path / "p.yaml").write_text(ROLES)
    with shell(tmp_path, TURNS) as sh:
        done = sh.run("run", "go", "--yes", "--policy", "p.yaml", "--roles", roles, "-o", "jsonl")
    assert (denials(done.stdout) == [], (tmp_path / "made").exists()) == (made, made), done.stdout + done.stderr


@pytest.mark.requirement("toolscli:policy")
@pytest.mark.parametrize("role", ["builder", "reader"])
def test_the_agent_of_a_talk_has_roles_too(tmp_path: Path, role: str) -> None:
    (tmp_path / "p.yaml").write_text(ROLES)
    with shell(tmp_path, TURNS) as sh, chatting(sh, "--yes", "--policy", "p.yaml", "--roles", role) as person:
        person.says("Go")
        person.sees(r"Over\.")
    assert (tmp_path / "made").exists() is (role == "builder")


@pytest.mark.requirement("toolscli:policy")
def test_what_looks_misspelled_in_a_policy_is_noted_once_by_run_chat_resume_and_explain(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nblocked_tools: [bsah]\n")
    said = "blocked_tools name the tool 'bsah', which agent 'coder' has not got: did you mean 'bash'?"
    with shell(tmp_path, [bash("kill -9 $PPID"), Turn(text="Over.")]) as sh:
        sh.run("run", "go", "--yes", "-s", "one")
        resumed = sh.run("runs", "resume", "one", "--policy", "p.yaml")
    with shell(tmp_path, TURNS) as sh:
        done = sh.run("run", "go", "--yes", "--policy", "p.yaml", "-o", "json")
        with chatting(sh, "--policy", "p.yaml") as person:
            person.sees(r"did you\s+mean 'bash'")
        told = sh.run("tools", "explain", "coder", "bash", "--policy", "p.yaml")
        data = json.loads(sh.run("tools", "explain", "coder", "bash", "--policy", "p.yaml", "-o", "json").stdout)
    assert (done.returncode, done.stderr.count(said)) == (0, 1), done.stderr
    assert f"note the policy may be misspelled: {said}" in resumed.stderr, resumed.stderr
    assert ".py:" not in resumed.stderr
    assert said in " ".join(told.stdout.split())
    assert data["doubts"] == [said]
