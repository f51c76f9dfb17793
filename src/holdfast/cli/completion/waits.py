"""What people are asked, for a shell that completes its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli.completion.looking import MOST, looked_up

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from holdfast.journal.port import Journal
    from holdfast.runtime.history.waiting import Waiting

__all__ = ("open_waits",)

_SHOWN = 8


def open_waits(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Returns what is asked in the store under tokens that begin like that, oldest first."""
    del parameter
    from click.shell_completion import CompletionItem

    from holdfast.cli.words import one_line

    found = [each for each in looked_up(context, _waits) if not each.answered and each.id.startswith(incomplete)][:MOST]
    length = max(_SHOWN, len(incomplete))
    return [CompletionItem(each.id[:length], help=one_line(f"{each.session}: {each.prompt}", 60)) for each in found]


async def _waits(journal: Journal) -> list[Waiting]:
    from holdfast.runtime.history.waiting import waiting_in

    return await waiting_in(journal, "local")
