"""How everything here is measured: CPU of this process per run, beside wall time and peak memory.

A program hands over an async context manager that yields one async callable; calling it does one run and
returns the final text *as its caller saw it stream by*. What is measured is only the runs: building the
client, the warm-up runs and closing lie outside. The text is compared with what the model server said, so
a program that is fast because it does less fails instead of winning. Standard library only: peers run this
in an interpreter of their own.

Read from the environment: `CASE`, `STUB` (address of the model server), `RUNS`, `CONC`, `WARMUP`.
"""

import asyncio
import json
import os
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

__all__ = ("BASE", "CASE", "CONC", "MODEL", "RUNS", "expected_text", "measure")

Run = Callable[[], Awaitable[str]]

SCRIPTS = {
    "hello": "hello",
    "tools10": "tools-10",
    "stream1000": "stream-1000",
    "tools100": "tools-100",
    "tools10-sync": "tools-10",
    "tools10-unsafe": "tools-10",
}
DEFAULT_RUNS = {"hello": 1000, "tools10": 100, "stream1000": 120, "tools100": 16}
VARIANT = 100  # runs of a case that differs from another one by its tool

BASE = os.environ.get("STUB", "http://127.0.0.1:8399/v1")
CASE = os.environ.get("CASE", "hello")
MODEL = SCRIPTS[CASE]
RUNS = int(os.environ.get("RUNS", DEFAULT_RUNS.get(CASE, VARIANT)))
CONC = int(os.environ.get("CONC", "8"))
WARMUP = int(os.environ.get("WARMUP", "5"))


def expected_text() -> str:
    """The final text the model server's script gives for this case."""
    kind, _, count = MODEL.partition("-")
    return "".join(f"word{i} " for i in range(int(count))) if kind == "stream" else "Hello world"


def measure(
    name: str,
    open_client: Callable[[], AbstractAsyncContextManager[Run]],
    *,
    runs: int = RUNS,
    concurrency: int = CONC,
) -> None:
    """Measure `runs` runs, at most `concurrency` at once, and print one JSON line.

    Raises:
        SystemExit: A run ended with another text than the script's.
    """
    cpu, wall, texts = asyncio.run(_go(open_client, runs, concurrency))
    wrong = [text for text in texts if text.strip() != expected_text().strip()]
    if wrong:
        raise SystemExit(f"{name}: {len(wrong)} of {runs} runs of {CASE!r} gave a wrong text, first {wrong[0][:80]!r}")
    print(
        json.dumps(
            {
                "peer": name,
                "case": CASE,
                "runs": runs,
                "conc": concurrency,
                "cpu_ms_per_run": round(cpu / runs * 1e3, 4),
                "wall_ms_per_run": round(wall / runs * 1e3, 4),
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "out": texts[0][:24],
            }
        )
    )


async def _go(
    open_client: Callable[[], AbstractAsyncContextManager[Run]], runs: int, concurrency: int
) -> tuple[float, float, list[str]]:
    """CPU seconds, wall seconds and the texts of all runs."""
    async with open_client() as run:
        for _ in range(WARMUP):
            await run()
        turn = asyncio.Semaphore(concurrency)

        async def one() -> str:
            async with turn:
                return await run()

        cpu, wall = time.process_time(), time.perf_counter()
        texts = await asyncio.gather(*(one() for _ in range(runs)))
        return time.process_time() - cpu, time.perf_counter() - wall, texts
