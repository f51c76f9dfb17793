"""How the bench judges, what it prints and writes, and that its yardstick is the one the budgets were set for."""

from __future__ import annotations

import io
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from bench import facts, plan, report
from bench.budgets import BUDGETS, Budget, Verdict, budget_for
from bench.measuring import Sample
from bench.report import case_rows, figure_rows, render_table, write_results
from bench.run import caption_of, exit_code, parse_options, plan_bench, steps
from rich.console import Console

HELLO, TOOLS = plan.CASES[0], plan.CASES[1]
MEMORY, SQLITE = plan.OURS


def sample(turn: int, measure: str, program: str, **values: object) -> Sample:
    return {"round": turn, "measure": measure, "program": program, **values}


def rounds(*ratios: float, program: str = "memory") -> list[Sample]:
    """One sample of the floor and one of a program for each ratio; rounds differ tenfold in speed."""
    found: list[Sample] = []
    for turn, ratio in enumerate(ratios, 1):
        speed = 10.0 ** (turn % 2)
        found.append(sample(turn, "hello", "floor", cpu_ms_per_run=speed))
        found.append(sample(turn, "hello", program, cpu_ms_per_run=speed * ratio))
    return found


# ---- verdicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("must", "aim", "value", "verdict"),
    [
        (2.0, 1.0, 1.0, Verdict.AIM),
        (2.0, 1.0, 1.01, Verdict.MUST),
        (2.0, 1.0, 2.0, Verdict.MUST),
        (2.0, 1.0, 2.01, Verdict.BROKEN),
        (2.0, None, 1.0, Verdict.MUST),
        (None, 1.0, 1.5, Verdict.OVER_AIM),
        (None, 1.0, 0.5, Verdict.AIM),
        (None, None, 99.0, Verdict.REPORTED),
    ],
)
def test_a_value_on_the_bound_is_within_it(
    must: float | None, aim: float | None, value: float, verdict: Verdict
) -> None:
    assert Budget(measure="m", program="p", must=must, aim=aim).judge(value) is verdict


def test_only_a_broken_must_and_a_program_that_did_not_run_stop_the_bench() -> None:
    assert {verdict for verdict in Verdict if verdict.stops} == {Verdict.BROKEN, Verdict.FAILED}


def test_the_budgets_are_those_of_the_design_and_name_things_that_are_measured() -> None:
    assert {(b.measure, b.program): (b.must, b.aim) for b in BUDGETS} == {
        ("hello", "memory"): (1.75, 1.3),
        ("hello", "sqlite"): (2.6, 1.8),
        ("tools10", "memory"): (1.75, 1.25),
        ("tools10", "sqlite"): (2.2, 1.4),
        ("stream1000", "memory"): (1.4, 1.0),
        ("stream1000", "sqlite"): (1.6, 1.1),
        ("tools100", "memory"): (1.4, 1.0),
        ("tools100", "sqlite"): (1.6, 1.1),
        ("sandbox-cold", "cold-bubblewrap"): (1.2, None),
        ("sandbox-cold", "cold-spawn"): (17.0, None),
        ("sandbox-warm", "warm-spawn"): (1.5, 1.3),
        ("sandbox-undo", "overlay"): (1.3, None),
        ("sandbox-undo", "btrfs"): (1.3, None),
        ("sandbox-branches", "btrfs"): (None, 300.0),
        ("sandbox-idle", "native"): (None, 1024.0),
        ("startup", "help"): (9.0, None),
        ("idle", "memory"): (None, 25.0),
        ("idle", "sqlite"): (None, 25.0),
        ("steps", "memory"): (None, 1.25),
        ("resume", "sqlite"): (300.0, None),
        ("gateway", "call"): (30.0, None),
        ("gateway", "share"): (15.0, None),
        ("fork", "sqlite"): (5.0, None),
        ("snapshot", "sqlite"): (30.0, None),
        ("long", "cpu"): (1.2, None),
        ("long", "bytes"): (1.1, None),
        ("depth", "sqlite"): (2.0, None),
        ("crowd", "sqlite"): (3.0, None),
    }
    measured = {(case.name, program.name) for case in plan.CASES for program in plan.OURS}
    measured |= {(figure.name, program) for figure in plan.FIGURES for program, _ in figure.programs}
    assert {(b.measure, b.program) for b in BUDGETS} <= measured


PROMISES = {
    "one-turn-memory": ("hello", "memory"),
    "one-turn-sqlite": ("hello", "sqlite"),
    "ten-steps-memory": ("tools10", "memory"),
    "ten-steps-sqlite": ("tools10", "sqlite"),
    "long-answer-memory": ("stream1000", "memory"),
    "long-answer-sqlite": ("stream1000", "sqlite"),
    "hundred-steps-memory": ("tools100", "memory"),
    "hundred-steps-sqlite": ("tools100", "sqlite"),
    "resume-ten-thousand-events": ("resume", "sqlite"),
    "gateway-call": ("gateway", "call"),
    "gateway-share": ("gateway", "share"),
}
"""Promises of speed, which nothing but a bench can keep an eye on, and the figure of each."""


