"""What a tool call costs in the gateway: admit, perform and finish of a trivial function tool, without a journal.

`call` is CPU in µs for one call, `share` the same in percent of a step of the floor's loop in the same process and
moment. The gateway is that of a run with everything a runtime gives it, and no rule, hook or secret. `SIZE` is how many
calls; the figure is the lower quartile of batches, because a busy machine only ever adds.
"""

import asyncio
import json
import os
import statistics
import sys
import time

os.environ["CASE"] = "tools10"  # before the floor reads it

from bench.floor.floor import open_client
from holdfast import Agent, Runtime, tool
from holdfast.runtime.configuring.equipment import secrets_of
from holdfast.safety.redacting import Redactor
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.types import CallId, EventId, StreamId, ToolCall, ToolResult

SIZE = int(os.environ["SIZE"])
BATCH = 100
STEPS = 10
"""Steps of one run of the floor."""
RUNS = 60
CALL = ToolCall(CallId("c1"), "add", '{"a": 1, "b": 2}')


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def one(gateway: Gateway) -> ToolResult:
    """One call, as the loop makes it."""
    admitted = gateway.admit(CALL, "3/c1")
    assert isinstance(admitted, Admitted)
    raw = await gateway.perform(admitted)
    assert isinstance(raw, ToolResult)
    return await gateway.finish(admitted, raw)


async def call_seconds() -> float:
    """CPU of one call."""
    agent = Agent("openai/gpt-5-mini", tools=[add])
    took: list[float] = []
    async with Runtime.open("memory:") as runtime:
        gateway = Gateway(
            tools=agent.named,
            stream=StreamId("local/s"),
            run=EventId("e"),
            sandbox=None,
            blobs=runtime.journal.blobs,
            agent=agent.spec.name,
            secrets=secrets_of(None, Redactor()),
        )
        for _ in range(max(2, SIZE // BATCH)):
            start = time.process_time()
            for _ in range(BATCH):
                result = await one(gateway)
            took.append((time.process_time() - start) / BATCH)
    if result.content != "3":
        raise SystemExit(f"the call came to {result!r}")
    return statistics.quantiles(took, n=4)[0]


async def step_seconds() -> float:
    """CPU of one step of the floor."""
    took: list[float] = []
    async with open_client() as run:
        await run()
        for _ in range(RUNS):
            start = time.process_time()
            await run()
            took.append((time.process_time() - start) / (STEPS + 1))
    return statistics.quantiles(took, n=4)[0]


async def main(program: str) -> None:
    """Measures and prints one line."""
    call = await call_seconds()
    if program == "call":
        print(json.dumps({"value": round(call * 1e6, 2), "cost": f"{call * 1e6:.1f} µs"}))
        return
    step = await step_seconds()
    cost = f"{call * 1e6:.1f} of {step * 1e6:.0f} µs"
    print(json.dumps({"value": round(100 * call / step, 2), "cost": cost}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
