"""Storage that fills up is said before it breaks anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell

from holdfast.sandbox.capacity.storage import storage_at
from holdfast.sandbox.kernel import syscalls

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="what is mounted for it is Linux's"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount what fills up"),
    pytest.mark.requirement("sandbox:health-thresholds"),
]
SIZE, REMOUNT = 4 << 20, 32


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which is small and empty."""
    folder = tmp_path / "disk"
    folder.mkdir()
    syscalls.mount("disk", str(folder), "tmpfs", 0, f"size={SIZE},nr_inodes=1000")
    yield folder
    syscalls.umount(str(folder))


def fill(disk: Path, percent: float) -> None:
    (disk / "filling").write_bytes(bytes(int(SIZE * percent / 100) // 4096 * 4096))


def test_above_85_percent_it_is_degraded_and_above_95_unhealthy(disk: Path) -> None:
    said: list[tuple[float, str]] = []
    for percent in (0, 50, 85, 85.5, 95, 95.5, 100):
        fill(disk, percent)
        said.append((percent, storage_at(disk).health))
    assert said == [
        (0, "healthy"), (50, "healthy"), (85, "healthy"), (85.5, "degraded"), (95, "degraded"), (95.5, "unhealthy"),
        (100, "unhealthy"),
    ]  # fmt: skip


def test_files_that_run_out_count_like_bytes(disk: Path) -> None:
    for number in range(900):
        (disk / str(number)).touch()
    found = storage_at(disk)
    assert (found.health, round(found.used)) == ("degraded", 90)


def test_what_is_not_there_yet_is_judged_by_where_it_will_be(disk: Path) -> None:
    fill(disk, 90)
    assert storage_at(disk / "a" / "b") == storage_at(disk)


def test_what_cannot_be_written_is_unhealthy_however_much_room_there_is(disk: Path) -> None:
    syscalls.mount("disk", str(disk), flags=REMOUNT | syscalls.MS_RDONLY)
    found = storage_at(disk)
    assert (found.health, found.fault) == ("unhealthy", "it is mounted read-only")


def test_the_doctor_says_how_full_the_store_is_and_what_to_do(tmp_path: Path, disk: Path) -> None:
    sh = Shell(tmp_path)
    place = {"HOLDFAST_STORE": f"sqlite:///{disk}/holdfast.db"}
    assert f"✓ log healthy: {disk}" in _words(sh.run("doctor", **place).stdout)
    fill(disk, 90)
    done = sh.run("doctor", **place)
    assert done.returncode == 0
    assert f"! log degraded: {disk} is 90 % full" in _words(done.stdout)
    assert "make room below 85 %" in done.stdout
    fill(disk, 97)
    done = sh.run("doctor", **place)
    assert f"! log unhealthy: {disk} is 97 % full" in _words(done.stdout)
    assert "sandboxes" in done.stdout
    fill(disk, 0)
    syscalls.mount("disk", str(disk), flags=REMOUNT | syscalls.MS_RDONLY)
    done = sh.run("doctor", **place)
    assert done.returncode == 1
    assert f"✗ log unhealthy: {disk}: it is mounted read-only" in _words(done.stdout)


def _words(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())
