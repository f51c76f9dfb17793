"""Agno: `arun` with streamed events, text from the content events."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from agno.agent import Agent, RunContentEvent
from agno.models.openai import OpenAIChat

from bench.floor.measure import BASE, CASE, MODEL, Run, measure


async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def add_sync(a: int, b: int) -> int:
    """Add."""
    return a + b


add_sync.__name__ = "add"


@asynccontextmanager
async def open_client() -> AsyncGenerator[Run]:
    """One agent for all runs, without a database."""
    agent = Agent(
        model=OpenAIChat(id=MODEL, base_url=BASE, api_key="stub"),
        instructions="You add.",
        tools=[add_sync if CASE.endswith("sync") else add],
        telemetry=False,
    )

    async def run() -> str:
        events = agent.arun("go", stream=True, stream_events=True)
        return "".join([str(e.content) async for e in events if isinstance(e, RunContentEvent) and e.content])

    yield run


if __name__ == "__main__":
    measure("agno", open_client)
