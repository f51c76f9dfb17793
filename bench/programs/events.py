"""Durable events a second: many runs at once on one SQLite file, each with ten tool steps.

`SIZE` is how many. An event counts when its reader got it with a place in the log, so after it was synced. What
the disk does with one event a commit stands beside: the quotient says what committing in groups brings.
"""

import asyncio
import json
import os
import sys
import time

from holdfast import Agent, Runtime, tool

from .stores import lone_commits_per_second, store_url

WARMUP = 5


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def durable_events(runtime: Runtime, agent: Agent) -> int:
    """How many durable events one run's reader was given.

    Raises:
        SystemExit: The run did not end as scripted.
    """
    run = await runtime.start(agent, "go")
    count = len([event async for event in run.events() if hasattr(event, "seq")])
    result = await run.result()
    if result.output != "Hello world":
        raise SystemExit(f"a run ended with {result!r}")
    return count


async def main(store: str) -> None:
    """Measures and prints one line."""
    runs = int(os.environ["SIZE"])
    agent = Agent("openai/tools-10", instructions="You add.", tools=[add])
    async with Runtime.open(store_url(store)) as runtime:
        for _ in range(WARMUP):
            await durable_events(runtime, agent)
        start = time.perf_counter()
        counts = await asyncio.gather(*(durable_events(runtime, agent) for _ in range(runs)))
        took = time.perf_counter() - start
    rate, lone = sum(counts) / took, lone_commits_per_second()
    print(json.dumps({"value": round(rate), "cost": f"{rate / lone:.1f} x lone", "lone": lone, "events": sum(counts)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
