"""What the command line says of a sandbox is what it does: what it reaches, refuses, throws away and takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.surfaces.commands import Shell, bash, shell

from holdfast.cli.doctor import command as doctor
from holdfast.cli.sandbox.policies import explain, lint
from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import open_named
from holdfast.sandbox.egress import certificates
from holdfast.sandbox.egress.answers import denials_of
from holdfast.sandbox.policy.loading import load_profile
from holdfast.sandbox.port import Posture
from holdfast.testing import Turn

linux = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

NET = """
kind: SandboxProfile
backend: {backend}
require: [netns, seccomp]
policy:
  version: 1
  network_policies:
    code:
      name: code
      endpoints: [{{ host: one.example.com, port: 443{more} }}]
      binaries: [/usr/bin/git]
{rest}
"""
READ = ", protocol: rest, enforcement: enforce, access: read-only"
ASK = (
    "import os, socket, urllib.parse as u; p = u.urlsplit(os.environ['https_proxy']); "
    "s = socket.create_connection((p.hostname, p.port)); "
    "s.sendall(b'CONNECT two.example.com:443 HTTP/1.1\\r\\nHost: two.example.com:443\\r\\n\\r\\n'); s.recv(100)"
)
DEEP = "import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(200)]"
WAYS = {
    "at-once": "",
    "when-ended": "workspace: { apply: when-ended }",
    "when-succeeded": "workspace: { apply: when-succeeded }",
    "never": "pool: { reuse: never }",
}


def profile(folder: Path, rest: str = "", *, more: str = "", backend: str = "native") -> Path:
    path = folder / "net.yaml"
    path.write_text(NET.format(rest=rest, more=more, backend=backend))
    return path


@linux
@pytest.mark.requirement("sandbox:banner-true")
@pytest.mark.parametrize(("mode", "asked"), [("--yes", False), ("--ask", True)])
def test_a_run_says_of_a_sandbox_with_a_way_out_what_it_reaches(tmp_path: Path, mode: str, asked: bool) -> None:
    (tmp_path / "work").mkdir()
    net = str(profile(tmp_path, backend="auto"))
    with shell(tmp_path, [Turn(text="Done.")]) as sh:
        first, *_ = sh.run("run", "go", mode, "--sandbox", net, "-w", "work").stdout.splitlines()
    assert first.startswith("sandbox native: this folder, and the network its policy allows")
    assert ("asked about" in first) == asked


@pytest.mark.requirement("sandbox:banner-true")
def test_the_doctor_does_not_call_a_sandbox_with_a_way_out_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tried(_: object) -> Posture:
        return Posture("native", ("netns", "egress-proxy"))

    monkeypatch.setattr(doctor, "_tried", tried)
    found = json.loads(CliRunner().invoke(doctor.doctor, ["-o", "json"]).output)["findings"]
    [commands] = [each for each in found if each["name"] == "commands"]
    assert (commands["level"], commands["found"]) == ("ok", "run in native: netns, egress-proxy")


@linux
@pytest.mark.requirement("sandbox:egress-logged")
@pytest.mark.parametrize("way", WAYS)
def test_what_was_not_let_out_is_said_in_the_log_below_the_call_and_to_the_model(tmp_path: Path, way: str) -> None:
    (tmp_path / "work").mkdir()
    net = str(profile(tmp_path, WAYS[way]))
    asking = ("sandbox", "run", "--sandbox", net, "-w", "work", "--", "/usr/bin/env", "python3", "-c", ASK)
    assert "denied: two.example.com:443 " in Shell(tmp_path).run(*asking).stderr
    turns = [bash(f'/usr/bin/env python3 -c "{ASK}"'), Turn(text="Done.")]
    with shell(tmp_path, turns) as sh:
        assert sh.run("run", "go", "-s", "one", "--sandbox", net, "-w", "work").returncode == 0
        events = [json.loads(line) for line in sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()]
        shown = sh.run("runs", "show", "one").stdout.splitlines()
    [result] = [each["data"]["result"] for each in events if each["type"] == "tool.finished"]
    [decided] = result["metadata"]["egress"]
    assert (decided["verdict"], decided["host"], decided["port"]) == ("denied", "two.example.com", 443)
    assert "[denied by the sandbox: two.example.com:443 " in result["content"]
    [at] = [number for number, line in enumerate(shown) if "tool.finished" in line]
    assert shown[at + 1].strip().startswith("⊘ two.example.com:443 ")
    assert sum("⊘" in line for line in shown) == 1


@linux
@pytest.mark.requirement("sandbox:egress-logged", "sandbox:lost-changes-told")
def test_a_command_hides_what_it_asked_for_by_no_layer_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    net = str(profile(tmp_path, WAYS["when-ended"]))
    asking = ("sandbox", "run", "--sandbox", net, "-w", "work", "--", "/usr/bin/env", "python3", "-c", f"{ASK}; {DEEP}")
    done = Shell(tmp_path).run(*asking)
    assert "denied: two.example.com:443 " in done.stderr
    assert (done.returncode, "nothing of it came in: 'd/d" in done.stderr) == (125, True)
    with shell(tmp_path, [bash(f'/usr/bin/env python3 -c "{ASK}; {DEEP}"'), Turn(text="Done.")]) as sh:
        sh.run("run", "go", "-s", "one", "--sandbox", net, "-w", "work")
        shown = sh.run("runs", "show", "one").stdout
        events = [json.loads(line) for line in sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()]
    [result] = [each["data"]["result"] for each in events if each["type"] == "tool.finished"]
    assert (result["error"]["code"], result["metadata"]["egress"][0]["host"]) == ("quota", "two.example.com")
    assert "⊘ two.example.com:443 " in shown
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.requirement("sandbox:egress-logged")
def test_many_refusals_are_few_lines_and_none_can_act_on_a_terminal() -> None:
    denied = {"verdict": "denied", "layer": "connection", "reason": "no\x1b[2Jbody\nat all", "port": 443}
    many = [{**denied, "host": f"h{number}"} for number in range(9)]
    told = denials_of([{"verdict": "allowed"}, "else", None, *many, *many], 3)
    assert told[:2] == ["h0:443 no\ufffd[2Jbody\ufffdat all (2 times)", "h1:443 no\ufffd[2Jbody\ufffdat all (2 times)"]
    assert (len(told), told[3]) == (4, "and 6 more")
    assert denials_of([{**denied, "host": "h", "path": "/x" * 5000}])[0].endswith("…")


@linux
@pytest.mark.requirement("sandbox:lost-changes-told")
def test_changes_that_are_thrown_away_are_said_and_the_exit_code_is_not_zero(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    head = "kind: SandboxProfile\nbackend: native\nlimits: { disk: 1Mi }\nworkspace: { apply: when-succeeded }\n"
    (tmp_path / "p.yaml").write_text(head)
    sh, run = Shell(tmp_path), ("sandbox", "run", "--sandbox", "p.yaml", "-w", "work", "--", "sh", "-c")
    full = sh.run(*run, "echo x > a; head -c 3000000 /dev/zero > big; true")
    assert (full.returncode, "nothing of it came in: it met the quota of disk" in full.stderr) == (125, True)
    failed = sh.run(*run, "echo x > a; exit 3")
    assert (failed.returncode, "nothing of it came in: it ended with exit code 3" in failed.stderr) == (3, True)
    nothing = sh.run(*run, "exit 3")
    assert (nothing.returncode, nothing.stderr) == (3, "")
    assert list((tmp_path / "work").iterdir()) == []
    fine = sh.run(*run, "echo x > a")
    assert (fine.returncode, fine.stderr, (tmp_path / "work" / "a").read_text()) == (0, "", "x\n")
    with shell(tmp_path, [bash("echo x > b; exit 3"), Turn(text="Done.")]) as server:
        server.run("run", "go", "-s", "one", "--sandbox", "p.yaml", "-w", "work")
        assert (
            "[nothing of what it changed in the workspace was brought in: "
            in server.run("runs", "show", "one", "-o", "jsonl").stdout
        )


@linux
@pytest.mark.requirement("sandbox:store-hidden")
@pytest.mark.parametrize("there", [True, False])
def test_a_command_tried_by_hand_neither_sees_the_store_nor_puts_one_in_its_place(tmp_path: Path, there: bool) -> None:
    with shell(tmp_path, [Turn(text="private words")]) as sh:
        if there:
            assert sh.run("run", "go").returncode == 0
        line = "cat data/holdfast/holdfast.db; echo x > data/holdfast/holdfast.db; ls -A data/holdfast; true"
        done = sh.run("sandbox", "run", "--sandbox", "native", "--", "sh", "-c", line)
        assert (done.returncode, "private" in done.stdout) == (0, False)
        assert "holdfast.db\n" not in done.stdout.replace("data/holdfast/holdfast.db", "")
        assert sh.run("run", "go", "-s", "two").returncode == 0


@linux
@pytest.mark.requirement("sandbox:egress-extra-told")
async def test_what_reads_inside_tls_is_missed_before_a_request_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = profile(tmp_path, more=READ)
    question = [str(net), "GET", "https://one.example.com/", "/usr/bin/git"]
    assert CliRunner().invoke(explain, question).output.startswith("allowed")
    assert "egress-extra" not in CliRunner().invoke(lint, [str(net)]).output
    monkeypatch.setattr(certificates, "find_spec", lambda _: None)
    asked = CliRunner().invoke(explain, question)
    assert (asked.exit_code, "pip install 'holdfast[egress]'" in asked.output) == (1, True)
    found = CliRunner().invoke(lint, [str(net)])
    assert (found.exit_code, "[egress-extra]" in found.output) == (1, True)
    with pytest.raises(IsolationMissing, match=r"pip install 'holdfast\[egress\]'"):
        await open_named(load_profile(net.read_text()))
    unread = profile(tmp_path)
    await (await open_named(load_profile(unread.read_text()))).close()
    assert "egress-extra" not in CliRunner().invoke(lint, [str(unread)]).output


@pytest.mark.requirement("sandbox:lint-landlock")
def test_a_profile_that_requires_landlock_is_told_nothing_of_machines_without(tmp_path: Path) -> None:
    net = profile(tmp_path)
    assert "[landlock-optional]" in CliRunner().invoke(lint, [str(net)]).output
    net.write_text(net.read_text().replace("require: [netns,", "require: [landlock>=1,"))
    assert "[landlock-optional]" not in CliRunner().invoke(lint, [str(net)]).output


@pytest.mark.requirement("sandbox:explain-program")
def test_a_question_without_a_program_is_told_to_name_one(tmp_path: Path) -> None:
    net = str(profile(tmp_path))
    asked = CliRunner().invoke(explain, [net, "connect", "one.example.com:443"]).output
    assert "name the program behind the address" in asked
    asked = CliRunner().invoke(explain, [net, "connect", "one.example.com:443", "/usr/bin/curl"]).output
    assert "add its real path to `binaries`" in asked
