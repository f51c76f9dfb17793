"""Fork: how long a branch from the middle of a long session takes in the log, in ms.

`SIZE` is how many events the session has; the run that `resume` uses is forked, by a real runtime on SQLite, at events
all over it. The figure is the median of what the log needs, which does not depend on the length; `cost` says what the
whole of `Runtime.fork` takes, with the search for snapshots, which reads the log once.
"""

import asyncio
import json
import os
import shutil
import statistics
import time
from pathlib import Path

from bench.programs.resume import SESSION, killed_run
from holdfast import Runtime

FORKS = 21


async def fork() -> None:
    """Measures and prints one line."""
    copy = Path(os.environ["BENCH_DATA"]) / f"fork-{os.getpid()}"
    shutil.copytree(killed_run(), copy, ignore=shutil.ignore_patterns("*-shm"))
    in_the_log: list[float] = []
    whole: list[float] = []
    async with Runtime.open(f"sqlite:///{copy / 'log.db'}") as runtime:
        journal_fork = runtime.journal.fork

        async def timed(*args: object) -> object:
            start = time.perf_counter()
            try:
                return await journal_fork(*args)  # type: ignore[arg-type]
            finally:
                in_the_log.append((time.perf_counter() - start) * 1e3)

        runtime.journal.fork = timed  # type: ignore[method-assign, assignment]
        head = await runtime.journal.head(f"local/{SESSION}")  # type: ignore[arg-type]
        for number in range(1, FORKS + 1):
            start = time.perf_counter()
            await runtime.fork(SESSION, at=head.seq * number // FORKS)  # type: ignore[union-attr]
            whole.append((time.perf_counter() - start) * 1e3)
    shutil.rmtree(copy)
    cost = f"{statistics.median(whole):.0f} ms"
    print(json.dumps({"value": round(statistics.median(in_the_log), 2), "cost": cost}))


if __name__ == "__main__":
    asyncio.run(fork())
