"""`holdfast approve`: what people are asked in all sessions of a store, and their answers, from any terminal.

An answer is accepted once it lies in the session's inbox. Whether somebody heard it is waited for a moment, so that a
person learns whether they have to go on with the session themselves.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec
from rich.text import Text

from holdfast.cli.answering.hearing import Heard, heard, told
from holdfast.cli.answering.hearing import said as said_words
from holdfast.cli.answering.pending import as_shown, named, print_list, print_one
from holdfast.cli.asking.picking import picked
from holdfast.cli.completion.waits import open_waits
from holdfast.cli.data import printed
from holdfast.cli.reaching.local import LocalSessions
from holdfast.cli.reaching.naming import Place, place_options
from holdfast.cli.reaching.port import Said, Sessions, Spoken
from holdfast.cli.reaching.stores import reached
from holdfast.cli.rendering.figures import Figures
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import one_line
from holdfast.engine.events import RunStarted
from holdfast.errors import UnknownWait, UsageError
from holdfast.runtime.history.waiting import Waiting
from holdfast.runtime.speaking import Receipt
from holdfast.types import stream_id

__all__ = ("approve",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_TOKEN = click.argument("token", shell_complete=open_waits)
_LEAST = 4
"""Digits of an abbreviation."""


@click.group(context_settings=_SETTINGS)
def approve() -> None:
    """See what agents ask, in all sessions, and answer: calls that wait for a word, questions, answers under review.

    A TOKEN may be abbreviated as long as it means one thing. Whoever drives the session hears the answer at once; where
    nobody does, it lies in its inbox, and this says how to go on.
    """


@approve.command("list", context_settings=_SETTINGS)
@click.option("-s", "--session", help="Of this session alone.")
@place_options
@_OUTPUT
def list_(session: str | None, output: str, place: Place) -> None:
    """List what is asked, oldest first."""

    async def go() -> list[Waiting]:
        async with reached(place) as sessions:
            return await sessions.waiting(session)

    found = asyncio.run(go())
    if output == "json":
        click.echo(printed([as_shown(each) for each in found]))
        return
    console = open_console(plain=settings().plain)
    if found:
        print_list(console, found, place.option)
    else:
        console.print(Text(f"Nobody is asked anything in {place.name}"), soft_wrap=True)


@approve.command("show", context_settings=_SETTINGS, short_help="Show all of what is asked under TOKEN.")
@_TOKEN
@place_options
@_OUTPUT
def show(token: str, output: str, place: Place) -> None:
    """Show all of what is asked under TOKEN: the whole call with its arguments, the questions, the answer."""

    async def go() -> tuple[Waiting, Figures]:
        async with reached(place) as sessions:
            found, figures = await _found(sessions, token, place), Figures()
            async for event in sessions.events(found.session):
                if isinstance(event.data, RunStarted):
                    figures = Figures()  # of the run that asks, and of none before it
                figures.learn(event)
            return found, figures

    found, figures = asyncio.run(go())
    if output == "json":
        click.echo(printed(as_shown(found)))
        return
    print_one(open_console(plain=settings().plain), found, place.option, next(iter(figures.parts()), ""))


@approve.command("yes", context_settings=_SETTINGS, short_help="Allow a call, or accept an answer under review.")
@_TOKEN
@click.option("--always", is_flag=True, help="Allow every later call of the tool in this session, too.")
@click.option(
    "--edit", metavar="JSON", help="Make the call with these arguments in place of all its own; `-` reads input."
)
@place_options
@_OUTPUT
def yes(token: str, always: bool, edit: str | None, output: str, place: Place) -> None:
    """Allow the call that waits under TOKEN, or accept the answer that is under review.

    Arguments that are given with --edit take the place of all that the model gave; where they do not fit the tool,
    nothing is allowed.
    """
    arguments = None if edit is None else _arguments(edit)

    def answer(session: Spoken, found: Waiting) -> Awaitable[Said]:
        _check(found, token, place, "approval", "review")
        if found.kind == "review" and (always or arguments is not None):
            raise UsageError("an answer under review is accepted as it is: leave --always and --edit out")
        return session.approve(found.token, always=always, arguments=arguments)

    said = "✓ allowed from now on" if always else "✓ allowed with other arguments" if edit else "✓ allowed once"
    _answer(token, place, output, answer, {"approval": said, "review": "✓ accepted"})


@approve.command("no", context_settings=_SETTINGS, short_help="Deny a call, or refuse an answer under review.")
@_TOKEN
@click.argument("reason", nargs=-1)
@place_options
@_OUTPUT
def no(token: str, reason: tuple[str, ...], output: str, place: Place) -> None:
    """Deny the call that waits under TOKEN, or refuse the answer that is under review; the REASON is read."""

    def answer(session: Spoken, found: Waiting) -> Awaitable[Said]:
        _check(found, token, place, "approval", "review")
        return session.deny(found.token, said_words(*reason))

    _answer(token, place, output, answer, {"approval": "⊘ denied", "review": "⊘ refused; the run fails"})


@approve.command("answer", context_settings=_SETTINGS, short_help="Answer questions.")
@_TOKEN
@click.argument("answers", nargs=-1, required=True)
@place_options
@_OUTPUT
def answer(token: str, answers: tuple[str, ...], output: str, place: Place) -> None:
    """Answer the questions that wait under TOKEN, each with one ANSWER: a number or the label of an option, several of
    them parted by commas where several may be picked, or words.
    """

    def reply(session: Spoken, found: Waiting) -> Awaitable[Said]:
        _check(found, token, place, "question")
        asked = found.questions
        if not asked:  # a tool's own question, in its own words
            return session.answer(found.token, "\n".join(map(said_words, answers)))
        if len(asked) != len(answers):
            raise UsageError(f"{len(asked)} questions were asked and {len(answers)} answers given: give one for each")
        given = [picked(question, said_words(said)) for question, said in zip(asked, answers, strict=True)]
        return session.reply(found.token, given)

    _answer(token, place, output, reply, {"question": "✓ answered"})


@approve.command("changes", context_settings=_SETTINGS, short_help="Have an answer under review done again.")
@_TOKEN
@click.argument("feedback", nargs=-1, required=True)
@place_options
@_OUTPUT
def changes(token: str, feedback: tuple[str, ...], output: str, place: Place) -> None:
    """Have the answer that is under review done again; the agent reads the FEEDBACK."""

    def ask(session: Spoken, found: Waiting) -> Awaitable[Said]:
        _check(found, token, place, "review")
        return session.request_changes(found.token, said_words(*feedback))

    _answer(token, place, output, ask, {"review": "↻ sent back"})


# ---- answering -----------------------------------------------------------------------------------------------


def _answer(
    token: str,
    place: Place,
    output: str,
    answer: Callable[[Spoken, Waiting], Awaitable[Said]],
    said: dict[str, str],
) -> None:
    """Finds what is asked, gives the answer, and says what came of it."""

    async def go() -> tuple[Waiting, Said, Heard]:
        async with reached(place) as sessions:
            found = await _found(sessions, token, place)
            receipt = await answer(sessions.run(found.session, ""), found)
            return found, receipt, await _heard(sessions, found.session, receipt, surely=output == "json")

    found, receipt, after = asyncio.run(go())
    if output == "json":
        click.echo(told(stream_id("local", found.session), receipt, after, token=found.token))
    else:
        _say(found, receipt.status, after, said[found.kind], place)
    if receipt.status == "duplicate":
        sys.exit(1)


def _say(found: Waiting, status: str, after: Heard, said: str, place: Place) -> None:
    console = open_console(plain=settings().plain)
    if status == "duplicate":
        console.print(Text("it was answered before, and the first answer counts", "yellow"), soft_wrap=True)
    else:
        what = one_line(found.tool, 60) if found.kind == "approval" else found.kind
        console.print(Text(f"{said}: {what} in session {found.session}"), soft_wrap=True)
    if after.lost:
        again = f"  no process drives the session now; go on: holdfast runs resume {found.session}{place.option}"
        console.print(Text(again, "dim"), soft_wrap=True)
    elif found.paused:
        paused = f"  the session is paused; go on: holdfast runs unpause {found.session}{place.option}"
        console.print(Text(paused, "dim"), soft_wrap=True)


async def _heard(sessions: Sessions, session: str, said: Said, *, surely: bool) -> Heard:
    """Returns what came of an answer; a server hears by itself what it is told."""
    if isinstance(sessions, LocalSessions) and isinstance(said, Receipt):
        return await heard(sessions.runtime.journal, stream_id("local", session), said, surely=surely)
    stand = await sessions.stand(session)
    return Heard(taken=True, state="ended" if stand is None else stand.state)


async def _found(sessions: Sessions, token: str, place: Place) -> Waiting:
    """Returns the one thing that a token, or its beginning, means.

    Raises:
        UnknownWait: it means none.
        UsageError: it is too short, or means several.
    """
    found = await sessions.waiting()
    meant = [each for each in found if token in (each.token, each.id)]
    if not meant and len(token) >= _LEAST:
        meant = [each for each in found if each.id.startswith(token.lower()) or each.token.startswith(token)]
    if len(meant) == 1:
        return meant[0]
    look = f"`holdfast approve list{place.option}` shows what is asked"
    if meant:
        several = ", ".join(named(each) for each in meant[:5])
        raise UsageError(f"{token!r} means {len(meant)} things ({several}): give more of it; {look}")
    if len(token) < _LEAST:
        raise UsageError(f"{token!r} is too short: give at least {_LEAST} characters; {look}")
    raise UnknownWait(f"nobody is asked anything under {token!r}, or not any more: {look}")


def _check(found: Waiting, token: str, place: Place, *kinds: str) -> None:
    if found.kind in kinds:
        return
    instead = {"question": f"answer {token} ANSWER", "approval": f"yes {token}", "review": f"yes {token}"}[found.kind]
    raise UsageError(
        f"what waits under {token!r} is a{'n' * (found.kind == 'approval')} {found.kind}: "
        f"say `holdfast approve {instead}{place.option}`"
    )


def _arguments(edit: str) -> dict[str, Any]:
    """Returns the arguments a person gave, or their standard input.

    Raises:
        UsageError: they are no JSON object.
    """
    text = sys.stdin.buffer.read() if edit == "-" else edit.encode("utf-8", "surrogateescape")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise UsageError(f"--edit wants the arguments as a JSON object, and this is none ({error})") from error
