"""Branches: 100 live workspaces of one state, each with a sandbox in which a command runs, in ms for all of them.

The state has 1,000 files of 20 KiB. It lies on btrfs, on an image of its own, which takes root: an overlay cannot be
shown to a sandbox's own user. The clock runs from `Sandbox.fork` until the last command has ended, with all
branches alive; `cost` says what that is for one. `SIZE` is how many.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.programs.sandbox_undo import image
from bench.snapshots import plant
from holdfast.flow.clock import SystemClock
from holdfast.sandbox.backends.choosing import open_backend
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.stores import btrfs
from holdfast.sandbox.timing.commands import Commands
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.types import TenantId

FILES = 1000
AT_ONCE = 4
"""Commands that are started at a time: more than processors, and few enough to wait for little."""
ROUNDS = 3


async def branch(sandbox: Sandbox, place: Path, number: int) -> float:
    """Returns how many ms it takes until so many have run a command; they are gone afterwards."""
    few = asyncio.Semaphore(AT_ONCE)

    async def act(commands: Commands) -> None:
        async with few:
            await commands.warm()

    begun = time.perf_counter()
    async with sandbox.fork(number, place) as branches:
        live = [Commands(sandbox.backend, each.workspace.root) for each in branches]
        await asyncio.gather(*map(act, live))
        took = (time.perf_counter() - begun) * 1000
        for each in live:
            await each.end()
    return took


async def measure(place: Path) -> None:
    """Measures and prints one line."""
    number = int(os.environ["SIZE"])
    database = await Database.open(str(place / "blobs.db"), (BLOBS,))
    store = btrfs.BtrfsSnapshots(place / "store", SqliteBlobStore(database, SystemClock()), TenantId("local"))
    (place / "state").mkdir()
    backend = await open_backend(Profile(backend="native"))
    sandbox = Sandbox(Workspace(place / "state"), backend, store)
    try:
        await store.capture(sandbox.workspace)  # while it is empty: it becomes a subvolume
        plant(sandbox.workspace.root, FILES)
        os.sync()
        took = [await branch(sandbox, place / f"round-{each}", number) for each in range(ROUNDS)]
    finally:
        await backend.close()
        await database.close()
    value = statistics.median(took)
    print(json.dumps({"value": round(value, 1), "cost": f"{value / number:.1f} ms each", "ms": took}))


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="branches-", dir=os.environ["BENCH_DATA"]) as folder,
        image(Path(folder)) as at,
    ):
        asyncio.run(measure(at.resolve()))
