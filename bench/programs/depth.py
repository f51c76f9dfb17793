"""Forks of forks: how long reading a session takes that was forked `SIZE` times, one fork from the other, over a flat
one of that length.

Both are made by a real runtime on SQLite, with three prompts between each two forks, and read whole; the figure is the
quotient of the medians for each event, which take turns. The store is made once for all rounds.
"""

import asyncio
import json
import os
import statistics
import time
from pathlib import Path

from holdfast import Agent, Runtime
from holdfast.engine.events import CODEC
from holdfast.journal.reading import read_events
from holdfast.types import StreamId

DEPTH = int(os.environ["SIZE"])
READS = 15
BETWEEN = 3  # prompts


async def seconds_to_read(runtime: Runtime, session: str) -> tuple[float, int]:
    """How long it takes to read all events, and how many there are."""
    start = time.perf_counter()
    events = [event async for event in read_events(runtime.journal, StreamId(f"local/{session}"), CODEC)]
    return time.perf_counter() - start, len(events)


async def build(runtime: Runtime) -> None:
    """Makes the two sessions."""
    agent, made = Agent("openai/hello", instructions="You greet."), 0
    for number in range(DEPTH):
        for _ in range(BETWEEN):
            await (await runtime.start(agent, "go", session=f"deep-{number}")).result()
            made += 1
        await runtime.fork(f"deep-{number}", name=f"deep-{number + 1}")
    for _ in range(made):
        await (await runtime.start(agent, "go", session="flat")).result()


async def main() -> None:
    """Measures and prints one line."""
    file = Path(os.environ["BENCH_DATA"]) / f"depth-{DEPTH}.db"
    built = file.with_suffix(".done")
    async with Runtime.open(f"sqlite:///{file}") as runtime:
        if not built.exists():
            await build(runtime)
            built.touch()
        sessions = (f"deep-{DEPTH}", "flat")
        reads = [[await seconds_to_read(runtime, session) for session in sessions] for _ in range(READS)]
    deep, flat = (statistics.median(took / events for took, events in side) for side in zip(*reads, strict=True))
    events = reads[0][0][1]
    print(json.dumps({"value": round(deep / flat, 3), "cost": f"{deep * events * 1e3:.1f} ms", "events": events}))


if __name__ == "__main__":
    asyncio.run(main())
