"""What is shipped of the console is what its sources say, and its types are those of the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.consoles import ASSETS, CONSOLE, RECORD, SCHEMA, build, contents, source_digest, types

ROOT = Path(__file__).resolve().parents[2]
MAKE = "run `python -m tests.consoles`, and commit what it writes"


@pytest.mark.requirement("server_console:built")
def test_what_is_shipped_was_built_from_these_sources() -> None:
    record = json.loads(RECORD.read_text())
    assert record["files"] == contents(ASSETS), f"somebody changed what was built: {MAKE}"
    assert record["source"] == source_digest(), f"the sources are newer: {MAKE}"


@pytest.mark.requirement("server_console:types")
def test_the_types_of_the_console_are_those_that_the_server_describes() -> None:
    assert SCHEMA.read_text() == types(), f"the server's description is another one: {MAKE}"


@pytest.mark.requirement("server_console:built")
def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    build(tmp_path / "built")
    assert contents(tmp_path / "built") == contents(ASSETS), MAKE


@pytest.mark.requirement("server_console:built")
def test_the_sources_turn_no_text_into_html_and_keep_no_secret_for_long() -> None:
    for path in sorted((CONSOLE / "src").rglob("*.ts*")):
        text = path.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "dangerously", "eval(", "Function("):
            assert word not in text, f"{path.name} has {word}"
        if "localStorage." in text:
            assert path.name == "theme.ts", f"{path.name} keeps something: choices are kept by parts/theme.ts"


@pytest.mark.requirement("server_console:built")
def test_the_wheel_holds_all_that_was_built_and_nothing_of_the_sources(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = ASSETS.relative_to(ROOT / "src").as_posix() + "/"
    assert {name.removeprefix(inside) for name in names if name.startswith(inside)} == set(contents(ASSETS))
    assert not any("node_modules" in name or name.endswith((".ts", ".tsx")) for name in names)


@pytest.mark.requirement("server_console:pictures")
def test_the_pictures_of_the_documents_are_small_and_shown() -> None:
    shown = "".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    pictures = sorted((ROOT / "docs/images").iterdir())
    assert len(pictures) >= 3
    for each in pictures:
        assert each.suffix == ".png" and 10_000 < each.stat().st_size < 200_000, each.name
        assert re.search(rf"!\[[^\]]{{10,}}\]\([./]*(docs/)?images/{re.escape(each.name)}\)", shown), each.name
