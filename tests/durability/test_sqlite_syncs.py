"""How often the kernel was asked to put the log on the disk, as the kernel tells it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.durability.journal_files import CHILD


def traced(folder: Path, *arguments: str) -> list[str]:
    """Runs the child under strace and returns, in order, `sync` for each finished sync of the log and what it said."""
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing: apt-get install strace")
        pytest.skip("needs strace")
    out = folder / "trace"
    command = [strace, "-f", "-y", "-o", str(out), "-e", "trace=fsync,fdatasync,write", sys.executable, CHILD]
    subprocess.run([*command, *arguments], check=True, timeout=60, capture_output=True)
    happened: list[str] = []
    unfinished: set[str] = set()
    for line in out.read_text().splitlines():
        thread = line.split()[0]
        if re.search(r"f(data)?sync\(\d+<[^>]*-wal>", line):
            if "unfinished" in line:
                unfinished.add(thread)
            elif line.endswith("= 0"):
                happened.append("sync")
        elif re.search(r"<\.\.\. f(data)?sync resumed>", line) and thread in unfinished and line.endswith("= 0"):
            unfinished.discard(thread)
            happened.append("sync")
        elif said := re.search(r'write\(1<[^>]*>, "(.*)\\n"', line):
            happened.append(said[1])
    return happened


@pytest.mark.requirement("storage:sqlite-durable-when-acknowledged")
def test_every_acknowledged_append_is_behind_a_sync_of_its_own(tmp_path: Path) -> None:
    happened = traced(tmp_path, "serial", str(tmp_path / "j.db"), "30", "full")
    since = happened[happened.index("begin") + 1 :]
    for number in range(1, 31):
        until = since.index(f"ack {number}")
        assert since[:until].count("sync") == 1, f"append {number} was acknowledged after {since[:until]}"
        since = since[until + 1 :]


@pytest.mark.requirement("storage:sqlite-normal-setting")
def test_the_normal_setting_does_without_them(tmp_path: Path) -> None:
    happened = traced(tmp_path, "serial", str(tmp_path / "j.db"), "30", "normal")
    assert "sync" not in happened[happened.index("begin") : happened.index("ack 30")]


@pytest.mark.requirement("storage:sqlite-group-commit")
def test_appends_at_once_share_their_syncs(tmp_path: Path) -> None:
    happened = traced(tmp_path, "group", str(tmp_path / "j.db"), "200", "full")
    syncs = happened[happened.index("begin") : happened.index("end")].count("sync")
    assert 1 <= syncs <= 20, f"200 appends took {syncs} syncs"
