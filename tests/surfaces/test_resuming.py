"""`holdfast runs resume`: what it needs, what it follows, and what it says to do next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell, await_line, bash, deaf, shell

from holdfast.testing import Call, ScriptedModelServer, Turn
from holdfast.testing.faults import Hang

STUCK = [bash("read -r _ < gate"), Turn(text="Through.")]
"""Waits at a pipe named `gate`."""

SHOP = '''
from holdfast import Agent, Limits, Runtime, tool

@tool(effect="none")
async def price(item: str) -> str:
    """Looks a price up."""
    return f"{item} costs 3"

async def leave(store, **limits):
    agent = Agent("openai/shop", tools=[price], limits=Limits(**limits))
    async with Runtime.open(store) as runtime:
        run = await runtime.start(agent, "What is a bolt?", session="one")
        async for event in run.events():
            if event.type == "run.started":
                return
'''
"""A module `agent` with a tool of its own, and a program that stops in the middle of a run."""

PRICED = [
    Turn(text="I look.", calls=[Call("price", {"item": "bolt"})], fault=Hang(times=1)),
    Turn(text="It costs 3."),
]
"""Says nothing to the program that stops."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def leave_open(sh: Shell, limits: str = "") -> None:
    """Leaves a run of the module `agent` open in session `one`, before the model was asked."""
    (sh.home / "agent.py").write_text(SHOP)
    Path(sh.store.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    program = f"import asyncio, agent; asyncio.run(agent.leave({sh.store!r}, {limits}))"
    subprocess.run([sys.executable, "-c", program], cwd=sh.home, env=sh.environment, timeout=BOUND, check=True)
    sh.environment["PYTHONSAFEPATH"] = "1"  # `python -m` looks here by itself; the installed command does not
    assert [row["status"] for row in listed(sh)] == ["open"]


def kill_in_the_middle(sh: Shell) -> None:
    """Leaves a run open in session `one` that dies while it waits at the gate."""
    with sh.running("run", "Pass", "-s", "one", "-o", "jsonl") as process:
        await_line(process, "tool.started")
        process.kill()
        process.wait(10)


def listed(sh: Shell) -> list[dict[str, object]]:
    return json.loads(sh.run("runs", "list", "-o", "json").stdout)


@pytest.mark.requirement("cli:runs-resume-finds-tools")
def test_tools_of_ones_own_are_found_in_the_folder_the_command_runs_in(tmp_path: Path) -> None:
    with shell(tmp_path, PRICED) as sh:
        leave_open(sh)
        (tmp_path / "elsewhere").mkdir()
        elsewhere = Shell(tmp_path / "elsewhere")
        elsewhere.environment = sh.environment
        lost = elsewhere.run("runs", "resume", "one")
        still = listed(sh)
        done = sh.run("runs", "resume", "one")
    assert (lost.returncode, lost.stdout) == (2, "")
    assert "module 'agent' cannot be imported" in lost.stderr
    assert lost.stderr.endswith("[unknown_tool]\n")
    assert still[0]["status"] == "open"
    assert done.returncode == 0, done.stderr
    assert "✓ price item='bolt'" in done.stdout
    assert "bolt costs 3" in done.stdout
    assert "It costs 3." in done.stdout
    assert "go on" not in done.stdout


@pytest.mark.requirement("cli:runs-resume-finds-tools")
def test_how_to_go_on_names_the_program_that_has_the_tools(tmp_path: Path) -> None:
    with shell(tmp_path, PRICED) as sh:
        leave_open(sh, "steps=1")
        limited = sh.run("runs", "resume", "one")
        again = sh.run("runs", "resume", "one")  # none is open: it shows the last end
    assert (limited.returncode, again.returncode) == (3, 3)
    for done in (limited, again):
        assert "■ limited (steps)  1 step" in done.stdout
        assert "  go on   with a prompt from the program that has its tools, in session 'one'\n" in done.stdout
        assert "holdfast run " not in done.stdout


@pytest.mark.requirement("cli:runs-resume-needs")
@pytest.mark.parametrize("output", ["text", "json"])
def test_without_a_key_the_run_stays_open_for_an_environment_that_has_one(home: Path, output: str) -> None:
    with shell(home, STUCK) as sh:
        kill_in_the_middle(sh)
        keyless = Shell(home).run("runs", "resume", "one", "-o", output)  # no address either: OpenAI's own
        before = listed(sh)
        shown = sh.run("runs", "show", "one").stdout
        own = Shell(home).run("runs", "resume", "one", "-o", output, OPENAI_BASE_URL=sh.environment["OPENAI_BASE_URL"])
    assert (keyless.returncode, keyless.stdout) == (1, "")
    assert "needs a key and there is none; set OPENAI_API_KEY, or OPENAI_BASE_URL" in keyless.stderr
    assert keyless.stderr.endswith("[auth]\n")
    assert before[0]["status"] == "open"
    assert "run.finished" not in shown
    assert "model.failed" not in shown
    assert own.returncode == 0, own.stderr
    assert "Through." in own.stdout


@pytest.mark.requirement("cli:runs-resume-needs")
def test_a_run_that_was_asked_to_end_needs_no_key_to_end(home: Path) -> None:
    with shell(home, STUCK) as sh:
        kill_in_the_middle(sh)
        sh.run("runs", "abort", "one", "--reason", "lunch")
    done = Shell(home).run("runs", "resume", "one")
    assert (done.returncode, done.stderr) == (4, "")
    assert "■ aborted (lunch)" in done.stdout


@pytest.mark.requirement("cli:runs-resume-follows-on")
@pytest.mark.parametrize("order", ["abort, steer", "steer, abort"])
def test_what_was_said_to_a_run_that_ends_is_followed_to_the_end_of_the_next(home: Path, order: str) -> None:
    words = {"abort": ("abort", "one"), "steer": ("steer", "one", "Use the back door")}
    with ScriptedModelServer.in_thread(STUCK) as server:
        sh = Shell(home, server)
        kill_in_the_middle(sh)
        for word in order.split(", "):
            assert sh.run("runs", *words[word]).returncode == 0
        done = sh.run("runs", "resume", "one")
        heard = json.dumps(server.requests[-1].json())
        rows = listed(sh)
        again = sh.run("runs", "resume", "one").stdout.splitlines()
    assert done.returncode == 0, done.stderr
    first, _, second = done.stdout.partition("↻ what was said meanwhile opened another run\n")
    assert "■ aborted (on request)" in first
    assert "Through." in second
    assert "✓ completed  1 step" in second
    assert done.stdout.count("steer Use the back door") == 1
    assert "Use the back door" in heard
    assert [row["status"] for row in rows] == ["completed", "aborted"]
    assert again[0] == "session one has no open run; the last one ended like this:"


@pytest.mark.requirement("cli:runs-control", "cli:runs-resume-follows-on")
def test_an_idle_session_ends_at_once_and_whoever_speaks_to_it_or_resumes_it_is_told(home: Path) -> None:
    with ScriptedModelServer.in_thread([Turn(text="Done.")]) as server:
        sh = Shell(home, server)
        assert sh.run("run", "Go", "-s", "one").returncode == 0
        ended = json.loads(sh.run("runs", "exit", "one", "-o", "json").stdout)
        assert (ended["heard"], ended["state"]) == (True, "ended")
        resumed = sh.run("runs", "resume", "one")
        assert (resumed.returncode, resumed.stderr) == (0, "")
        assert "✓ completed" in resumed.stdout
        for words in (("steer", "one", "Use tabs"), ("abort", "one")):
            refused = sh.run("runs", *words)
            assert refused.returncode == 2
            assert "'one' has ended for good: go on in a copy with holdfast runs fork one" in refused.stderr
        assert sh.run("runs", "fork", "one", "--as", "two").returncode == 0


TEAM = """
import asyncio, sys
from holdfast import Agent, Runtime
from holdfast.types import TextDelta

async def main():
    reader = Agent("openai/shop", name="reader")
    editor = Agent("openai/shop", tools=[reader.as_tool("read", description="Reads.")])
    async with Runtime.open(sys.argv[1]) as runtime:
        run = await runtime.start(editor, "Sum up.", session="one")
        async for event in run.events():
            if event.type == "tool.waiting":
                child = event.data.wait.subject
                async for said in runtime.run(child, f"start:child:{child}").events():
                    if isinstance(said, TextDelta):
                        return

asyncio.run(main())
"""
"""Leaves an agent and the one that it started in the middle of that one's answer."""


@pytest.mark.requirement("cli:runs-resume")
def test_an_agent_that_another_started_ends_once(home: Path) -> None:
    job = Turn(calls=[Call("read", {"prompt": "Chapter 1."})])
    with shell(home, [job, Turn(text="Bolts.", fault=Hang(after_events=2, times=1)), Turn(text="Done.")]) as sh:
        Path(sh.store.removeprefix("sqlite:///")).parent.mkdir(parents=True)
        command = [sys.executable, "-c", TEAM, sh.store]
        subprocess.run(command, cwd=home, env=sh.environment, timeout=BOUND, check=True)
        [child] = [str(row["session"]) for row in listed(sh) if row["session"] != "one"]
        done = sh.run("runs", "resume", child)
        log = sh.run("runs", "show", child).stdout
    assert done.returncode == 0
    assert done.stdout.count("✓ completed") == 1
    assert "meanwhile" not in done.stdout
    assert "run.closed" in log, "whoever started it was told"


@pytest.mark.requirement("cli:runs-resume-follows-on", "cli:result-as-json")
def test_the_result_of_several_runs_is_one_object_the_last_ones(home: Path) -> None:
    with shell(home, STUCK) as sh:
        kill_in_the_middle(sh)
        sh.run("runs", "abort", "one")
        sh.run("runs", "steer", "one", "Use the back door")
        done = sh.run("runs", "resume", "one", "-o", "json")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert (result["status"], result["output"], result["steps"]) == ("completed", "Through.", 1)


@pytest.mark.requirement("cli:runs-list")
def test_an_open_run_is_listed_with_what_it_took_so_far(home: Path) -> None:
    with shell(home, STUCK) as sh:
        kill_in_the_middle(sh)
        (row,) = listed(sh)
        table = sh.run("runs", "list").stdout.splitlines()
        shown = sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()
    (answer,) = [data for data in map(json.loads, shown) if data["type"] == "model.finished"]
    assert (row["status"], row["steps"], row["tokens"]) == ("open", 1, 120)
    assert row["cost"] == answer["data"]["cost"] / 1e9 > 0
    status, steps, cost = table[1].split()[-4:-1]
    assert (status, steps) == ("open", "1")
    assert cost.startswith("$")
    assert cost.strip("$0.")


@pytest.mark.requirement("cli:log-in-memory")
@pytest.mark.parametrize("completes", [True, False])
def test_a_run_in_memory_is_followed_by_no_commands_that_could_not_find_it(tmp_path: Path, completes: bool) -> None:
    turns = [Turn(text="Yes.")] if completes else [bash("true")]
    with shell(tmp_path, turns) as sh:
        done = sh.run("run", "x", "--store", "memory:", "--max-steps", "1")
    assert done.returncode == (0 if completes else 3)
    assert done.stdout.endswith("  log     memory:\n")
    assert "holdfast " not in done.stdout


@pytest.mark.requirement("cli:log-in-memory", "cli:interrupt-twice")
def test_leaving_a_run_in_memory_says_that_it_is_gone(home: Path) -> None:
    with shell(home, deaf()) as sh, sh.running("run", "Pass", "--store", "memory:") as process:
        await_line(process, "I run trap")
        process.send_signal(signal.SIGINT)
        await_line(process, "aborting")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=10)
    assert process.returncode == 130
    assert error == "left; the run is gone with its log\n"


