"""`python -m bench.snapshots`: how long it takes to keep, compare, restore and clone a workspace; writes JSON.

A workspace of `--files` files of 20 KiB each is made in a folder of its own, on the disk of `--folder`. Each figure is
the median of `--rounds`, in ms, next to that of looking at each file once (`floor`): no store that looks can be faster.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from holdfast.flow.clock import SystemClock
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores import btrfs, overlay
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.types import TenantId

__all__ = ("AIMS", "main", "measure")

AIMS = {"unchanged": 30.0}
"""ms that a figure is to stay within, for the store `tree` and 10,000 files."""
_SIZE = 20 * 1024
_LOCAL = TenantId("local")


def plant(root: Path, files: int) -> list[Path]:
    """Makes the files, 50 in a folder and ten folders in each of those above."""
    chance = random.Random(7)
    made: list[Path] = []
    for number in range(files):
        folder = root / f"d{number // 500}" / f"e{number // 50}"
        if number % 50 == 0:
            folder.mkdir(parents=True)
        made.append(folder / f"module_{number % 50}.py")
        made[-1].write_bytes(chance.randbytes(_SIZE))
    return made


def look(folders: dict[Path, list[str]]) -> None:
    """Looks at each file once, as cheaply as Python can: by its name in an open folder."""
    for folder, names in folders.items():
        descriptor = os.open(folder, os.O_RDONLY)
        for name in names:
            os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        os.close(descriptor)


async def timed(act: Awaitable[object]) -> float:
    start = time.perf_counter()
    await act
    return (time.perf_counter() - start) * 1000


async def measure(store: SnapshotStore, root: Path, files: int, rounds: int) -> dict[str, float]:
    """Returns each figure in ms; `root` is an empty folder in which the store can work."""
    workspace = Workspace(root)
    made = plant(root, files)
    folders: dict[Path, list[str]] = {}
    for file in made:
        folders.setdefault(file.parent, []).append(file.name)
    await asyncio.sleep(0.2)  # times have to be told apart
    figures: dict[str, list[float]] = {}

    async def note(name: str, act: Awaitable[object]) -> None:
        figures.setdefault(name, []).append(await timed(act))

    await note("first", store.capture(workspace))
    await asyncio.sleep(0.2)
    before = await store.capture(workspace)
    for number in range(rounds):
        start = time.perf_counter()
        look(folders)
        figures.setdefault("floor", []).append((time.perf_counter() - start) * 1000)
        await note("unchanged", store.capture(workspace))
        for file in made[:: max(1, files // 100)][:100]:
            with file.open("ab") as end:
                end.write(b"%d" % number)
        await note("changes", store.changes(workspace, before))
        await note("dirty100", store.capture(workspace))
        await note("restore100", store.restore(workspace, before))
        await asyncio.sleep(0.1)
        before = await store.capture(workspace)
    target = root.with_name("clone")
    for _ in range(min(rounds, 3)):
        target.mkdir()
        await note("clone", store.clone(before, Workspace(target)))
        if isinstance(store, overlay.OverlaySnapshots):
            await store.release(Workspace(target))
        shutil.rmtree(target)
    if isinstance(store, overlay.OverlaySnapshots):
        await store.release(workspace)
    return {name: round(statistics.median(values), 2) for name, values in figures.items()}


async def run(folder: Path, files: int, rounds: int) -> dict[str, dict[str, float] | str]:
    """Measures every store that works in the folder; of the others says why not."""
    found: dict[str, dict[str, float] | str] = {}
    for name, reason in (("tree", None), ("overlay", overlay.probe(folder)), ("btrfs", btrfs.probe(folder))):
        if reason is not None:
            found[name] = reason
            continue
        place = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
        (place / "workspace").mkdir()
        database = await Database.open(str(place / "blobs.db"), (BLOBS,))
        blobs = SqliteBlobStore(database, SystemClock())
        stores: dict[str, Callable[[], SnapshotStore]] = {
            "tree": lambda blobs=blobs: TreeSnapshots(blobs, _LOCAL),
            "overlay": lambda blobs=blobs, place=place: overlay.OverlaySnapshots(place / "layers", blobs, _LOCAL),
            "btrfs": lambda blobs=blobs, place=place: btrfs.BtrfsSnapshots(place / "snapshots", blobs, _LOCAL),
        }
        try:
            store = stores[name]()
            if name == "btrfs":
                await store.capture(Workspace(place / "workspace"))  # while it is empty: it becomes a subvolume
            found[name] = await measure(store, place / "workspace", files, rounds)
        finally:
            await database.close()
            shutil.rmtree(place, ignore_errors=True)
    return found


def main() -> int:
    """Prints the figures; the exit code is 1 when an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.snapshots", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    figures = asyncio.run(run(options.folder, options.files, options.rounds))
    tree = figures["tree"]
    missed = [name for name, aim in AIMS.items() if isinstance(tree, dict) and tree[name] > aim]
    print(json.dumps({"files": options.files, "unit": "ms p50", "stores": figures, "missed": missed}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
