"""`holdfast runs export|import`: a session goes to a file, and comes back from one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
import msgspec
from rich.text import Text

from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.history.pruning import size_of
from holdfast.cli.reaching.naming import store_here
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import LiveLine, open_console
from holdfast.cli.words import count, printable
from holdfast.errors import UsageError
from holdfast.runtime.history.reports import Imported, Loading
from holdfast.types import session_of

__all__ = ("export", "import_")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command("export", context_settings=_SETTINGS, short_help="Write SESSION to a file, for another store.")
@click.argument("session", shell_complete=session_names)
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="File.  [default: standard output]")
@click.option("--no-blobs", is_flag=True, help="Only the events: no files, no long outputs.")
@store_here("a server gives it at GET /v1/sessions/SESSION/export")
def export(session: str, file: Path | None, no_blobs: bool, store: str | None) -> None:
    """Write SESSION as lines of JSON, from which `runs import` makes it again, here or in another store.

    The file is for you alone (mode 0600). Its first line says what it is. Then come all events, one a line and as they
    are in the log, a fork's shared ones too; then what they refer to, the files of the session's folder among it.
    """
    url = store_url(store)
    to_file = file is not None and str(file) != "-"

    async def go() -> int:
        nonlocal session
        async with open_runtime(there(url)) as runtime:
            stream, _ = await known_session(runtime.journal, session, url)
            session = session_of(stream)
            with _target(file) as write, _line(shown=to_file) as show:
                return await _copy(runtime.export(session, blobs=not no_blobs), write, show)

    number = asyncio.run(go())
    if to_file:
        click.echo(printable(f"{count(number, 'event')} of session {session} in {file}"))


async def _copy(lines: AsyncIterator[bytes], write: Callable[[bytes], object], show: Callable[[str], None]) -> int:
    """Writes lines, and returns how many events were among them."""
    events = done = written = 0
    async for line in lines:
        if not done:
            events = json.loads(line)["events"]
        write(line)
        done, written = done + 1, written + len(line)
        if done % 200 == 0:
            what = f"event {done:,} of {events:,}" if done <= events else "what they refer to"
            show(f"writing {what}, {size_of(written)}")
    return events


@contextmanager
def _line(*, shown: bool) -> Generator[Callable[[str], None]]:
    """Gives what shows how far it is, where somebody looks."""
    if not shown:
        yield lambda _: None
        return
    with LiveLine(open_console(plain=settings().plain)) as line:
        yield line.show


@click.command("import", context_settings=_SETTINGS, short_help="Make a session from a FILE that export wrote.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", help="Name of the session here.  [default: the one it had]")
@click.option("-w", "--workspace", type=click.Path(path_type=Path), help="Empty folder for its files.")
@store_here("a server takes it at POST /v1/imports")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def import_(file: Path, name: str | None, workspace: Path | None, store: str | None, output: str) -> None:
    """Make a session from FILE, which `runs export` wrote; `-` reads standard input.

    All of the file is looked at first: a line that is wrong is named, and then nothing is imported. A run that was open
    there is not open here, and what was allowed there is not allowed here. The files go to a folder of their own.
    """
    url = store_url(store)

    async def go(source: IO[bytes], progress: Loading) -> Imported:
        async with open_runtime(url) as runtime:
            return await runtime.load(source, name=name, workspace=workspace, progress=progress)

    with _source(file) as source, _line(shown=output == "text") as show:
        total = 2 * os.fstat(source.fileno()).st_size
        done = asyncio.run(go(source, lambda read: show(f"reading {size_of(read)} of {size_of(total)}")))
    if output == "json":
        click.echo(msgspec.json.encode(done))
        return
    console = open_console(plain=settings().plain)
    told = f"  {count(done.events, 'event')} of {printable(done.source)}"
    console.print(Text.assemble(("✓ ", "green"), (done.session, "bold"), told), soft_wrap=True)
    if done.workspace:
        note = "" if done.files else "  (empty: its files did not come along)"
        console.print(Text(f"  files   {printable(done.workspace)}{note}", "dim"), soft_wrap=True)
    again = f'holdfast run --session {done.session}{store_option(url)} "…"'
    console.print(Text(f"  go on   {again}", "dim"), soft_wrap=True)


@contextmanager
def _source(file: Path) -> Generator[IO[bytes]]:
    """Gives a file that can be read twice."""
    if str(file) != "-":
        try:
            source = file.open("rb")
        except OSError as error:
            raise UsageError(
                f"{str(file)!r} cannot be read ({error.strerror}): name a file that export wrote"
            ) from None
        with source:
            if source.seekable():
                yield source
                return
            with tempfile.TemporaryFile() as copy:
                yield _copied(source, copy)
        return
    with tempfile.TemporaryFile() as copy:
        yield _copied(sys.stdin.buffer, copy)


def _copied(source: IO[bytes], copy: IO[bytes]) -> IO[bytes]:
    shutil.copyfileobj(source, copy)
    copy.seek(0)
    return copy


@contextmanager
def _target(file: Path | None) -> Generator[Callable[[bytes], object]]:
    """Gives what writes to a file, which is there as a whole or not at all; to standard output without one."""
    if file is None or str(file) == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if file.exists() and not file.is_file():  # a pipe, a terminal: nothing to replace
        with file.open("wb") as out:
            yield out.write
        return
    try:
        with tempfile.NamedTemporaryFile(prefix=".export-", dir=file.parent, delete=False) as draft:
            name = draft.name
    except OSError as error:
        raise UsageError(
            f"{str(file)!r} cannot be written ({error.strerror}): name a file in a folder of yours"
        ) from None
    try:
        with open(name, "wb") as out:  # noqa: PTH123 - a draft's name
            yield out.write
            out.flush()
            os.fsync(out.fileno())
        # A draft is for its owner alone, and so it stays: a session may say what a folder's rights keep from others.
        os.replace(name, file)  # noqa: PTH105 - as above
    except BaseException:
        os.unlink(name)  # noqa: PTH108 - as above
        raise
