"""`holdfast runs`: what ran, what happened in it, and going on with what was left open."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.cli.run import follow
from holdfast.cli.screen import money
from holdfast.engine.events import CODEC, InputReceived, RunFinished, RunStarted
from holdfast.errors import UnknownSession
from holdfast.journal.reading import decode_record, read_events
from holdfast.runtime.opening import default_url
from holdfast.runtime.runtime import Runtime
from holdfast.types import Event, StreamId, session_of, stream_id

__all__ = ("runs",)

_STORE = click.option("--store", help="Where the log is kept; your data folder by default.")


class _Row(msgspec.Struct):
    """One run, as a list shows it."""

    session: str
    seq: int
    started: str
    status: str
    model: str
    steps: int = 0
    tokens: int = 0
    cost: int | None = 0
    prompt: str = ""


@click.group()
def runs() -> None:
    """List, show and resume runs."""


@runs.command("list")
@_STORE
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1), help="The newest so many.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def list_runs(store: str | None, limit: int, output: str) -> None:
    """List runs, newest first."""
    url = store or default_url()
    rows = asyncio.run(_rows(url))[-limit:][::-1]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    console = Console(highlight=False)
    if not rows:
        console.print(f'No runs yet in {url}.\nStart one: [bold]holdfast run "…"[/] or [bold]holdfast demo[/]')
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("session", "run", "started", "status", "steps", "cost", "prompt"):
        table.add_column(
            name, justify="right" if name in ("run", "steps", "cost") else "left", no_wrap=name != "prompt"
        )
    for row in rows:
        style = {"completed": "green", "open": "cyan", "failed": "red"}.get(row.status, "yellow")
        table.add_row(
            row.session,
            str(row.seq),
            row.started,
            f"[{style}]{row.status}[/]",
            str(row.steps),
            money(row.cost),
            escape(row.prompt),
        )
    console.print(table)


async def _rows(url: str) -> list[_Row]:
    """A projection of the feed: every run of the store, oldest first."""
    rows: dict[tuple[StreamId, int], _Row] = {}
    open_run: dict[StreamId, _Row] = {}
    said: dict[tuple[StreamId, int], str] = {}
    types = (InputReceived.type, RunStarted.type, RunFinished.type)
    async with Runtime.open(url) as runtime:
        after = 0
        while items := await runtime.journal.feed(after=after, types=types):
            after = items[-1].position
            for item in items:
                event = await decode_record(item.record, item.stream, CODEC, runtime.journal)
                _apply(event, item.stream, rows, open_run, said)
    return list(rows.values())


def _apply(
    event: Event,
    stream: StreamId,
    rows: dict[tuple[StreamId, int], _Row],
    open_run: dict[StreamId, _Row],
    said: dict[tuple[StreamId, int], str],
) -> None:
    match event.data:
        case InputReceived() as data:
            said[stream, event.seq] = " ".join(data.message.text.split())[:80]
        case RunStarted() as data:
            started = datetime.fromtimestamp(event.at / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            row = _Row(session_of(stream), event.seq, started, "open", data.setup.model)
            row.prompt = said.pop((stream, data.input), "")
            rows[stream, event.seq] = open_run[stream] = row
        case RunFinished() as data:
            row = open_run.pop(stream, None)
            if row is not None:
                row.status, row.steps, row.cost = data.status, data.steps, data.cost
                row.tokens = data.usage.total_tokens
        case _:
            pass


@runs.command("show")
@click.argument("session")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "jsonl"]), default="text")
def show(session: str, store: str | None, output: str) -> None:
    """Show what happened in SESSION, event by event."""
    asyncio.run(_show(session, store or default_url(), output))


async def _show(session: str, url: str, output: str) -> None:
    from holdfast.cli.timeline import timeline

    console = Console(highlight=False)
    async with Runtime.open(url) as runtime:
        stream = stream_id("local", session)
        if await runtime.journal.head(stream) is None:
            raise UnknownSession(f"there is no session {session!r} in {url}: `holdfast runs list` shows what there is")
        events = [event async for event in read_events(runtime.journal, stream, CODEC)]
    if output == "jsonl":
        for event in events:
            click.echo(CODEC.encode(event))
    else:
        console.print(timeline(events))


@runs.command("resume")
@click.argument("session")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "json", "jsonl"]), default="text")
def resume(session: str, store: str | None, output: str) -> None:
    """Go on with the run that a crash or a stop left open in SESSION."""
    url = store or default_url()

    async def go() -> int:
        async with Runtime.open(url) as runtime:
            head = await runtime.journal.head(stream_id("local", session))
            run = await runtime.resume(session)
            return await follow(run, url, output, known=head.seq if head else 0)

    sys.exit(asyncio.run(go()))
