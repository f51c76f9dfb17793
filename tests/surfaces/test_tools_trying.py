"""`holdfast tools test|scaffold|explain`: whether a tool keeps the contract, and whether an agent may call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell
from tests.surfaces.test_tools_command import SHOP

POLICY = """\
version: 1
roles:
  seller:
    permissions: [capability:money]
permissions:
  - tool: pay
    required: [capability:money]
    scopes: [{argument: to, allow: [friend-*]}]
blocked_tools: [upper]
"""


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "p.yaml").write_text(POLICY)
    return Shell(tmp_path)


@contextmanager
def served(folder: Path, **more: str) -> Generator[str]:
    """Runs the service of a folder, and gives its address."""
    command = [sys.executable, "tool.py", "--port", "0"]
    environment = {"PATH": os.environ.get("PATH", ""), **more}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.requirement("toolscli:scaffold", "toolscli:test")
def test_what_is_begun_serves_and_passes_as_it_says(sh: Shell, tmp_path: Path) -> None:
    done = sh.run("tools", "scaffold", "my tool", "--name", "weather")
    assert done.returncode == 0
    assert "python 'my tool'/tool.py" in done.stdout
    said = next(line for line in done.stdout.splitlines() if "holdfast tools test" in line)
    assert "'my tool'/fixtures.yaml --name weather" in said
    again = sh.run("tools", "scaffold", "my tool", "--name", "weather")
    assert (again.returncode, "nothing was written" in again.stderr) == (2, True)
    with served(tmp_path / "my tool") as url:
        tried = sh.run("tools", "test", url, "my tool/fixtures.yaml", "--name", "weather")
        assert (tried.returncode, "all kept" in tried.stdout) == (0, True), tried.stdout
        groups = [line for line in tried.stdout.splitlines()[1:] if line and line[0].isalpha()]
        assert groups == [
            "contract",
            "timeout",
            "retry",
            "auth",
            "policy",
            "isolation",
            "observability",
            "determinism",
        ]
        unnamed = sh.run("tools", "test", url, "my tool/fixtures.yaml")
        assert (unnamed.returncode, "--name" in unnamed.stderr) == (2, True)
    gone = sh.run("tools", "test", url, "my tool/fixtures.yaml", "--name", "weather", "-o", "json")
    assert (gone.returncode, json.loads(gone.stdout)["ok"]) == (1, False)
    assert gone.stdout.count("Connection refused") == 1
    seen = sh.run("tools", "test", url, "my tool/fixtures.yaml", "--name", "weather").stdout
    assert (seen.count("was not reached"), "✓" in seen) == (1, False)
    assert any(line.split() == ["·", "answers", "in", "time", "not", "run"] for line in seen.splitlines())
    address = url.removeprefix("http://")
    bare = sh.run("tools", "test", address, "my tool/fixtures.yaml", "--name", "weather")
    assert (bare.returncode, f"write http://{address}" in bare.stderr) == (2, True), bare.stderr


@pytest.mark.requirement("toolscli:list", "toolscli:call")
def test_a_tool_that_a_file_declares_is_listed_described_and_called(sh: Shell, tmp_path: Path) -> None:
    sh.run("tools", "scaffold", "t", "--name", "weather")
    with served(tmp_path / "t", TOOL_TOKEN="sesame-open-1") as url:
        manifest = (
            "kind: Tool\napiVersion: holdfast/v1\nmetadata: {name: NAME}\nspec:\n  type: external\n"
            f"  endpoint: {url}\n  allowPrivate: true\n  auth: {{secretRef: door}}\n"
            "  input_schema: {type: object, properties: {text: {type: string}}, required: [text]}\n"
        )
        both = "---\n".join(manifest.replace("NAME", name) for name in ("weather", "other"))
        (tmp_path / "two.yaml").write_text(both)
        listed = json.loads(sh.run("tools", "list", "two.yaml", "-o", "json").stdout)
        assert [each["name"] for each in listed] == ["weather", "other"]
        shown = sh.run("tools", "describe", "two.yaml#weather").stdout
        rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith("  ")}
        assert rows["address"][0] == url
        assert (rows["transport"], rows["isolation"], rows["attempts"]) == (["external"], ["none"], ["1"])
        assert rows["auth"] == ["bearer,", "with", "the", "secret", "'door'"]
        assert rows["timeout"][:2] == ["30", "s"]
        assert "walking" not in shown
        at = json.loads(sh.run("tools", "describe", "two.yaml#weather", "-o", "json").stdout)["elsewhere"]
        assert (at["place"], at["secret"], at["attempts"]) == (url, "door", 1)
        assert json.loads(sh.run("tools", "describe", "read", "-o", "json").stdout)["elsewhere"] is None
        assert "two.yaml#weather" in "".join(shown.split()), "a long place is folded"
        done = sh.run("tools", "call", "two.yaml#weather", "text=hello", HOLDFAST_SECRET_DOOR="sesame-open-1")
        assert (done.returncode, done.stdout, done.stderr) == (0, "HELLO\n", "")
        unknown = sh.run("tools", "call", "two.yaml#weather", "text=hello")
        assert (unknown.returncode, "holdfast secrets set door" in unknown.stderr) == (1, True), unknown.stderr
        wrong = sh.run("tools", "call", "two.yaml#weather", "text=hello", HOLDFAST_SECRET_DOOR="another-word")
        assert (wrong.returncode, "with the secret 'door' (bearer)" in wrong.stderr) == (1, True), wrong.stderr
        assert ("another-word" in wrong.stderr, "holdfast secrets set NAME" in wrong.stderr) == (False, True)
    for reference, said in (("two.yaml", "two.yaml#weather"), ("two.yaml#wether", "did you mean 'weather'?")):
        done = sh.run("tools", "describe", reference)
        assert (done.returncode, said in done.stderr) == (2, True)
    (tmp_path / "bad.yaml").write_text("kind: Tool\nspek: 1\n")
    assert "bad.yaml:2" in sh.run("tools", "list", "bad.yaml").stderr


@pytest.mark.requirement("toolscli:test")
def test_a_function_is_tried_and_what_it_breaks_is_named_with_its_call(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(
        "- name: capitals\n  input: {text: a}\n  expected_output: A\n"
        "- name: small ones\n  input: {text: a}\n  expected_output: a\n"
    )
    done = sh.run("tools", "test", "shop:upper", "f.yaml")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "small ones: its result is 'A', not 'a'" in lines
    assert any(line.startswith("✗ comes to what is expected") and line.endswith("1 of 2") for line in lines)
    data = json.loads(sh.run("tools", "test", "shop:upper", "f.yaml", "-o", "json").stdout)
    assert {each["fixture"] for each in data["found"] if each["outcome"] == "failed"} >= {"small ones"}
    (tmp_path / "bad.yaml").write_text("- nmae: x\n")
    for file, said in (("bad.yaml", "bad.yaml"), ("none.yaml", "cannot be read")):
        done = sh.run("tools", "test", "shop:upper", file)
        assert (done.returncode, said in done.stderr) == (2, True)


@pytest.mark.requirement("toolscli:test-authenticated")
def test_a_service_that_wants_credentials_is_tried_with_a_secret_by_its_name(sh: Shell, tmp_path: Path) -> None:
    sh.run("tools", "scaffold", "t", "--name", "t")
    with served(tmp_path / "t", TOOL_TOKEN="sesame-open-1") as url:
        without = sh.run("tools", "test", url, "t/fixtures.yaml", "--name", "t")
        assert (without.returncode, "auth" in without.stdout) == (1, True)
        assert without.stdout.count("auth_invalid") == 1
        assert "--auth (bearer, api_key_header, basic) and --secret NAME" in without.stdout
        command = ("tools", "test", url, "t/fixtures.yaml", "--name", "t", "--auth", "bearer", "--secret", "door")
        unknown = sh.run(*command)
        assert (unknown.returncode, "'door'" in unknown.stderr) == (2, True)
        known = sh.run(*command, HOLDFAST_SECRET_DOOR="sesame-open-1")
        assert known.returncode == 0, known.stdout
        assert "✓ lets nobody in without credentials" in known.stdout
        assert "sesame" not in known.stdout + known.stderr + without.stdout
        wrong = sh.run(*command, "-o", "json", HOLDFAST_SECRET_DOOR="another-word")
        assert (wrong.returncode, "another-word" in wrong.stdout + wrong.stderr) == (1, False)
        told = sh.run(*command, HOLDFAST_SECRET_DOOR="another-word").stdout
        assert "it was sent the secret 'door' as bearer: holdfast secrets set door" in told


@pytest.mark.requirement("toolscli:explain")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (("shop:seller", "pay", "amount=1", "to=x"), 1, "an agent without roles does not have capability:money"),
        (("shop:seller", "pay", "amount=1", "to=x", "--roles", "seller"), 1, "is not among friend-*"),
        (("shop:seller", "pay", "amount=1", "to=friend-a", "--roles", "seller"), 0, "is allowed"),
        (("--tools", "shop:pay,read", "--roles", "seller", "pay", '{"amount":1,"to":"friend-a"}'), 0, "is allowed"),
        (("shop:seller", "upper"), 1, "blocked"),
        (("coder", "bash", "command=ls", "--mode", "ask"), 1, "needs a person's word"),
        (("coder", "bash", "command=ls", "--mode", "ask", "--unattended"), 1, "is denied"),
        (("coder", "write", "--mode", "read-only"), 1, "'read-only' denies it"),
    ],
)
def test_the_rule_that_decides_about_a_call_is_named(sh: Shell, line: tuple[str, ...], code: int, said: str) -> None:
    done = sh.run("tools", "explain", *line, "--policy", "p.yaml")
    assert (done.returncode, said in " ".join(done.stdout.split())) == (code, True), done.stdout + done.stderr
    assert done.stdout.count("->") == 1
    data = json.loads(sh.run("tools", "explain", *line, "--policy", "p.yaml", "-o", "json").stdout)
    assert data["allowed"] == (code == 0)


@pytest.mark.requirement("toolscli:explain")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("coder",), "an agent and a tool are wanted"),
        (("coder", "bahs"), "did you mean 'bash'?"),
        (("shop:pay", "pay"), "has no agent 'pay'"),
        (("nobody", "pay"), "is no agent"),
        (("coder", "bash", "--policy", "none.yaml"), "none.yaml"),
    ],
)
def test_what_cannot_be_explained_says_what_to_write(sh: Shell, line: tuple[str, ...], said: str) -> None:
    done = sh.run("tools", "explain", *line)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.requirement("toolscli:explain")
def test_explaining_makes_no_call(sh: Shell, tmp_path: Path) -> None:
    done = sh.run("tools", "explain", "coder", "bash", "command=touch made", "--mode", "auto", timeout=str(BOUND))
    assert (done.returncode, (tmp_path / "made").exists()) == (0, False)
