"""The wheel as pip installs it into an environment that holds what it asks for, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.surfaces.commands import environment

ROOT = Path(__file__).resolve().parents[2]


def needed(distribution: str, extras: set[str]) -> set[str]:
    """Returns what a distribution asks for here, directly and indirectly."""
    found: set[str] = set()
    waiting = [(distribution, extras)]
    while waiting:
        name, wanted = waiting.pop()
        for line in metadata.requires(name) or []:
            asked = Requirement(line)
            holds = asked.marker is None or any(asked.marker.evaluate({"extra": each}) for each in (wanted or {""}))
            if holds and asked.name not in found:
                found.add(asked.name)
                waiting.append((asked.name, asked.extras))
    return found


def lay_out(distribution: str, packages: Path) -> None:
    """Puts an installed distribution into another environment: tests download nothing."""
    files = metadata.files(distribution) or []
    for top in {Path(str(file)).parts[0] for file in files} - {"..", "__pycache__"}:
        if not (packages / top).exists():
            (packages / top).symlink_to(str(metadata.distribution(distribution).locate_file(top)))


@pytest.mark.requirement("repo:wheel-installs")
def test_the_wheel_installs_beside_what_it_asks_for_and_its_command_runs_the_demo(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    made = tmp_path / "empty"
    venv.create(made, with_pip=False, symlinks=True)
    (packages,) = made.glob("lib/python*/site-packages")
    assert list(packages.iterdir()) == []
    for each in needed("holdfast", {"demo"}):
        lay_out(each, packages)
    pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python"), "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-index", f"{wheel}[demo]"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = subprocess.run(
        [made / "bin" / "holdfast", "demo"],
        cwd=tmp_path,
        env=environment(tmp_path, PATH=f"{made / 'bin'}{os.pathsep}{os.defpath}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "  tests   15 passed in " in ran.stdout
    where = subprocess.run(
        [made / "bin" / "python", "-c", "import holdfast; print(holdfast.__file__)"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert Path(where.stdout.strip()).is_relative_to(made)
