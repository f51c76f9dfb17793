"""What people are asked, for a shell that completes its tokens; quick, or silent, like the names of sessions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

__all__ = ("open_waits",)

_MOST = 60
_PATIENCE = 0.7
"""Seconds."""
_SHOWN = 8


def open_waits(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Returns what is asked in the store under tokens that begin like that, oldest first."""
    del parameter
    import asyncio

    with suppress(HoldfastError, TimeoutError, OSError):
        return asyncio.run(_found(context.params.get("store"), incomplete))
    return []


async def _found(store: str | None, incomplete: str) -> list[CompletionItem]:
    import asyncio

    from click.shell_completion import CompletionItem

    from holdfast.cli.settings.defaults import store_url
    from holdfast.cli.words import one_line
    from holdfast.flow.clock import SystemClock
    from holdfast.runtime.history.waiting import waiting_in
    from holdfast.runtime.opening import open_journal, store_exists

    url = store_url(store)
    if url == "memory:" or not store_exists(url):
        return []
    async with asyncio.timeout(_PATIENCE):
        journal = await open_journal(url, SystemClock())
        try:
            found = await waiting_in(journal, "local")
        finally:
            await journal.close()
    fitting = [each for each in found if not each.answered and each.id.startswith(incomplete)][:_MOST]
    length = max(_SHOWN, len(incomplete))
    return [CompletionItem(each.id[:length], help=one_line(f"{each.session}: {each.prompt}", 60)) for each in fitting]
