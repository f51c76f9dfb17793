"""Snapshot: how long it takes to see that nothing changed in a workspace, in ms.

`SIZE` is how many files of 20 KiB there are; the store is the portable one, its blobs in SQLite. `cost` is the first
capture, which reads them all. `python -m bench.snapshots` has the figures of all stores, of restores and of clones.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path

from bench.snapshots import measure
from holdfast.flow.clock import SystemClock
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.types import TenantId


async def snapshot() -> None:
    """Measures and prints one line."""
    place = Path(os.environ["BENCH_DATA"]) / f"snapshot-{os.getpid()}"
    (place / "workspace").mkdir(parents=True)
    database = await Database.open(str(place / "blobs.db"), (BLOBS,))
    try:
        store = TreeSnapshots(SqliteBlobStore(database, SystemClock()), TenantId("local"))
        figures = await measure(store, place / "workspace", int(os.environ["SIZE"]), 9)
    finally:
        await database.close()
        shutil.rmtree(place)
    print(json.dumps({"value": figures["unchanged"], "cost": f"{figures['first']:.0f} ms"}))


if __name__ == "__main__":
    asyncio.run(snapshot())
