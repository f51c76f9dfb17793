"""`holdfast runs commit`: bringing what a fork changed back into the folder it was made from."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec
from rich.text import Text

from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import store_here
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count
from holdfast.types import Changes, session_of, shown

__all__ = ("commit",)

_SIGNS = {"added": "+", "removed": "-", "modified": "~", "mode": "~", "type": "~"}


@click.command(
    "commit",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Bring what a fork changed back into its folder.",
)
@click.argument("session", shell_complete=session_names)
@click.argument("paths", nargs=-1)
@click.option("--into", type=click.Path(path_type=Path), help="Another folder than the one it came from.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_here("the folders of a server are of its machine")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def commit(session: str, paths: tuple[str, ...], into: Path | None, yes: bool, store: str | None, output: str) -> None:
    """Bring what the fork SESSION changed back into the folder it came from: all of it, or PATHS.

    Everything is checked first: nothing is written where both sides changed, and nothing that would act later, such as
    a hook of git or a link that leads out. Without a terminal it takes --yes.
    """
    url = store_url(store)

    async def go(dry_run: bool) -> Changes:
        nonlocal session
        async with open_runtime(there(url)) as runtime:
            stream, _ = await known_session(runtime.journal, session, url)
            session = session_of(stream)
            return await runtime.commit(session, paths, into=into, dry_run=dry_run)

    console = open_console(plain=settings().plain)
    if not yes:
        wanted = asyncio.run(go(True))
        if output == "text":
            for change in wanted:
                console.print(Text(f"  {_SIGNS[change.kind]} {shown(change.path)}"), soft_wrap=True)
        if not wanted:
            console.print(Text("there is nothing to bring back", "dim"))
            return
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here: say --yes to commit what is listed")
        click.confirm(f"commit {count(len(wanted), 'path')}?", abort=True, err=True)
    done = asyncio.run(go(False))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(done)))
        return
    console.print(Text.assemble(("✓ ", "green"), f"committed {count(len(done), 'path')}"))
