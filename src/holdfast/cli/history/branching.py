"""`holdfast runs fork|rewind|diff`: going back in a session, with its files."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click
import msgspec
from rich.text import Text

from holdfast.cli.completion.sessions import session_names
from holdfast.cli.rendering.diffs import diff_line, tally
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count, printable
from holdfast.errors import SandboxError, UnknownSession, UsageError
from holdfast.errors.hinting import hint
from holdfast.journal.port import Head, Journal
from holdfast.runtime.history.reports import Difference
from holdfast.runtime.opening import store_exists
from holdfast.runtime.runtime import Runtime
from holdfast.types import Change, Changes, SessionId, StreamId, session_of, shown, stream_id

__all__ = ("COMMANDS", "go_back", "known_session", "show_changes", "there")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
_NAMES = 8
"""Files that are named of those that a rewind removed."""
_SOME = 1000
"""Sessions among which a name is looked for that may have been meant."""
_SESSION = click.argument("session", shell_complete=session_names)


def there(url: str) -> str:
    """Returns the store, if it exists: looking for a session makes none."""
    return url if store_exists(url) else "memory:"


async def known_session(journal: Journal, session: str, url: str) -> tuple[StreamId, Head]:
    """Returns a session's stream and head.

    Raises:
        UnknownSession: there is none of that name.
    """
    stream = stream_id("local", session)
    head = await journal.head(stream)
    if head is None:
        names = [session_of(each.stream) for each in await journal.heads("local", limit=_SOME)]
        meant = hint(session, names, f"`holdfast runs list{store_option(url)}` shows what there is")
        raise UnknownSession(f"there is no session {session!r} in {url.rstrip(':')}: {meant}")
    return stream, head


def _event(head: Head, number: int, session: str, url: str) -> None:
    if number > head.seq:
        raise UsageError(
            f"session {session!r} has no event {number}, its last is {head.seq}: "
            f"`holdfast runs show {session}{store_option(url)}` shows them"
        )


@click.command("fork", context_settings=_SETTINGS, short_help="Make a new session from SESSION as it was at an event.")
@_SESSION
@click.option("--at", type=click.IntRange(0), help="The last event that is shared.  [default: the last there is]")
@click.option("--as", "name", help="Name of the new session.  [default: a new one]")
@click.option("-w", "--workspace", type=click.Path(path_type=Path), help="Folder for the files as they were then.")
@click.option("--n", "many", type=click.IntRange(1), help="Make so many at once, or none: `--as x` names x-1, x-2 …")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def fork(
    session: str,
    at: int | None,
    name: str | None,
    workspace: Path | None,
    many: int | None,
    store: str | None,
    output: str,
) -> None:
    """Make a new session that shares SESSION's log up to event N, with the files as they were at that event.

    The session it comes from, its log and its folder stay as they are. With --n several are made from the one state,
    each in a folder of its own.
    """
    url = store_url(store)
    if many is not None and workspace is not None:
        raise UsageError("several forks have a folder each: leave out --workspace, or --n")

    async def go() -> list[tuple[SessionId, str]]:
        async with open_runtime(there(url)) as runtime:
            _, head = await known_session(runtime.journal, session, url)
            _event(head, at or 0, session, url)
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
        _print_fork(session, at, child, folder, url)


def _print_fork(session: str, at: int | None, child: SessionId, folder: str, url: str) -> None:
    console = open_console(plain=settings().plain)
    where = "its end" if at is None else f"event {at}"
    console.print(Text.assemble(("⑂ ", "green"), (child, "bold"), f"  from {session} at {where}"), soft_wrap=True)
    if folder:
        console.print(Text(f"  files   {printable(folder)}", "dim"), soft_wrap=True)
    again = f'holdfast run --session {child}{store_option(url)} "…"'
    console.print(Text(f"  go on   {again}", "dim"), soft_wrap=True)


@click.command("rewind", context_settings=_SETTINGS, short_help="Take SESSION and its files back to an event.")
@_SESSION
@click.option("--at", type=click.IntRange(0), required=True, help="The last event that stays in the conversation.")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rewind(session: str, at: int, store: str | None, output: str) -> None:
    """Take what came after event N out of SESSION's conversation, and put its files back as they were then.

    Files that somebody else made or changed since then go back, too, and it is said which were removed. The log keeps
    what happened, and the files as they were: what is printed takes it back.
    """
    go_back(session, at, store, output)


def go_back(session: str, at: int, store: str | None, output: str) -> None:
    """Takes a session and its files back to an event, and says how that is undone.

    Raises:
        UnknownSession, UsageError: there is no such session or event.
    """
    url = store_url(store)

    async def go() -> tuple[int, Changes]:
        async with open_runtime(there(url)) as runtime:
            _, head = await known_session(runtime.journal, session, url)
            _event(head, at, session, url)
            back = await runtime.rewind(session, to=at)
            return back, await _moved(runtime, session, back)

    back, changes = asyncio.run(go())
    removed = [shown(change.path) for change in changes if change.after is None]
    if output == "json":
        restored = [shown(change.path) for change in changes if change.after is not None]
        done = {"session": session, "at": at, "undo": back, "restored": restored, "removed": removed}
        click.echo(msgspec.json.encode(done))
        return
    console = open_console(plain=settings().plain)
    console.print(Text.assemble(("↺ ", "green"), (session, "bold"), f"  is back at event {at}"), soft_wrap=True)
    if changes:
        console.print(Text(f"  files   {_told(len(changes) - len(removed), removed)}", "dim"), soft_wrap=True)
    again = f'holdfast run --session {session}{store_option(url)} "…"'
    console.print(Text(f"  go on   {again}", "dim"), soft_wrap=True)
    undo = f"holdfast runs rewind {session} --at {back}{store_option(url)}"
    console.print(Text(f"  undo    {undo}", "dim"), soft_wrap=True)


async def _moved(runtime: Runtime, session: str, back: int) -> Changes:
    """Returns what a rewind did to the folder, whoever had made it as it was: nothing where there is none."""
    try:
        return (await runtime.changes(session, since=back)).changes
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
@click.option("--from", "since", type=click.IntRange(0), help="Event to begin at.  [default: the beginning]")
@click.option("--to", "until", type=click.IntRange(0), help="Event to end at.  [default: the last]")
@_STORE
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(
    session: str, paths: tuple[str, ...], since: int | None, until: int | None, store: str | None, output: str
) -> None:
    """Show what SESSION changed in its folder between two events, of all files or of PATHS.

    What is printed to a file or a pipe can be given to `patch -p1`.
    """
    show_changes(session, paths, since, until, store, output)


def show_changes(
    session: str, paths: tuple[str, ...], since: int | None, until: int | None, store: str | None, output: str
) -> None:
    """Shows what a session changed between two events, of all files or of these paths.

    Raises:
        UnknownSession, UsageError: there is no such session or event, or it has no folder.
    """
    url = store_url(store)

    async def go() -> Difference:
        async with open_runtime(there(url)) as runtime:
            _, head = await known_session(runtime.journal, session, url)
            _event(head, max(since or 0, until or 0), session, url)
            return await runtime.changes(session, since=since or 0, until=until)

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
