"""What a list of runs says of each, so that a person finds it and does the right thing next."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, await_line, bash, shell

from holdfast import Agent, Runtime
from holdfast.engine.events import ToolWaiting
from holdfast.testing import Call, ScriptedModelServer, ScriptRequest, Turn
from holdfast.testing.faults import Hang
from holdfast.types import Event

TURNS = [bash("read -r _ < gate"), Turn(text="Through.")]
"""Waits at a pipe named `gate`."""


def rows(sh: Shell) -> list[dict[str, object]]:
    return json.loads(sh.run("runs", "list", "-o", "json").stdout)


@contextmanager
def paused(home: Path) -> Generator[Shell]:
    """Leaves a run in session `one` that was paused when its process was killed."""
    over = threading.Event()

    def say(request: ScriptRequest) -> Turn:
        """Waits at a pipe, then has enough to do until the pause is heard."""
        return Turn(text="Through.") if over.is_set() else bash("true" if request.answers else "read -r _ < gate")

    os.mkfifo(home / "gate")
    with ScriptedModelServer.in_thread(say) as server:
        sh = Shell(home, server)
        with sh.running("run", "Pass", "-s", "one", "-o", "jsonl") as process:
            await_line(process, "tool.started")
            sh.run("runs", "pause", "one")
            (home / "gate").write_text("\n", "utf-8")
            await_line(process, "session.paused")
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        over.set()
        yield sh


@pytest.mark.requirement("newcomers:paused-listed")
def test_a_paused_run_is_listed_as_paused_and_resuming_it_says_what_to_do(tmp_path: Path) -> None:
    with paused(tmp_path) as sh:
        assert [row["status"] for row in rows(sh)] == ["paused"]
        listed = sh.run("runs", "list").stdout
        assert "paused runs go on: holdfast runs unpause one" in listed
        assert "holdfast runs resume" not in listed
        done = sh.run("runs", "resume", "one")
        assert done.returncode == 2
        assert "session 'one' is paused, and nothing begins in it: holdfast runs unpause one" in done.stderr
        assert "holdfast runs resume one" in sh.run("runs", "unpause", "one").stdout
        assert [row["status"] for row in rows(sh)] != ["paused"]
        assert sh.run("runs", "resume", "one").returncode == 0
        assert [row["status"] for row in rows(sh)] == ["completed"]


@pytest.mark.requirement("newcomers:paused-listed")
def test_a_paused_run_that_was_aborted_is_no_longer_in_the_way(tmp_path: Path) -> None:
    with paused(tmp_path) as sh:
        sh.run("runs", "abort", "one")
        assert sh.run("runs", "resume", "one").returncode == 4


@pytest.mark.requirement("newcomers:branches-listed")
def test_forks_and_imports_without_a_run_of_their_own_are_found(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes."), Turn(text="Yes again.")]) as sh:
        sh.run("run", "go", "-s", "one")
        sh.run("runs", "fork", "one", "--at", "2", "--as", "two")
        sh.run("runs", "export", "two", "-o", "two.jsonl")
        sh.run("runs", "import", "two.jsonl", "--as", "three")
        found = {str(row["session"]): row for row in rows(sh)}
        table = sh.run("runs", "list").stdout
        statuses = {name: row["status"] for name, row in found.items()}
        assert statuses == {"one": "completed", "two": "forked", "three": "imported"}
        assert "⑂ one as it was at event 2" in table
        assert "models" not in table.splitlines()[0], "one model did all of it"
        sh.run("run", "on", "-s", "two")
        assert [row["status"] for row in rows(sh) if row["session"] == "two"] == ["completed"]


@pytest.mark.requirement("newcomers:exports-private")
def test_an_export_is_for_its_owner_alone(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "go", "-s", "one")
        (tmp_path / "again.jsonl").touch(0o644)
        for name in ("one.jsonl", "again.jsonl"):
            assert sh.run("runs", "export", "one", "-o", name).returncode == 0
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.requirement("newcomers:json-dollars")
def test_costs_are_dollars_and_all_keys_are_there_in_every_object(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        result = json.loads(sh.run("run", "go", "-s", "one", "-o", "json").stdout)
        [row] = rows(sh)
    assert row["cost"] == result["cost"]
    assert 0 < result["cost"] < 0.1
    keys = {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "estimated"}
    assert set(result["usage"]) == keys
    [use] = result["models"].values()
    assert set(use["usage"]) == keys
    assert row["tokens"] == result["usage"]["input_tokens"] + result["usage"]["output_tokens"]


@pytest.mark.requirement("newcomers:root-named")
def test_what_was_killed_with_its_children_goes_on_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = Turn(text="never", fault=Hang(times=1))
    root = [Turn(calls=[Call("helper", {"prompt": "look"})]), Turn(text="Over.")]
    with shell(tmp_path, {"root": root, "helper": [hung]}) as sh:
        for name, value in sh.environment.items():
            if name.startswith("OPENAI"):
                monkeypatch.setenv(name, value)
        Path(sh.store.removeprefix("sqlite:///")).parent.mkdir(parents=True)

        async def leave() -> None:
            helper = Agent("openai/helper", name="helper", instructions="You look.")
            async with Runtime.open(sh.store, sandbox="none") as runtime:
                tools = [helper.as_tool("helper", description="Looks.")]
                run = await runtime.start(Agent("openai/root", tools=tools), "go", session="root")
                async for event in run.events():
                    if isinstance(event, Event) and isinstance(event.data, ToolWaiting):
                        await asyncio.to_thread(sh.await_asked, 2)
                        return

        asyncio.run(asyncio.wait_for(leave(), 20))
        lines = sh.run("runs", "list", "--tree").stdout.splitlines()
        assert lines[-1] == "open runs go on: holdfast runs resume root"
        done = sh.run("runs", "resume", "root")
        assert (done.returncode, "Over." in done.stdout) == (0, True)


@pytest.mark.requirement("newcomers:plain-words")
def test_words_need_no_quotes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, TURNS) as sh, sh.running("run", "Pass", "-s", "one", "-o", "jsonl") as process:
        await_line(process, "tool.started")
        done = sh.run("runs", "steer", "one", "and", "this", "too")
        assert done.returncode == 0, done.stderr
        (tmp_path / "gate").write_text("\n", "utf-8")
        out, _ = process.communicate(timeout=20)
        assert "and this too" in out
        assert "there is nothing to say" in sh.run("runs", "steer", "one").stderr


@pytest.mark.requirement("newcomers:plain-words")
def test_a_prompt_that_a_review_took_for_its_number_is_explained(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("run", "--review", "Write it")
    assert done.returncode == 2
    assert "put the prompt first, or write --review 1" in done.stderr
    assert "write 0 to 1,000" in Shell(tmp_path).run("run", "x", "--review", "2000").stderr
