"""`holdfast runs delete|scrub`: takes sessions, or what was said in one, out of the store for good."""

from __future__ import annotations

import asyncio
import sys

import click
import msgspec
from rich.text import Text

from holdfast.cli.asking.span import Whole
from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import store_here
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import LiveLine, open_console
from holdfast.cli.words import count
from holdfast.runtime.history.reports import Deleted, ScrubReport

__all__ = ("delete", "scrub")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command("delete", context_settings=_SETTINGS, short_help="Delete sessions, with all that only they need.")
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...", shell_complete=session_names)
@_YES
@store_here("at a server its console deletes, and DELETE /v1/sessions/SESSION")
@_OUTPUT
def delete(sessions: tuple[str, ...], yes: bool, store: str | None, output: str) -> None:
    """Delete SESSIONs for good: their events, their mail and what only they need.

    Their folders stay. What forks of them share stays readable in the forks, until those are deleted. A session in
    which a run is open is refused.
    """
    url = store_url(store)
    sessions = tuple(dict.fromkeys(sessions))

    async def look() -> int:
        async with open_runtime(there(url)) as runtime:
            heads = [(await known_session(runtime.journal, each, url, whole=True))[1] for each in sessions]
            return sum(head.seq - head.parent_seq for head in heads)

    async def go() -> Deleted:
        async with open_runtime(there(url)) as runtime:
            return await runtime.delete(*sessions)

    events = asyncio.run(look())
    _ask(f"delete {_these(sessions)} with {count(events, 'event')} for good?", yes=yes)
    with LiveLine(open_console(plain=settings().plain)) as line:
        line.show(f"deleting {_these(sessions)}")
        done = asyncio.run(go())
    if output == "json":
        click.echo(msgspec.json.encode(done))
        return
    console = open_console(plain=settings().plain)
    console.print(Text.assemble(("✓ ", "green"), f"deleted {_these(sessions)}: {count(done.events, 'event')}"))
    if done.shared:
        console.print(Text(f"  {count(done.shared, 'event')} stay, which forks share", "dim"))
    _left(done.left, url)


@click.command("scrub", context_settings=_SETTINGS, short_help="Take what was said out of events of SESSION.")
@click.argument("session", shell_complete=session_names)
@click.option("--at", "at", multiple=True, type=Whole(1), help="An event; may be given more than once.")
@click.option("--match", help="Words to take out wherever they stand; `-` asks for them, or reads them.")
@_YES
@store_here("whoever runs the server can, in its store")
@_OUTPUT
def scrub(session: str, at: tuple[int, ...], match: str | None, yes: bool, store: str | None, output: str) -> None:
    """Take what was said out of SESSION for good: everything that was said in events, or some words everywhere.

    Numbers, kinds, costs and results stay, so that the session can be gone on with; where words stood stands
    [scrubbed]. Events that forks share are scrubbed for them, too. Files in the session's folder stay as they are;
    snapshots that hold the words can not be gone back to any more. A secret is better not an argument, which other
    programs see and shells remember: say --match - and type it.
    """
    url = store_url(store)
    if bool(at) == (match is not None):
        raise click.UsageError("say what to scrub: events with --at N, or words with --match TEXT")
    if match == "-":
        match = _words()

    async def look() -> None:
        async with open_runtime(there(url)) as runtime:
            await known_session(runtime.journal, session, url, whole=True)

    async def go() -> ScrubReport:
        async with open_runtime(there(url)) as runtime:
            return await runtime.scrub(session, at=at, match=match)

    asyncio.run(look())
    what = f"what was said in {count(len(at), 'event')}" if at else "these words"
    _ask(f"scrub {what} of session {session} for good?", yes=yes)
    with LiveLine(open_console(plain=settings().plain)) as line:
        line.show(f"scrubbing {session}")
        done = asyncio.run(go())
    if output == "json":
        click.echo(msgspec.json.encode(done))
        return
    _account(session, done, url)


def _account(session: str, done: ScrubReport, url: str) -> None:
    console = open_console(plain=settings().plain)
    if not done.events and not done.blobs:
        console.print(Text("nothing to scrub", "dim"))
    else:
        said = f"scrubbed {count(len(done.events), 'event')} of session {session}"
        console.print(Text.assemble(("✓ ", "green"), said))
    if done.snapshots:
        console.print(Text(f"  {count(done.snapshots, 'snapshot')} of files held the words and is gone", "dim"))
    if done.named:
        numbers = ", ".join(map(str, done.named))
        note = (
            f"! event {numbers} still holds the words, in a name that cannot be changed: delete the session to be rid"
        )
        console.print(Text(note, "yellow"), soft_wrap=True)
    _left(done.left, url)


def _left(left: int, url: str) -> None:
    if left:
        note = f"  {count(left, 'stored item')} stay for now: holdfast runs prune{store_option(url)}, a day from now"
        open_console(plain=settings().plain).print(Text(note, "dim"), soft_wrap=True)


def _these(sessions: tuple[str, ...]) -> str:
    return f"session {sessions[0]}" if len(sessions) == 1 else f"{len(sessions)} sessions"


def _words() -> str:
    if sys.stdin.isatty():
        return click.prompt("words to take out", hide_input=True, err=True)
    return sys.stdin.readline().rstrip("\r\n")


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes")
    click.confirm(question, abort=True, err=True)
