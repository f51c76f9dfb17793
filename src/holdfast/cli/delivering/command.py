"""`holdfast deliveries list|revive`: results that have not arrived, and those that nothing tries any more."""

from __future__ import annotations

import asyncio

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.completion.finding import there
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.words import clock_time, count, one_line
from holdfast.runtime.delivering.outgoing import Undelivered

__all__ = ("deliveries",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.group(context_settings=_SETTINGS)
def deliveries() -> None:
    """See which results have not reached their targets, and have those that were given up tried again."""


@deliveries.command("list", context_settings=_SETTINGS)
@click.option("--dead", is_flag=True, help="Only those that nothing tries any more.")
@_STORE
@_OUTPUT
def list_(dead: bool, store: str | None, output: str) -> None:
    """List the results that have not arrived, with what the last attempt came to; nothing is tried."""
    url = store_url(store)

    async def go() -> list[Undelivered]:
        async with open_runtime(there(url)) as runtime:
            return [each for each in await runtime.undelivered() if each.dead or not dead]

    left = asyncio.run(go())
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(left)))
        return
    console = open_console(plain=settings().plain)
    _print(console, left)
    if gone := sum(each.dead for each in left):
        hint = f"{count(gone, 'result')} will not be tried again by itself: holdfast deliveries revive --all"
        console.print(Text(hint + store_option(url), "dim"), soft_wrap=True)
    if not left:
        console.print(Text(f"Nothing is {'dead' if dead else 'undelivered'} in {url}"), soft_wrap=True)


@deliveries.command("revive", context_settings=_SETTINGS)
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that are dead.")
@_STORE
@_OUTPUT
def revive(ids: tuple[str, ...], every: bool, store: str | None, output: str) -> None:
    """Have dead results tried again, by their IDS or all of them, as often as new ones.

    Each keeps its id, so a target that honours ids, or can be asked, takes none twice. Folders and addresses are tried
    at once; a target that a program brought is left to the processes that have it.
    """
    if every == bool(ids):
        raise click.UsageError("say which: give ids, as `holdfast deliveries list --dead` shows them, or --all")
    url = store_url(store)

    async def go() -> tuple[int, list[Undelivered]]:
        async with open_runtime(there(url)) as runtime:
            dead = [each.id for each in await runtime.undelivered() if each.dead]
            wanted = set(ids) or set(dead)
            return len(wanted), await runtime.revive_deliveries(*wanted) if wanted else []

    number, left = asyncio.run(go())
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(left)))
        return
    console = open_console(plain=settings().plain)
    console.print(Text(f"{count(number, 'result')} revived, {number - len(left)} arrived"))
    _print(console, left)


def _print(console: Console, left: list[Undelivered]) -> None:
    for each in left:
        when = f"not before {clock_time(each.retry_at)[:8]}" if each.retry_at else "not tried yet"
        state = ("dead", "red") if each.dead else (when, "yellow")
        tries = f"  {count(each.attempts, 'attempt')}" if each.attempts else ""
        where = f"  {each.session} event {each.run} to {one_line(each.target)}{tries}"
        console.print(Text.assemble((each.id, "bold"), "  ", state, where), soft_wrap=True)
        if each.error:
            console.print(Text(f"  {one_line(each.error)}", "dim"), soft_wrap=True)
