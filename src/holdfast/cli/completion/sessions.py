"""Names of sessions, for a shell that completes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli.completion.looking import MOST, looked_up

if TYPE_CHECKING:
    import click

    from holdfast.journal.port import Head, Journal

__all__ = ("beginning_with", "session_names")


def session_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the sessions of the store whose names begin like that, those that changed last first."""
    del parameter
    from holdfast.types import session_of

    async def heads(journal: Journal) -> list[Head]:
        return await beginning_with(journal, incomplete, 2000)

    fitting = looked_up(context, heads)
    fitting.sort(key=lambda head: head.updated_at, reverse=True)
    return [session_of(head.stream) for head in fitting[:MOST]]


async def beginning_with(journal: Journal, start: str, most: int) -> list[Head]:
    """Returns the sessions whose names begin like that, by name; of very many the first."""
    from holdfast.types import session_of

    heads = await journal.heads("local", after=_before(start), limit=most)
    return [head for head in heads if session_of(head.stream).startswith(start)]


def _before(incomplete: str) -> str:
    """Returns what sorts just before all names that begin like that: they come in their order."""
    if not incomplete or not incomplete.isascii():
        return ""
    return f"local/{incomplete[:-1]}{chr(max(0, ord(incomplete[-1]) - 1))}\x7f"
