"""`holdfast runs`: what ran, what happened in it, and going on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, await_line, bash, shell

from holdfast.journal.port import Record
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.faults import Reset
from holdfast.types import BatchId, StreamId, WorkerId

TURNS = [bash("test -e go || read -r _ < gate"), Turn(text="Through.")]
"""Waits at a pipe named `gate` until there is a file named `go`."""


@pytest.mark.requirement("cli:runs-list")
def test_a_store_without_runs_says_how_to_start_one(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("runs", "list")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"No runs yet in {sh.store}")
    assert done.stdout.splitlines()[1] == "There is no such file yet."
    assert json.loads(sh.run("runs", "list", "-o", "json").stdout) == []


@pytest.mark.requirement("cli:runs-list")
def test_runs_are_listed_newest_first_a_line_each_and_as_data(tmp_path: Path) -> None:
    long = "Fix the\nfailing   test " + "and more " * 30
    with shell(tmp_path, [Turn(text="Yes."), Turn(text="Yes again.")]) as sh:
        for number in range(3):
            sh.run("run", f"{number} {long}", "-s", f"session-{number}")
        sh.run("run", "again", "-s", "session-1", "-m", "openai/another", "--max-steps", "3")
        lines = sh.run("runs", "list").stdout.splitlines()
        rows = json.loads(sh.run("runs", "list", "-o", "json").stdout)
        newest = json.loads(sh.run("runs", "list", "-o", "json", "-n", "2").stdout)
    assert lines[0].split() == ["session", "started", "status", "steps", "cost", "models", "prompt"]
    assert [line.split()[0] for line in lines[1:]] == ["session-1", "session-2", "session-1", "session-0"]
    assert "just now" in lines[1]
    assert "2 Fix the failing test and more" in lines[2]
    assert [(row["session"], row["status"], row["steps"]) for row in rows] == [
        ("session-1", "completed", 1),
        ("session-2", "completed", 1),
        ("session-1", "completed", 1),
        ("session-0", "completed", 1),
    ]
    assert rows[0]["model"] == "openai/another"
    assert newest == rows[:2]


@pytest.mark.requirement("cli:runs-show")
def test_a_session_is_shown_event_by_event_and_as_data(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with shell(tmp_path, TURNS) as sh:
        sh.run("run", "Pass", "-s", "one")
        shown = sh.run("runs", "show", "one").stdout.splitlines()
        data = [json.loads(line) for line in sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()]
        one = sh.run("runs", "show", "one", "--event", "5")
        none = sh.run("runs", "show", "one", "--event", "8")
    assert (json.loads(one.stdout), one.stdout.count("\n") > 5) == (data[4], True)
    assert (none.returncode, "there is no event 8: the last one of session 'one' is 7" in none.stderr) == (2, True)
    assert [line.split()[0] for line in shown] == [str(n) for n in range(1, 8)]
    assert [line.split()[2] for line in shown] == [each["type"] for each in data]
    assert "prompt  Pass" in shown[0]
    assert "bash test -e go || read -r _ < gate  outside: unsafe" in shown[3]
    assert "✓ bash" in shown[4]
    assert "completed  2 steps" in shown[6]


@pytest.mark.requirement("cli:runs-resume")
def test_a_killed_run_is_listed_as_open_and_resuming_brings_it_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, TURNS) as sh:
        with sh.running("run", "Pass", "-s", "one", "-o", "jsonl") as process:
            await_line(process, "tool.started")
            busy = sh.run("runs", "resume", "one")
            listed = json.loads(sh.run("runs", "list", "-o", "json").stdout)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        assert busy.returncode == 1
        assert f"session 'one' is being run by process {process.pid} on " in busy.stderr
        assert "let it finish, or stop it" in busy.stderr
        assert listed[0]["status"] == "running"
        table = sh.run("runs", "list").stdout
        assert "open runs go on: holdfast runs resume one\n" in table
        assert json.loads(sh.run("runs", "list", "-o", "json").stdout)[0]["status"] == "open"
        done = sh.run("runs", "resume", "one")
        assert done.returncode == 0
        shown = sh.run("runs", "show", "one").stdout
    assert done.stdout.startswith("↻ going on in session one after event 4\n")
    assert "outcome unknown: it was under way when its process died" in done.stdout
    assert "Through." in done.stdout
    assert "I run test." not in done.stdout  # said before the crash
    assert "── epoch 2: another owner goes on ──" in shown


@pytest.mark.requirement("cli:runs-resume")
def test_resuming_a_session_without_an_open_run_says_so_and_shows_its_last_end(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "x", "-s", "one")
        done = sh.run("runs", "resume", "one")
        data = json.loads(sh.run("runs", "resume", "one", "-o", "json").stdout)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "session one has no open run; the last one ended like this:"
    assert lines[2].startswith("✓ completed  1 step")
    assert data["output"] == "Yes."


async def append_unknown(path: Path, *, must: bool) -> None:
    journal = await SqliteJournal.open(path)
    claim = await journal.claim(StreamId("local/one"), WorkerId("other"), 10**9)
    seq = claim.head.seq + 1
    envelope = {"seq": seq, "id": f"f{seq}", "type": "future.thing", "at": 1, "epoch": claim.head.epoch}
    body = json.dumps({**envelope, **({"must_understand": True} if must else {}), "data": {"answer": 42}}).encode()
    epoch = claim.head.epoch
    await journal.append(claim.head.stream, epoch, seq - 1, BatchId(f"b{seq}"), [Record(seq, "future.thing", body)])
    await journal.release(claim.head.stream, epoch)
    await journal.close()


@pytest.mark.requirement("cli:runs-show", "cli:runs-show-not-owned")
async def test_events_of_a_newer_version_are_shown_and_what_must_be_understood_is_not_continued(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "x", "-s", "one")
        path = Path(sh.store.removeprefix("sqlite:///"))
        await append_unknown(path, must=False)
        assert 'future.thing     unknown to this version  {"answer": 42}' in sh.run("runs", "show", "one").stdout
        await append_unknown(path, must=True)
        shown = sh.run("runs", "show", "one")
        refused = sh.run("runs", "resume", "one")
    assert shown.returncode == 0
    assert "future.thing     unknown, must be understood" in shown.stdout
    assert refused.returncode == 1
    assert refused.stderr.startswith("error event 6 of session 'local/one' is a 'future.thing'")
    assert refused.stderr.endswith("[not_ownable]\n")
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.requirement("cli:runs-steer")
def test_a_run_of_another_process_hears_what_is_said_to_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    # It hears of it a moment later, perhaps after its answer: then it answers once more.
    with ScriptedModelServer.in_thread([*TURNS, Turn(text="Through the back door.")]) as server:
        sh = Shell(tmp_path, server)
        with sh.running("run", "Pass", "-s", "one") as process:
            await_line(process, "I run test")
            said = sh.run("runs", "steer", "one", "Use the back door")
            (tmp_path / "gate").write_text("\n")
            out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        last = json.dumps(server.requests[-1].json())
    assert (said.returncode, said.stdout) == (0, "✓ said to the run in session one\n")
    assert "steer Use the back door" in out
    assert "Use the back door" in last


@pytest.mark.requirement("cli:runs-abort")
def test_a_run_of_another_process_ends_with_the_reason_it_is_given(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, TURNS) as sh:
        with sh.running("run", "Pass", "-s", "one") as process:
            await_line(process, "I run test")
            asked = sh.run("runs", "abort", "one", "--reason", "lunch")
            out, _ = process.communicate(timeout=20)
        again = sh.run("runs", "abort", "one")
        shown = sh.run("runs", "show", "one").stdout
    assert process.returncode == 4
    assert (asked.returncode, asked.stdout) == (0, "■ asked to end: the run in session one\n")
    assert "■ aborted (lunch)" in out
    assert "lunch" in next(line for line in shown.splitlines() if "abort.requested" in line)
    assert again.returncode == 2
    assert "session 'one' has no open run to speak to" in again.stderr
    assert 'holdfast run --session one "…"' in again.stderr


@pytest.mark.requirement("cli:runs-abort", "cli:runs-steer")
def test_a_run_that_nobody_drives_is_spoken_to_and_told_of_when_somebody_takes_it_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    store = f"sqlite:///{tmp_path}/other.db"
    with shell(tmp_path, TURNS) as sh:
        with sh.running("run", "Pass", "-s", "one", "--store", store) as process:
            await_line(process, "I run test")
            process.kill()
            process.wait(10)
        asked = sh.run("runs", "abort", "one", "--store", store)
        resumed = sh.run("runs", "resume", "one", "--store", store)
    assert asked.stdout.splitlines() == [
        "■ asked to end: the run in session one",
        f"  no process drives it now; if none takes it up: holdfast runs resume one --store {store}",
    ]
    assert resumed.returncode == 4
    assert "■ aborted (on request)" in resumed.stdout


@pytest.mark.requirement("cli:runs-abort", "cli:runs-steer")
@pytest.mark.parametrize("words", [("steer", "none", "hello"), ("abort", "none")])
def test_speaking_to_a_session_that_is_not_there_makes_none(words: tuple[str, ...], tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("runs", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error there is no session 'none' in sqlite:///")
    assert not Path(sh.store.removeprefix("sqlite:///")).exists()


@pytest.mark.requirement("cli:runs-show")
def test_a_model_call_that_failed_shows_what_it_was_charged(tmp_path: Path) -> None:
    turns = [Turn(text="Lost.", fault=Reset(after_events=1, times=1)), Turn(text="Fine.")]
    with shell(tmp_path, turns) as sh:
        sh.run("run", "x", "-s", "limited", "--max-tokens", "500000")
        limited = sh.run("runs", "show", "limited").stdout
    failed = next(line for line in limited.splitlines() if "model.failed" in line)
    reserved = next(line for line in limited.splitlines() if "reserves" in line).partition("reserves ")[2].split()[0]
    assert f"connection  charged {reserved} tokens" in failed
