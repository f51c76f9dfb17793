"""`holdfast budget`, and agents that were started by others in what `runs` shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.running import scene, soon
from tests.surfaces.commands import Shell, shell

from holdfast import Agent, Limits, Phase, Pipeline, Price
from holdfast.testing import Call, Turn

PRICES = {f"openai/{name}": Price.per_million(10, 10) for name in ("leader", "helper")}


@pytest.mark.requirement("cli:budget")
def test_a_store_without_caps_says_how_to_set_one(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("budget", "list")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"Nothing is capped in {sh.store}"
    assert "holdfast budget set local" in done.stdout
    assert json.loads(sh.run("budget", "list", "-o", "json").stdout) == []
    assert not list(tmp_path.rglob("*.db")), "looking makes no store"


@pytest.mark.requirement("cli:budget")
def test_a_cap_is_set_shown_replaced_for_its_window_only_and_cleared(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert sh.run("budget", "set", "ada", "--dollars", "20", "--per", "7d").returncode == 0
    sh.run("budget", "set", "ada", "--tokens", "1000", "--hours", "2.5")
    sh.run("budget", "set", "local/ada", "--dollars", "5", "--tokens", "90", "--per", "7d")
    sh.run("budget", "set", "ada/order-7", "--dollars", "0.5")
    listed = json.loads(sh.run("budget", "list", "-o", "json").stdout)
    assert [each["account"] for each in listed] == ["local/ada", "local/ada/order-7"]
    ever, week = listed[0]["caps"]
    assert (ever["per_seconds"], ever["tokens"]["cap"], ever["hours"]["left"], ever["dollars"]) == (
        None,
        1000,
        2.5,
        None,
    )
    assert (week["per_seconds"], week["tokens"]["cap"], week["dollars"]) == (
        604_800,
        90,
        {"cap": 5.0, "used": 0.0, "left": 5.0},
    )
    lines = sh.run("budget", "list").stdout.splitlines()
    assert lines[0].split() == ["account", "per", "of", "used", "cap", "left"]
    assert lines[3].split() == ["local/ada", "7d", "tokens", "0", "90", "90"]
    assert "$0.00 of $5.00 per 7d, $5.00 left" in sh.run("budget", "clear", "ada").stdout
    assert "no cap of its own" in sh.run("budget", "clear", "ada", "--all").stdout
    small = sh.run("budget", "set", "eve", "--dollars", "0.001").stdout
    assert "$0.0000 of $0.0010, $0.0010 left" in small
    gone = sh.run("budget", "clear", "ada", "--per", "7d")
    assert gone.returncode == 2
    assert "has no cap per 7d" in gone.stderr


@pytest.mark.requirement("cli:budget")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "ada"], "give --dollars, --tokens or --hours"),
        (["set", "a/b/c", "--tokens", "1"], "names too much"),
        (["set", "", "--tokens", "1"], "cannot be the name of an account"),
        (["set", "ada", "--tokens", "-1"], "--tokens"),
        (["set", "ada", "--tokens", "1", "--per", "soon"], "write it as"),
        (["clear", "ada", "--all", "--per", "7d"], "exclude each other"),
    ],
)
def test_what_is_no_cap_is_refused_with_what_to_write(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = Shell(tmp_path).run("budget", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.requirement("cli:budget", "cli:budget-words")
def test_a_run_that_a_cap_leaves_nothing_for_says_whose_it_is_and_when_something_is_free_again(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes."), Turn(text="Yes.")]) as sh:
        sh.run("budget", "set", "user", "--tokens", "100000", "--per", "7d")
        assert sh.run("run", "go", "-s", "one").returncode == 0
        shown = json.loads(sh.run("budget", "show", "user", "-o", "json").stdout)
        used = shown["caps"][0]["tokens"]["used"]
        assert used == shown["settled"]["tokens"] > 0
        sh.run("budget", "set", "user", "--tokens", str(int(used)), "--per", "7d")
        assert "used up" in sh.run("budget", "list").stdout
        never = json.loads(sh.run("run", "go", "-s", "two", "-o", "json").stdout)
        assert never["again_at"] is None, "a call is larger than the cap"
        needed = re.search(r"a call may need ([\d,]+) tokens", never["advice"])
        assert needed
        sh.run("budget", "set", "user", "--tokens", needed[1].replace(",", ""), "--per", "7d")
        done = sh.run("run", "go", "-s", "five")
        assert done.returncode == 3
        assert "account local/user has too few tokens left for another model call" in done.stdout
        assert "enough may be free again" in " ".join(done.stdout.split())
        assert "limited (tokens of account local/user)" in done.stdout
        quiet = sh.run("run", "go", "-s", "three", "-q")
        assert "limited (tokens of account local/user); a call may need" in quiet.stderr
        assert "; enough may be free again on" in quiet.stderr
        assert json.loads(sh.run("run", "go", "-s", "four", "-o", "json").stdout)["again_at"] > 0


HELPER = Agent("openai/helper", name="helper", limits=Limits(model_retries=0))


@pytest.mark.requirement("cli:runs-children")
async def test_children_are_marked_put_below_their_parents_and_shown_with_what_they_spent(tmp_path: Path) -> None:
    leader = Agent("openai/leader", tools=[HELPER.as_tool("help")], name="leader")
    jobs = Turn(calls=[Call("help", {"prompt": f"find {n}"}) for n in range(2)])
    sh = Shell(tmp_path)
    (tmp_path / "data" / "holdfast").mkdir(parents=True)
    async with scene({"leader": [jobs, "done"], "helper": ["Found."]}, url=sh.store, prices=PRICES) as s:
        assert (await soon((await s.runtime.start(leader, "lead", session="top")).result())).status == "completed"
        assert (await soon((await s.runtime.start(HELPER, "alone", session="by-itself")).result())).output == "Found."
    rows = json.loads(sh.run("runs", "list", "-o", "json").stdout)
    assert {row["parent"] for row in rows if row["session"].startswith("c-")} == {"top"}
    assert {row["parent"] for row in rows if not row["session"].startswith("c-")} == {""}
    flat = sh.run("runs", "list").stdout.splitlines()
    assert sum("↳ top  find" in line for line in flat) == 2
    tree = [line.split()[:2] for line in sh.run("runs", "list", "--tree").stdout.splitlines()[1:]]
    assert [first for first, _ in tree] == ["by-itself", "top", "└", "└"]
    shown = sh.run("runs", "show", "top").stdout
    assert "started 2 agents, which spent 240 tokens · $0.0024" in shown
    assert shown.count("✓ c-") == 2
    child = tree[2][1]
    assert "for top" in sh.run("runs", "show", child).stdout
    assert sh.run("runs", "list", "-n", "1", "--tree").stdout.splitlines()[1].split()[0] == "by-itself"


@pytest.mark.requirement("cli:runs-children")
async def test_the_phases_of_a_pipeline_are_shown_with_what_they_came_to(tmp_path: Path) -> None:
    line = Pipeline([Phase("facts", HELPER), Phase("text", Agent("openai/leader", name="writer"), "From {facts}")])
    sh = Shell(tmp_path)
    (tmp_path / "data" / "holdfast").mkdir(parents=True)
    async with scene({"leader": ["Written."], "helper": ["Facts."]}, url=sh.store, prices=PRICES) as s:
        run = await s.runtime.start(line, "q", session="line", limits=Limits(descendants=1))
        assert (await soon(run.result())).status == "failed"
    shown = sh.run("runs", "show", "line").stdout
    assert "phase.started    phase 1 helper: q" in shown
    assert "phase.failed     phase 2" in shown
    assert "started 2 agents, which spent 120 tokens · $0.0012" in shown
    assert "✓ c-" in shown
    assert "pipeline" in sh.run("runs", "list", "-o", "json").stdout
