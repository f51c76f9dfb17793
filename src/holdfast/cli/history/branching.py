"""`holdfast runs fork|rewind|diff`: going back in a session, with its files."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click
import msgspec
from rich.text import Text

from holdfast.cli.asking.span import Whole
from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.reaching.naming import Place, place_options, refuse_with
from holdfast.cli.reaching.port import Sessions
from holdfast.cli.reaching.stores import reached
from holdfast.cli.rendering.diffs import diff_line, tally
from holdfast.cli.settings.defaults import open_runtime, settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count, printable
from holdfast.errors import SandboxError, UsageError
from holdfast.runtime.history.reports import Difference
from holdfast.types import Change, Changes, SessionId, session_of, shown

__all__ = ("COMMANDS", "go_back", "show_changes")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_NAMES = 8
"""Files that are named of those that a rewind removed."""
_SESSION = click.argument("session", shell_complete=session_names)


def _event(last: int, number: int, session: str, place: Place) -> None:
    if number > last:
        raise UsageError(
            f"session {session!r} has no event {number}, its last is {last}: "
            f"`holdfast runs show {session}{place.option}` shows them"
        )


async def _meant(sessions: Sessions, session: str, number: int, place: Place) -> SessionId:
    """Returns the session that is meant, which has an event of that number."""
    found = await sessions.named(session)
    stand = await sessions.stand(found)
    _event(0 if stand is None else stand.seq, number, found, place)
    return found


def _go_on(session: str, place: Place) -> str:
    if place.server is not None:
        return f"holdfast chat --session {session}{place.option}"
    return f'holdfast run --session {session}{place.option} "…"'


@click.command("fork", context_settings=_SETTINGS, short_help="Make a new session from SESSION as it was at an event.")
@_SESSION
@click.option("--at", type=Whole(0), help="The last event that is shared.  [default: the last there is]")
@click.option("--as", "name", help="Name of the new session.  [default: a new one]")
@click.option("-w", "--workspace", type=click.Path(path_type=Path), help="Folder for the files as they were then.")
@click.option("--n", "many", type=Whole(1), help="Make so many at once, or none: `--as x` names x-1, x-2 …")
@place_options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def fork(
    session: str,
    at: int | None,
    name: str | None,
    workspace: Path | None,
    many: int | None,
    output: str,
    place: Place,
) -> None:
    """Make a new session that shares SESSION's log up to event N, with the files as they were at that event.

    The session it comes from, its log and its folder stay as they are. With --n several are made from the one state,
    each in a folder of its own. A server makes one, in a folder of its own.
    """
    refuse_with(place.server, {"--workspace": workspace, "--n": many})
    if many is not None and workspace is not None:
        raise UsageError("several forks have a folder each: leave out --workspace, or --n")

    async def go() -> list[tuple[SessionId, str]]:
        nonlocal session
        if place.server is not None:
            async with reached(place) as sessions:
                session = await _meant(sessions, session, at or 0, place)
                return [(await sessions.fork(session, at=at, name=name), "")]
        async with open_runtime(there(place.url)) as runtime:
            stream, head = await known_session(runtime.journal, session, place.url)
            session = session_of(stream)
            _event(head.seq, at or 0, session, place)
            if many is None:
                made = (await runtime.fork(session, at=at, name=name, workspace=workspace),)
            else:
                made = await runtime.branches(session, many, at=at, name=name)
            return [(child, (await runtime.workspace(child)) or "") for child in made]

    made = asyncio.run(go())
    if output == "json":
        shown_ones = [{"session": child, "parent": session, "at": at, "workspace": folder} for child, folder in made]
        click.echo(msgspec.json.encode(shown_ones if many is not None else shown_ones[0]))
        return
    for child, folder in made:
        _print_fork(session, at, child, folder, place)


def _print_fork(session: str, at: int | None, child: SessionId, folder: str, place: Place) -> None:
    console = open_console(plain=settings().plain)
    where = "its end" if at is None else f"event {at}"
    console.print(Text.assemble(("⑂ ", "green"), (child, "bold"), f"  from {session} at {where}"), soft_wrap=True)
    if folder:
        console.print(Text(f"  files   {printable(folder)}", "dim"), soft_wrap=True)
    console.print(Text(f"  go on   {_go_on(child, place)}", "dim"), soft_wrap=True)


@click.command("rewind", context_settings=_SETTINGS, short_help="Take SESSION and its files back to an event.")
@_SESSION
@click.option("--at", type=Whole(0), required=True, help="The last event that stays in the conversation.")
@place_options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rewind(session: str, at: int, output: str, place: Place) -> None:
    """Take what came after event N out of SESSION's conversation, and put its files back as they were then.

    Files that somebody else made or changed since then go back, too, and it is said which were removed. The log keeps
    what happened, and the files as they were: what is printed takes it back.
    """
    go_back(session, at, place, output)


def go_back(session: str, at: int, place: Place, output: str) -> None:
    """Takes a session and its files back to an event, and says how that is undone.

    Raises:
        UnknownSession, UsageError: there is no such session or event.
    """

    async def go() -> tuple[int, Changes]:
        nonlocal session
        async with reached(place) as sessions:
            session = await _meant(sessions, session, at, place)
            back = await sessions.rewind(session, to=at)
            return back, await _moved(sessions, session, back)

    back, changes = asyncio.run(go())
    removed = [shown(change.path) for change in changes if change.kind == "removed"]
    if output == "json":
        restored = [shown(change.path) for change in changes if change.kind != "removed"]
        done = {"session": session, "at": at, "undo": back, "restored": restored, "removed": removed}
        click.echo(msgspec.json.encode(done))
        return
    console = open_console(plain=settings().plain)
    console.print(Text.assemble(("↺ ", "green"), (session, "bold"), f"  is back at event {at}"), soft_wrap=True)
    if changes:
        console.print(Text(f"  files   {_told(len(changes) - len(removed), removed)}", "dim"), soft_wrap=True)
    console.print(Text(f"  go on   {_go_on(session, place)}", "dim"), soft_wrap=True)
    undo = f"holdfast runs rewind {session} --at {back}{place.option}"
    console.print(Text(f"  undo    {undo}", "dim"), soft_wrap=True)


async def _moved(sessions: Sessions, session: str, back: int) -> Changes:
    """Returns what a rewind did to the folder, whoever had made it as it was: nothing where there is none."""
    try:
        return (await sessions.changes(session, since=back)).changes
    except (UsageError, SandboxError):  # it has no folder, or nobody kept how it was
        return ()


def _told(restored: int, removed: list[str]) -> str:
    said = [f"{count(restored, 'file')} put back"] if restored else []
    if removed:
        more = f" and {len(removed) - _NAMES:,} more" if len(removed) > _NAMES else ""
        names = ", ".join(printable(name) for name in removed[:_NAMES])
        number = f"{len(removed):,}" if restored else count(len(removed), "file")
        said.append(f"{number} removed: {names}{more}")
    return ", ".join(said)


@click.command("diff", context_settings=_SETTINGS, short_help="Show what SESSION changed in its folder.")
@_SESSION
@click.argument("paths", nargs=-1)
@click.option("--from", "since", type=Whole(0), help="Event to begin at.  [default: the beginning]")
@click.option("--to", "until", type=Whole(0), help="Event to end at.  [default: the last]")
@place_options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(session: str, paths: tuple[str, ...], since: int | None, until: int | None, output: str, place: Place) -> None:
    """Show what SESSION changed in its folder between two events, of all files or of PATHS.

    What is printed to a file or a pipe can be given to `patch -p1`.
    """
    show_changes(session, paths, since, until, place, output)


def show_changes(
    session: str, paths: tuple[str, ...], since: int | None, until: int | None, place: Place, output: str
) -> None:
    """Shows what a session changed between two events, of all files or of these paths.

    Raises:
        UnknownSession, UsageError: there is no such session or event, or it has no folder.
    """

    async def go() -> Difference:
        async with reached(place) as sessions:
            found = await _meant(sessions, session, max(since or 0, until or 0), place)
            return await sessions.changes(found, since=since or 0, until=until)

    found = asyncio.run(go())
    changes = [change for change in found.changes if _named(change.path, paths)]
    text = _only(found.text, changes) if paths else found.text
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(changes)))
        return
    console = open_console(plain=settings().plain)
    if not changes:
        console.print(Text("nothing was changed", "dim"))
        return
    if not console.is_terminal:  # whole lines, as patch wants them
        click.echo(text, nl=not text.endswith("\n"))
        return
    console.print(Text.assemble(count(len(changes), "file"), "  ", tally(text)))
    for line in text.removesuffix("\n").split("\n"):
        console.print(diff_line(line), no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)


def _named(path: str, paths: tuple[str, ...]) -> bool:
    """Whether a path is one of those that were named, or lies below one."""
    given = [each.rstrip("/").removeprefix("./") for each in paths]
    return not given or any(each in ("", ".") or path == each or path.startswith(f"{each}/") for each in given)


def _only(text: str, changes: list[Change]) -> str:
    """Returns the parts of a diff, a path each, that are about these changes."""
    ends = (": ", " (", ", mode ", "\n")
    heads = ("... ", *(f"{change.kind} {shown(change.path)}{end}" for change in changes for end in ends))
    parts: list[list[str]] = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):  # a line of a file may hold what only looks like an end
        if line[0] not in " +-@\\" or not parts:  # the line that says what became of a path
            parts.append([])
        parts[-1].append(line)
    return "".join("".join(part) for part in parts if part[0].startswith(heads))


COMMANDS = (fork, rewind, diff)
"""What `holdfast runs` offers of these."""
