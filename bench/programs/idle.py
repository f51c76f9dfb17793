"""Memory of a live run that waits: the slope of resident memory over many of them, in KiB a run.

Argument: `memory` or `sqlite`. Each run waits inside its tool, and somebody reads its events. `SIZE` runs are
started in ten batches; memory is read after each, and the first two batches, in which pools and caches grow,
do not count. In the end all are let go and must finish, or nothing was measured. Needs Linux's `/proc`.
"""

import asyncio
import gc
import json
import os
import sys
from pathlib import Path

from holdfast import Agent, Runtime, tool

from .stores import store_url

BATCHES = 10
SKIPPED = 2
WAITS_AT_MOST = 300.0  # seconds

let_go = asyncio.Event()
entered = asyncio.Semaphore(0)


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    entered.release()
    await let_go.wait()
    return a + b


def resident_kib() -> float:
    """Resident memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def slope(points: list[tuple[int, float]]) -> float:
    """Least-squares slope."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    up = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return up / sum((x - mean_x) ** 2 for x, _ in points)


async def live(runtime: Runtime, agent: Agent) -> str:
    """One run, its events read by the caller to the end."""
    run = await runtime.start(agent, "go")
    async for _ in run.events():
        pass
    return (await run.result()).output


async def main(store: str) -> None:
    """Measures and prints one line."""
    batch = int(os.environ["SIZE"]) // BATCHES
    agent = Agent("openai/tools-1", instructions="You add.", tools=[add])
    async with asyncio.timeout(WAITS_AT_MOST), Runtime.open(store_url(store)) as runtime:
        runs: list[asyncio.Task[str]] = []
        points: list[tuple[int, float]] = []
        for _ in range(BATCHES):
            runs += [asyncio.create_task(live(runtime, agent)) for _ in range(batch)]
            for _ in range(batch):
                await entered.acquire()
            points.append((len(runs), resident_kib()))
        let_go.set()
        outputs = await asyncio.gather(*runs)
    if set(outputs) != {"Hello world"}:
        raise SystemExit(f"the runs ended with {set(outputs)!r}")
    value = slope(points[SKIPPED:])
    print(json.dumps({"value": round(value, 2), "cost": f"{len(runs)} runs", "points": points}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
