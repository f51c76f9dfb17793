"""Every slash command, what it does and what may stand behind it.

A command is a function of the talk and of what stands behind its name; it shows what it did, or raises what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import msgspec
from rich.text import Text

from holdfast.cli.chat.slash import branches, context, models, session, showing
from holdfast.cli.chat.talk import Talk
from holdfast.errors import UsageError
from holdfast.errors.hinting import closest

__all__ = ("COMMANDS", "Command", "obey")


class Command(msgspec.Struct, frozen=True):
    """One command."""

    about: str
    """What it does, in a few words."""
    do: Callable[[Talk, str], Awaitable[None]]
    argument: str = ""
    """What stands behind it, as the help shows it."""


async def _help(talk: Talk, argument: str) -> None:
    width = max(len(f"{name} {command.argument}") for name, command in COMMANDS.items()) + 2
    pairs = [(f"/{name} {command.argument}", command.about) for name, command in COMMANDS.items()]
    keys = (
        ("Enter", "sends; while a run works it joins the run at its next step"),
        ("Alt-Q", "sends for when the run is over, as /later does"),
        ("Alt-Enter", "begins another line, as Ctrl-J does, and \\ before Enter; what is pasted stays one message"),
        ("Ctrl-C", "aborts the run; a second time leaves at once"),
        ("Ctrl-D", "leaves; a run that is open stays open"),
        ("Ctrl-R", "searches what you typed, also on other days"),
        ("@path", "names a file, and Tab completes it; the path of an image attaches the image"),
    )
    for number, (name, what) in enumerate([*pairs, *keys]):
        if number == len(pairs):
            talk.view.lines([Text()])
        talk.view.pair(name, what, width)
    talk.view.lines([Text()])


async def _quit(talk: Talk, argument: str) -> None:
    talk.leave()


async def _later(talk: Talk, argument: str) -> None:
    if not argument:
        raise UsageError("say what is to be done later, as in /later Then write the changelog")
    await talk.line(argument, later=True)


async def _clear(talk: Talk, argument: str) -> None:
    if talk.front is not None:
        talk.front.wipe()


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "help": Command("this page", _help),
        "model": Command("the model of what you say next, and others there are", models.set_model, "[SPEC]"),
        "thinking": Command("how much it thinks", models.set_thinking, "[LEVEL]"),
        "mode": Command("what it may do without asking", session.set_mode, "[MODE]"),
        "go": Command("go on with what was started in a freer mode", session.go),
        "abort": Command("end the run that is open, as Ctrl-C does", session.abort),
        "later": Command("say something for when the run is over", _later, "TEXT"),
        "image": Command("attach an image to the next message", session.attach, "PATH"),
        "diff": Command("what this session changed in the folder", branches.diff),
        "rewind": Command("take back what came after event N, and its files", branches.rewind, "[N]"),
        "fork": Command("go on in a copy of this session, from event N", branches.fork, "[N]"),
        "new": Command("begin a new session", session.new, "[NAME]"),
        "sessions": Command("the newest sessions", session.list_sessions),
        "resume": Command("go to another session", session.resume, "NAME"),
        "cost": Command("what this session cost", showing.cost),
        "context": Command("how full the model's window is, and of what", context.context, "[--ask]"),
        "tools": Command("what the agent can do", showing.tools),
        "clear": Command("clear the screen", _clear),
        "quit": Command("leave", _quit),
    }
)
"""By name, in the order of the help."""

_SAME = {"?": "help", "exit": "quit", "q": "quit", "undo": "rewind", "h": "help"}


async def obey(talk: Talk, line: str) -> None:
    """Does what a line with a slash says.

    Raises:
        HoldfastError: there is no such command, or it cannot be done; the message says what can.
    """
    name, _, argument = line[1:].partition(" ")
    command = COMMANDS.get(_SAME.get(name.lower(), name.lower()))
    if command is None:
        near = closest(name.lower(), COMMANDS)
        meant = f"did you mean /{near}?" if near else "/help lists what there is"
        raise UsageError(f"there is no command /{name}: {meant}")
    await command.do(talk, argument.strip())
