"""`holdfast sandbox snapshots|rollback|diff`: how a session's files were, going back to it, and what became of them.

Going back and comparing are what `holdfast runs rewind` and `holdfast runs diff` do, under the names that people look
for here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click
import msgspec
from rich.table import Table
from rich.text import Text

from holdfast.cli.asking.span import Whole
from holdfast.cli.completion.finding import known_session, there
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.history.branching import go_back, show_changes
from holdfast.cli.reaching.naming import Place, place_options, store_here
from holdfast.cli.sandbox.policies import compare_policies
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.words import age, count, one_line
from holdfast.errors import UsageError
from holdfast.runtime.history.reports import Snapshot
from holdfast.types import session_of, shown

__all__ = ("diff", "rollback", "snapshots")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_SESSION = click.argument("session", shell_complete=session_names)
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_OCCASIONS = {"run-over": "run over", "before-rollback": "before going back", "put-back": "put back"}
_SURVIVES = {
    "nothing": "the end of its process does away with it",
    "process": "survives that its process is killed",
    "power": "survives a power cut, too",
    "host": "survives that the machine is lost",
}


@click.command("snapshots", context_settings=_SETTINGS, short_help="List how SESSION's files were kept.")
@_SESSION
@click.option("--last", type=Whole(1), default=50, show_default=True, help="The newest so many.")
@store_here("`holdfast sandbox diff SESSION` shows what became of files at a server")
@_OUTPUT
def snapshots(session: str, last: int, store: str | None, output: str) -> None:
    """List the snapshots of SESSION's files, oldest first: at which event and turn each was taken, before which tool,
    what it survives, and how many paths changed since the one before.

    Exit code 0, also when there are none; 2 when there is no such session.
    """
    url = store_url(store)

    async def go() -> list[Snapshot]:
        nonlocal session
        async with open_runtime(there(url)) as runtime:
            stream, _ = await known_session(runtime.journal, session, url)
            session = session_of(stream)
            return await runtime.snapshots(session, last=last)

    found = asyncio.run(go())
    if output == "json":
        shown_ones = [{**msgspec.to_builtins(each), "paths": [shown(path) for path in each.paths]} for each in found]
        click.echo(msgspec.json.format(msgspec.json.encode(shown_ones)))
        return
    _print(session, url, found)


def _print(session: str, url: str, found: list[Snapshot]) -> None:
    console = open_console(plain=settings().plain)
    if not found:
        console.print(Text("no snapshot: no call that may change files was made", "dim"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("event", "turn", "changed"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("taken", "of", "survives", "when"):
        table.add_column(name, no_wrap=name in ("survives", "when"))
    now = time.time_ns() // 1000
    for each in found:
        of = Text("everything", "dim") if not each.paths else Text(one_line(", ".join(map(shown, each.paths)), 40))
        taken = f"before {one_line(each.tool, 20) or 'a call'}" if each.occasion == "before-call" else ""
        table.add_row(
            Text(str(each.event), "bold"),
            str(each.turn),
            "·" if each.changed is None else f"{each.changed:,}",
            taken or _OCCASIONS[each.occasion],
            of,
            each.survives or Text(f"store {each.store} is not here", "yellow"),
            Text(age(each.at, now), "dim"),
        )
    console.print(table)
    kinds = sorted({each.survives for each in found if each.survives})
    console.print(
        Text(f"\n{count(len(found), 'snapshot')}; " + "; ".join(f"{each}: {_SURVIVES[each]}" for each in kinds))
    )
    back = f"holdfast sandbox rollback {session} --at {found[-1].event}{store_option(url)}"
    console.print(Text(f"  go back  {back}", "dim"), soft_wrap=True)


@click.command("rollback", context_settings=_SETTINGS, short_help="Put SESSION's files back as they were at an event.")
@_SESSION
@click.option("--at", type=Whole(0), required=True, help="The event, as `sandbox snapshots` lists them.")
@place_options
@_OUTPUT
def rollback(session: str, at: int, output: str, place: Place) -> None:
    """Put SESSION's files back as they were at event N, and take what came after it out of the conversation: an agent
    that goes on must not believe in files that are no more. It is what `runs rewind` does.

    The files as they were before are kept, also what a person had changed: what is printed takes it back. Exit code 0;
    1 when the files of that moment are no longer kept or a run is under way, 2 when there is no such session or event.
    """
    go_back(session, at, place, output)


@click.command("diff", context_settings=_SETTINGS, short_help="Show what SESSION changed, or compare two policies.")
@click.argument(
    "given", nargs=-1, required=True, metavar="SESSION [PATHS]... | BEFORE AFTER", shell_complete=session_names
)
@click.option("--at", type=Whole(0), help="Event to begin at.  [default: the beginning]")
@place_options
@_OUTPUT
def diff(given: tuple[str, ...], at: int | None, output: str, place: Place) -> None:
    """Show what became of SESSION's files since event N, of all or of PATHS; or, of two files that hold policies, what
    the second newly lets through and what it no longer does.

    Two names are taken for policies where both are files, or both end in .yaml. Exit code 1 when something became
    reachable by the second policy, or that cannot be told; of a session 0, changed or not, and 2 when there is none of
    that name.
    """
    named = all(each.endswith((".yaml", ".yml")) for each in given[:2])
    if len(given) == 2 and (named or all(Path(each).is_file() for each in given)):
        if at is not None:
            raise UsageError("--at is for a session, and these are two files: leave it out")
        sys.exit(1 if compare_policies(Path(given[0]), Path(given[1]), output) else 0)
    show_changes(given[0], given[1:], at, None, place, output)
