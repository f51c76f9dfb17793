"""A real server with a scripted model behind it, and unmodified clients of providers in front of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
from tests.running import Scene, scene
from tests.serving import Serving, serving

from holdfast import Agent
from holdfast.server.access.port import Access
from holdfast.testing.scripts import Script

__all__ = ("ADD", "MODEL", "PIXEL", "Doors", "doors", "offered")

MODEL = "openai/scripted"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel, in base64."""
ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
"""The arguments of a tool that adds."""


@dataclass
class Doors:
    """The server and its clients."""

    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic
    served: Serving
    scene: Scene

    async def sessions(self) -> list[str]:
        """Returns the names of all sessions."""
        return [each.session for each in (await self.served.runtime.sessions(limit=100)).sessions]

    async def log(self, session: str) -> list[str]:
        """Returns the types of a session's events."""
        return [event.type for event in await self.scene.log(session)]


@asynccontextmanager
async def doors(
    script: Script | Mapping[str, Script],
    agents: Mapping[str, Agent[Any]] | None = None,
    *,
    access: Access | None = None,
    key: str = "nobody-looks",
    retries: int = 0,
    **more: Any,
) -> AsyncGenerator[Doors]:
    """Opens the doors."""
    async with (
        scene(script, **more) as here,
        serving(agents, runtime=here.runtime, access=access) as served,
        openai.AsyncOpenAI(api_key=key, base_url=f"{served.url}/v1", max_retries=retries) as first,
        anthropic.AsyncAnthropic(api_key=key, base_url=served.url, max_retries=retries) as second,
    ):
        yield Doors(first, second, served, here)


def offered(name: str = "add") -> Any:
    """Returns a tool as Chat Completions offers it."""
    return {"type": "function", "function": {"name": name, "description": "Adds.", "parameters": ADD}}
