"""The bench of the wires, in small: every program runs and agrees with its floor, and streams leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.budgets import budget_for
from bench.measuring import ProgramFailed, Surroundings, open_model_server, run_program
from bench.wires.__main__ import main
from bench.wires.judging import LONG, leaks_in
from bench.wires.plan import ADAPTER, CASES, SIGNED, WIRES, Look, looks_at

STREAMS = 240
LOOKS = looks_at(WIRES, tuple(case.name for case in (*CASES, SIGNED)))
CLEAN = {
    "streams": LONG,
    "kib_per_1000": 40.0,
    "objects": 2,
    "blocks": 20,
    "kept_objects": -20,
    "kept": 5,
    "tasks": 0,
    "sockets": 0,
    "at_server": 0,
}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder: Path = tmp_path_factory.mktemp("bench")
    with open_model_server("bench.wires.server", "") as stub:
        yield Surroundings(stub=stub, data=folder)


@pytest.mark.requirement("bench:wires-beside-their-floors")
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.case.name)
def test_an_adapter_and_its_floor_read_the_same_text_calls_and_usage(surroundings: Surroundings, look: Look) -> None:
    environment = {"CASE": look.plays, "RUNS": "3", "CONC": "2", "WARMUP": "1"}
    floor, adapter = (
        run_program(program.module, program.arguments, surroundings=surroundings, environment=environment)
        for program in (look.floor, look.adapter)
    )
    said = ("chars", "out", "calls", "usage")
    assert {key: floor[key] for key in said} == {key: adapter[key] for key in said}
    assert floor["chars"] or floor["calls"]
    assert floor["peer"] != adapter["peer"]
    assert floor["cpu_ms_per_run"] > 0
    assert adapter["cpu_ms_per_run"] > 0


def test_each_look_has_the_bound_that_its_wire_was_promised() -> None:
    bounds = {look.case.name: budget_for(look.case.name, ADAPTER).must for look in LOOKS}
    assert {name.partition("-")[0] for name, must in bounds.items() if must == 1.5} == {"chat", "messages", "responses"}
    assert set(bounds.values()) == {1.5, 2.0}


def test_a_program_whose_answer_is_not_the_one_that_was_played_fails(surroundings: Surroundings) -> None:
    environment = {"CASE": "clean", "RUNS": "1", "WARMUP": "0"}  # a longer text and a call, where a call is expected
    for program in (LOOKS[0].floor, LOOKS[0].adapter):
        with pytest.raises(ProgramFailed, match="are wrong"):
            run_program(program.module, program.arguments, surroundings=surroundings, environment=environment)


@pytest.mark.requirement("bench:wires-soak")
@pytest.mark.parametrize("wire", WIRES)
def test_streams_that_end_in_every_way_leave_nothing_behind(surroundings: Surroundings, wire: str) -> None:
    sample = run_program("bench.wires.soak", (wire,), surroundings=surroundings, environment={"SIZE": str(STREAMS)})
    assert sample["streams"] == STREAMS
    assert set(sample["seen"].values()) == {STREAMS // 10, STREAMS // 5}
    assert leaks_in(sample) == []


@pytest.mark.parametrize(
    "leak",
    [
        {"objects": LONG // 20},
        {"blocks": LONG // 4},
        {"tasks": 1},
        {"sockets": 1},
        {"at_server": 1},
        {"kept": 17},
        {"kib_per_1000": 300.0},
    ],
    ids=lambda leak: next(iter(leak)),
)
def test_what_is_left_over_is_called_a_leak(leak: dict[str, Any]) -> None:
    assert leaks_in(CLEAN) == []
    assert [said.partition(" ")[0] for said in leaks_in({**CLEAN, **leak})] == list(leak)


@pytest.mark.requirement("bench:wires-beside-their-floors")
def test_the_bench_writes_a_row_for_each_and_all_that_was_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wires.json"
    assert main(["--quick", "--wires", "ollama", "--cases", "tool-step", "--json", str(out)]) == 0
    assert "ollama-tool-step" in capsys.readouterr().out
    assert '"program": "adapter"' in out.read_text("utf-8")
