"""What an adapter costs over its floor: the bench judges its seconds, and what Python does for it is counted here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from bench.budgets import STEP_BOUNDS, WIRE_BUDGETS, budget_for
from bench.measuring import ProgramFailed, Sample, Surroundings, open_model_server, run_program
from bench.wires import __main__ as bench
from bench.wires.plan import ADAPTER, CASES, SIGNED, WIRES
from bench.wires.steps import Steps, steps_of

NARROW = ("chat", "messages", "responses")
OTHERS = ("gemini", "cohere", "ollama", "bedrock")


@pytest.mark.requirement("bench:wires-within-their-bounds")
def test_the_musts_are_those_that_were_promised() -> None:
    assert {*NARROW, *OTHERS} == set(WIRES)
    promised = {f"{wire}-{case.name}": 1.5 if wire in NARROW else 2.0 for wire in WIRES for case in (*CASES, SIGNED)}
    assert {budget.measure: budget.must for budget in WIRE_BUDGETS} == promised
    assert {case.name for case in CASES} == {"stream1000", "tool-step"}


# ---- what Python does -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder: Path = tmp_path_factory.mktemp("bench")
    with open_model_server("bench.wires.server", "") as stub:
        yield Surroundings(stub=stub, data=folder)


@pytest.mark.requirement("bench:wires-within-their-bounds")
@pytest.mark.parametrize("case", [each.name for each in (*CASES, SIGNED)])
def test_what_python_does_for_an_answer_is_within_its_bounds(surroundings: Surroundings, case: str) -> None:
    wires = ("bedrock",) if case == SIGNED.name else WIRES
    counted = run_program("bench.wires.steps", wires, surroundings=surroundings, environment={"CASE": case})
    assert counted["case"] == case
    assert set(counted["wires"]) == set(wires)
    over: list[str] = []
    for wire, both in counted["wires"].items():
        name = f"{wire}-{case}"
        must = budget_for(name, ADAPTER).must
        assert must is not None
        for kind, bound in (("instructions", STEP_BOUNDS.get(name, must)), ("calls", must)):
            ratio = both["adapter"][kind] / both["floor"][kind]
            over += [f"{name}: {ratio:.2f} times the {kind} of its floor, of {bound}"] if ratio > bound else []
    assert over == []


async def test_the_count_grows_with_what_is_done_and_with_nothing_else() -> None:
    def asking(pieces: int) -> Callable[[], Any]:
        async def ask() -> Any:
            for piece in range(pieces):
                yield str(piece).upper()

        return ask

    few, many, again = [await steps_of(asking(pieces)) for pieces in (10, 1000, 1000)]
    assert many == again
    each = (many["instructions"] - few["instructions"]) / 990
    assert each == int(each) > 5
    assert many["calls"] - few["calls"] == 990
    with Steps() as nothing:
        pass
    assert nothing.instructions == 0


# ---- how the bench judges -------------------------------------------------------------------------------------------


def judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ratios: Callable[[str, str, int], float], *more: str
) -> int:
    """Returns the exit code of the bench where each adapter costs so many times its floor: wire, case and round."""
    rounds: dict[tuple[str, str], int] = {}

    def measured(module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str], **_: Any) -> Sample:
        wire, case = (arguments or (module.rpartition(".")[2],))[0], environment["CASE"]
        if not arguments:
            rounds[wire, case] = rounds.get((wire, case), 0) + 1
            return {"cpu_ms_per_run": 2.0}
        return {"cpu_ms_per_run": 2.0 * ratios(wire, case, rounds[wire, case])}

    monkeypatch.setattr(bench, "run_program", measured)
    about = {"cpu": "c", "cores": 2, "load": (0.0, 0.0, 0.0)}
    monkeypatch.setattr(bench.facts, "about", lambda _: about)
    monkeypatch.setattr(bench, "open_model_server", lambda *_: nullcontext("http://127.0.0.1:9"))
    return bench.main(["--json", str(tmp_path / "wires.json"), "--data", str(tmp_path), *more])


@pytest.mark.requirement("bench:wires-within-their-bounds")
@pytest.mark.parametrize("case", ["stream1000", "tool-step"])
@pytest.mark.parametrize("wire", WIRES)
def test_a_wire_that_is_over_its_must_in_one_case_fails_the_bench(
    wire: str, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    must = 1.5 if wire in NARROW else 2.0

    def at(ratio: float) -> Callable[[str, str, int], float]:
        return lambda name, played, _: ratio if (name, played) == (wire, case) else 1.0

    assert judged(monkeypatch, tmp_path, at(must), "--rounds", "1") == 0
    assert judged(monkeypatch, tmp_path, at(must + 0.01), "--rounds", "1") == 1
    assert '"verdict": "BROKEN"' in (tmp_path / "wires.json").read_text("utf-8")
    assert judged(monkeypatch, tmp_path, at(must + 0.01), "--rounds", "1", "--no-gate") == 0


@pytest.mark.requirement("bench:wires-within-their-bounds")
def test_the_median_of_the_rounds_is_what_is_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only = ("--wires", "chat", "--cases", "stream1000", "--rounds", "5")
    assert judged(monkeypatch, tmp_path, lambda *given: 9.0 if given[2] <= 2 else 1.4, *only) == 0
    assert judged(monkeypatch, tmp_path, lambda *given: 1.6 if given[2] <= 3 else 1.0, *only) == 1


@pytest.mark.requirement("bench:wires-within-their-bounds")
def test_an_adapter_that_does_not_run_fails_the_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(wire: str, case: str, turn: int) -> float:
        if wire == "cohere":
            raise ProgramFailed("it fell over")
        return 1.0

    assert judged(monkeypatch, tmp_path, broken, "--rounds", "1", "--no-gate") == 1
