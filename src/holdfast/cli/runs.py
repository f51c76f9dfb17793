"""`holdfast runs`: what ran, what happened in it, and going on with what was left open."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time

import click
import msgspec
from rich.text import Text

from holdfast.cli.listing import list_runs, print_runs
from holdfast.cli.run import follow, play
from holdfast.cli.terminal import open_console
from holdfast.cli.timeline import Timeline
from holdfast.engine.events import CODEC
from holdfast.errors import LeaseHeld, UnknownSession
from holdfast.journal.port import Head, Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.opening import default_url, store_exists
from holdfast.runtime.runtime import Runtime
from holdfast.types import StreamId, stream_id

__all__ = ("runs",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")


@click.group(context_settings=_SETTINGS)
def runs() -> None:
    """List, show and resume runs."""


@runs.command("list", context_settings=_SETTINGS)
@_STORE
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1), help="The newest so many.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_(store: str | None, limit: int, output: str) -> None:
    """List runs, newest first."""
    url = store or default_url()

    async def go() -> None:
        async with Runtime.open(_there(url)) as runtime:
            rows = await list_runs(runtime.journal, limit)
        if output == "json":
            click.echo(msgspec.json.format(msgspec.json.encode(rows)))
            return
        console = open_console()
        if rows:
            print_runs(console, rows, _option(store))
            return
        console.print(Text(f'No runs yet in {url}\nStart one: holdfast run "…" or holdfast demo'), soft_wrap=True)

    asyncio.run(go())


@runs.command("show", context_settings=_SETTINGS, short_help="Show what happened in SESSION, event by event.")
@click.argument("session")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
def show(session: str, store: str | None, output: str) -> None:
    """Show what happened in SESSION, event by event; `-o jsonl` prints the events as they are in the log."""
    url = store or default_url()

    async def go() -> None:
        async with Runtime.open(_there(url)) as runtime:
            stream, head = await _known(runtime.journal, session, url)
            timeline = None if output == "jsonl" else Timeline(open_console(), head.seq)
            async for event in read_events(runtime.journal, stream, CODEC):
                if timeline is None:
                    click.echo(CODEC.encode(event))
                else:
                    timeline.print(event)

    asyncio.run(go())


@runs.command("resume", context_settings=_SETTINGS, short_help="Go on with the run that was left open in SESSION.")
@click.argument("session")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True)
def resume(session: str, store: str | None, output: str) -> None:
    """Go on with the run that a crash or a stop left open in SESSION.

    If none is open, this says so and shows how the last one ended.
    """
    url = store or default_url()

    async def go() -> int:
        async with Runtime.open(_there(url)) as runtime:
            _, head = await _known(runtime.journal, session, url)
            try:
                run = await runtime.resume(session)
            except LeaseHeld as held:
                raise _held(session, held) from held
            return await follow(run, url, output, known=head.seq, note=_note(session, head))

    sys.exit(play(go()))


def _there(url: str) -> str:
    """The store, if it exists: looking for a session makes none."""
    return url if store_exists(url) else "memory:"


async def _known(journal: Journal, session: str, url: str) -> tuple[StreamId, Head]:
    stream = stream_id("local", session)
    head = await journal.head(stream)
    if head is None:
        raise UnknownSession(f"there is no session {session!r} in {url}: `holdfast runs list` shows what there is")
    return stream, head


def _note(session: str, head: Head) -> str:
    if head.state == "idle" and not head.unread:
        return f"session {session} has no open run; the last one ended like this:"
    if head.state == "waiting" and not head.unread:
        return f"the run in session {session} waits for an answer or its time"
    return f"↻ going on in session {session} after event {head.seq}"


def _held(session: str, held: LeaseHeld) -> LeaseHeld:
    host, _, pid, _ = [*held.owner.rsplit(":", 3), "", "", ""][:4]
    left = max(0.0, held.until / 1e6 - time.time())
    return LeaseHeld(
        f"session {session!r} is being run by process {pid} on {host!r}: let it finish, or stop it and resume then "
        f"(if that host is gone, in {left:.0f} s)",
        owner=held.owner,
        epoch=held.epoch,
        until=held.until,
    )


def _option(store: str | None) -> str:
    return "" if store is None else f" --store {shlex.quote(store)}"
