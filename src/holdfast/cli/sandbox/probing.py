"""`holdfast sandbox probe`: what each backend gives on this machine, and why not more."""

from __future__ import annotations

import asyncio
import sys
import textwrap

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.sandbox.running import SANDBOX
from holdfast.cli.settings.defaults import profile, settings
from holdfast.cli.terminal import indented, open_console
from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import NAMES, NONE_WORKS, open_named
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import LAYERS, Missing, Posture

__all__ = ("probe",)

_ABOUT = 30
"""Columns below which what a layer does is not shown beside it."""
_DIGEST = 19
"""Characters of a digest that tell it from the others; the whole is in the JSON."""


class Probe(msgspec.Struct, frozen=True):
    """What one backend gives on this machine."""

    backend: str
    works: bool
    posture: Posture | None = None
    missing: tuple[Missing, ...] = ()
    reason: str = ""
    """Why it does not work."""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Try each backend: which layers are on, and why not.",
)
@SANDBOX
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def probe(named: str | None, output: str) -> None:
    """Try each backend, and say which layers are really on, which are not, and why.

    Exit code 1 when none works.
    """
    wanted = profile(named if named is not None else settings().sandbox)
    names = NAMES if wanted.backend == "auto" else (wanted.backend,)

    async def go() -> list[Probe]:
        return [await _probe(msgspec.structs.replace(wanted, backend=name)) for name in names]

    found = asyncio.run(go())
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        _print(open_console(plain=settings().plain), found)
    sys.exit(0 if any(each.works for each in found) else 1)


async def _probe(wanted: Profile) -> Probe:
    try:
        backend = await open_named(wanted)
    except IsolationMissing as error:
        return Probe(wanted.backend, works=False, reason=str(error))
    try:
        return Probe(wanted.backend, works=True, posture=backend.posture, missing=tuple(backend.missing))
    finally:
        await backend.close()


def _print(console: Console, found: list[Probe]) -> None:
    if working := [each for each in found if each.posture is not None]:
        _table(console, working)
    for each in found:
        console.print()
        _one(console, each)
    if any(each.posture and each.posture.open for each in found):
        console.print(Text("\nwhat is open, by name: docs/reference/escapes.md", "dim"))
    if not working:
        console.print()
        indented(console, Text(NONE_WORKS, "dim"), 0)


def _table(console: Console, working: list[Probe]) -> None:
    """Prints which layer is on where; what each does stands beside it where there is room."""
    first = max(map(len, LAYERS))
    widths = [max(len(each.backend), 2) for each in working]
    room = min(console.width, 140) - first - sum(widths) - 2 * (len(widths) + 1)
    about = room >= _ABOUT
    heads = [each.backend for each in working]
    _row(console, Text("layer".ljust(first)), list(zip(map(Text, heads), widths, strict=True)), "", "bold")
    for layer, does in LAYERS.items():
        marks = [_mark(each, layer) for each in working]
        lines = textwrap.wrap(does, room) if about else [""]
        _row(console, Text(layer.ljust(first)), list(zip(marks, widths, strict=True)), lines[0])
        for more in lines[1:]:
            _row(console, Text(" " * first), [(Text(), width) for width in widths], more)
    if not about:
        console.print(Text("\nwhat each layer does: name one backend, with --sandbox", "dim"))


def _row(console: Console, line: Text, cells: list[tuple[Text, int]], about: str, style: str = "") -> None:
    line.append("  ")
    for cell, width in cells:
        before = (width - len(cell)) // 2
        line.append(" " * before).append_text(cell).append(" " * (width - len(cell) - before + 2))
    line.append(about, "dim")
    line.rstrip()
    line.stylize_before(style)
    console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _mark(probe: Probe, layer: str) -> Text:
    assert probe.posture is not None
    for each in probe.posture.layers:
        name, _, version = each.partition("=")
        if name == layer:
            return Text(version or "✓", "green")
    return Text("·", "dim")


def _one(console: Console, each: Probe) -> None:
    """Prints what is to be said of one backend; layers that are missing for one reason stand together."""
    if each.posture is None:
        indented(console, Text.assemble((f"✗ {each.backend}  ", "red"), each.reason), 0, hang=2)
        return
    console.print(Text.assemble((f"✓ {each.backend}  ", "green"), (f"{each.posture.digest[:_DIGEST]}…", "dim")))
    if each.posture.open:
        indented(console, Text(f"known to be open: {', '.join(each.posture.open)}", "yellow"), 2, hang=2)
    layers: dict[str, list[str]] = {}
    for missing in each.missing:
        layers.setdefault(missing.reason, []).append(missing.layer)
    for reason, names in layers.items():
        which = "layer at all" if len(names) == len(LAYERS) else ", ".join(names)
        indented(console, Text(f"no {which}: {reason}", "dim"), 2, hang=2)
