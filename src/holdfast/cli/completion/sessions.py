"""Names of sessions, for a shell that completes them.

A shell asks at each press of a key, so this is quick or says nothing: a store that is not there, is locked or cannot be
read gives no names, and never an error in the middle of a line that somebody types.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    import click

__all__ = ("session_names",)

_MOST = 60
_PATIENCE = 0.7
"""Seconds."""


def session_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the sessions of the store whose names begin like that, those that changed last first."""
    del parameter
    import asyncio

    with suppress(HoldfastError, TimeoutError, OSError):
        return asyncio.run(_names(context.params.get("store"), incomplete))
    return []


async def _names(store: str | None, incomplete: str) -> list[str]:
    import asyncio

    from holdfast.cli.settings.defaults import store_url
    from holdfast.flow.clock import SystemClock
    from holdfast.runtime.opening import open_journal, store_exists
    from holdfast.types import session_of

    url = store_url(store)
    if url == "memory:" or not store_exists(url):
        return []
    async with asyncio.timeout(_PATIENCE):
        journal = await open_journal(url, SystemClock())
        try:
            heads = await journal.heads("local", after=_before(incomplete), limit=2000)
        finally:
            await journal.close()
    fitting = [head for head in heads if session_of(head.stream).startswith(incomplete)]
    fitting.sort(key=lambda head: head.updated_at, reverse=True)
    return [session_of(head.stream) for head in fitting[:_MOST]]


def _before(incomplete: str) -> str:
    """Returns what sorts just before all names that begin like that: they come in their order."""
    if not incomplete or not incomplete.isascii():
        return ""
    return f"local/{incomplete[:-1]}{chr(max(0, ord(incomplete[-1]) - 1))}\x7f"
