"""A process that delivers what an outbox holds, for tests that kill it at any instant.

delivering_child.py STORE URL PROMISE RUNS    starts so many runs for a target that is an endpoint there, and delivers
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from holdfast import Agent, Runtime, WebhookTarget

AGENT = Agent("openai/scripted")


def target(url: str, promise: Any) -> WebhookTarget:
    """Returns the endpoint of the test's server."""
    checkable = promise == "checkable"
    return WebhookTarget(f"{url}/{promise}", promise, check=f"{url}/check/{{id}}" if checkable else "", settles=0.3)


async def main(store: str, url: str, promise: str, runs: int) -> None:
    """Starts the runs that are not there yet, resumes those that are open, and delivers."""
    async with Runtime.open(store, targets={"web": target(url, promise)}) as runtime:
        os.write(1, b"begin\n")
        for number in range(runs):
            run = await runtime.start(AGENT, "go", session=f"s{number}", key=f"k{number}", deliver=["web"])
            await run.result()
        while any(not each.dead for each in await runtime.flush_deliveries()):  # noqa: ASYNC110 - time has to pass
            await asyncio.sleep(0.05)
        os.write(1, b"end\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
