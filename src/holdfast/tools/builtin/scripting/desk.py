"""Where the calls of a script arrive: counted, bounded, noted, and passed on.

What a script is not given again when it runs again is nothing: calls of tools and models are answered from the log,
its store fills as it did before, and its interpreter has no clock and no chance of its own (`Interpreter.run(seed=)`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final

import msgspec

from holdfast.errors import HoldfastError, UsageError
from holdfast.sandbox.snippets.port import Calls, SnippetResult
from holdfast.tools.binding import Tool, ToolContext
from holdfast.tools.builtin.scripting.bounds import AT_ONCE, Bounds, Over
from holdfast.tools.builtin.scripting.keeping import Store
from holdfast.tools.builtin.scripting.tracing import Stats, Trace
from holdfast.types import ToolResult, dollars

__all__ = ("LLM", "Desk")

LLM = "script_llm"
"""The tool that asks a model for a script."""
_FOUND = 20
_NAMED = 100
"""Characters of a name that is none."""
_SUMMARY = 200
"""Characters of a description in a list."""


class _Stopped(Exception):
    """Ends a script; it is no `HoldfastError`, so that the script cannot keep it."""

    def __init__(self, why: Over | HoldfastError) -> None:
        super().__init__(str(why))
        self.why = why


class _Prompt(msgspec.Struct):
    prompt: str
    context: str = ""
    max_tokens: int | None = None


class _Asked(msgspec.Struct):
    """What a call of any kind may bring; a stranger's word."""

    name: str = ""
    arguments: dict[str, Any] = {}
    keyword: str = ""
    tool: str = ""
    text: str = ""
    prompts: list[_Prompt] = []
    key: str = ""
    value: str = ""
    start: int = 0
    length: int = 0
    prefix: str = ""
    limit: int = 20


