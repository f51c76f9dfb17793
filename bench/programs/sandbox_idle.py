"""Memory of a sandbox that idles: the slope of proportional memory (PSS) over many of them, in KiB a sandbox.

Counted are the launcher and everything below it; what the kernel keeps for mounts and namespaces is not. `SIZE` of them
are made in ten batches and left as a runtime leaves them after a command; memory is read after each, and the first two
batches do not count. `cost` says how many processes one is. Needs Linux's `/proc`.
"""

import asyncio
import json
import os
import tempfile
from pathlib import Path

from bench.programs.idle import BATCHES, SKIPPED, slope
from holdfast.sandbox.backends.choosing import open_backend
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.timing.commands import Commands


def below(pid: int) -> list[int]:
    """Every process that this one started, and those started."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text(encoding="ascii").split()):
            found += [child, *below(child)]
    return found


def pss_kib(pids: list[int]) -> float:
    """Memory of processes, what several share counted once."""
    total = 0.0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                total += float(line.split()[1])
    return total


async def measure(workspace: Path) -> None:
    """Measures and prints one line."""
    batch = int(os.environ["SIZE"]) // BATCHES
    backend = await open_backend(Profile(backend="native"))
    points: list[tuple[int, float]] = []
    processes: list[tuple[int, float]] = []
    try:
        for number in range(1, BATCHES + 1):
            for _ in range(batch):
                await Commands(backend, workspace).warm()
            pids = below(os.getpid())
            points.append((number * batch, pss_kib(pids)))
            processes.append((number * batch, len(pids)))
    finally:
        await backend.close()
    each = slope(processes[SKIPPED:])
    value = slope(points[SKIPPED:])
    print(json.dumps({"value": round(value, 1), "cost": f"{each:.1f} processes", "points": points}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sandbox-", dir=os.environ["BENCH_DATA"]) as folder:
        asyncio.run(measure(Path(folder).resolve()))
