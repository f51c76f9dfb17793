"""Holdfast runs the cases: `memory` or `sqlite` says where its log is; each run is a session of its own.

Nothing is tuned: the tool is declared as in the first example anybody sees, as one that changes nothing, and SQLite
syncs every commit. `tools10-sync` has a plain function instead, and `tools10-unsafe` a tool of which nothing is known,
so that every call waits until the log is on the disk.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from holdfast import Agent, Runtime, tool

from ..floor.measure import CASE, MODEL, Run, measure
from .stores import store_url


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(name="add", effect="none")
def add_sync(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(name="add")
async def add_unsafe(a: int, b: int) -> int:
    """Add."""
    return a + b


_TOOLS = {"tools10-sync": add_sync, "tools10-unsafe": add_unsafe}


@asynccontextmanager
async def open_client(url: str) -> AsyncGenerator[Run]:
    """One agent and one runtime for all runs."""
    agent = Agent(f"openai/{MODEL}", instructions="You add.", tools=[_TOOLS.get(CASE, add)])
    async with Runtime.open(url) as runtime:

        async def run() -> str:
            run = await runtime.start(agent, "go")
            text = "".join([event.text async for event in run.events() if event.type == "text.delta"])
            result = await run.result()
            if result.output != text:
                raise SystemExit(f"streamed {text[:80]!r}, but the result is {result!r}")
            return text

        yield run


def main(store: str) -> None:
    """Measures with a log in memory or in a file."""
    measure(store, lambda: open_client(store_url(store)))


if __name__ == "__main__":
    main(sys.argv[1])