@pytest.mark.requirement("cli:runs-list", "cli:command-errors-short")
def test_commands_that_are_said_to_run_next_name_the_store_that_was_named(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/other.db"
    sh = Shell(tmp_path)
    assert f'Start one: holdfast run --store {store} "…"\n' in sh.run("runs", "list", "--store", store).stdout
    assert f"`holdfast runs list --store {store}` shows" in sh.run("runs", "show", "one", "--store", store).stderr
    assert "in memory: `holdfast" in sh.run("runs", "show", "one", "--store", "memory:").stderr


@pytest.mark.requirement("cli:nothing-imported-from-folder")
@pytest.mark.parametrize("command", [("chat",), ("runs", "resume", "one"), ("runs", "watch"), ("run", "Pass")])
def test_modules_that_lie_in_the_folder_are_not_taken_for_libraries(tmp_path: Path, command: tuple[str, ...]) -> None:
    with shell(tmp_path, [Turn(text="x")]) as sh:
        sh.run("run", "Pass", "-s", "one")
        for name in ("prompt_toolkit", "textual", "tty", "rich", "aiohttp", "pygments", "wcwidth", "colorama"):
            (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()\n")
        # Not by `python -m`, which takes modules of the folder itself.
        program = Path(sys.executable).with_name("holdfast")
        subprocess.run(
            [program, *command], cwd=tmp_path, env=sh.environment, stdin=subprocess.DEVNULL, timeout=BOUND, check=False
        )
    assert not (tmp_path / "ran").exists()
