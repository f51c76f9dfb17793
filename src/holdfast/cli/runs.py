"""`holdfast runs`: what ran, what happened in it, going on with what was left open, and speaking to what is."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path

import click
import msgspec
from rich.text import Text

from holdfast.cli.answering.controlling import CONTROL
from holdfast.cli.answering.steering import STEERING
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.data import printed
from holdfast.cli.delivering.showing import Posts
from holdfast.cli.history.branching import COMMANDS as HISTORY
from holdfast.cli.history.branching import known_session, there
from holdfast.cli.history.carrying import export, import_
from holdfast.cli.history.committing import commit
from holdfast.cli.history.erasing import delete, scrub
from holdfast.cli.history.pruning import prune
from holdfast.cli.listing import as_data, let_go, list_runs, print_runs
from holdfast.cli.rendering.descent import Children
from holdfast.cli.run import Look, follow, play, report
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.timeline import Timeline
from holdfast.cli.watch.command import watch
from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.engine.state import State
from holdfast.errors import LeaseHeld, UsageError
from holdfast.journal.port import Head, Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.opening import store_exists
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.tools.resolving import look_also_in
from holdfast.types import AgentSpec, Event, StreamId, session_of, tenant_of

__all__ = ("runs",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
_TOLD_SECONDS = 5.0
"""How long what is owed for a run is waited for; whoever drives the session next does it otherwise."""


@click.group(context_settings=_SETTINGS)
def runs() -> None:
    """List, show and resume runs, speak to those that are open, and go back in them."""


for _each in (*HISTORY, *STEERING, *CONTROL):
    runs.add_command(_each)
runs.add_command(export)
runs.add_command(import_)
runs.add_command(commit)
runs.add_command(delete)
runs.add_command(scrub)
runs.add_command(prune)
runs.add_command(watch)


@runs.command("list", context_settings=_SETTINGS)
@_STORE
@click.option("--tree", is_flag=True, help="Put runs below the run that started them.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1), help="The newest so many.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_(store: str | None, tree: bool, limit: int, output: str) -> None:
    """List runs, newest first; `↳` marks those that another run started, with its session. A session without a run of
    its own is a line, too: `forked`, or `imported`.
    """
    url = store_url(store)

    async def go() -> None:
        async with open_runtime(there(url)) as runtime:
            rows = await list_runs(runtime.journal, limit)
        if output == "json":
            click.echo(printed([as_data(row) for row in rows]))
            return
        console = open_console(plain=settings().plain)
        if rows:
            print_runs(console, rows, store_option(url), tree=tree)
            return
        missing = "" if store_exists(url) else "There is no such file yet.\n"
        said = f'No runs yet in {url}\n{missing}Start one: holdfast run{store_option(url)} "…"'
        console.print(Text(said), soft_wrap=True)

    asyncio.run(go())


@runs.command("show", context_settings=_SETTINGS, short_help="Show what happened in SESSION, event by event.")
@click.argument("session", shell_complete=session_names)
@click.option("--event", "number", type=click.IntRange(1), help="All of the event with this number, as JSON.")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
def show(session: str, number: int | None, store: str | None, output: str) -> None:
    """Show what happened in SESSION, event by event, the agents it started, with what they came to and spent, and
    whether its results reached those they were for.

    Lines are cut where the terminal ends: `--event N` prints all of one event, `-o jsonl` all events as they are in the
    log.
    """
    url = store_url(store)

    async def go() -> None:
        async with open_runtime(there(url)) as runtime:
            stream, head = await known_session(runtime.journal, session, url)
            if number is not None:
                await _print_event(runtime.journal, stream, number, head.seq, output)
                return
            console, children, posts = open_console(plain=settings().plain), Children(), Posts(session)
            timeline = None if output == "jsonl" else Timeline(console, head.seq)
            async for event in read_events(runtime.journal, stream, CODEC):
                if timeline is None:
                    click.echo(CODEC.encode(event))
                else:
                    timeline.print(event)
                    children.see(event)
                    posts.see(event)
            children.print(console)
            if posts.wanted:
                posts.print(console, await runtime.undelivered(), store_option(url))

    asyncio.run(go())


async def _print_event(journal: Journal, stream: StreamId, number: int, last: int, output: str) -> None:
    if number > last:
        raise UsageError(f"there is no event {number}: the last one of session {session_of(stream)!r} is {last}")
    async for event in read_events(journal, stream, CODEC, after=number - 1, until=number):
        encoded = CODEC.encode(event)
        click.echo(encoded if output == "jsonl" else msgspec.json.format(encoded))


@runs.command("resume", context_settings=_SETTINGS, short_help="Go on with the run that was left open in SESSION.")
@click.argument("session", shell_complete=session_names)
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True)
def resume(session: str, store: str | None, output: str) -> None:
    """Go on with the run that a crash or a stop left open in SESSION.

    Calls that wait for a person's word are asked about; where nobody can be asked (no terminal, or -o json) they are
    denied, and the result says how many were.

    If none is open, this says so and shows how the last one ended. Tools of your own are found by their modules, also
    in this folder.
    """
    url = store_url(store)
    look_also_in(str(Path.cwd()))

    async def go() -> int:
        async with open_runtime(there(url)) as runtime:
            stream, head = await known_session(runtime.journal, session, url)
            await _not_paused(runtime.journal, head, url)
            try:
                run = await runtime.resume(session)
            except LeaseHeld as held:
                raise _held(session, held) from held
            foreign = partial(_is_foreign, runtime.journal, stream)
            look = Look(plain=settings().plain, theme=settings().theme)
            result = await follow(
                run, url, output, look=look, known=head.seq, note=_note(session, head), denies=True, foreign=foreign
            )
            # What was said too late for this run has opened the next: leaving now would leave it open.
            while (later := await _later(runtime, stream, run)) is not None:
                known, run = await _end(run), later
                note = "\n↻ what was said meanwhile opened another run"
                result = await follow(run, url, output, look=look, known=known, note=note, denies=True, foreign=foreign)
            return report(result, output)  # one object for all of them: the last one's

    sys.exit(play(go()))


async def _state(journal: Journal, stream: StreamId) -> State:
    return replay([event async for event in read_events(journal, stream, CODEC)])


async def _later(runtime: Runtime, stream: StreamId, done: Run) -> Run | None:
    """Returns the run that came after one that is over; None when there is none, or another process sees to it."""
    head = await runtime.journal.head(stream)
    if head is not None and head.state == "idle" and not head.unread:
        state = await _state(runtime.journal, stream)
        # It may have come to its end already.
        return None if state.last is None or state.last.key == done.key else runtime.run(done.session, state.last.key)
    try:
        later = await runtime.resume(done.session)
    except LeaseHeld:
        return None
    if later.key != done.key:
        return later
    return await _later(runtime, stream, done) if await _is_told(runtime.journal, stream) else None


async def _is_told(journal: Journal, stream: StreamId) -> bool:
    """Returns whether all is done that is owed for a run that is over, such as telling whoever started it; waits for it
    some seconds.
    """
    changed = asyncio.Event()
    stop = journal.listen(stream, changed.set)
    try:
        async with asyncio.timeout(_TOLD_SECONDS):
            while (head := await journal.head(stream)) is not None and head.state == "running":
                await changed.wait()
                changed.clear()
    except TimeoutError:
        return False
    finally:
        stop()
    return True


async def _end(run: Run) -> int:
    """Returns the number of the last event of a run that is over."""
    return max([event.seq async for event in run.events() if isinstance(event, Event)])


async def _is_foreign(journal: Journal, stream: StreamId) -> bool:
    """Whether the session's agent has tools of its own, which `holdfast run` cannot give it."""
    state = await _state(journal, stream)
    run = state.run or state.last
    if run is None or run.elsewhere:  # one from a file is only told of
        return False
    spec = await journal.blobs.get(tenant_of(stream), run.setup.setup.spec)
    tools = msgspec.json.decode(spec, type=AgentSpec).tools
    return not all(tool.reference.startswith("builtin:") for tool in tools)


async def _not_paused(journal: Journal, head: Head, url: str) -> None:
    """Raises where going on would wait for ever, as nothing begins before somebody lets the session go on.

    Raises:
        UsageError: it is paused.
    """
    if head.state in ("idle", "ended") and not head.unread:
        return
    if (await _state(journal, head.stream)).paused and not await let_go(journal, head):
        session = session_of(head.stream)
        raise UsageError(
            f"session {session!r} is paused, and nothing begins in it: holdfast runs unpause "
            f"{session}{store_option(url)} lets it go on"
        )


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
