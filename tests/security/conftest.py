"""The interpreter for snippets, built once for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.sandbox.snippets.building import compiled
from holdfast.sandbox.snippets.wasm import WasmInterpreter


@pytest.fixture(scope="session")
def snippets_folder(request: pytest.FixtureRequest) -> Path:
    """Where the interpreter is kept: it takes half a minute to build, so it stays until `make clean`."""
    from holdfast.sandbox.snippets.engines import compile_component

    assert request.config.cache is not None
    folder = request.config.cache.mkdir("snippets") / "interpreter"
    compiled(folder, None, compile_component, print)  # here, where no test's time runs
    return folder


@pytest.fixture(scope="session")
def python(snippets_folder: Path) -> Iterator[WasmInterpreter]:
    interpreter = WasmInterpreter(snippets_folder)
    yield interpreter
    interpreter.close()
