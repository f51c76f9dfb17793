"""`holdfast demo`, from the repository and from the wheel."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, environment

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "examples" / "broken-project"
CACHES = {"__pycache__", ".pytest_cache", ".ruff_cache"}


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not CACHES & set(p.parts)]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def verdict_of(folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout.splitlines()[-1]


@pytest.mark.requirement(
    "cli:demo-fixes-the-project",
    "cli:demo-original-untouched",
    "cli:demo-says-scripted",
    "cli:demo-progress",
    "cli:demo-store-of-its-own",
    "cli:offline-examples",
)
def test_the_demo_repairs_a_copy_of_the_broken_project_and_shows_how(tmp_path: Path) -> None:
    shown = sorted(each.name for each in PROJECT.parent.iterdir() if each.name not in CACHES)
    assert shown == [PROJECT.name, "rest_api.py"], "each example has a test; the other is test_rest_example.py"
    before = digests(PROJECT)
    sh = Shell(tmp_path)
    assert not [name for name in sh.environment if name.endswith("_KEY")]
    done = sh.run("demo", "--keep", "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    out = done.stdout
    words = " ".join(out.replace("│", " ").split())
    assert "Nobody thinks here: the model's words are a script" in words
    assert "Set OPENAI_API_KEY to watch a real model." in words
    for part in ("2 failed, 10 passed", "1 failed, 11 passed", "✓ read tally/invoice.py  ", "    -    return [entry"):
        assert part in out
    assert "I run the test suite first to see what fails." in out
    assert "✓ completed  9 steps · 34,202 tokens · $0.0222" in out
    demo = sh.store.replace("holdfast.db", "demo.db")
    assert f"  log     {demo}\n" in out
    assert not Path(sh.store.removeprefix("sqlite:///")).exists()
    look = next(line for line in out.splitlines() if line.startswith("  look    holdfast "))
    assert "run.finished" in sh.run(*shlex.split(look)[2:]).stdout, "what it says to paste works"
    assert "  tests   15 passed in " in out
    assert digests(PROJECT) == before
    repaired = digests(tmp_path / "kept" / "broken-project")
    assert {name for name in repaired if repaired[name] != before.get(name)} == {
        "tally/durations.py",
        "tally/sheet.py",
        "tests/test_edges.py",
    }
    assert verdict_of(tmp_path / "kept" / "broken-project").startswith("15 passed")


@pytest.mark.requirement("cli:demo-crash", "cli:demo-in-a-sandbox")
@pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
def test_in_a_sandbox_what_was_under_way_when_it_was_killed_runs_again_on_the_files_of_before(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("demo", "--crash", "--keep", "kept", HOLDFAST_SANDBOX="auto")
    assert done.returncode == 0, done.stdout + done.stderr
    before, _, after = done.stdout.partition("✗ SIGKILL")
    for part in (before, after):
        assert "sandbox native: commands reach this folder alone" in part
    assert "runs again, its files put back" in after
    assert "✓ completed  9 steps" in after
    assert verdict_of(tmp_path / "kept" / "broken-project").startswith("15 passed")


@pytest.mark.requirement("cli:demo-crash")
def test_the_demo_is_killed_in_mid_tool_and_a_new_process_repairs_the_project_all_the_same(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("demo", "--crash", "--keep", "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    before, death, after = done.stdout.partition("✗ SIGKILL")
    assert death
    assert "I run the tests again." in before
    assert "outcome unknown: it was under way when its process died" in after
    assert "✓ completed  10 steps" in after
    assert "  tests   15 passed in " in after
    session = after.partition("holdfast runs show ")[2].split()[0]
    store = sh.store.replace("holdfast.db", "demo.db")
    events = sh.run("runs", "show", session, "-o", "jsonl", "--store", store).stdout.splitlines()
    assert sum('"type":"run.started"' in line for line in events) == 1
    assert sum('"type":"run.finished"' in line for line in events) == 1
    assert verdict_of(tmp_path / "kept" / "broken-project").startswith("15 passed")


@pytest.mark.requirement("cli:demo-store-of-its-own")
def test_the_demo_leaves_the_store_alone_that_the_environment_names(tmp_path: Path) -> None:
    mine = f"sqlite:///{tmp_path}/mine.db"
    sh = Shell(tmp_path)
    out = sh.run("demo", HOLDFAST_STORE=mine).stdout
    look = next(line for line in out.splitlines() if line.startswith("  look    holdfast "))
    assert "run.finished" in sh.run(*shlex.split(look)[2:], HOLDFAST_STORE=mine).stdout
    assert not (tmp_path / "mine.db").exists()
    own = f"sqlite:///{tmp_path}/own.db"
    assert f"  log     {own}\n" in sh.run("demo", "--store", own).stdout


def test_a_folder_that_holds_a_project_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept" / "broken-project").mkdir(parents=True)
    done = Shell(tmp_path).run("demo", "--keep", "kept")
    assert done.returncode == 2
    assert "name an empty folder with --keep" in done.stderr


@pytest.mark.requirement("repo:wheel-runs-demo", "repo:wheel-licence")
def test_the_wheel_holds_what_it_needs_to_run_the_demo_and_nothing_that_grew_by_itself(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert not [name for name in names if CACHES & set(name.split("/")) or name.endswith(".pyc")]
    sources = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    assert "holdfast/py.typed" in names
    licence = next(name for name in names if name.endswith("licenses/LICENSE"))
    assert (tmp_path / "installed" / licence).read_bytes() == (ROOT / "LICENSE").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "demo"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(tmp_path / "installed")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  tests   15 passed in " in done.stdout
