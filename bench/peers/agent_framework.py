"""Microsoft Agent Framework: `run(stream=True)`, text from the updates."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from agent_framework import Agent, tool
from agent_framework_openai import OpenAIChatCompletionClient

from bench.floor.measure import BASE, CASE, MODEL, Run, measure


@tool(name="add", approval_mode="never_require")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(name="add", approval_mode="never_require")
def add_sync(a: int, b: int) -> int:
    """Add."""
    return a + b


@asynccontextmanager
async def open_client() -> AsyncGenerator[Run]:
    """One agent for all runs."""
    client = OpenAIChatCompletionClient(
        MODEL, base_url=BASE, api_key="stub", function_invocation_configuration={"max_iterations": 1000}
    )
    agent = Agent(client, instructions="You add.", tools=[add_sync if CASE.endswith("sync") else add])

    async def run() -> str:
        return "".join([update.text async for update in agent.run("go", stream=True)])

    yield run


if __name__ == "__main__":
    measure("agent-framework", open_client)
