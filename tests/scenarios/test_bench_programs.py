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
