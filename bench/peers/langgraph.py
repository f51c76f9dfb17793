"""LangGraph: LangChain's `create_agent` graph, streamed by message chunks."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from bench.floor.measure import BASE, CASE, MODEL, Run, measure


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool("add")
def add_sync(a: int, b: int) -> int:
    """Add."""
    return a + b


@asynccontextmanager
async def open_client() -> AsyncGenerator[Run]:
    """One compiled graph for all runs, without a checkpointer."""
    model = ChatOpenAI(model=MODEL, base_url=BASE, api_key="stub", streaming=True, stream_usage=True)
    graph = create_agent(model, [add_sync if CASE.endswith("sync") else add], system_prompt="You add.")
    question = {"messages": [{"role": "user", "content": "go"}]}
    config = {"recursion_limit": 10_000}

    async def run() -> str:
        text: list[str] = []
        async for chunk, _ in graph.astream(question, config, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and isinstance(chunk.content, str):
                text.append(chunk.content)
        return "".join(text)

    yield run


if __name__ == "__main__":
    measure("langgraph", open_client)
