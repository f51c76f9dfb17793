"""`holdfast sandbox bench`: how fast the sandboxes of this machine are, beside no sandbox at all."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click
import msgspec
from rich.table import Table
from rich.text import Text

from holdfast.cli.asking.span import Whole
from holdfast.cli.settings.defaults import profile, settings
from holdfast.cli.terminal import LiveLine, open_console
from holdfast.errors import SandboxError, UsageError
from holdfast.sandbox.backends.choosing import NAMES, open_backend
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.timing.commands import Speed, time_backend

__all__ = ("bench",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_CAPTION = (
    "x is over spawning the program `true` without a sandbox, in the same rounds: cold in a sandbox that is made for "
    "it and gone afterwards, warm in one that lives."
)


class Timed(msgspec.Struct, frozen=True):
    """How fast one backend is."""

    backend: str
    works: bool
    rounds: int
    ms: Speed | None = None
    cold: float | None = None
    """Times of spawning it without a sandbox."""
    warm: float | None = None
    reason: str = ""
    """Why there are no figures."""


@click.command(context_settings=_SETTINGS, short_help="Measure how long a command takes in each.")
@click.option("--sandbox", "named", help="A backend's name, or a profile's file.  [default: each that works]")
@click.option("--rounds", type=Whole(1, 1000), default=10, show_default=True, help="Of which the median counts.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def bench(named: str | None, rounds: int, output: str) -> None:
    """Measure how long a command takes in a new sandbox, and in a live one, beside spawning it without any.

    Exit code 1 when no sandbox works here.
    """
    if sys.platform != "linux":
        raise UsageError("sandboxes are Linux's: there is nothing to measure on this system")
    wanted = profile(named or "auto")
    names = [name for name in NAMES if name != "none"] if wanted.backend == "auto" else [wanted.backend]
    found = asyncio.run(_time_all([msgspec.structs.replace(wanted, backend=name) for name in names], rounds))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        _print(found)
    sys.exit(0 if any(each.works for each in found) else 1)


async def _time_all(profiles: list[Profile], rounds: int) -> list[Timed]:
    with LiveLine(open_console(stderr=True, plain=settings().plain)) as line:
        return [await _time(each, rounds, line) for each in profiles]


async def _time(wanted: Profile, rounds: int, line: LiveLine) -> Timed:
    done = 0

    def told() -> None:
        nonlocal done
        done += 1

    line.show(f"sandbox {wanted.backend}")
    line.figures = lambda: (f"round {min(done, rounds)}/{rounds}",)
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        try:
            backend = await open_backend(wanted)
        except SandboxError as error:
            return Timed(wanted.backend, works=False, rounds=0, reason=str(error))
        try:
            took = await time_backend(backend, Path(folder).resolve(), rounds, told)  # noqa: ASYNC240 - one we made
        except SandboxError as error:
            return Timed(wanted.backend, works=False, rounds=done, reason=str(error))
        finally:
            await backend.close()
    cold, warm = round(took.cold / took.spawn, 2), round(took.warm / took.spawn, 2)
    return Timed(wanted.backend, works=True, rounds=rounds, ms=took, cold=cold, warm=warm)


def _print(found: list[Timed]) -> None:
    console = open_console(plain=settings().plain)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sandbox")
    for name in ("cold", "", "warm", "", "spawned"):
        table.add_column(name, justify="right")
    for each in found:
        if each.ms is not None:
            cold, warm, bare = (Text(f"{took:.1f} ms", "dim") for took in (each.ms.cold, each.ms.warm, each.ms.spawn))
            over = (f"{each.cold:.1f} x", cold, f"{each.warm:.1f} x", warm)
            table.add_row(Text(each.backend, "green"), *over, bare)
    if table.row_count:
        console.print(table)
        console.print(Text(f"\n{_CAPTION}", "dim"))
    for each in found:
        if each.ms is None:
            console.print(Text.assemble((f"\n✗ {each.backend}  ", "red"), each.reason), soft_wrap=True)
