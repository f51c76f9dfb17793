"""`holdfast serve` as a process: what it says, whom it serves, and how it ends and begins again."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.listening import certificate
from tests.surfaces.commands import BOUND, Shell, shell

from holdfast.testing import Turn
from holdfast.testing.scripts import Call

AGENTS = """
from holdfast import Agent, tool

@tool
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

helper = Agent("openai/gpt-5-mini", instructions="You help.", tools=[add])
other = Agent("openai/gpt-5-nano", name="second")
"""


@dataclass
class Served:
    """A server that is a process of its own."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    def connection(self) -> http.client.HTTPConnection:
        host, _, port = self.told["url"].removeprefix("http://").rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=BOUND)

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        connection = self.connection()
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        assert answer.status < 400, (answer.status, found)
        return json.loads(found) if found else None

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=BOUND)
        return self.process.returncode, out, error


@contextmanager
def served(sh: Shell, *options: str) -> Generator[Served]:
    with sh.running("serve", "--port", "0", "-o", "json", *options) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Served(process, json.loads(line))


@pytest.mark.requirement("server_frame:serve")
def test_the_agent_behind_run_is_served_where_none_is_named_on_this_machine_alone(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    with served(sh) as server:
        assert server.told["url"].startswith("http://127.0.0.1:")
        assert server.told["agents"] == {"coder": "openai/gpt-5-mini"}
        assert server.told["open_to_all"] is True
        assert server.ask("GET", "/readyz") == {"status": "ok"}
        assert server.ask("GET", "/openapi.json")["openapi"] == "3.1.0"
        code, out, error = server.end(signal.SIGINT)
    assert (code, out) == (0, '{"event":"ending"}\n')
    assert [json.loads(line)["route"] for line in error.splitlines()] == ["/readyz", "/openapi.json"]


@pytest.mark.requirement("server_frame:serve")
def test_a_person_reads_where_it_is_whom_it_serves_and_that_there_are_no_keys(tmp_path: Path) -> None:
    with Shell(tmp_path).running("serve", "--port", "0") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(8)]
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=BOUND)
    text = "".join(lines)
    assert re.search(r"Holdfast \S+ at http://127\.0\.0\.1:\d+", text)
    for word in ("coder", "none: this machine alone", "holdfast serve keys create", "/docs", "sqlite:///", "Ctrl-C"):
        assert word in text
    assert process.returncode == 143
    assert "ending: what is under way has 20 s" in error


@pytest.mark.requirement("server_frame:serve")
def test_agents_are_named_by_module_by_another_name_and_by_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(AGENTS)
    sh = Shell(tmp_path)
    with served(sh, "mine:helper", "third=mine:other") as server:
        assert server.told["agents"] == {"helper": "openai/gpt-5-mini", "third": "openai/gpt-5-nano"}
        server.end()
    with served(sh, "--agents", "mine.py") as server:
        assert server.told["agents"] == {"helper": "openai/gpt-5-mini", "second": "openai/gpt-5-nano"}
        server.end()


@pytest.mark.requirement("server_frame:config-file")
def test_a_file_says_all_that_options_do_and_options_go_before_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(AGENTS)
    (tmp_path / "serve.yaml").write_text(
        "agents: [mine:helper]\nport: 1\norigins: [https://a.example]\n"
        "access: {tenants: {acme: {rates: {requests: 5}}}}\n"
        "bounds: {grace: 1.5}\nconnections: {head_bytes: 20000}\n"
    )
    with served(Shell(tmp_path), "--config", "serve.yaml") as server:
        assert server.told["agents"] == {"helper": "openai/gpt-5-mini"}
        connection = server.connection()
        connection.request("GET", "/version", headers={"x-a": "a" * 21_000})
        assert connection.getresponse().status == 431
        connection.close()
        connection.request("GET", "/version", headers={"origin": "https://a.example"})
        assert connection.getresponse().headers["access-control-allow-origin"] == "https://a.example"
        connection.close()
        server.end()