@pytest.mark.parametrize("promise", PROMISES)
def test_the_bench_fails_where_a_promise_of_speed_is_broken(promise: str) -> None:
    entries = tomllib.loads((facts.REPO / "tests" / "requirements" / "bench.toml").read_text("utf-8"))["requirement"]
    (text,) = [each["text"] for each in entries if each["id"] == f"bench:{promise}"]
    said = re.search(r"at most ([0-9.]+) (?:times the floor|µs|%)|within ([0-9]+) ms", text)
    assert said is not None
    bound, budget = float(said[1] or said[2]), budget_for(*PROMISES[promise])
    assert not budget.judge(bound).stops
    assert budget.judge(bound * 1.001).stops


@pytest.mark.requirement("bench:plain-tool-beside")
def test_the_plain_tool_is_measured_beside_the_async_one_and_judged_by_nobody() -> None:
    names = [case.name for case in plan.CASES]
    assert {"tools10", "tools10-sync"} <= set(names)
    for program in plan.OURS:
        assert budget_for("tools10-sync", program.name).judge(1e9) is Verdict.REPORTED


# ---- rows --------------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_inside_its_round_and_the_median_of_the_rounds_is_judged() -> None:
    floor, ours = case_rows(HELLO, [MEMORY], rounds(1.2, 1.0, 5.0))
    assert (floor.value, floor.verdict) == (1.0, "REPORTED")
    assert ours.value == pytest.approx(1.2)
    assert (ours.low, ours.high) == (pytest.approx(1.0), pytest.approx(5.0))
    assert ours.verdict == "AIM"


@pytest.mark.parametrize(("ratio", "verdict"), [(1.31, "MUST"), (1.76, "BROKEN")])
def test_a_row_carries_its_bounds_and_its_verdict(ratio: float, verdict: str) -> None:
    row = case_rows(HELLO, [MEMORY], rounds(ratio))[1]
    assert (row.must, row.aim, row.verdict) == (1.75, 1.3, verdict)


def test_one_failed_round_fails_the_row_and_so_does_a_missing_floor() -> None:
    failed = [*rounds(1.0), sample(2, "hello", "memory", error="it fell over")]
    row = case_rows(HELLO, [MEMORY], failed)[1]
    assert (row.verdict, row.error) == ("FAILED", "it fell over")
    alone = [sample(1, "hello", "memory", cpu_ms_per_run=1.0)]
    (row,) = case_rows(HELLO, [MEMORY], alone)
    assert (row.value, row.verdict, row.error) == (None, "FAILED", "no floor to compare with")


def test_a_figure_has_a_row_for_each_number_that_was_measured() -> None:
    startup = plan.FIGURES[0]
    rows = figure_rows(startup, [sample(n, "startup", "help", value=v, cost="30 ms") for n, v in ((1, 9.5), (2, 8.0))])
    assert [(row.program, row.value, row.cost, row.verdict) for row in rows] == [("help", 8.75, "30 ms", "MUST")]


def test_the_exit_code_is_1_for_a_broken_must_or_a_program_of_ours_that_did_not_run() -> None:
    good, broken = case_rows(HELLO, [MEMORY], rounds(1.0)), case_rows(HELLO, [MEMORY], rounds(3.0))
    failed = case_rows(HELLO, [plan.PEERS[0]], [*rounds(1.0), sample(1, "hello", plan.PEERS[0].name, error="x")])
    ours = {"memory", "sqlite"}
    assert exit_code(good, ours=ours, gate=True) == 0
    assert exit_code(broken, ours=ours, gate=True) == 1
    assert exit_code(broken, ours=ours, gate=False) == 0
    assert exit_code(failed, ours=ours, gate=True) == 0  # a peer's failure is not ours
    assert exit_code(failed, ours={plan.PEERS[0].name}, gate=False) == 1


# ---- what is shown and kept --------------------------------------------------------------------------------


@pytest.mark.requirement("bench:table-and-json")
@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_shows_value_bounds_and_verdict_at_any_width(width: int) -> None:
    rows = [*case_rows(HELLO, [MEMORY], rounds(1.2, 1.4)), *case_rows(HELLO, [SQLITE], rounds(3.0, program="sqlite"))]
    screen = io.StringIO()
    Console(width=width, file=screen).print(render_table(rows, title="T", caption="C", width=width))
    lines = screen.getvalue().splitlines()
    ours = next(line for line in lines if "holdfast, memory" in line)
    assert "1.30 x" in ours
    assert "1.75" in ours
    assert "✔ aim" in ours
    assert ("1.20 - 1.40" in ours) == (width >= 100)
    assert "✘ over must" in next(line for line in lines if "holdfast, SQLite" in line)


