"""The import contracts hold, and each of them catches the import it is there for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.tree import PACKAGE, ROOT

PLANTS = {
    "A room imports only lower floors": ("journal/planted.py", "import holdfast.sandbox.output"),
    "No package imports in a circle": (
        "flow/planted.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import holdfast.engine.state",
    ),
    "Only net opens HTTP": ("tools/planted.py", "def deferred():\n    import aiohttp"),
    "Only server listens for HTTP": ("cli/planted.py", "import starlette.routing"),
    "A door is blind to other doors": ("server/doors/planted.py", "import holdfast.server.doors.health"),
    "Only storage speaks to SQLite": ("runtime/planted.py", "import sqlite3"),
    "Only the command line draws": ("engine/planted.py", "import rich.text"),
    "Only models knows how a provider": ("engine/planted.py", "import holdfast.models.wire.chat.requests"),
    "Only the remaking of pictures": ("models/media/fitting.py", "import PIL.Image"),
    "Only signing loads Amazon's": ("models/providers/bedrock.py", "import botocore.session"),
    "Only the local embedder": ("models/embedding/finding.py", "import model2vec"),
    "Only the interpreter for snippets runs WebAssembly": ("sandbox/snippets/wasm.py", "import wasmtime"),
    "Only the channels of calls load grpcio": ("tools/transports/grpc.py", "import grpc.aio"),
    "Only net speaks NATS": ("server/planted.py", "import nats.aio.client"),
    "What flows through the house": ("types/planted.py", "import asyncio"),
    "Decisions and folds are pure": ("engine/decide.py", "import time"),
}
"""By the beginning of a contract's name: a file, and lines that break it."""


def lint(folder: Path) -> dict[str, str]:
    """Returns the verdict on each contract of the project in a folder."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", folder / "pyproject.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = dict(re.findall(r"^(\S.*?) ?(KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.requirement("repo:import-contracts", "types:no-clock-no-io")
def test_every_import_contract_is_kept() -> None:
    verdicts = lint(ROOT)
    assert [name for name, verdict in verdicts.items() if verdict != "KEPT"] == []
    assert len(verdicts) == len(PLANTS), "a new contract needs a plant that proves it"


@pytest.mark.requirement("repo:contracts-catch-breach")
def test_an_import_planted_against_each_contract_breaks_it(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "src" / "holdfast", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, lines in PLANTS.values():
        with (tmp_path / "src" / "holdfast" / name).open("a") as file:
            file.write(f"\n{lines}\n")
    verdicts = lint(tmp_path)
    for beginning in PLANTS:
        (found,) = [name for name in verdicts if name.startswith(beginning)]
        assert verdicts[found] == "BROKEN", found
