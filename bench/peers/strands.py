"""Strands Agents: `stream_async`, text from its data events. An agent keeps its history, so each run makes one."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from strands import Agent, tool
from strands.models.openai import OpenAIModel

from bench.floor.measure import BASE, CASE, MODEL, Run, measure


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(name="add")
def add_sync(a: int, b: int) -> int:
    """Add."""
    return a + b


@asynccontextmanager
async def open_client() -> AsyncGenerator[Run]:
    """One model for all runs."""
    model = OpenAIModel(client_args={"base_url": BASE, "api_key": "stub"}, model_id=MODEL)
    tools = [add_sync if CASE.endswith("sync") else add]

    async def run() -> str:
        agent = Agent(model, system_prompt="You add.", tools=tools, callback_handler=None)
        return "".join([event["data"] async for event in agent.stream_async("go") if "data" in event])

    yield run


if __name__ == "__main__":
    measure("strands", open_client)
