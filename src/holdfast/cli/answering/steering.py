"""`holdfast runs steer|abort`: speaking to the run that is open in a session, from any terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click

from holdfast.cli.answering.distant import speak_there
from holdfast.cli.answering.hearing import Heard, exited, heard, said, show, told
from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import Place, place_options
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime
from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.errors import SessionExited, UsageError
from holdfast.journal.port import Head, Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.run import Run
from holdfast.runtime.speaking import Receipt
from holdfast.types import StreamId, session_of

__all__ = ("STEERING",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_RESULT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command("steer", context_settings=_SETTINGS, short_help="Say something to the open run of SESSION.")
@click.argument("session", shell_complete=session_names)
@click.argument("text", nargs=-1)
@place_options
@_RESULT
def steer(session: str, text: tuple[str, ...], output: str, place: Place) -> None:
    """Say TEXT to the run that is open in SESSION, whichever process drives it; the model hears it at its next step.

    `-o json` says whether somebody took it up within a moment (`heard`), and how the session stands then (`state`).
    """
    words = said(*text)
    if not words.strip():
        raise UsageError(
            f'there is nothing to say: write it behind the session, as in holdfast runs steer {session} "Use tabs"'
        )
    done = "✓ said to the run in session"
    if place.server is not None:
        speak_there(place, session, output, lambda run: run.steer(words), done, open_=True)
        return
    _speak(session, place.url, output, lambda run: run.steer(words), done)


@click.command("abort", context_settings=_SETTINGS, short_help="Ask the open run of SESSION to end.")
@click.argument("session", shell_complete=session_names)
@click.option("--reason", default="", help="Why; the result and the log will say it.")
@place_options
@_RESULT
def abort(session: str, reason: str, output: str, place: Place) -> None:
    """Ask the run that is open in SESSION to end, whichever process drives it; what it has is kept.

    `-o json` says whether somebody took it up within a moment (`heard`), and how the session stands then (`state`).
    """
    done, why = "■ asked to end: the run in session", said(reason)
    if place.server is not None:
        speak_there(place, session, output, lambda run: run.abort(why), done, open_=True)
        return
    _speak(session, place.url, output, lambda run: run.abort(why), done)


def _speak(session: str, url: str, output: str, send: Callable[[Run], Awaitable[Receipt]], done: str) -> None:
    """Sends something to a session's open run, and says what was done and who is going to hear it."""

    async def go() -> tuple[StreamId, Receipt, Heard]:
        nonlocal session
        async with open_runtime(there(url)) as runtime:
            stream, head = await known_session(runtime.journal, session, url)
            session = session_of(stream)
            if head.state == "ended":
                raise SessionExited(exited(session, store_option(url)))
            key = await _open_run(runtime.journal, stream, head)
            if key is None:
                raise UsageError(
                    f"session {session!r} has no open run to speak to: start one with "
                    f'holdfast run --session {session}{store_option(url)} "…"'
                )
            receipt = await send(runtime.run(session, key))
            return stream, receipt, await heard(runtime.journal, stream, receipt, surely=output == "json")

    stream, receipt, after = asyncio.run(go())
    if output == "json":
        click.echo(told(stream, receipt, after))
        return
    why = "it waits" if after.state == "waiting" else "no process drives it now"
    show(f"{done} {session}", f"{why}; if none takes it up: holdfast runs resume {session}{store_option(url)}", after)


async def _open_run(journal: Journal, stream: StreamId, head: Head) -> str | None:
    """Returns the key of the run that is open, or of the one that opens next."""
    if head.state == "idle" and not head.unread:
        return None
    state = replay([event async for event in read_events(journal, stream, CODEC)])
    if state.run is not None:
        return state.run.key
    unread = await journal.mail(stream, head.inbox_taken)
    return next(iter([*state.keys.values(), *(mail.key for mail in unread if mail.kind == "prompt")]), None)


STEERING = (steer, abort)
"""What `holdfast runs` has of it."""
