"""`holdfast runs pause|unpause|exit`: whether a session goes on at all, from any terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import click

from holdfast.cli.answering.hearing import Heard, heard, said, show, told
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.history.branching import known_session, there
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, store_url
from holdfast.errors import LeaseHeld, UnknownSession
from holdfast.runtime.speaking import Receipt, Speaking
from holdfast.types import StreamId

__all__ = ("CONTROL",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
_RESULT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command("pause", context_settings=_SETTINGS, short_help="Let nothing new begin in SESSION.")
@click.argument("session", shell_complete=session_names)
@click.option("--reason", default="", help="Why; the log will say it.")
@_STORE
@_RESULT
def pause(session: str, reason: str, store: str | None, output: str) -> None:
    """Let what is under way in SESSION come to its end, and nothing new begin: no model call, no tool call, no run."""
    _control(session, store, output, lambda to: to.pause(said(reason)), "⏸ paused")


@click.command("unpause", context_settings=_SETTINGS, short_help="Let a paused SESSION go on.")
@click.argument("session", shell_complete=session_names)
@_STORE
@_RESULT
def unpause(session: str, store: str | None, output: str) -> None:
    """Let a paused SESSION go on, whichever process drives it."""
    _control(session, store, output, lambda to: to.resume(), "▶ goes on")


@click.command("exit", context_settings=_SETTINGS, short_help="End SESSION for good.")
@click.argument("session", shell_complete=session_names)
@click.option("--reason", default="", help="Why; the result and the log will say it.")
@_STORE
@_RESULT
def exit_(session: str, reason: str, store: str | None, output: str) -> None:
    """End SESSION for good: its open run is aborted, what is queued is dropped, and it takes nothing more. Its log
    stays, and it can be forked.
    """
    _control(session, store, output, lambda to: to.exit(said(reason)), "■ ended for good", takes_up=True)


def _control(
    session: str,
    store: str | None,
    output: str,
    send: Callable[[Speaking], Awaitable[Receipt]],
    done: str,
    *,
    takes_up: bool = False,
) -> None:
    """Says something to a session, and whether somebody heard it; where nobody does, `takes_up` hears it here."""
    url = store_url(store)

    async def go() -> tuple[StreamId, Receipt, Heard]:
        async with open_runtime(there(url)) as runtime:
            stream, _ = await known_session(runtime.journal, session, url)
            receipt = await send(runtime.session(session))
            after = await heard(runtime.journal, stream, receipt, surely=takes_up or output == "json")
            if takes_up and not after.taken:
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