@final
class Desk:
    """Answers the calls of one script."""

    def __init__(self, context: ToolContext, bounds: Bounds, own: str) -> None:
        self._context = context
        self._bounds = bounds
        self._own = own
        """What the script's own tool is called: a script starts none."""
        self._store = Store(bounds)
        self.trace = Trace(bounds.trace)
        self.stats = Stats()

    async def run(self, running: Callable[[Calls], Awaitable[SnippetResult]]) -> SnippetResult | Over:
        """Returns how a script ended that was run with these calls, or the limit that it met in one of them.

        Raises:
            Suspended: what it called has to wait.
            Fenced, StorageError: nobody may go on here.
            IsolationMissing, SandboxError: it was not run.
        """
        try:
            return await running(self._called)
        except _Stopped as stopped:
            if isinstance(stopped.why, Over):
                return stopped.why
            raise stopped.why from stopped

    async def _called(self, kind: str, arguments: Any) -> Any:
        """Answers a call; a `UsageError` is told to the script, which may go on."""
        try:
            asked = msgspec.convert(arguments, _Asked)
        except msgspec.ValidationError as error:
            raise UsageError(f"{kind}: {error}") from None
        if kind == "log":
            self.trace.add("log", "", asked.text, "", "", 0)
            return None
        if self.stats.steps >= self._bounds.steps:
            raise _Stopped(Over("steps", f"the script made {self._bounds.steps} calls, as many as it may"))
        self.stats.steps += 1
        began = self._context.now()
        try:
            came = await self._answer(kind, asked)
        except UsageError as error:
            self._note(kind, asked, None, str(error), began)
            raise
        except HoldfastError as error:
            raise _Stopped(error) from error
        if isinstance(came, Over):
            self._note(kind, asked, None, came.message, began)
            raise _Stopped(came)
        self._note(kind, asked, came, "", began)
        return came

    def _note(self, kind: str, asked: _Asked, came: Any, error: str, began: int) -> None:
        if kind == "llm":
            return  # each is noted by itself
        if kind == "call" and came is not None and came["error"] is not None:
            came, error = None, came["content"]
        kind, _, rest = kind.partition("_")
        given = asked.arguments if kind == "call" else asked.keyword or asked.tool or asked.text
        shown = came["content"] if kind == "call" and came is not None else "" if error or kind == "store" else came
        name = asked.name if kind == "call" else rest
        took = (self._context.now() - began) // 1000
        self.trace.add("tool" if kind == "call" else kind, name, given or asked.key or asked.prefix, shown, error, took)

    async def _answer(self, kind: str, asked: _Asked) -> Any:
        match kind:
            case "call":
                return await self._call(asked)
            case "llm":
                return await self._ask(asked.prompts)
            case "discover":
                self.stats.discover_calls += 1
                return _found(self._offered, asked.keyword)
            case "describe":
                self.stats.describe_calls += 1
                return self._described(asked.tool)
            case "store_search":
                self.stats.store_ops += 1
                # In a thread: it may be half a gigabyte, and other runs go on meanwhile.
                return await asyncio.to_thread(self._store.search, asked.text, asked.limit)
            case _ if kind.startswith("store_"):
                self.stats.store_ops += 1
                return self._keep(kind, asked)
            case _:
                raise UsageError(f"there is no {kind!r} to call")

    async def _call(self, asked: _Asked) -> dict[str, Any]:
        if asked.name not in self._offered:
            text = f"there is no tool {asked.name[:_NAMED]!r} for a script: discover() says which there are"
            return {"content": text, "error": "unsupported_tool"}
        self.stats.tool_calls += 1
        return _came(await self._context.call(asked.name, asked.arguments))

    # ---- tools --------------------------------------------------------------------------------------------

    @property
    def _offered(self) -> Mapping[str, Tool]:
        hidden = {self._own, *(each.spec.name for tool in self._context.tools.values() for each in tool.inner)}
        return {
            name: each for name, each in self._context.tools.items() if name not in hidden and not each.spec.terminal
        }

    def _described(self, name: str) -> dict[str, Any]:
        if (tool := self._offered.get(name)) is None:
            raise UsageError(f"there is no tool {name[:_NAMED]!r} for a script: discover() says which there are")
        return {"name": name, "description": tool.spec.description, "parameters": tool.spec.parameters}

    def _keep(self, kind: str, asked: _Asked) -> Any:
        store = self._store
        match kind:
            case "store_write":
                return store.write(asked.key, asked.value)
            case "store_read":
                return store.read(asked.key)
            case "store_read_range":
                return store.read_range(asked.key, asked.start, asked.length)
            case "store_list":
                return store.list(asked.prefix)
            case "store_delete":
                return store.delete(asked.key)
            case _:
                raise UsageError(f"there is no {kind!r} to call")

    # ---- models -------------------------------------------------------------------------------------------

    async def _ask(self, prompts: list[_Prompt]) -> list[dict[str, Any]] | Over:
        """Asks a model, for each prompt once, and returns the answers in their order.

        What each may use is settled before the first begins: it is part of the call, and must be the same again. All
        together they get what is left, so that they stay within it however many of them run at once.
        """
        bounds, stats = self._bounds, self.stats
        if not bounds.llm_calls:
            return Over("llm", "a light script asks no model: call llm_call or llm_batch by these names")
        if not prompts:
            return []
        if stats.llm_calls + len(prompts) > bounds.llm_calls:
            return Over("llm_calls", f"a script may ask a model {bounds.llm_calls} times")
        if (left := bounds.llm_tokens - stats.llm_tokens_used) < len(prompts):
            return Over("llm_tokens", f"the script's models used {stats.llm_tokens_used} tokens, as many as they may")
        if stats.llm_cost_usd >= bounds.llm_dollars:
            return Over("llm_dollars", f"the script's models cost ${stats.llm_cost_usd:.2f}, as much as they may")
        stats.llm_calls += len(prompts)
        share = left // len(prompts), (bounds.llm_dollars - stats.llm_cost_usd) / len(prompts)
        places = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._one(each, share, places) for each in prompts), return_exceptions=True)
        said: list[dict[str, Any]] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            said.append(answer)
        return said

    async def _one(self, prompt: _Prompt, share: tuple[int, float], places: asyncio.Semaphore) -> dict[str, Any]:
        arguments = {
            "prompt": f"{prompt.context}\n\n{prompt.prompt}" if prompt.context else prompt.prompt,
            "max_tokens": prompt.max_tokens,
            "tokens": share[0],
            "dollars": share[1],
        }
        async with places:  # which are given in order, so that each call has the same number when it is made again
            began = self._context.now()
            result = await self._context.call(LLM, arguments)
        used, cost = result.metadata.get("tokens", 0), result.metadata.get("cost")
        self.stats.llm_tokens_used += used
        self.stats.llm_cost_usd += dollars(cost or 0)
        took = (self._context.now() - began) // 1000
        error = result.content if result.error else ""
        self.trace.add("llm", "", prompt.prompt, "" if error else result.content, error, took)
        return _came(result)


def _came(result: ToolResult) -> dict[str, Any]:
    return {"content": result.content, "error": None if result.error is None else result.error.code}


def _found(tools: Mapping[str, Tool], keyword: str) -> list[dict[str, str]]:
    """Returns the tools that are about all of some words, those first whose names say so."""
    words = keyword.casefold().split()
    ranked: list[tuple[int, str]] = []
    for name, tool in tools.items():
        text = f"{name} {tool.spec.description}".casefold()
        if all(word in text for word in words):
            ranked.append((-sum(word in name.casefold() for word in words), name))
    ranked.sort()
    return [
        {"name": name, "description": " ".join(tools[name].spec.description.split())[:_SUMMARY]}
        for _, name in ranked[:_FOUND]
    ]
