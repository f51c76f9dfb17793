"""OpenAI Agents SDK: `Runner.run_streamed`, text from the raw response events."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    RawResponsesStreamEvent,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

from bench.floor.measure import BASE, CASE, MODEL, Run, measure


@function_tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@function_tool(name_override="add")
def add_sync(a: int, b: int) -> int:
    """Add."""
    return a + b


@asynccontextmanager
async def open_client() -> AsyncGenerator[Run]:
    """One agent and one vendor client for all runs."""
    set_tracing_disabled(True)
    async with AsyncOpenAI(base_url=BASE, api_key="stub") as client:
        agent = Agent(
            name="adder",
            instructions="You add.",
            tools=[add_sync if CASE.endswith("sync") else add],
            model=OpenAIChatCompletionsModel(MODEL, client),
        )

        async def run() -> str:
            result = Runner.run_streamed(agent, "go", max_turns=1000)
            raw = [e.data async for e in result.stream_events() if isinstance(e, RawResponsesStreamEvent)]
            return "".join(data.delta for data in raw if isinstance(data, ResponseTextDeltaEvent))

        yield run


if __name__ == "__main__":
    measure("openai-agents", open_client)
