"""Commands that say with what, and in which session, the talk goes on."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.attached import attach as read_file
from holdfast.cli.chat.attaching import place
from holdfast.cli.chat.talk import Talk
from holdfast.cli.listing import Listed
from holdfast.cli.words import age, count, money, one_line
from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.types import MODES

__all__ = ("abort", "attach", "go", "list_sessions", "new", "resume", "sessions_of", "set_mode", "when")

_SHOWN = 20
_LISTED = 500
"""Runs that are looked at for the newest sessions."""
_MEANS = {
    "read-only": "nothing that changes anything",
    "ask": "every change is asked about",
    "accept-edits": "files are changed, everything else is asked about",
    "auto": "everything, without a question",
}


async def set_mode(talk: Talk, argument: str) -> None:
    """Changes what is done without asking, or says what may be chosen."""
    terms = talk.conversation.terms
    if not argument:
        for mode in MODES:
            mark = "●" if mode == terms.mode else " "
            talk.view.lines([Text.assemble((f"  {mark} {mode:<14}", "cyan"), (_MEANS[mode], "dim"))])
        return
    if argument not in MODES:
        raise UsageError(f"there is no mode {argument!r}: {hint(argument, MODES)}")
    terms.mode, terms.strict = argument, True
    talk.view.note(f"mode {argument}: {_MEANS[argument]}{when(talk)}")


def when(talk: Talk) -> str:
    """Returns what is said behind a change that the open run does not hear of."""
    return ", from your next prompt on: the run that is open keeps its own" if talk.conversation.busy else ""


async def attach(talk: Talk, argument: str) -> None:
    """Attaches an image to the next message."""
    if not argument:
        raise UsageError("name the file, as in /image screenshot.png")
    path = place(argument.strip("'\"").replace("\\ ", " "), talk.conversation.terms.workspace)
    talk.attached.append(read_file(path))
    if talk.front is not None:
        talk.front.refresh()


async def go(talk: Talk, argument: str) -> None:
    """Goes on with what is open and in a freer mode than the talk."""
    mode = await talk.conversation.freer()
    if mode is None:
        raise UsageError("nothing is held back here: what is open goes on by itself")
    await talk.conversation.agree()
    talk.view.note(f"↻ goes on in mode {mode}; what you say next opens runs in mode {talk.conversation.terms.mode}")


async def abort(talk: Talk, argument: str) -> None:
    """Ends the open run, also one that was not taken up."""
    if not talk.conversation.figures.busy:
        raise UsageError("no run is open here that could be ended")
    if talk.state == "aborting":
        talk.view.note("it was asked to end already; Ctrl-C leaves at once")
    elif not talk.interrupt():
        await talk.conversation.abort()


async def new(talk: Talk, argument: str) -> None:
    """Begins a new session."""
    idle(talk)
    if argument and await talk.conversation.sessions.stand(argument) is not None:
        raise UsageError(f"there is a session {argument!r} already: /resume {argument} goes there")
    await talk.begin(argument or None)
    if not argument:
        talk.view.note(f"session {talk.conversation.session}, a new one")


async def resume(talk: Talk, argument: str) -> None:
    """Goes to another session."""
    if not argument:
        raise UsageError("name the session, as in /resume NAME: /sessions lists them, and Tab completes")
    idle(talk)
    if await talk.conversation.sessions.stand(argument) is None:
        names = [each.session for each in await sessions_of(talk)]
        meant = hint(argument, names, "/sessions lists what there is")
        raise UsageError(f"there is no session {argument!r}: {meant}")
    await talk.begin(argument)


def idle(talk: Talk) -> None:
    """Raises unless the session has no open run.

    Raises:
        UsageError: it has.
    """
    if talk.conversation.busy:
        raise UsageError("a run is open here: let it finish, or end it with Ctrl-C first")


async def sessions_of(talk: Talk) -> list[Listed]:
    """Returns the newest run of each of the newest sessions, newest first."""
    found: dict[str, Listed] = {}
    for row in await talk.conversation.sessions.listed(_LISTED):
        found.setdefault(row.session, row)
    return list(found.values())


async def list_sessions(talk: Talk, argument: str) -> None:
    """Shows the newest sessions."""
    rows = (await sessions_of(talk))[:_SHOWN]
    talk.known_sessions = [row.session for row in rows]
    if not rows:
        talk.view.note("no sessions yet: this is going to be the first")
        return
    now = talk.conversation.now()
    width = max(len(one_line(row.session, 40)) for row in rows)
    for row in rows:
        here = "●" if row.session == talk.conversation.session else " "
        cost = money(row.cost, most=row.estimated, short=True)
        facts = f"{age(row.started, now):<11} {row.status:<10} {count(row.steps, 'step'):>9} {cost:>9}  "
        name = f"{one_line(row.session, 40):<{width}}"
        talk.view.lines([Text.assemble((f"  {here} {name}  ", "cyan"), (facts, "dim"), one_line(row.prompt))])
