"""An agent as the runtime knows it: a spec, and the functions it is bound to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import msgspec

from holdfast.errors import UsageError
from holdfast.models.providers.finding import split_name
from holdfast.tools.binding import Tool
from holdfast.tools.declaring import tool as declare
from holdfast.tools.resolving import find_tool
from holdfast.types import AgentSpec, Digest, Limits, digest_of

__all__ = ("BoundAgent",)


class BoundAgent:
    """A spec and its bindings; people make an `Agent`."""

    def __init__(
        self,
        model: str,
        *,
        instructions: str = "",
        tools: Iterable[Tool | Callable[..., Any] | str] = (),
        name: str = "agent",
        limits: Limits | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
    ) -> None:
        """Binds a spec.

        Args:
            model: `provider/name`.
            instructions: The system prompt.
            tools: Decorated functions, plain functions, or names of built-in tools such as `"read"`.
            name: What people call it.
            limits: How far one of its runs may go, where the run does not say.
            max_output_tokens: The most a single answer may hold.
            temperature: Sent when given.

        Raises:
            UnknownModel: the name has no provider, or nothing but one.
            UndescribableTool: a function has a parameter without a JSON Schema.
            UnknownTool: there is no built-in tool of that name.
            UsageError: two tools have one name.
        """
        split_name(model)
        self.tools = tuple(_tool(each) for each in tools)
        names = [each.spec.name for each in self.tools]
        if doubled := {each for each in names if names.count(each) > 1}:
            raise UsageError(f"two tools are called {sorted(doubled)[0]!r}: give one another name with @tool(name=...)")
        self.spec = AgentSpec(
            model=model,
            instructions=instructions,
            name=name,
            tools=tuple(each.spec for each in self.tools),
            limits=limits or Limits(),
            max_output_tokens=max_output_tokens,
            temperature=temperature,
        )

    __init__.__qualname__ = "Agent"  # a wrong call is told of the name people know

    @cached_property
    def encoded(self) -> bytes:
        """The spec as the log keeps it."""
        return msgspec.json.encode(self.spec)

    @cached_property
    def digest(self) -> Digest:
        """The spec's content address."""
        return digest_of(self.encoded)


def _tool(given: Tool | Callable[..., Any] | str) -> Tool:
    if isinstance(given, Tool):
        return given
    if isinstance(given, str):
        return find_tool(f"builtin:{given}")
    return declare(given)
