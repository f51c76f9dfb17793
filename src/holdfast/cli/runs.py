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
from holdfast.cli.answering.distant import speak_there
from holdfast.cli.answering.steering import STEERING
from holdfast.cli.asking.span import Whole
from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.data import printed
from holdfast.cli.delivering.showing import Posts
from holdfast.cli.hiding.masking import masked_json
from holdfast.cli.history.branching import COMMANDS as HISTORY
from holdfast.cli.history.carrying import export, import_
from holdfast.cli.history.committing import commit
from holdfast.cli.history.erasing import delete, scrub
from holdfast.cli.history.pruning import prune
from holdfast.cli.listing import as_data, print_runs
from holdfast.cli.reaching.naming import Place, place_options, refuse_with
from holdfast.cli.reaching.port import Sessions
from holdfast.cli.reaching.stores import reached
from holdfast.cli.rendering.descent import Children
from holdfast.cli.run import Look, follow, play, report
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings
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
from holdfast.runtime.sessions.listing import let_go
from holdfast.tools.resolving import look_also_in
from holdfast.types import AgentSpec, Event, StreamId, session_of, tenant_of

__all__ = ("runs",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_TOLD_SECONDS = 5.0
"""How long what is owed for a run is waited for; whoever drives the session next does it otherwise."""


@click.group(context_settings=_SETTINGS)
def runs() -> None:
    """List, show and resume runs, speak to those that are open, and go back in them.

    For SESSION the beginning of a name will do where only one begins so; delete and scrub take the whole.
    """


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
@place_options
@click.option("--tree", is_flag=True, help="Put runs below the run that started them.")
@click.option("-n", "--limit", default=20, show_default=True, type=Whole(1), help="The newest so many.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_(tree: bool, limit: int, output: str, place: Place) -> None:
    """List runs, newest first; `↳` marks those that another run started, with its session. A session without a run of
    its own is a line, too: `forked`, or `imported`. Of a server's sessions the last run of each is listed.
    """

    async def go() -> None:
        async with reached(place) as sessions:
            rows = await sessions.listed(limit)
        if output == "json":
            click.echo(printed([as_data(row) for row in rows]))
            return
        console = open_console(plain=settings().plain)
        if rows:
            print_runs(console, rows, place.option, tree=tree, hints=place.server is None)
            return
        here = place.server is None
        missing = "There is no such file yet.\n" if here and not store_exists(place.url) else ""
        start = f'holdfast run{place.option} "…"' if here else f"holdfast chat{place.option}"
        said = f"No runs yet in {place.name}\n{missing}Start one: {start}"
        console.print(Text(said), soft_wrap=True)

    asyncio.run(go())


@runs.command("show", context_settings=_SETTINGS, short_help="Show what happened in SESSION, event by event.")
@click.argument("session", shell_complete=session_names)
@click.option("--event", "number", type=Whole(1), help="All of the event with this number, as JSON.")
@place_options
@click.option("-o", "--output", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
def show(session: str, number: int | None, output: str, place: Place) -> None:
    """Show what happened in SESSION, event by event, the agents it started, with what they came to and spent, and
    whether its results reached those they were for.

    Lines are cut where the terminal ends: `--event N` prints all of one event. What looks like a secret is masked;
    `-o jsonl` prints all events as they are in the log.
    """

    async def go() -> None:
        async with reached(place) as sessions:
            name = await sessions.named(session)
            stand = await sessions.stand(name)
            last = 0 if stand is None else stand.seq
            if number is not None:
                await _print_event(sessions, name, number, last, output)
                return
            console, children, posts = open_console(plain=settings().plain), Children(), Posts(name)
            timeline = None if output == "jsonl" else Timeline(console, last)
            async for event in sessions.events(name):
                if timeline is None:
                    click.echo(CODEC.encode(event))
                else:
                    timeline.print(event)
                    children.see(event)
                    posts.see(event)
            children.print(console)
            if posts.wanted:
                posts.print(console, await sessions.undelivered(), place.option)

    asyncio.run(go())


async def _print_event(sessions: Sessions, session: str, number: int, last: int, output: str) -> None:
    if number > last:
        raise UsageError(f"there is no event {number}: the last one of session {session!r} is {last}")
    async for event in sessions.events(session, after=number - 1, until=number):
        encoded = CODEC.encode(event)
        click.echo(encoded if output == "jsonl" else masked_json(msgspec.json.decode(encoded)))


@runs.command("resume", context_settings=_SETTINGS, short_help="Go on with the run that was left open in SESSION.")
@click.argument("session", shell_complete=session_names)
@click.option("--policy", type=click.Path(path_type=Path), help="A file that says which calls there may be.")
@place_options
@click.option("-o", "--output", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True)
def resume(session: str, policy: Path | None, output: str, place: Place) -> None:
    """Go on with the run that a crash or a stop left open in SESSION.

    Calls that wait for a person's word are asked about; where nobody can be asked (no terminal, or -o json) they are
    denied, and the result says how many were.

    The policy is the one that is set, or that --policy names: the log does not hold the one it began under.

    If none is open, this says so and shows how the last one ended. Tools of your own are found by their modules, also
    in this folder. A server is asked to go on with it, and drives it itself.
    """
    url = place.url
    if place.server is not None:
        refuse_with(place.server, {"--policy": policy})
        done = "▶ the server goes on with session"
        speak_there(place, session, output, lambda run: run.resume(), done, after="look on: holdfast runs watch")
        return
    look_also_in(str(Path.cwd()))

    async def go() -> int:
        nonlocal session
        async with open_runtime(there(url), policy=policy) as runtime:
            stream, head = await known_session(runtime.journal, session, url)
            session = session_of(stream)
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
    if head is not None and (head.state == "ended" or (head.state == "idle" and not head.unread)):
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
