"""Undo: keeping and putting back a workspace of 40,000 files of 20 KiB, over the same for 10,000 (200 MB).

Argument: `overlay` or `btrfs`, the fast stores; btrfs is on an image of its own, which takes root. In each round the
same two folders with 100 files are changed in either workspace, which is then kept and put back, in turns. The value is
the larger of the two ratios of medians; `cost` is what the small workspace took. `SIZE` is how many files that has.
Below 10,000 files btrfs does grow, by some ms: a snapshot counts what one node of its tree refers to, up to 493 others.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.snapshots import plant
from holdfast.flow.clock import SystemClock
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores import btrfs, overlay
from holdfast.sandbox.timing.commands import medians, take_turns
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.types import SnapshotRef, TenantId

ROUNDS = 9
CHANGED = 100
ACTS = ("change", "keep", "put_back")
LOCAL = TenantId("local")


class Tree:
    """A workspace, changed, kept and put back over and over."""

    def __init__(self, store: SnapshotStore, root: Path) -> None:
        self.workspace = Workspace(root)
        self._store = store
        self._files: list[Path] = []
        self._kept: list[SnapshotRef] = []

    async def plant(self, files: int) -> None:
        """Makes it; the first state that is put back is this one."""
        await self._store.capture(self.workspace)  # while it is empty: some stores make it something else first
        self._files = plant(self.workspace.root, files)[:CHANGED]
        self._kept.append(await self._store.capture(self.workspace))

    async def change(self) -> None:
        """Changes some files, which nobody times."""
        for file in self._files:
            with file.open("ab") as end:
                end.write(b"changed")

    async def keep(self) -> None:
        """Takes a snapshot."""
        self._kept.append(await self._store.capture(self.workspace))

    async def put_back(self) -> None:
        """Goes back to the state before the last."""
        await self._store.restore(self.workspace, self._kept[-2])
        del self._kept[-1]


@contextmanager
def image(place: Path) -> Generator[Path]:
    """Yields a folder on btrfs.

    Raises:
        SystemExit: none can be made here.
    """
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        raise SystemExit("an image with btrfs takes root, and the package btrfs-progs")
    at = place / "btrfs"
    at.mkdir()
    with (place / "image").open("wb") as file:
        file.truncate(2 << 30)
    for command in (["mkfs.btrfs", "-q", place / "image"], ["mount", "-o", "loop", place / "image", at]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"no image with btrfs can be mounted: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


async def measure(name: str, place: Path) -> None:
    """Measures and prints one line."""
    database = await Database.open(str(place / "blobs.db"), (BLOBS,))
    blobs = SqliteBlobStore(database, SystemClock())
    module = overlay if name == "overlay" else btrfs
    if (why := module.probe(place / "store")) is not None:
        raise SystemExit(f"the store {name!r} does not work here: {why}")
    kind = overlay.OverlaySnapshots if name == "overlay" else btrfs.BtrfsSnapshots
    store = kind(place / "store", blobs, LOCAL)
    trees: dict[str, Tree] = {}
    try:
        for words, files in (("large", 4 * int(os.environ["SIZE"])), ("small", int(os.environ["SIZE"]))):
            (place / words).mkdir()
            trees[words] = Tree(store, place / words)
            await trees[words].plant(files)
        os.sync()  # what was planted is not to be written out meanwhile
        acts = {f"{act} {words}": getattr(trees[words], act) for words in trees for act in ACTS}
        took = medians(await take_turns(acts, ROUNDS))
    finally:
        if isinstance(store, overlay.OverlaySnapshots):
            for each in trees.values():
                await store.release(each.workspace)
        await database.close()
    ratios = [took[f"{act} large"] / took[f"{act} small"] for act in ("keep", "put_back")]
    cost = f"{took['keep small']:.1f} + {took['put_back small']:.1f} ms"
    print(json.dumps({"value": round(max(ratios), 3), "cost": cost, "ratios": ratios, "ms": took}))


def main(name: str) -> None:
    """Measures in a folder on a disk."""
    with tempfile.TemporaryDirectory(prefix="undo-", dir=os.environ["BENCH_DATA"]) as folder:
        place = Path(folder).resolve()
        if name == "overlay":
            asyncio.run(measure(name, place))
        else:
            with image(place) as at:
                asyncio.run(measure(name, at))


if __name__ == "__main__":
    main(sys.argv[1])
