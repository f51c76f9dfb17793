"""A process that runs a script, or goes on with it: script_child.py URL"""

from __future__ import annotations

import asyncio
import sys

from tests.security.script_agents import AGENT

from holdfast import Runtime


async def main(url: str) -> None:
    async with Runtime.open(url) as runtime:
        run = await runtime.start(AGENT, "go", session="s", key="k")
        result = await run.result()
        print(result.status)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
