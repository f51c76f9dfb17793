"""`holdfast chat`: one session, many prompts, in a terminal.

Only this folder loads the library that edits lines, and only when a talk begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import click
from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.span import Amount, Whole
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import Server, refuse_with, server_options, server_said
from holdfast.cli.run import coder, isolation_note, play
from holdfast.cli.settings.defaults import doubted, open_runtime, policy_of, settings, store_url, warn
from holdfast.cli.settings.naming import model_specs
from holdfast.cli.terminal import open_console, with_person
from holdfast.cli.words import names_in
from holdfast.errors import UsageError
from holdfast.runtime.opening import data_folder
from holdfast.runtime.settings import Settings
from holdfast.sandbox.snippets.telling import listening
from holdfast.types import LEVELS, Mode, ThinkingLevel

if TYPE_CHECKING:
    from holdfast.cli.chat.conversation import Terms
    from holdfast.cli.chat.line.editor import Editor
    from holdfast.cli.chat.line.plain import PlainLines
    from holdfast.cli.chat.talk import Front, Talk
    from holdfast.cli.reaching.port import Sessions

__all__ = ("chat",)

_INTERRUPTED = 130
_COMPLETED = 2000
"""Sessions that can be completed at most."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-m",
    "--model",
    help="As provider/name; several with commas stand in for one another.  [default: openai/gpt-5-mini]",
    shell_complete=model_specs,
)
@click.option("--thinking", type=click.Choice(LEVELS), help="How much the model thinks.  [default: as it likes]")
@click.option("-s", "--session", help="Go on in this session.  [default: a new one]", shell_complete=session_names)
@click.option(
    "-w", "--workspace", type=click.Path(path_type=Path), help="Folder.  [default: the session's, or this one]"
)
@click.option("--sandbox", help="What commands run in: a sandbox's name, or a profile's file.  [default: auto]")
@click.option("--policy", type=click.Path(path_type=Path), help="A file that says which calls there may be.")
@click.option("--roles", default="", help="What the agent is for that policy: its roles, with commas.")
@click.option("--yes", "mode", flag_value="auto", help="Allow every call without a question.")
@click.option("--ask", "mode", flag_value="ask", help="Ask before every change, also of files.")
@click.option("--read-only", "mode", flag_value="read-only", help="Allow nothing that changes anything.")
@click.option("--max-steps", type=Whole(1), help="Model calls of each run.  [default: 200]")
@click.option("--max-tokens", type=Whole(1), help="Tokens in and out together, of each run.")
@click.option("--max-dollars", type=Amount(0, min_open=True), help="What the model may cost in each run.")
@click.option("--max-seconds", type=Amount(0, min_open=True), help="Wall time of each run.")
@click.option("--store", help="Where the log is kept: sqlite:///file.db or memory:  [default: your data folder]")
@server_options
@click.option("--agent", help="Who answers, of a server's agents.  [default: the only one]")
@click.option("--plain", is_flag=True, default=None, help="Whole lines, no colours and nothing that moves.")
def chat(
    model: str | None,
    thinking: ThinkingLevel | None,
    session: str | None,
    workspace: Path | None,
    sandbox: str | None,
    policy: Path | None,
    roles: str,
    mode: Mode | None,
    max_steps: int | None,
    max_tokens: int | None,
    max_dollars: float | None,
    max_seconds: float | None,
    store: str | None,
    server: str | None,
    key_file: Path | None,
    agent: str | None,
    plain: bool | None,
) -> None:
    """Talk with an agent that works in a folder, or with one of a server.

    What you type while it works joins the run at its next step. Ctrl-C aborts the run and not the program; Ctrl-D
    leaves. /help, once inside, shows the commands. A run that was left open goes on, unless --ask or --read-only is
    stricter than its mode: then you are asked.
    """
    if not with_person():
        raise UsageError('chat needs a terminal: without one, use holdfast run "…" --session NAME for each prompt')
    where = server_said(server, key_file, store)
    own = {"--model": model, "--thinking": thinking, "--workspace": workspace, "--sandbox": sandbox}
    refuse_with(where, own | {"--policy": policy, "--roles": roles})
    if agent and where is None:
        raise UsageError("--agent names one of a server's agents: name the server, too, with --server")
    folder = workspace or Path()
    if not folder.is_dir():
        raise UsageError(f"the workspace {str(folder)!r} is no folder: make it first, or name another with --workspace")
    held = settings(folder)
    warn(held)
    limits = held.limits(steps=max_steps, tokens=max_tokens, dollars=max_dollars, seconds=max_seconds)

    from holdfast.cli.chat.conversation import Terms
    from holdfast.cli.choosing.meaning import meant

    meant(model or held.model)  # a name that cannot be one is said before anything is typed

    terms = Terms(model or held.model, mode or held.mode, folder.resolve(), limits)
    terms.thinking, terms.roles = thinking or held.thinking, names_in(roles)
    terms.strict, terms.pinned = mode is not None, workspace is not None
    plain = held.plain if plain is None else plain
    entered = _here(terms, store_url(store), sandbox, policy) if where is None else _there(terms, where, agent or "")
    sys.exit(play(_talk(terms, session, entered, held, plain=plain)))


