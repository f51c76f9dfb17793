"""`holdfast runs export|import|delete|scrub|prune`: sessions go to files and come back, and go for good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.archives import write_run
from tests.surfaces.commands import Shell, shell
from tests.surfaces.test_screen import on_terminal

from holdfast.flow.clock import SystemClock
from holdfast.journal.port import Letter
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing import Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.scripts import Call
from holdfast.types import BatchId, StreamId, WorkerId

SECRET = "hunter2-hunter2"
TURNS = [
    Turn(text="A file.", calls=[Call(name="write", arguments={"path": "a.txt", "content": SECRET})]),
    Turn(text="Done."),
]


@pytest.fixture
def sh(tmp_path: Path) -> Generator[Shell]:
    """A session `one` that wrote a file in `work`."""
    (tmp_path / "work").mkdir()
    with shell(tmp_path, TURNS) as sh:
        assert sh.run("run", "Go", "-s", "one", "-w", "work").returncode == 0
        yield sh


def sessions(sh: Shell) -> set[str]:
    return {row["session"] for row in json.loads(sh.run("runs", "list", "-o", "json").stdout)}


@pytest.mark.requirement("cli:runs-export", "cli:runs-import")
def test_a_session_goes_to_a_file_and_comes_back_elsewhere(sh: Shell) -> None:
    done = sh.run("runs", "export", "one", "-o", "one.jsonl")
    assert done.returncode == 0, done.stderr
    header, *rest = (sh.home / "one.jsonl").read_text().splitlines()
    said = json.loads(header)
    assert (said["format"], said["version"], said["stream"]) == ("holdfast.session", 1, "local/one")
    assert rest[: said["events"]] == sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()
    assert done.stdout == f"{said['events']} events of session one in one.jsonl\n"
    assert [each.name for each in sh.home.iterdir() if each.name.startswith(".export")] == []
    there = ("--store", f"sqlite:///{sh.home}/there.db")
    come = sh.run("runs", "import", "one.jsonl", "--as", "two", "-w", "copy", *there)
    assert come.returncode == 0, come.stderr
    assert come.stdout.splitlines()[0] == f"✓ two  {said['events']} events of local/one"
    assert (sh.home / "copy" / "a.txt").read_text() == SECRET
    shown = sh.run("runs", "show", "two", "-o", "jsonl", *there).stdout.splitlines()
    assert shown[: said["events"]] == rest[: said["events"]]


@pytest.mark.requirement("cli:runs-import")
def test_an_import_reads_standard_input_and_names_the_line_that_is_wrong(sh: Shell) -> None:
    file = sh.run("runs", "export", "one").stdout
    data = json.loads(sh.run("runs", "import", "-", "--as", "two", "-o", "json", given=file).stdout)
    assert (data["session"], data["source"], data["files"]) == ("two", "local/one", True)
    torn = sh.run("runs", "import", "-", "--as", "three", given=file[:-500])
    assert torn.returncode == 2
    assert "of the export" in torn.stderr
    again = sh.run("runs", "import", "-", given=file)
    assert (again.returncode, "import it under another name" in again.stderr) == (2, True)
    missing = sh.run("runs", "import", "nowhere.jsonl")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
    assert sessions(sh) == {"one", "two"}
    assert sh.run("runs", "export", "one", "-o", "none/x.jsonl").returncode == 2


@pytest.mark.requirement("cli:runs-delete")
def test_a_deletion_asks_and_then_it_is_gone(sh: Shell) -> None:
    asked = sh.run("runs", "delete", "one")
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    assert sessions(sh) == {"one"}
    assert sh.run("runs", "fork", "one", "--as", "two").returncode == 0
    done = sh.run("runs", "delete", "one", "--yes")
    assert done.returncode == 0, done.stderr
    assert "stay, which forks share" in done.stdout
    assert sh.run("runs", "show", "two").returncode == 0
    assert sh.run("runs", "show", "one").returncode == 2
    assert json.loads(sh.run("runs", "delete", "two", "-y", "-o", "json").stdout)["sessions"] == ["two"]
    assert sessions(sh) == set()
    assert sh.run("runs", "delete", "one", "-y").returncode == 2
    assert sh.run("runs", "delete").returncode == 2


@pytest.mark.requirement("cli:runs-delete")
def test_at_a_terminal_a_person_is_asked(sh: Shell) -> None:
    with on_terminal(sh, "runs", "delete", "one") as (terminal, process):
        terminal.until("delete session one with")
        terminal.press("n\r")
        terminal.rest()
        assert process.wait(10) == 130
    assert sessions(sh) == {"one"}


@pytest.mark.requirement("cli:runs-scrub")
def test_words_are_scrubbed_without_being_an_argument(sh: Shell) -> None:
    done = sh.run("runs", "scrub", "one", "--match", "-", "--yes", given=f"{SECRET}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("✓ scrubbed ")
    assert SECRET not in sh.run("runs", "show", "one", "-o", "jsonl").stdout
    store = sh.home / "data" / "holdfast"
    assert [each.name for each in store.iterdir() if each.is_file() and SECRET.encode() in each.read_bytes()] == []
    assert "nothing to scrub" in sh.run("runs", "scrub", "one", "--match", SECRET, "-y").stdout
    data = json.loads(sh.run("runs", "scrub", "one", "--at", "1", "--at", "3", "-y", "-o", "json").stdout)
    assert data["events"] == [1, 3]
    for wrong in ((), ("--at", "1", "--match", "x"), ("--at", "99", "-y"), ("--match", "", "-y")):
        assert sh.run("runs", "scrub", "one", *wrong).returncode == 2


async def leave(path: Path) -> None:
    """Writes sessions ten days ago, of which one was forked since, and in two of which something is open."""
    clock = FakeClock(SystemClock().now() - 10 * 24 * 3_600_000_000)
    journal = await SqliteJournal.open(path, clock=clock)
    for name in ("old", "forked", "parent", "open", "spoken-to"):
        await write_run(journal, StreamId(f"local/{name}"), 2)
    await journal.post(StreamId("local/spoken-to"), Letter(key="k", kind="prompt", body=b"{}"))
    head = (await journal.claim(StreamId("local/open"), WorkerId("w"), 1)).head
    await journal.append(head.stream, head.epoch, head.seq, BatchId("o"), [])
    await clock.advance(9 * 24 * 3600)
    await journal.fork(StreamId("local/parent"), 3, StreamId("local/child"), BatchId("b"), [])
    await journal.close()


@pytest.mark.requirement("cli:runs-prune-sessions", "runtime:sessions-expire", "journal:checkpoints-pruned")
def test_pruning_deletes_sessions_nobody_went_on_with(tmp_path: Path) -> None:
    store = tmp_path / "data" / "holdfast" / "holdfast.db"
    store.parent.mkdir(parents=True)
    asyncio.run(leave(store))
    sh = Shell(tmp_path)
    rehearsed = sh.run("runs", "prune", "--sessions-older-than", "7d", "--dry-run")
    assert rehearsed.stdout.splitlines()[:3] == ["would delete 2 sessions", "  forked", "  old"]
    assert len(sessions(sh)) == 5
    done = json.loads(sh.run("runs", "prune", "--sessions-older-than", "7d", "-o", "json").stdout)
    assert done["sessions"] == ["forked", "old"]
    assert sessions(sh) == {"parent", "open", "spoken-to"}
    assert sh.run("runs", "prune", "--sessions-older-than", "12h").stdout.startswith("✓ deleted 2 sessions")
    for wrong in ("7", "x", "-1d"):
        assert sh.run("runs", "prune", "--sessions-older-than", wrong).returncode == 2
