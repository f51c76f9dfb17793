"""`holdfast runs` at a server: what speaks to a session there, goes back in it, or says that it cannot."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.surfaces.commands import Shell, bash, shell
from tests.surfaces.distant import Distant, distant

from holdfast.testing import Call, Turn
from holdfast.testing.scripts import Script

WRITES = Turn(text="I write.", calls=[Call("write", {"path": "a.txt", "content": "one\n"})])


def post(there: Distant, path: str, **body: Any) -> None:
    request = urllib.request.Request(
        f"{there.url}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def at(home: Path, script: Script, **prompt: str) -> Generator[tuple[Shell, Distant]]:
    """Serves, and gives a session `job` a prompt; the environment names the server, as a person's does."""
    with shell(home, script) as sh, distant(sh) as there:  # type: ignore[arg-type]
        post(there, "/v1/sessions", name="job", prompt={"text": "go", "mode": "auto", **prompt})
        sh.environment["HOLDFAST_SERVER"] = there.url
        yield sh, there


def told(sh: Shell, *arguments: str) -> Any:
    done = sh.run("runs", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def events(sh: Shell, session: str = "job") -> list[dict[str, Any]]:
    return [json.loads(line) for line in sh.run("runs", "show", session, "-o", "jsonl").stdout.splitlines()]


def await_event(sh: Shell, kind: str) -> dict[str, Any]:
    """Returns the first event of a kind, as soon as there is one."""
    while True:
        for event in events(sh):
            if event["type"] == kind:
                return event


@pytest.mark.requirement("server_cli:runs-speak")
def test_a_run_at_a_server_is_steered_paused_let_go_on_and_aborted_by_commands(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    gate = tmp_path / "gate"
    script = [bash(f"read -r _ < {gate}; echo through"), bash(f"read -r _ < {gate}; echo never"), Turn(text="x")]
    with at(tmp_path, script) as (sh, _):
        await_event(sh, "tool.started")
        done = sh.run("runs", "steer", "job", "Mind", "the", "gap")
        assert (done.returncode, done.stdout) == (0, "✓ said to the run in session job\n")
        assert sh.run("runs", "pause", "jo", "--reason", "lunch").stdout == "⏸ paused: session job\n"
        gate.write_text("\n")  # what is under way comes to its end
        assert await_event(sh, "session.paused")["data"]["reason"] == "lunch"
        assert sh.run("runs", "unpause", "job").stdout == "▶ goes on: session job\n"
        while sum(event["type"] == "tool.started" for event in events(sh)) < 2:
            pass
        aborted = told(sh, "abort", "job", "--reason", "enough")
        assert (aborted["session"], aborted["status"], aborted["heard"]) == ("job", "accepted", True)
        assert await_event(sh, "run.finished")["data"]["reason"].endswith("enough")
        seen = [
            event["data"]["message"]["parts"][0]["text"] for event in events(sh) if event["type"] == "input.received"
        ]
        assert seen == ["go", "Mind the gap"]
        nobody = sh.run("runs", "steer", "job", "Hello?")
        assert nobody.returncode == 2
        assert "holdfast chat --session job" in nobody.stderr
        assert sh.run("runs", "exit", "job").stdout == "■ ended for good: session job\n"
        await_event(sh, "session.ended")


@pytest.mark.requirement("server_cli:runs-speak")
def test_a_paused_run_at_a_server_goes_on_when_it_is_resumed_by_a_command(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with at(tmp_path, [bash(f"read -r _ < {tmp_path}/gate"), Turn(text="Done.")]) as (sh, there):
        await_event(sh, "tool.started")
        assert told(sh, "pause", "job") == {"session": "job", "status": "accepted", "heard": False, "state": "running"}
        (tmp_path / "gate").write_text("\n")
        await_event(sh, "session.paused")
        done = sh.run("runs", "resume", "job", "--server", there.url)
        assert done.stdout.splitlines() == [
            "▶ the server goes on with session job",
            f"  look on: holdfast runs watch job --server {there.url}",
        ]
        assert await_event(sh, "run.finished")["data"]["status"] == "completed"


@pytest.mark.requirement("server_cli:runs-back")
def test_a_session_at_a_server_is_compared_forked_and_rewound_by_commands(tmp_path: Path) -> None:
    with at(tmp_path, [WRITES, Turn(text="Done.")]) as (sh, there):
        last = await_event(sh, "run.finished")["seq"]
        sh.environment["HOLDFAST_STORE"] = f"sqlite:///{tmp_path}/other.db"  # nothing of it is asked for
        assert "+one" in sh.run("runs", "diff", "job").stdout
        assert [each["path"] for each in told(sh, "diff", "job")] == ["a.txt"]
        assert sh.run("runs", "diff", "job", "b").stdout == "nothing was changed\n"
        assert "+one" in sh.run("sandbox", "diff", "job").stdout
        forked = told(sh, "fork", "job", "--at", "1", "--as", "other")
        assert (forked["session"], forked["parent"], forked["at"]) == ("other", "job", 1)
        assert "holdfast chat --session third" in sh.run("runs", "fork", "job", "--as", "third").stdout
        back = told(sh, "rewind", "job", "--at", "1")
        assert (back["removed"], back["restored"]) == (["a.txt"], [])
        assert sh.run("runs", "diff", "job").stdout == "nothing was changed\n"
        assert told(sh, "rewind", "job", "--at", str(back["undo"]))["restored"] == ["a.txt"]
        far = sh.run("runs", "fork", "job", "--at", "999")
        assert far.returncode == 2
        assert f"its last is {events(sh)[-1]['seq']}" in far.stderr
        assert last < 999
        several = sh.run("runs", "fork", "job", "--n", "2")
        assert "--n: a server says that for itself" in several.stderr
        assert not (tmp_path / "other.db").exists()
        missing = sh.run("runs", "diff", "nothing")
        assert f"there is no session 'nothing' at {there.url}" in missing.stderr


@pytest.mark.requirement("server_cli:runs-here")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("runs", "delete", "job", "-y"), "DELETE /v1/sessions/SESSION"),
        (("runs", "scrub", "job", "--at", "1", "-y"), "in its store"),
        (("runs", "export", "job"), "GET /v1/sessions/SESSION/export"),
        (("runs", "import", "job.jsonl"), "POST /v1/imports"),
        (("runs", "commit", "job"), "of its machine"),
        (("runs", "prune", "--dry-run"), "in its store"),
        (("sandbox", "snapshots", "job"), "sandbox diff"),
    ],
    ids=lambda each: each[1] if isinstance(each, tuple) else "",
)
def test_a_command_that_speaks_to_no_server_is_refused_by_name_where_the_environment_names_one(
    command: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with shell(tmp_path, [Turn(text="Hi.")]) as sh:
        assert sh.run("run", "hello", "--session", "job").returncode == 0
        (tmp_path / "job.jsonl").write_bytes(b"")
        sh.environment["HOLDFAST_SERVER"] = "http://127.0.0.1:1"
        refused = sh.run(*command)
        assert refused.returncode == 2, refused.stdout
        assert f"`holdfast {command[0]} {command[1]}` looks into a store of this machine" in refused.stderr
        assert f"env -u HOLDFAST_SERVER holdfast {command[0]} {command[1]}" in refused.stderr
        assert words in refused.stderr
        del sh.environment["HOLDFAST_SERVER"]
        assert sh.run("runs", "show", "job").returncode == 0  # nothing became of the one that is here


@pytest.mark.requirement("server_cli:runs-here")
def test_a_store_that_is_named_goes_before_the_server_of_the_environment(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Hi.")]) as sh:
        store = f"sqlite:///{tmp_path}/mine.db"
        assert sh.run("run", "hello", "--session", "job", "--store", store).returncode == 0
        sh.environment["HOLDFAST_SERVER"] = "http://127.0.0.1:1"
        assert sh.run("runs", "diff", "job", "--store", store).stdout == "nothing was changed\n"
        assert sh.run("runs", "delete", "job", "-y", "--store", store).returncode == 0
