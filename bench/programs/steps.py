"""Whether a step gets dearer as the history grows: CPU of late steps over early ones in long runs.

The bytes of a longer request cost CPU whoever sends them, so what plain posts of the two lengths differ by, put
together from kept bytes and sent, is taken off. 1 is flat. `SIZE` is how many steps; the first and the last tenth
are compared, over a few runs, by their lower quartiles, because a busy machine only ever adds.
"""

import asyncio
import json
import os
import statistics
import time
from itertools import pairwise

import aiohttp

from holdfast import Agent, Limits, Runtime, tool

STEPS = int(os.environ["SIZE"])
TENTH = STEPS // 10
MESSAGES = [b'"' + b"x" * 93 + b'",'] * 2  # about as long as a call and its result
RUNS = 3
POSTS = 100

cpu_at: list[float] = []


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    cpu_at.append(time.process_time())
    return a + b


def low(took: list[float]) -> float:
    """Lower quartile."""
    return statistics.quantiles(took, n=4)[0]


async def post_seconds(steps: int) -> float:
    """CPU to put the messages of so many steps together, send them and read a one-step answer."""
    kept = MESSAGES * steps
    took: list[float] = []
    async with aiohttp.ClientSession() as session:
        for _ in range(POSTS):
            start = time.process_time()
            body = b'{"model":"tools-1","stream":true,"pad":[' + b"".join(kept) + b"0]}"
            async with session.post(os.environ["STUB"] + "/chat/completions", data=body) as response:
                await response.read()
            took.append(time.process_time() - start)
    return low(took)


async def step_seconds(runtime: Runtime, agent: Agent) -> list[float]:
    """CPU of each step of one run, from call to call.

    Raises:
        SystemExit: The run did not end as scripted.
    """
    cpu_at.clear()
    run = await runtime.start(agent, "go")
    async for _ in run.events():
        pass
    result = await run.result()
    if result.output != "Hello world" or len(cpu_at) != STEPS:
        raise SystemExit(f"{len(cpu_at)} of {STEPS} steps were made, and the run ended with {result!r}")
    return [later - earlier for earlier, later in pairwise(cpu_at)]


async def main() -> None:
    """Measures and prints one line."""
    agent = Agent(f"openai/tools-{STEPS}", instructions="You add.", tools=[add], limits=Limits(steps=None))
    async with Runtime.open("memory:") as runtime:
        runs = [await step_seconds(runtime, agent) for _ in range(RUNS)]
    early = low([took for run in runs for took in run[:TENTH]])
    late = low([took for run in runs for took in run[-TENTH:]])
    sent = await post_seconds(STEPS - TENTH // 2) - await post_seconds(TENTH // 2)
    cost = f"{early * 1e3:.2f} - {late * 1e3:.2f} ms"
    print(
        json.dumps({"value": round((late - sent) / early, 3), "cost": cost, "early": early, "late": late, "sent": sent})
    )


if __name__ == "__main__":
    asyncio.run(main())
