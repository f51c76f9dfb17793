"""pydantic-ai: `run_stream_events`, text from part starts and deltas."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic_ai import Agent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

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
    """One agent for all runs."""
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE, api_key="stub"))
    agent = Agent(model, instructions="You add.", tools=[add_sync if CASE.endswith("sync") else add])
    limits = UsageLimits(request_limit=1000)

    async def run() -> str:
        text: list[str] = []
        async with agent.run_stream_events("go", usage_limits=limits) as events:
            async for event in events:
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    text.append(event.part.content)
                elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                    text.append(event.delta.content_delta)
        return "".join(text)

    yield run


if __name__ == "__main__":
    measure("pydantic-ai", open_client)
