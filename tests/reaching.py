"""Sessions as screens reach them: of a store, and of a real server over the same store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.running import MODEL, Scene, scene
from tests.serving import Serving, serving

from holdfast import Agent
from holdfast.cli.reaching.calling import Caller
from holdfast.cli.reaching.local import LocalSessions
from holdfast.cli.reaching.port import Sessions, Terms
from holdfast.cli.reaching.remote import RemoteSessions
from holdfast.cli.run import coder
from holdfast.server.access.port import Access
from holdfast.server.parts import Bounds
from holdfast.testing.scripts import Script
from holdfast.types import Limits, Mode

__all__ = ("CODER", "Reached", "at_server", "caller", "reaching")

CODER = coder(MODEL, Limits(steps=20), asks=True)


@dataclass
class Reached:
    """Sessions, and what is behind them."""

    sessions: Sessions
    scene: Scene
    folder: Path

    def terms(self, mode: Mode = "auto") -> Terms:
        """Returns the terms of a prompt to the agent behind `holdfast run`, wherever that is."""
        agent = "" if self.sessions.drives else "coder"
        return Terms(MODEL, mode, self.folder, Limits(steps=20), agent=agent)


async def _at_once(tries: int) -> None:
    await asyncio.sleep(0.01 if tries else 0)


def caller(url: str, key: str = "") -> Caller:
    """Returns a caller that does not wait long before it tries again."""
    return Caller(url, key, pause=_at_once)


@asynccontextmanager
async def at_server(
    s: Scene,
    agents: Mapping[str, Agent] | None = None,
    *,
    access: Access | None = None,
    bounds: Bounds | None = None,
    key: str = "",
) -> AsyncGenerator[tuple[RemoteSessions, Serving]]:
    """Serves a scene's runtime, and returns its sessions as a client has them."""
    async with serving(agents or {"coder": CODER}, runtime=s.runtime, access=access, bounds=bounds) as served:
        there = caller(served.url, key)
        try:
            yield RemoteSessions(there, f" --server {served.url}"), served
        finally:
            await there.close()


@asynccontextmanager
async def reaching(side: str, script: Script, folder: Path, seconds: float = 20) -> AsyncGenerator[Reached]:
    """Returns the sessions of one side, `local` or `remote`."""
    url = f"sqlite:///{folder}/s.db"
    (folder / "w").mkdir(exist_ok=True)
    async with scene(script, url=url, seconds=seconds) as s:
        if side == "local":
            yield Reached(LocalSessions(s.runtime, url), s, folder / "w")
            return
        async with at_server(s) as (sessions, _):
            yield Reached(sessions, s, folder / "w")
