"""The bench's programs about very long runs, deep forks and crowds, in small: each prints its figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.measuring import Surroundings, open_model_server, run_program
from bench.plan import FIGURES


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder: Path = tmp_path_factory.mktemp("bench")
    with open_model_server() as stub:
        yield Surroundings(stub=stub, data=folder)


@pytest.mark.requirement("bench:long-run", "bench:deep-forks", "bench:fair-crowd")
@pytest.mark.parametrize(
    ("figure", "program"),
    [(each, name) for each in FIGURES if each.name in ("long", "depth", "crowd") for name, _ in each.programs],
    ids=lambda given: given if isinstance(given, str) else given.name,
)
def test_the_program_of_a_figure_prints_it(surroundings: Surroundings, figure: object, program: str) -> None:
    found = next(each for each in FIGURES if each is figure)
    size = {"SIZE": str(found.quick_size)}
    sample = run_program(found.module, (program,), surroundings=surroundings, environment=size)
    assert 0 <= sample["value"] < 5, sample


REPORTED = {
    "startup": ("import", "help"),
    "idle": ("memory", "sqlite"),
    "events": ("sqlite",),
}
"""Figures that are told, whatever they come to, and of what."""


@pytest.mark.requirement("bench:import-and-help-time", "bench:memory-per-idle-run", "bench:durable-events-per-second")
@pytest.mark.parametrize(
    ("name", "program"), [(name, program) for name, programs in REPORTED.items() for program in programs]
)
def test_what_is_only_reported_is_measured_and_printed(surroundings: Surroundings, name: str, program: str) -> None:
    (figure,) = [each for each in FIGURES if each.name == name]
    assert program in [each for each, _ in figure.programs]
    size = {"SIZE": str(min(figure.quick_size, 50))}
    sample = run_program(figure.module, (program,), surroundings=surroundings, environment=size)
    assert sample["value"] > 0
    if name == "startup":
        assert sample["value"] == pytest.approx(sample["ms"] / sample["bare_ms"], rel=0.5), "over a bare interpreter"
    if name == "idle":
        assert figure.size == 1000
        assert [runs for runs, _ in sample["points"]] == list(range(5, 51, 5)), "a slope over so many live runs"
    if name == "events":
        assert sample["events"] > 20 * 10, "the events of all runs, each with ten steps"
