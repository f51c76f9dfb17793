"""Sessions to look at, of a store that is there or of a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from holdfast.cli.completion.finding import there
from holdfast.cli.reaching.local import LocalSessions
from holdfast.cli.reaching.naming import Place, opened
from holdfast.cli.reaching.port import Sessions
from holdfast.cli.settings.defaults import open_runtime

__all__ = ("reached",)


@asynccontextmanager
async def reached(place: Place) -> AsyncGenerator[Sessions]:
    """Opens a server, or else a store, which is not made where there is none.

    Raises:
        HoldfastError: it cannot be had; says what helps.
    """
    if place.server is not None:
        async with opened(place.server) as sessions:
            yield sessions
        return
    async with open_runtime(there(place.url)) as runtime:
        yield LocalSessions(runtime, place.url)