@pytest.mark.requirement("server_frame:config-file")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot: 8700", r"serve\.yaml:1:1: prot: .*unknown field `prot`"),
        (
            "access:\n  issuers:\n    - issuer: a\n      audiance: b",
            r"serve\.yaml:4:7: access\.issuers\[0\]\.audiance: ",
        ),
        ("port: many", r"serve\.yaml:1:1: port: Expected `int"),
        ("port: 70000", r"serve\.yaml:1:1: port: "),
        ("[1, 2]", r"serve\.yaml:1:1: "),
        ("a: b: c", r"serve\.yaml:1:"),
        ("origins: [example.com]", "no origin"),
        ("trusted_proxies: [me]", "no address of a proxy"),
        ("agents: [nothing]", "is no agent"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "serve.yaml").write_text(text)
    done = Shell(tmp_path).run("serve", "--config", "serve.yaml", "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(said, done.stderr), done.stderr


@pytest.mark.requirement("server_frame:plain-trouble")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), r"no keys.*\n?.*holdfast serve keys create"),
        (("--host", "no.such.name.invalid"), r"no address 'no\.such\.name\.invalid'|no keys"),
        (
            ("--host", "localhost", "--port", "{taken}"),
            r"cannot listen on localhost:\d+ \(Address already in use\): another",
        ),
        (("--tls-cert", "absent.pem", "--tls-key", "absent.key"), r"cannot be read \(No such file or directory"),
        (("--tls-cert", "serve.pem"), "takes both --tls-cert and --tls-key"),
        (("--tls-cert", "serve.pem", "--tls-key", "other.key"), "the key is another certificate's"),
        (("--tls-cert", "mine.py", "--tls-key", "mine.py"), "no PEM file"),
        (("absent:agent",), "there is no module 'absent'"),
        (("mine:absent",), "has no agent 'absent'"),
        (("broken:agent",), r"broken\.py:1: ZeroDivisionError"),
        (("mine:helper", "helper=mine:other"), "two agents are called 'helper'"),
        (("--agents", "empty.py"), "there are no agents in"),
        (("--agents", "absent.py"), "is no file of agents"),
        (("--unix-socket", "absent/s"), "cannot listen on 'absent/s'"),
        (("--config", "absent.yaml"), "cannot be read"),
        (("keyz",), "is no agent"),
    ],
)
def test_what_keeps_it_from_serving_is_one_line_with_what_to_do(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mine.py").write_text(AGENTS)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    certificate(tmp_path, "serve")
    certificate(tmp_path, "other")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = [each.format(taken=taken.getsockname()[1]) for each in options]
        done = Shell(tmp_path).run("serve", "--port", "0", *given)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def waiting(gate: Path) -> list[Turn]:
    """Returns a model's turns whose command goes on until somebody opens the gate."""
    command = f"touch {gate}-begun; until test -e {gate}; do read -t 0.1 <> {gate}-fifo; done"
    return [Turn(calls=[Call(name="bash", arguments={"command": command})]), Turn(text="Done at last.")]


def begun(gate: Path) -> None:
    """Returns when the command has begun."""
    os.mkfifo(f"{gate}-fifo")
    until = time.monotonic() + BOUND
    while not Path(f"{gate}-begun").exists():
        assert time.monotonic() < until


def start(server: Served, name: str) -> None:
    server.ask("POST", "/v1/sessions", {"name": name, "prompt": {"text": "Wait for the gate."}})


@pytest.mark.requirement("server_frame:shutdown", "server:graceful-shutdown")
def test_sigterm_says_farewell_to_streams_and_leaves_runs_open_for_the_next_start(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "serve.yaml").write_text("bounds: {grace: 0.5}\n")
    with shell(tmp_path, waiting(gate)) as sh:
        with served(sh, "--config", "serve.yaml") as server:
            start(server, "long")
            stream = server.connection()
            stream.request("GET", "/v1/sessions/long/events")
            answer = stream.getresponse()
            begun(gate)
            code, _, error = server.end()
            told = answer.read().decode()
            stream.close()
            assert code == 143 and "Traceback" not in error
            assert "event: end" in told and '"closing"' in told
            assert "run.finished" not in told
        gate.touch()
        with served(sh) as server:
            assert "Done at last." in finished(server, "long")
            server.end()


@pytest.mark.requirement("server_frame:goes-on")
def test_after_a_kill_and_a_restart_sessions_go_on_by_themselves(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with shell(tmp_path, waiting(gate)) as sh:
        with served(sh) as server:
            start(server, "long")
            begun(gate)
            server.process.kill()
            server.process.wait(BOUND)
        gate.touch()
        with served(sh) as server:
            assert "Done at last." in finished(server, "long")
            server.end()


@pytest.mark.requirement("server_frame:shutdown")
def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    with served(Shell(tmp_path)) as server:
        waits = server.connection()
        waits.request("POST", "/v1/sessions", "{", {"content-length": "100", "content-type": "application/json"})
        server.ask("GET", "/healthz")
        server.process.send_signal(signal.SIGINT)
        assert server.process.stdout is not None
        assert "ending" in server.process.stdout.readline()
        code, _, error = server.end(signal.SIGINT)
        waits.close()
        assert code == 130 and "left at once" in error


def finished(server: Served, session: str) -> str:
    """Returns all that happened in a session, once its run is over and completed."""
    stream = server.connection()
    stream.request("GET", f"/v1/sessions/{session}/events?until=idle")
    told = stream.getresponse().read().decode()
    stream.close()
    assert "event: run.finished" in told and '"completed"' in told
    return told


@pytest.mark.requirement("server_frame:serve")
def test_help_names_both_ways_to_use_it_and_every_option(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("serve", "--help")
    assert done.returncode == 0
    for word in ("[MODULE:AGENT]...", "COMMAND", "--host", "--tls-cert", "--trusted-proxy", "keys", "users", "start"):
        assert word in done.stdout


@pytest.mark.requirement("server_frame:serve")
def test_whoever_lacks_what_a_server_needs_is_told_what_to_install(tmp_path: Path) -> None:
    told = ran(
        tmp_path,
        "from importlib import util",
        "found = util.find_spec",
        "util.find_spec = lambda name, *more: None if name == 'starlette' else found(name, *more)",
        "main(['serve'])",
    )
    assert told.returncode == 2
    assert b"pip install 'holdfast[server]'" in told.stderr and b"Traceback" not in told.stderr


@pytest.mark.requirement("server_frame:serve")
def test_help_loads_nothing_that_serves(tmp_path: Path) -> None:
    loaded = ran(
        tmp_path,
        "try: main(['serve', '--help'])",
        "except SystemExit as left: assert not left.code",
        "assert not {'uvicorn', 'starlette', 'prometheus_client', 'argon2', 'jwt'} & set(sys.modules)",
    )
    assert loaded.returncode == 0, loaded.stderr.decode()


def ran(home: Path, *lines: str) -> subprocess.CompletedProcess[bytes]:
    """Returns what came of a program that has the command line as `main`."""
    code = "\n".join(("import sys", "from holdfast.cli.main import main", *lines))
    environment = Shell(home).environment
    return subprocess.run(
        [sys.executable, "-c", code], check=False, timeout=BOUND, env=environment, capture_output=True
    )


@pytest.mark.requirement("server_frame:process-routes-fuzzed")
def test_the_routes_of_the_process_withstand_schemathesis_with_all_its_checks(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    with served(Shell(tmp_path)) as server:
        run = (program, "run", f"{server.told['url']}/openapi.json", "--include-tag", "process", "--checks", "all")
        phases = ("--phases", "examples,coverage,fuzzing", "-n", "10", "--no-color")
        done = subprocess.run(
            [*run, *phases], cwd=tmp_path, capture_output=True, text=True, timeout=2 * BOUND, check=False
        )
        server.end()
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


CHARGES = """
import time
from pathlib import Path
from holdfast import Agent, tool

@tool
def charge(amount: int) -> str:
    "Charge a card."
    Path("gate-begun").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return "charged"

clerk = Agent("openai/gpt-5-mini", tools=[charge])
"""


@pytest.mark.requirement("server_frame:no-call-is-cut")
def test_a_call_that_may_not_be_made_again_is_not_cut_off_by_a_stop(tmp_path: Path) -> None:
    (tmp_path / "charging.py").write_text(CHARGES)
    turns = [Turn(calls=[Call("charge", {"amount": 5})]), Turn(text="It is charged."), Turn(text="It is charged.")]
    with shell(tmp_path, turns) as sh:
        with served(sh, "charging:clerk") as server:
            start(server, "s")
            begun(tmp_path / "gate")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                server.process.wait(1)
            (tmp_path / "gate").touch()
            assert server.process.wait(BOUND) == 143
        with served(sh, "charging:clerk") as server:
            told = finished(server, "s")
            assert "Outcome unknown" not in told and told.count("event: tool.finished") == 1
            server.end()
