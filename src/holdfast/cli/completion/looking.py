"""Looking into a store for a shell that completes a word.

A shell asks at each press of a key, so this is quick or finds nothing: a store that is not there, is locked or cannot
be read is no error in the middle of a line that somebody types.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    import click

    from holdfast.journal.port import Journal

__all__ = ("MOST", "looked_up")

T = TypeVar("T")

MOST = 60
"""Words that are offered."""
_PATIENCE = 0.7
"""Seconds."""


def looked_up(context: click.Context, look: Callable[[Journal], Awaitable[list[T]]]) -> list[T]:
    """Returns what `look` finds in the store that the line names; nothing where that cannot be had quickly."""
    import asyncio

    with suppress(HoldfastError, TimeoutError, OSError):
        return asyncio.run(_look(context.params.get("store"), look))
    return []


async def _look(store: str | None, look: Callable[[Journal], Awaitable[list[T]]]) -> list[T]:
    import asyncio

    from holdfast.cli.settings.defaults import store_url
    from holdfast.flow.clock import SystemClock
    from holdfast.runtime.opening import open_journal, store_exists

    url = store_url(store)
    if url == "memory:" or not store_exists(url):
        return []
    async with asyncio.timeout(_PATIENCE):
        journal = await open_journal(url, SystemClock())
        try:
            return await look(journal)
        finally:
            await journal.close()
