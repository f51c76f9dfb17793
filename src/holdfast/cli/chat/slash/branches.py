"""Commands that look at what became of the files, take it back, and go on beside it."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.chat.slash.session import idle
from holdfast.cli.chat.talk import Talk
from holdfast.cli.rendering.diffs import cut, diff_line, tally
from holdfast.cli.words import count, one_line
from holdfast.engine.events import InputReceived
from holdfast.engine.folding import visible
from holdfast.errors import UsageError
from holdfast.types import Change, shown

__all__ = ("diff", "fork", "rewind")

_LINES = 200
"""Lines of a diff that are shown; the file itself has the rest."""
_SIGNS = {"added": ("+", "green"), "removed": ("-", "red")}


async def diff(talk: Talk, argument: str) -> None:
    """Shows what the session changed in its folder, or what came after an event."""
    conversation = talk.conversation
    if not conversation.figures.state.seq:
        talk.view.note("nothing was done in this session yet")
        return
    since = _event(talk, argument) if argument else 0
    found = await conversation.sessions.changes(conversation.session, since=since)
    if not found.changes:
        talk.view.note("no file is other than it was")
        return
    text = [diff_line(line) for line in found.text.removesuffix("\n").split("\n")]
    talk.view.lines([Text(), *cut(text, _LINES), Text()])
    summary = Text.assemble((f"{count(len(found.changes), 'path')} changed  ", "cyan"), tally(found.text))
    talk.view.lines([summary])


async def rewind(talk: Talk, argument: str) -> None:
    """Takes back what came after an event; without one, shows what there is to go back to."""
    idle(talk)
    if not argument:
        await _places(talk, "rewind")
        return
    conversation = talk.conversation
    to = _event(talk, argument)
    again = await _said_after(talk, to)
    before = await _files(talk, to)
    await conversation.sessions.rewind(conversation.session, to=to)
    gone = conversation.figures.state.seq - to
    await conversation.open(conversation.session)
    talk.view.note(f"↶ back at event {to}: {count(gone, 'event')} taken out of the conversation")
    talk.view.lines(_restored(before) or [Text("  no file had to be put back", "dim")])
    if again and talk.front is not None:
        talk.front.put(again)


async def fork(talk: Talk, argument: str) -> None:
    """Goes on in a copy of the session, and of its folder, from an event or from its end."""
    idle(talk)
    conversation = talk.conversation
    if not conversation.figures.state.seq:
        raise UsageError("nothing was said in this session yet, so there is nothing to copy")
    at = _event(talk, argument) if argument else None
    parent, again = conversation.session, await _said_after(talk, at) if at is not None else ""
    child = await conversation.sessions.fork(parent, at=at)
    await conversation.open(child)
    talk.view.forget()
    where = f"event {at}" if at is not None else "its end"
    talk.view.note(f"⑂ session {child}, a copy of {parent} up to {where}; /resume {parent} goes back")
    talk.where()
    if again and talk.front is not None:
        talk.front.put(again)


def _event(talk: Talk, argument: str) -> int:
    last = talk.conversation.figures.state.seq
    if not argument.isdecimal() or int(argument) > last:
        raise UsageError(f"{one_line(argument, 40)!r} is no event of this session: name one from 0 to {last}")
    return int(argument)


async def _places(talk: Talk, command: str) -> None:
    """Shows what was said, each with the number of the event before it."""
    rows: list[Text] = []
    for event in visible(await talk.conversation.events()):
        if isinstance(event.data, InputReceived):
            words = one_line(event.data.message.text, 200)
            rows.append(Text.assemble((f"  /{command} {event.seq - 1:<5}", "cyan"), (" before  ", "dim"), words))
    if not rows:
        raise UsageError("nothing was said in this session yet, so there is nothing to take back")
    talk.view.lines(rows[-30:])


async def _said_after(talk: Talk, at: int) -> str:
    """Returns what was said in the very next event, to be said again in other words."""
    for event in await talk.conversation.events():
        if event.seq == at + 1 and isinstance(event.data, InputReceived):
            return event.data.message.text
    return ""


async def _files(talk: Talk, to: int) -> tuple[Change, ...]:
    """Returns what a rewind is about to put back."""
    conversation = talk.conversation
    try:
        return (await conversation.sessions.changes(conversation.session, since=to)).changes
    except UsageError:  # a session without a folder
        return ()


def _restored(changes: tuple[Change, ...]) -> list[Text]:
    rows: list[Text] = []
    for change in changes:
        done = {"added": "taken away", "removed": "is there again"}.get(change.kind, "as it was")
        sign, style = _SIGNS.get(change.kind, ("±", "yellow"))
        rows.append(Text.assemble((f"  {sign} ", style), shown(change.path), (f"  {done}", "dim")))
    return cut(rows, 20)
