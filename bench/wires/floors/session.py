"""What the floors share: a session of the HTTP library, and how a floor is handed over to be measured."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from ..measure import Client, measure
from ..script import Answer, Call

__all__ = ("Deltas", "run_floor")

Deltas = list[str | Call]
"""What one read added: words, or a piece of a call (its id, its name in the first piece, arguments)."""
Ask = Callable[[aiohttp.ClientSession], AsyncIterator[Deltas | Answer]]


def run_floor(wire: str, ask: Ask) -> None:
    """Measure a floor."""

    @asynccontextmanager
    async def open_client() -> AsyncGenerator[Client]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
            yield Client(lambda: ask(session), _whole, _said)

    measure(f"floor-{wire}", open_client)


def _whole(last: Answer) -> Answer:
    return last


def _said(delta: Any) -> str:
    return delta if isinstance(delta, str) else delta.arguments
