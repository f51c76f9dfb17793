"""`holdfast runs prune`: an account of what was freed, and nothing that a session needs is gone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell, shell
from tests.surfaces.test_screen import on_terminal

from holdfast.flow.clock import SystemClock
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing import Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import TenantId


async def leave(path: Path, *contents: bytes) -> None:
    """Puts blobs that nobody refers to, ten days ago."""
    journal = await SqliteJournal.open(path, clock=FakeClock(SystemClock().now() - 10 * 24 * 3_600_000_000))
    await journal.blobs.put_many(TenantId("local"), contents)
    await journal.close()


@pytest.mark.requirement("cli:runs-prune")
def test_pruning_says_what_it_frees_and_leaves_every_session_as_it_was(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        sh.run("run", "Say yes", "-s", "one")
        before = sh.run("runs", "show", "one", "-o", "jsonl").stdout
        asyncio.run(leave(tmp_path / "data" / "holdfast" / "holdfast.db", bytes(2_000_000), b"small"))
        rehearsed = sh.run("runs", "prune", "--dry-run")
        data = json.loads(sh.run("runs", "prune", "--dry-run", "-o", "json").stdout)
        done = sh.run("runs", "prune", "--keep-snapshots", "5", "--older-than", "7")
        again = sh.run("runs", "prune")
        shown = sh.run("runs", "show", "one", "-o", "jsonl").stdout
    assert rehearsed.stdout.startswith("would free 2.0 MB: 2 stored items that no session needs\n")
    assert (data["removed"], data["bytes"], data["dry_run"]) == (2, 2_000_005, True)
    assert done.stdout.startswith("✓ freed 2.0 MB: 2 stored items that no session needs\n")
    assert f"still in use: {data['kept']} stored item" in done.stdout
    assert data["kept"] >= 1
    assert again.stdout.startswith("Nothing to remove.\n")
    assert [each.returncode for each in (rehearsed, done, again)] == [0, 0, 0]
    assert shown == before


@pytest.mark.requirement("cli:runs-prune")
def test_pruning_a_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert sh.run("runs", "prune").stdout.startswith("Nothing to remove.\n")
    assert not (tmp_path / "data").exists()
    assert sh.run("runs", "prune", "--keep-snapshots", "0").returncode == 2


@pytest.mark.requirement("cli:runs-prune", "cli:plain")
def test_pruning_is_plain_where_that_is_set(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    with on_terminal(sh, "runs", "prune", HOLDFAST_PLAIN="true") as (terminal, _):
        assert "\x1b" not in terminal.rest()
