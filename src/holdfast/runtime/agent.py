"""An agent, as people make and run one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import final

from holdfast.errors import UsageError
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.run import RunResult
from holdfast.runtime.runtime import Runtime
from holdfast.tools.typed.describing import Value
from holdfast.types import Limits, UserPart

__all__ = ("Agent",)


@final
class Agent(BoundAgent[Value]):
    """What to ask which model, and what it may use.

    Example:
        ```python
        from holdfast import Agent, tool

        @tool
        def add(a: int, b: int) -> int:
            "Add two numbers."
            return a + b

        agent = Agent("openai/gpt-5-mini", instructions="You add.", tools=[add])
        ```
    """

    async def run(self, text: str | Sequence[str | UserPart], *, limits: Limits | None = None) -> RunResult[Value]:
        """Returns the result of one run that nothing remembers; use a `Runtime` for one that must survive.

        `text` is text, or a sequence of text, `Image` and `Document` parts.
        """
        async with Runtime.open("memory:") as runtime:
            run = await runtime.start(self, text, limits=limits)
            return await run.result()

    def run_sync(self, text: str | Sequence[str | UserPart], *, limits: Limits | None = None) -> RunResult[Value]:
        """Returns the result of one run, for programs without an event loop; `text` is as `run` takes it.

        Its log is in memory and gone with it: `session` in the result leads nowhere. `Runtime.open` keeps one.

        Raises:
            UsageError: an event loop is running in this thread.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(text, limits=limits))
        raise UsageError("run_sync was called inside an event loop: write `await agent.run(...)` there")
