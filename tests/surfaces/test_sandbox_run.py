"""`holdfast sandbox run`: what its command prints comes out as it comes, and ends where nobody reads it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("cli:sandbox-run-streams")
@pytest.mark.parametrize("backend", ["native", "none", "bubblewrap"])
def test_what_a_command_prints_is_shown_before_it_has_ended(tmp_path: Path, backend: str) -> None:
    sh = Shell(tmp_path)
    if backend == "bubblewrap" and sh.run("sandbox", "probe", "--sandbox", backend).returncode:
        pytest.skip("bubblewrap does not work here")
    os.mkfifo(tmp_path / "gate")
    line = "echo out; echo err >&2; read -r _ < gate; echo after"
    with sh.running("sandbox", "run", "--sandbox", backend, "--", "bash", "-c", line) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["out\n", "err\n"]
        (tmp_path / "gate").write_text("go\n")
        assert process.stdout.read() == "after\n"
        assert process.wait(BOUND) == 0


@pytest.mark.requirement("cli:sandbox-run-unread")
def test_where_nobody_reads_any_more_the_command_is_ended(tmp_path: Path) -> None:
    with Shell(tmp_path).running("sandbox", "run", "--sandbox", "native", "--", "yes") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        assert (process.wait(BOUND), process.stderr.read()) == (141, "")


@pytest.mark.requirement("cli:sandbox-run-unread")
def test_a_reader_that_waits_does_not_keep_a_command_alive_beyond_its_time(tmp_path: Path) -> None:
    line = "trap 'echo ended > over' EXIT; while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"
    os.mkfifo(tmp_path / "over")
    command = ("sandbox", "run", "--sandbox", "none", "--seconds", "0.5", "--", "bash", "-c", line)
    with Shell(tmp_path).running(*command) as process:
        assert (tmp_path / "over").read_text() == "ended\n"  # while nothing of its output is read
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.read()
        assert said.startswith("yyy")
        assert process.wait(BOUND) == 124
        assert "stopped after 0.5 s" in process.stderr.read()


@pytest.mark.requirement("cli:sandbox-run-streams")
def test_what_comes_as_it_comes_cannot_act_on_a_terminal_and_no_more_than_the_profile_says(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    code = r"printf '\033]0;x\007\303'; sleep 0.1; printf '\251\r'; sleep 0.1; printf '\nq\r'"
    done = sh.run("sandbox", "run", "--sandbox", "native", "--", "bash", "-c", code)
    assert (done.returncode, done.stdout) == (0, "\u241b]0;x\u2407é\nq\n")
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nbackend: native\nlimits: { output: 10 }\n")
    done = sh.run("sandbox", "run", "--sandbox", "p.yaml", "--", "bash", "-c", "printf 0123456789abcdef")
    assert (done.stdout, "6 bytes of its output were left out" in done.stderr) == ("0123456789", True)


@pytest.mark.requirement("cli:sandbox-run-input")
def test_what_is_given_on_standard_input_and_not_passed_on_is_said(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("sandbox", "run", "--sandbox", "none", "--", "cat", given="hello\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert "standard input was not passed on" in done.stderr
    assert sh.run("sandbox", "run", "--sandbox", "none", "--", "cat").stderr == ""
    assert "nothing from standard input" in " ".join(sh.run("sandbox", "run", "--help").stdout.split())


@pytest.mark.requirement("cli:sandbox-failures")
def test_what_no_command_was_started_by_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    text = "kind: SandboxProfile\nbackend: native\nlimits: { sandboxes: 1 }\n"
    (tmp_path / "one.yaml").write_text(text)
    waiting = ("sandbox", "run", "--sandbox", "one.yaml", "--", "bash", "-c", "echo in; sleep 60")
    with sh.running(*waiting) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        done = sh.run("sandbox", "run", "--sandbox", "one.yaml", "true")
        assert (done.returncode, "Errno" in done.stderr, "limits: sandboxes" in done.stderr) == (125, False, True)
    mistyped = sh.run("sandbox", "run", "--sandbxo", "native", "ls")
    assert (mistyped.returncode, "'--sandbox'" in mistyped.stderr) == (2, True)
    whole = sh.run("sandbox", "run", "-w", "/", "ls")
    assert (whole.returncode, "the workspace cannot be `/`" in whole.stderr) == (2, True)
    ours, theirs = pty.openpty()
    shell = [sys.executable, "-m", "holdfast", "sandbox", "shell", "--sandbox", "none"]
    with subprocess.Popen(
        shell, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=sh.environment, text=True
    ) as process:
        _, said = process.communicate(timeout=BOUND)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, said.startswith("error the sandbox 'none' has no terminal")) == (125, True)


@pytest.mark.requirement("cli:sandbox-run-denials")
def test_what_a_policy_denied_is_said_at_the_end_and_a_secret_that_is_not_set_at_the_beginning(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "p.yaml").write_text(
        "kind: SandboxProfile\nbackend: native\nenv: { secrets: { SERVICE_KEY: [one.example.com] } }\n"
        "policy:\n  version: 1\n  network_policies:\n    code:\n      name: code\n"
        "      endpoints: [{ host: one.example.com, port: 443 }]\n      binaries: [/usr/bin/git]\n"
    )
    code = (
        "import os, socket, urllib.parse as u; p = u.urlsplit(os.environ['https_proxy']); "
        "s = socket.create_connection((p.hostname, p.port)); "
        "s.sendall(b'CONNECT two.example.com:443 HTTP/1.1\\r\\nHost: two.example.com:443\\r\\n\\r\\n'); s.recv(100)"
    )
    done = sh.run("sandbox", "run", "--sandbox", "p.yaml", "--", "/usr/bin/env", "python3", "-c", code)
    assert done.returncode == 0, done.stdout
    first, *_, last = done.stderr.splitlines()
    assert (first.startswith("not set"), "SERVICE_KEY" in first) == (True, True)
    assert last.startswith("denied: ")
    assert "two.example.com:443" in last


@pytest.mark.requirement("cli:sandbox-looks")
def test_at_eighty_columns_nothing_is_cut_and_nothing_said_twice(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "p.yaml").write_text("kind: SandboxProfile\nrequire: [disk-quota]\n")
    for arguments in (("probe",), ("--help",), ("probe", "--sandbox", "p.yaml")):
        shown = sh.run("sandbox", *arguments, COLUMNS="80").stdout.splitlines()
        assert max(map(len, shown)) <= 80
        assert not [each for each in shown if each != each.rstrip() or "..." in each.replace("ARGS]...", "")]
    shown = sh.run("sandbox", "probe", "--sandbox", "none", COLUMNS="120").stdout
    assert shown.count("nothing isolates") == 1
    assert "what it mounts nobody else sees" in shown
    refused = sh.run("sandbox", "run", "--sandbox", "p.yaml", "true")
    assert refused.returncode == 125
    assert [line.partition(": ")[0].strip() for line in refused.stderr.splitlines()[1:-1]] == [
        "native", "bubblewrap", "container", "gvisor", "process",
    ]  # fmt: skip
    assert "userns" not in refused.stderr
    assert refused.stderr.count("holdfast doctor") == 1


def test_a_closed_standard_input_is_no_fault(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    command = [sys.executable, "-m", "holdfast", "sandbox", "run", "--sandbox", "none", "echo", "x"]
    line = ["bash", "-c", 'exec "$@" <&-', "bash", *command]
    done = subprocess.run(line, cwd=tmp_path, env=sh.environment, capture_output=True, timeout=BOUND, check=False)
    assert (done.returncode, done.stdout) == (0, b"x\n")
