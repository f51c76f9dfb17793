"""`holdfast runs prune`: lets go of old snapshots and sessions, and gives back the space of what nothing needs."""

from __future__ import annotations

import asyncio
import re

import click
import msgspec
from rich.text import Text

from holdfast.cli.asking.span import Amount, Whole
from holdfast.cli.completion.finding import there
from holdfast.cli.reaching.naming import store_here
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import LiveLine, open_console
from holdfast.cli.words import count, one_line
from holdfast.runtime.history.reports import Collected, Collecting, Phase, Retention

__all__ = ("prune", "size_of")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_KEPT = Retention()
_DOING: dict[Phase, str] = {
    "reading": "reading the log, event",
    "following": "looking at snapshot",
    "removing": "going through what is stored, item",
}
_WHY = 200
"""Characters of why a session stays."""
_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def _days(_context: click.Context, _option: click.Parameter, given: str | None) -> float | None:
    """Returns a time as days."""
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([dhw])", given.strip())
    if found is None:
        raise click.BadParameter(f"{given!r} is no time: write it like 30d, 12h or 4w")
    return float(found[1]) * {"h": 1 / 24, "d": 1, "w": 7}[found[2]]


@click.command("prune", context_settings=_SETTINGS, short_help="Give back the space of old snapshots of files.")
@click.option(
    "--keep-snapshots",
    default=_KEPT.snapshots,
    show_default=True,
    type=Whole(1),
    help="Keep the newest so many of each session, however old.",
)
@click.option(
    "--older-than",
    metavar="DAYS",
    default=_KEPT.days,
    show_default=True,
    type=Amount(0),
    help="Let go of others only when they are older.",
)
@click.option(
    "--sessions-older-than",
    "idle",
    metavar="TIME",
    callback=_days,
    help="Delete sessions in which nothing happened for so long, such as 30d or 12h.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@store_here("whoever runs the server can, in its store")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def prune(
    keep_snapshots: int, older_than: float, idle: float | None, dry_run: bool, store: str | None, output: str
) -> None:
    """Let go of old snapshots of files, and remove everything stored that no session needs any more.

    Every session and every event stays, unless --sessions-older-than deletes what nobody went on with; never one in
    which a run is open, nor one that a younger session was forked from. What goes is how the files were at old events:
    fork and rewind still go there then, and say that the files of that moment are no longer kept. Runs may go on
    meanwhile. What was stored within the last 24 hours always stays.
    """
    url = store_url(store)
    console = open_console(plain=settings().plain)
    keep = Retention(keep_snapshots, older_than, idle)

    async def go(progress: Collecting | None) -> Collected:
        async with open_runtime(there(url)) as runtime:
            return await runtime.collect(keep, dry_run=dry_run, progress=progress)

    if output == "json":
        done = asyncio.run(go(None))
        click.echo(msgspec.json.encode({**msgspec.structs.asdict(done), "dry_run": dry_run}))
        return
    with LiveLine(console) as line:
        done = asyncio.run(go(lambda phase, passed, total: line.show(f"{_DOING[phase]} {passed:,} of {total:,}")))
    for text in _account(done, dry_run=dry_run):
        console.print(text, soft_wrap=True)


def _account(done: Collected, *, dry_run: bool) -> list[Text]:
    """Returns what was freed, and what is left, in words."""
    kept = f"{count(done.kept, 'stored item')} and {count(done.snapshots_kept, 'snapshot')}"
    gone = [Text(f"{'would delete' if dry_run else '✓ deleted'} {count(len(done.sessions), 'session')}")]
    gone = [*gone, *(Text(f"  {name}", "dim") for name in done.sessions)] if done.sessions else []
    gone += [Text(f"✗ kept {each.session}: {one_line(each.why, _WHY)}", "yellow") for each in done.refused]
    if not done.removed:
        return [*(gone or [Text("Nothing to remove.")]), Text(f"  in use: {kept}", "dim")]
    verb = "would free" if dry_run else "✓ freed"
    lines = [*gone, Text(f"{verb} {size_of(done.bytes)}: {count(done.removed, 'stored item')} that no session needs")]
    if done.snapshots_let_go:
        lines.append(Text(f"  {count(done.snapshots_let_go, 'snapshot')} in the log without files to go back to"))
    return [*lines, Text(f"  still in use: {kept}", "dim")]


def size_of(amount: float) -> str:
    """Returns an amount of bytes in words."""
    for unit in _UNITS[:-1]:
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} {_UNITS[-1]}"
