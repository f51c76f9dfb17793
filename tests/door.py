"""The agent's door on a real server, and a client that reads its streams as curl would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from tests.running import MODEL, Scene, scene
from tests.serving import Serving, serving

from holdfast import Agent
from holdfast.runtime.bound import BoundAgent
from holdfast.server.access.port import Access
from holdfast.server.doors.agentops.desk import Daemon
from holdfast.server.doors.agentops.routes import ROUTES
from holdfast.server.parts import Bounds
from holdfast.testing.scripts import Script
from holdfast.types import Control

__all__ = ("Door", "Frames", "door", "events_of")


@dataclass
class Frames:
    """A stream that is being read."""

    answer: aiohttp.ClientResponse
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    ids: list[str] = field(default_factory=list[str])
    """Of each event; empty where it has none."""
    beats: int = 0

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yields events as they come."""
        data, id = "", ""
        async for raw in self.answer.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("data: "):
                data = line[6:]
            elif line.startswith("id: "):
                id = line[4:]
            elif line.startswith(":"):
                self.beats += 1
            elif not line and data:
                self.events.append(json.loads(data))
                self.ids.append(id)
                data = id = ""
                yield self.events[-1]

    async def until(self, kind: str) -> dict[str, Any]:
        """Reads up to an event of a type."""
        async for event in self:
            if event["type"] == kind:
                return event
        raise AssertionError(f"no {kind} in {[each['type'] for each in self.events]}")

    async def all(self) -> list[dict[str, Any]]:
        """Reads to the end."""
        async for _ in self:
            pass
        return self.events


@dataclass
class Door:
    """The door that is open, and what is behind it."""

    s: Scene
    served: Serving

    @property
    def client(self) -> aiohttp.ClientSession:
        return self.served.client

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Returns the status and the JSON of an answer."""
        async with self.client.request(method, path, **more) as answer:
            assert answer.status == 204 or answer.content_type == "application/json", await answer.text()
            return answer.status, None if answer.status == 204 else await answer.json()

    async def prompt(self, words: str, **more: Any) -> tuple[int, Any]:
        return await self.ask("POST", "/prompt", json={"prompt": words, **more})

    @asynccontextmanager
    async def stream(
        self, words: str = "", path: str = "/prompt/stream", last: str = "", **more: Any
    ) -> AsyncGenerator[Frames]:
        """Opens a stream: of a prompt where there are words, else of what there is."""
        headers = {"Last-Event-ID": last} if last else {}
        body = {"prompt": words, **more} if words else None
        async with self.client.request("POST" if words else "GET", path, headers=headers, json=body) as answer:
            assert answer.status == 200, await answer.text()
            yield Frames(answer)

    async def idle(self) -> None:
        """Returns once the agent is not busy."""
        await self.until(lambda: self.ask("GET", "/status"), lambda said: not said["busy"])

    async def until(self, ask: Callable[[], Awaitable[tuple[int, Any]]], holds: Callable[[Any], bool]) -> None:
        """Asks again until something is so."""
        while not holds((await ask())[1]):  # noqa: ASYNC110 - a client can do nothing else
            await asyncio.sleep(0.01)


async def events_of(door: Door, words: str, **more: Any) -> list[dict[str, Any]]:
    """Returns what a prompt's stream holds."""
    async with door.stream(words, **more) as frames:
        return await frames.all()


@asynccontextmanager
async def door(
    script: Script,
    agent: Callable[[], Agent] | Agent | None = None,
    *,
    titles: BoundAgent | None = None,
    control: Control | None = None,
    access: Access | None = None,
    bounds: Bounds | None = None,
    workspace: str = "",
    seconds: float = 20,
    before: Callable[[Scene], Awaitable[None]] | None = None,
    **more: Any,
) -> AsyncGenerator[Door]:
    """Opens the door of an agent called `coder`."""
    async with scene(script, seconds=seconds, **more) as s:
        made = agent() if callable(agent) else agent or Agent(MODEL)
        if before is not None:
            await before(s)
        async with serving(runtime=s.runtime, routes=ROUTES, access=access, bounds=bounds) as served:
            served.service.parts[Daemon] = Daemon(
                name="coder", agent=made, titles=titles, workspace=workspace, control=control or Control()
            )
            yield Door(s, served)
