"""Fair progress: `SIZE` runs at once on one SQLite file, and how many steps the last of them is behind the middle.

In its first step each waits for all others, so that they have one start. From there, at every step that any run makes
as long as none is over, it is known how many each has made; the figure is the most that the slowest was ever behind the
median. All have to end as scripted.
"""

import asyncio
import json
import os
import sys
import time
from bisect import insort

from holdfast import Agent, Runtime, tool
from holdfast.tools.binding import ToolContext

from .stores import store_url

RUNS = int(os.environ["SIZE"])
STEPS = 20

steps: dict[str, int] = {}
in_order = [0] * RUNS
behind = [0]
together = asyncio.Event()


@tool(effect="none")
async def add(a: int, b: int, context: ToolContext) -> int:
    """Add."""
    before = steps.get(context.stream, 0)
    steps[context.stream] = before + 1
    in_order.remove(before)
    insort(in_order, before + 1)
    if in_order[0] == 1 and not together.is_set():
        together.set()
    await together.wait()
    if in_order[-1] < STEPS:
        behind.append(in_order[RUNS // 2] - in_order[0])
    return a + b


async def main(store: str) -> None:
    """Measures and prints one line.

    Raises:
        SystemExit: A run did not end as scripted.
    """
    agent = Agent(f"openai/tools-{STEPS}", instructions="You add.", tools=[add])
    async with Runtime.open(store_url(store)) as runtime:
        start = time.perf_counter()
        runs = [await runtime.start(agent, "go") for _ in range(RUNS)]
        results = await asyncio.gather(*(run.result() for run in runs))
        took = time.perf_counter() - start
    if {result.output for result in results} != {"Hello world"}:
        raise SystemExit(f"the runs ended with { ({result.output for result in results})!r}")
    print(json.dumps({"value": max(behind), "cost": f"{took:.1f} s", "seen": len(behind)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
