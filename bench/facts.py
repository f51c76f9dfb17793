"""What a result says about where it was measured: machine, versions, disk, and the hashes of the yardstick."""

import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .plan import PEERS, Program

__all__ = ("REPO", "about", "check_yardstick", "filesystem", "find_peers", "hashes", "open_data_folder")

REPO = Path(__file__).resolve().parent.parent
YARDSTICK = ("bench/floor/floor.py", "bench/floor/measure.py", "bench/floor/model_server.py")
PINS = REPO / "bench" / "floor" / "sha256sums"
OWN_PACKAGES = ("holdfast", "aiohttp", "msgspec", "uvloop")
ASK = """
import importlib.metadata, importlib.util, json, sys
found = {}
for name, module, distribution in json.loads(sys.argv[1]):
    try:
        if importlib.util.find_spec(module):
            found[name] = importlib.metadata.version(distribution)
    except ImportError:
        pass
print(json.dumps(found))
"""
NOT_A_DISK = {"tmpfs", "ramfs"}


def hashes(files: tuple[str, ...] = YARDSTICK) -> dict[str, str]:
    """SHA-256 of the files that make the yardstick, by path."""
    return {name: hashlib.sha256((REPO / name).read_bytes()).hexdigest() for name in files}


def check_yardstick(files: tuple[str, ...] = YARDSTICK, pins: Path | None = None) -> dict[str, str]:
    """The hashes of the yardstick, when they are those that the budgets were set for.

    Raises:
        SystemExit: A file of it is another one.
    """
    pins = pins or PINS
    lines = pins.read_text(encoding="utf-8").splitlines()
    pinned = {name: digest for digest, name in (line.split() for line in lines)}
    found = hashes(files)
    if other := sorted(name for name in found if found[name] != pinned.get(name)):
        raise SystemExit(
            f"{', '.join(other)} differ from {pins.relative_to(REPO)}, so no ratio would mean what the budgets mean: "
            "put them back, or take the new hashes over (`sha256sum`) with a decision record"
        )
    return found


def about(data: Path) -> dict[str, Any]:
    """Where and on what is being measured; `data` is the folder for stores."""
    return {
        "started": time.time(),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "disk": {"type": filesystem(data), "fsync_ms": fsync_ms(data)},
        "versions": versions(),
        "hashes": hashes(),
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what the floor and Holdfast run on."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in OWN_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def commit() -> str:
    """The commit checked out here, marked when files differ from it; empty outside a repository."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=REPO, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def filesystem(path: Path) -> str:
    """Type of the file system that holds a path; `?` where the system does not say."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "?"
    best, kind = "", "?"
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, at, this, *_ = line.split()
        inside = at == "/" or path.is_relative_to(at)
        if inside and len(at) >= len(best):
            best, kind = at, this
    return kind


def open_data_folder(wanted: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on a disk: durable writes to memory would flatter.

    Raises:
        SystemExit: No place was found that is not kept in memory.
    """
    places = [wanted] if wanted else [Path("/var/tmp"), Path(tempfile.gettempdir()), REPO / "bench" / "results"]
    for place in places:
        if place.parent.is_dir() and filesystem(place.resolve()) not in NOT_A_DISK:
            place.mkdir(exist_ok=True)
            return tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=place)
    raise SystemExit(f"no disk in {[str(p) for p in places]}: give one with --data FOLDER")


def fsync_ms(folder: Path, times: int = 40) -> float:
    """Median ms that the disk needs to make 4 KiB durable."""
    took: list[float] = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return statistics.median(took) * 1e3


def find_peers(pythons: list[str]) -> dict[str, tuple[str, str]]:
    """For each peer that some interpreter can import: (that interpreter, the peer's version)."""
    found: dict[str, tuple[str, str]] = {}
    for python in pythons or [sys.executable]:
        for name, version in _ask(python, PEERS).items():
            found.setdefault(name, (python, version))
    return found


def _ask(python: str, peers: tuple[Program, ...]) -> dict[str, str]:
    """Which peers an interpreter has, with versions; does not import the peers themselves."""
    wanted = json.dumps([(p.name, p.imports, p.distribution) for p in peers])
    asked = subprocess.run([python, "-c", ASK, wanted], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise SystemExit(f"{python!r} could not be asked which peers it has: {asked.stderr.strip()[-200:]}")
    found: dict[str, str] = json.loads(asked.stdout)
    return found
