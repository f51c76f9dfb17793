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

    Args:
        model: `provider/name`, an alias or a tier, with a level of thinking (`:high`); commas part stand-ins.
        instructions: The system prompt.
        tools: Decorated functions, plain functions, or names of built-in tools such as `"read"`.
        name: What people call it.
        limits: How far a run may go that does not say it itself.
        max_output_tokens: The most a single answer may hold.
        temperature: Sent when given.
        thinking: off, minimal, low, medium, high or xhigh; a model that has no such level takes the next lower one.
        provider_tools: What the provider runs itself, such as its search of the web, by the provider's own word.
        options: Fields of the provider's own that each request carries.
        output: The type of its answers, or a JSON Schema. One that does not fit is asked for once more.
        output_mode: By the provider's form (`native`), a call (`tool`), in words (`text`), or what suits (`auto`).
        key: Text, or a function that gives it, perhaps by provider; it goes before every other and stays in here.
        headers: What each request carries beside what is sent anyway; they stay in this process, too.
        tools_shown: How many of its tools a request carries; with more, those that fit, and one to find others.
        messages_shown: How many messages a request carries, the newest, from where somebody spoke; all without.
        roles: What it is among those that the runtime's policy speaks of.
        allowed_tools: Tools of its that it may call whatever its roles are; what is blocked stays blocked.
        execution: How it has to work: tools it must use, what comes of repeats, whether one tool is enough.

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
