"""`holdfast daemon` as a process: a config.json in, AgentOps' door out; its tokens, its end, and its death."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.agentops import check_events, check_order
from tests.surfaces.commands import BOUND, Shell, bash, shell
from tests.surfaces.test_agentops_task import write_config

from holdfast.server.doors.agentops.routes import ROUTES
from holdfast.testing import Turn

TOKEN = "t0ken-of-twenty-letters"


@dataclass
class Up:
    """A daemon that is a process of its own, and a client that knows no more than curl does."""

    process: subprocess.Popen[str]
    url: str

    def open(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=BOUND)
        sent = None if body is None else json.dumps(body)
        told = {each.replace("_", "-"): value for each, value in headers.items()}
        connection.request(method, path, sent, {"content-type": "application/json", **told})
        return connection, connection.getresponse()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection, answer = self.open(method, path, body, **headers)
        found = answer.read()
        connection.close()
        return answer.status, json.loads(found) if found else None


@contextmanager
def daemon(sh: Shell, *options: str) -> Generator[Up]:
    given = ("daemon", "--config", "config.json", "--port", "0", "-o", "json", "--log", "none", *options)
    with sh.running(*given) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Up(process, json.loads(line)["url"])


def read(answer: http.client.HTTPResponse, until: str = "") -> tuple[list[dict[str, Any]], list[str]]:
    """Reads events, to the end or up to one of a type; returns their ids, too."""
    events: list[dict[str, Any]] = []
    ids: list[str] = []
    id = ""
    while line := answer.readline().decode():
        if line.startswith("data: "):
            events.append(json.loads(line[6:]))
            id = ""
        elif line.startswith("id: "):
            id = line[4:].strip()
        elif line == "\n" and len(ids) < len(events):
            ids.append(id)
            if events[-1]["type"] == until:
                break
    return events, ids


@pytest.mark.requirement("server_agentops:daemon")
def test_the_agent_of_a_file_is_served_on_loopback_and_asks_before_what_needs_a_yes(tmp_path: Path) -> None:
    with shell(tmp_path, [bash("echo hello"), Turn(text="done")]) as sh:
        write_config(tmp_path, builtinTools=["bash"], permissionTools=["bash"], systemPrompt="You are asked.")
        sh.environment["AGENT_NAME"] = "smith"
        with daemon(sh) as up:
            assert up.url.startswith("http://127.0.0.1:")
            connection, answer = up.open("POST", "/prompt/stream", {"prompt": "go"})
            events, _ = read(answer, "permission_asked")
            id = events[-1]["id"]
            assert events[-1]["tool_name"] == "bash"
            assert up.ask("POST", f"/permission/{id}/reply", {"response": "once"}) == (200, {"ok": True})
            events += read(answer)[0]
            connection.close()
            check_events(events)
            check_order(events)
            assert {each["session_id"] for each in events if "session_id" in each} == {"smith"}
            assert [each["is_error"] for each in events if each["type"] == "tool_result"] == [False]
            for path in ("/v1/sessions", "/console/", "/nothing/here"):  # another program's doors are not here
                assert up.ask("GET", path) == (404, {"error": "there is nothing at this path"})
            assert up.ask("PUT", "/prompt", {})[0] == 405


@pytest.mark.requirement("server_agentops:daemon-token", "server:auth-token-required")
def test_with_a_token_every_route_but_health_wants_it(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="done")]) as sh:
        write_config(tmp_path)
        with daemon(sh, "--host", "127.0.0.1", "--token", TOKEN) as up:
            for route in ROUTES:
                path = route.path.replace("{id}", "x").replace("{wait}", "y")
                status, said = up.ask(route.method, path, {} if route.method in ("POST", "PATCH") else None)
                assert (status == 401) is (path != "/healthz"), (route.method, path, status)
                assert path == "/healthz" or set(said) == {"error"}
            right = {"authorization": f"Bearer {TOKEN}"}
            assert up.ask("POST", "/prompt", {"prompt": "go"}, **right)[0] == 200
            assert up.ask("POST", "/prompt", {"prompt": "go"}, authorization=f"Bearer {TOKEN}x")[0] == 401
        done = sh.run("daemon", "--config", "config.json", "--host", "0.0.0.0", "--port", "0")
        assert done.returncode == 2
        done = sh.run("daemon", "--config", "config.json", "--token", "short")
        assert done.returncode == 2


@pytest.mark.requirement("server_agentops:daemon-stops")
def test_when_it_is_told_to_end_open_streams_say_so_and_the_run_goes_on_afterwards(tmp_path: Path) -> None:
    gate = "while [ ! -e open ]; do sleep 0.05; done; echo hello"
    with shell(tmp_path, [bash(gate), Turn(text="done")]) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        sh.environment["WORKSPACE"] = str(tmp_path)
        with daemon(sh) as up:
            connection, answer = up.open("POST", "/prompt/stream", {"prompt": "go"})
            events, _ = read(answer, "tool_call")
            up.process.send_signal(signal.SIGTERM)
            events += read(answer)[0]
            connection.close()
            assert [each["type"] for each in events[-2:]] == ["agent_error", "session_idle"]
            (tmp_path / "open").touch()  # a command outside a sandbox is not cut off
            assert up.process.wait(BOUND) == 143
        check_events(events)
        with daemon(sh) as up:
            connection, answer = up.open("GET", "/events", last_event_id="1")
            events, _ = read(answer, "session_idle")
            connection.close()
            assert "agent_finish" in [each["type"] for each in events]


@pytest.mark.requirement("server_agentops:daemon-survives", "server:heartbeat-and-resume")
def test_killed_in_a_run_and_started_again_a_reader_that_comes_back_has_all_of_it_once(tmp_path: Path) -> None:
    gate = "while [ ! -e open ]; do sleep 0.05; done; echo hello"
    with shell(tmp_path, [bash(gate), Turn(text="done at last")]) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        sh.environment["WORKSPACE"] = str(tmp_path)
        with daemon(sh) as up:
            connection, answer = up.open("POST", "/prompt/stream", {"prompt": "go"})
            before, ids = read(answer, "stream_finish")
            up.process.kill()
            up.process.wait(BOUND)
            connection.close()
        (tmp_path / "open").touch()
        last = next(each for each in reversed(ids) if each)
        with daemon(sh) as up:
            connection, answer = up.open("GET", "/prompt/stream", last_event_id=last)
            after, _ = read(answer)
            connection.close()
            status = up.ask("GET", "/status")[1]
            memory = up.ask("GET", "/working-memory")[1]
            assert up.ask("GET", "/prompt/stream") == (204, None)
    events = before + after
    check_events(events)
    check_order(events)
    assert [each["type"] for each in events].count("tool_result") == 1
    assert (status["turns"], status["busy"]) == (1, False)
    assert [each["role"] for each in memory] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.requirement("server_agentops:shared-store")
def test_a_daemon_says_when_the_keys_of_its_store_are_asked_for_and_a_store_of_its_own_has_none(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="done")]) as sh:
        write_config(tmp_path)
        assert sh.run("serve", "keys", "create", "ada").returncode == 0  # for something else
        with daemon(sh) as up:
            assert up.ask("GET", "/status")[0] == 401
            assert up.process.stderr is not None
            note = up.process.stderr.readline()
            assert "this store has keys or users" in note and "--store of its own" in note
        for own in (("--store", f"sqlite:///{tmp_path}/own.db"), ("--token", TOKEN, "--host", "127.0.0.1")):
            with daemon(sh, *own) as up:
                right = {"authorization": f"Bearer {TOKEN}"} if "--token" in own else {}
                assert up.ask("GET", "/status", **right)[0] == 200
                up.process.terminate()
                assert up.process.stderr is not None
                assert "this store has keys" not in up.process.stderr.read()
