"""`holdfast runs pause|unpause|exit`: whether a session goes on at all, from any terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import click

from holdfast.cli.answering.distant import speak_there
from holdfast.cli.answering.hearing import Heard, heard, said, show, told
from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import Place, place_options
from holdfast.cli.reaching.port import Said, Spoken
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime
from holdfast.errors import LeaseHeld, UnknownSession
from holdfast.runtime.speaking import Receipt, Speaking
from holdfast.types import StreamId, session_of

__all__ = ("CONTROL",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_RESULT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command("pause", context_settings=_SETTINGS, short_help="Let nothing new begin in SESSION.")
@click.argument("session", shell_complete=session_names)
@click.option("--reason", default="", help="Why; the log will say it.")
@place_options
@_RESULT
def pause(session: str, reason: str, output: str, place: Place) -> None:
    """Let what is under way in SESSION come to its end, and nothing new begin: no model call, no tool call, no run."""
    _control(session, place, output, lambda to: to.pause(said(reason)), "⏸ paused")


@click.command("unpause", context_settings=_SETTINGS, short_help="Let a paused SESSION go on.")
@click.argument("session", shell_complete=session_names)
@place_options
@_RESULT
def unpause(session: str, output: str, place: Place) -> None:
    """Let a paused SESSION go on, whichever process drives it."""
    _control(session, place, output, lambda to: to.resume(), "▶ goes on")


@click.command("exit", context_settings=_SETTINGS, short_help="End SESSION for good.")
@click.argument("session", shell_complete=session_names)
@click.option("--reason", default="", help="Why; the result and the log will say it.")
@place_options
@_RESULT
def exit_(session: str, reason: str, output: str, place: Place) -> None:
    """End SESSION for good: its open run is aborted, what is queued is dropped, and it takes nothing more. Its log
    stays, and it can be forked.
    """
    _control(session, place, output, lambda to: to.exit(said(reason)), "■ ended for good", takes_up=True)


def _control(
    session: str,
    place: Place,
    output: str,
    send: Callable[[Speaking | Spoken], Awaitable[Said]],
    done: str,
    *,
    takes_up: bool = False,
) -> None:
    """Says something to a session, and whether somebody heard it; where nobody does, `takes_up` hears it here."""
    url = place.url
    if place.server is not None:
        speak_there(place, session, output, send, f"{done}: session")
        return

    async def go() -> tuple[StreamId, Receipt, Heard]:
        nonlocal session
        async with open_runtime(there(url)) as runtime:
            stream, head = await known_session(runtime.journal, session, url)
            session = session_of(stream)
            receipt = await send(runtime.session(session))
            assert isinstance(receipt, Receipt)  # as a store gives one
            after = None
            if not takes_up or head.owner is not None:
                after = await heard(runtime.journal, stream, receipt, surely=takes_up or output == "json")
            if after is None or (takes_up and not after.taken):
                with contextlib.suppress(LeaseHeld, UnknownSession):
                    await runtime.resume(session)  # an end needs nothing that the run acts through
                after = await heard(runtime.journal, stream, receipt, surely=True)
            return stream, receipt, after

    stream, receipt, after = asyncio.run(go())
    if output == "json":
        click.echo(told(stream, receipt, after))
        return
    note = "no process drives it now: it counts as soon as one does; "
    show(f"{done}: session {session}", f"{note}holdfast runs resume {session}{store_option(url)}", after)


CONTROL = (pause, unpause, exit_)
"""What `holdfast runs` has of it."""