class _Entered(NamedTuple):
    """Where a talk is, and what is said about that before anything else."""

    sessions: Sessions
    heading: str
    notes: Sequence[str]


@contextlib.asynccontextmanager
async def _here(terms: Terms, url: str, sandbox: str | None, policy: Path | None) -> AsyncGenerator[_Entered]:
    """Opens a store on this machine."""
    from holdfast.cli.choosing.meaning import doubts, meant
    from holdfast.cli.reaching.local import LocalSessions

    found = doubted(policy_of(policy), coder(terms.model, terms.limits, asks=True, roles=terms.roles).spec)
    home, where = str(Path.home()), str(terms.workspace)
    where = f"~{where.removeprefix(home)}" if f"{where}/".startswith(f"{home}/") else where
    thinks = f" · thinks {terms.thinking}" if terms.thinking is not None else ""
    async with open_runtime(url, sandbox, policy) as runtime:
        note = isolation_note(await runtime.posture())
        notes = [*([note] if note else []), *(f"! {doubt}" for doubt in (*doubts(meant(terms.model)), *found))]
        heading = f"holdfast chat · {terms.model}{thinks} · {terms.mode} · {where}"
        yield _Entered(LocalSessions(runtime, url), heading, notes)


@contextlib.asynccontextmanager
async def _there(terms: Terms, server: Server, named: str) -> AsyncGenerator[_Entered]:
    """Finds a server, and who answers there."""
    from holdfast.cli.reaching.agents import chosen
    from holdfast.cli.reaching.naming import opened

    async with opened(server) as sessions:
        agent = chosen(await sessions.agents(), named)
        terms.agent, terms.model = agent.name, agent.about
        heading = f"holdfast chat · {agent.name} ({agent.about}) · {terms.mode} · {server.url}"
        yield _Entered(sessions, heading, ())


async def _talk(
    terms: Terms,
    session: str | None,
    entered: contextlib.AbstractAsyncContextManager[_Entered],
    held: Settings,
    *,
    plain: bool,
) -> int:
    from holdfast.cli.chat.conversation import Conversation
    from holdfast.cli.chat.slash.table import obey
    from holdfast.cli.chat.talk import Talk
    from holdfast.cli.chat.view import View

    plain = plain or os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    async with entered as where:
        console, out = _console(plain)
        folder = terms.workspace if where.sessions.drives else None
        view = View(console, folder, theme=held.theme, echo=not plain)
        talk = Talk(Conversation(where.sessions, terms), view, obey)
        front = talk.front = _front(talk, out, plain)

        async def first() -> None:
            await _open(talk, session, where)

        stop = _Stop(front)
        with listening(talk.view.note):
            await front.read(first)
        with contextlib.suppress(OSError):  # the terminal may have gone
            if farewell := talk.farewell():
                console.print(Text(farewell, "dim"), soft_wrap=True)
            sys.stdout.flush()
        if talk.hurried:
            os._exit(_INTERRUPTED)  # like a kill, which the log stands: a deaf tool must not hold up who leaves
        await talk.conversation.leave()
    return stop.code


class _Stop:
    """A system's wish that this should end: the terminal is given back first."""

    def __init__(self, front: Front) -> None:
        self.code = 0
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, front, 128 + number)

    def _stop(self, front: Front, code: int) -> None:
        self.code = code
        front.leave()


async def _open(talk: Talk, session: str | None, where: _Entered) -> None:
    talk.view.note(where.heading)
    for note in where.notes:
        talk.view.note(note, "yellow")
    talk.view.note("/help shows commands and keys, Ctrl-D leaves\n", "dim")
    await talk.begin(session)
    talk.known_sessions = await where.sessions.names(_COMPLETED)


def _console(plain: bool) -> tuple[Console, TextIO]:
    if plain:
        return open_console(sober=True), sys.stdout
    from holdfast.cli.chat.line.editor import Above

    out = Above(sys.stdout)
    return open_console(file=out), out


def _front(talk: Talk, out: TextIO, plain: bool) -> Editor | PlainLines:
    if plain:
        from holdfast.cli.chat.line.plain import PlainLines

        return PlainLines(talk)
    from holdfast.cli.chat.line.completing import PATHS, ChatCompleter
    from holdfast.cli.chat.line.editor import Above, Editor
    from holdfast.cli.chat.slash.models import DEFAULT
    from holdfast.cli.chat.slash.table import COMMANDS
    from holdfast.cli.choosing.offers import completed
    from holdfast.types import MODES

    assert isinstance(out, Above)
    commands = {name: command.about for name, command in COMMANDS.items()}
    values = {
        "mode": lambda: MODES,
        "image": PATHS,
        "model": completed,
        "thinking": lambda: (*LEVELS, DEFAULT),
        "resume": lambda: talk.known_sessions,
    }
    completer = ChatCompleter(commands, values, lambda: talk.conversation.terms.workspace)
    return Editor(talk, out, completer, data_folder() / "chat-history")
