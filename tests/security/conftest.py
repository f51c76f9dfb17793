"""An interpreter for snippets, for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.sandbox.snippets.wasm import WasmInterpreter


@pytest.fixture(scope="session")
def python(snippets_folder: Path) -> Iterator[WasmInterpreter]:
    interpreter = WasmInterpreter(snippets_folder)
    yield interpreter
    interpreter.close()