@pytest.mark.requirement("bench:table-and-json")
@pytest.mark.parametrize("width", [80, 100, 120])
def test_where_a_row_is_too_long_what_is_measured_stays_whole(width: int) -> None:
    long = replace(case_rows(HELLO, [MEMORY], rounds(1.2, 1.4))[1], label="many words " * 6)
    screen = io.StringIO()
    Console(width=width, file=screen).print(render_table([long], title="T", caption="C", width=width))
    ours = next(line for line in screen.getvalue().splitlines() if "many words" in line)
    assert [part for part in ("1.30 x", " 1.75 ", "✔ aim") if part not in ours] == []


@pytest.mark.requirement("bench:table-and-json")
def test_the_file_keeps_every_row_every_sample_and_the_machine(tmp_path: Path) -> None:
    samples = rounds(1.0, 1.1)
    rows = case_rows(HELLO, [MEMORY], samples)
    path = tmp_path / "results" / "latest.json"
    about = facts.about(tmp_path)
    write_results(path, about, rows, samples)
    kept = json.loads(path.read_text("utf-8"))
    assert kept["samples"] == samples
    assert [row["verdict"] for row in kept["rows"]] == ["REPORTED", "AIM"]
    assert {"cpu", "cores", "load", "disk", "versions", "hashes", "commit"} <= set(kept)
    assert kept["versions"]["holdfast"] != "-"
    assert kept["disk"]["fsync_ms"] >= 0


# ---- the yardstick -----------------------------------------------------------------------------------------


@pytest.mark.requirement("bench:floor-hashes")
def test_the_floor_is_the_one_the_budgets_were_set_for_and_its_hashes_are_printed(tmp_path: Path) -> None:
    found = facts.check_yardstick()
    assert sorted(found) == ["bench/floor/floor.py", "bench/floor/measure.py", "bench/floor/model_server.py"]
    caption = caption_of(facts.about(tmp_path), [])
    assert all(digest[:12] in caption for digest in found.values())


@pytest.mark.requirement("bench:floor-hashes")
@pytest.mark.parametrize("change", ["another digest", "missing"])
def test_another_floor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    lines = facts.PINS.read_text("utf-8").splitlines()
    lines[0] = "0" * 64 + lines[0][64:] if change == "another digest" else ""
    pins = tmp_path / "floor" / "sha256sums"
    pins.parent.mkdir()
    pins.write_text("\n".join(line for line in lines if line))
    for name in facts.hashes():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((facts.REPO / name).read_bytes())
    monkeypatch.setattr(facts, "PINS", pins)
    monkeypatch.setattr(facts, "REPO", tmp_path)
    with pytest.raises(SystemExit, match="no ratio would mean what the budgets mean"):
        facts.check_yardstick()


# ---- the plan ----------------------------------------------------------------------------------------------


def test_within_a_round_the_floor_has_its_turn_before_the_programs_of_each_case() -> None:
    bench, _ = plan_bench(parse_options(["--cases", "hello,tools10", "--rounds", "2"]))
    turns = [(step.round, step.measure, step.program) for step in steps(bench)]
    looks = {case.name: case.turns for case in plan.CASES}
    once = [
        (case, program)
        for case in ("hello", "tools10")
        for _ in range(looks[case])
        for program in ("floor", "memory", "sqlite")
    ]
    assert looks["hello"] > 1 == looks["tools10"]
    assert turns == [(turn, *each) for turn in (1, 2) for each in once]


def test_each_look_at_a_short_case_is_compared_with_the_floor_of_that_look() -> None:
    bench, _ = plan_bench(parse_options(["--cases", "hello,tools10", "--rounds", "2"]))
    looks = [(step.turn, step.program) for step in steps(bench) if step.measure == "hello"]
    assert len(set(looks)) == len(looks) == 3 * 2 * bench.cases[0].turns
    floors = [turn for turn, program in looks if program == "floor"]
    assert floors == list(range(1, len(floors) + 1))


@pytest.mark.requirement("bench:peers-optional")
def test_peers_that_are_not_installed_are_named_and_left_out() -> None:
    bench, words = plan_bench(parse_options(["--peers", "--cases", "hello"]))
    missing = [peer for peer in plan.PEERS if peer.name not in bench.pythons]
    assert missing
    assert [program.name for program in bench.programs if program in missing] == []
    assert {f"{peer.label}: not installed" for peer in missing} <= set(words)
    assert "not installed" in caption_of(facts.about(Path("/var/tmp")), words)


@pytest.mark.parametrize(
    "arguments", [["--cases", "nothing"], ["--only", "nobody"], ["--rounds", "0"], ["--rounds", "many"]]
)
def test_a_wrong_option_is_refused_with_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments)
    assert ended.value.code == 2
    assert repr(arguments[1]) in capsys.readouterr().err


def test_memory_is_no_disk() -> None:
    assert {"tmpfs", "ramfs"} == facts.NOT_A_DISK
    if facts.filesystem(Path("/dev/shm")) == "tmpfs":
        with pytest.raises(SystemExit, match="give one with --data"):
            facts.open_data_folder(Path("/dev/shm/holdfast"))
    assert report.MARKS.keys() == set(Verdict)
