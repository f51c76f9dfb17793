"""`holdfast runs watch`: checks that there is something to watch and a terminal to watch it on, and opens the screen.

What draws it is not needed by anything else, so it is loaded here and only here.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import click

from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import Place, place_options
from holdfast.cli.reaching.stores import reached
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import with_person
from holdfast.errors import UsageError

__all__ = ("watch",)


@click.command(
    "watch",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Watch SESSION on a whole screen, speak to it, go back in it.",
)
@click.argument("session", required=False, shell_complete=session_names)
@place_options
def watch(session: str | None, place: Place) -> None:
    """Watch SESSION on a whole screen, live or over, whichever process or server drives it; without one, choose.

    Nothing is changed unless you speak: steer, follow up, abort, answer calls that wait, fork or rewind from an event.
    `?` shows all keys.
    """
    if find_spec("textual") is None:
        raise UsageError("the screen needs a package that is not installed: pip install 'holdfast[tui]'")
    if not with_person():
        name = session or "SESSION"
        raise UsageError(f"watching needs a terminal: holdfast runs show {name}{place.option} prints what happened")
    asyncio.run(_watch(session, place))


async def _watch(session: str | None, place: Place) -> None:
    from holdfast.cli.watch.acts import nothing_yet
    from holdfast.cli.watch.app import WatchApp

    async with reached(place) as sessions:
        if session is not None:
            session = await sessions.named(session)
        elif not await sessions.listed(1):
            raise UsageError(nothing_yet(sessions))
        await WatchApp(sessions, session, theme=settings().theme).run_async()
