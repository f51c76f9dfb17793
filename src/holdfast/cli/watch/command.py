"""`holdfast runs watch`: checks that there is something to watch and a terminal to watch it on, and opens the screen.

What draws it is not needed by anything else, so it is loaded here and only here.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import click

from holdfast.cli.completion.sessions import session_names
from holdfast.cli.history.branching import known_session, there
from holdfast.cli.listing import list_runs
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import with_person
from holdfast.errors import UsageError

__all__ = ("watch",)


@click.command(
    "watch",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Watch SESSION on a whole screen, speak to it, go back in it.",
)
@click.argument("session", required=False, shell_complete=session_names)
@click.option("--store", help="Where the log is kept.  [default: your data folder]")
def watch(session: str | None, store: str | None) -> None:
    """Watch SESSION on a whole screen, live or over, whichever process drives it; without one, choose.

    Nothing is changed unless you speak: steer, follow up, abort, answer calls that wait, fork or rewind from an event.
    `?` shows all keys.
    """
    if find_spec("textual") is None:
        raise UsageError("the screen needs a package that is not installed: pip install 'holdfast[tui]'")
    url = store_url(store)
    if not with_person():
        name = session or "SESSION"
        raise UsageError(
            f"watching needs a terminal: holdfast runs show {name}{store_option(url)} prints what happened"
        )
    asyncio.run(_watch(session, url))


async def _watch(session: str | None, url: str) -> None:
    from holdfast.cli.watch.app import WatchApp

    async with open_runtime(there(url)) as runtime:
        if session is not None:
            await known_session(runtime.journal, session, url)
        elif not await list_runs(runtime.journal, 1):
            raise UsageError(f'no run is in {url} yet: start one with holdfast run{store_option(url)} "…"')
        await WatchApp(runtime, session, theme=settings().theme).run_async()
