"""`holdfast doctor`: looks at the machine and says what is missing and how to get it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.doctor.findings import Finding
from holdfast.cli.doctor.isolation import isolation
from holdfast.cli.doctor.looking import keys, machine, programs, terminal
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import printable
from holdfast.errors import HoldfastError

__all__ = ("doctor",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "missing": ("·", "dim"), "broken": ("✗", "bold red")}
_UNISOLATED = Finding(
    "isolation",
    "commands",
    "warning",
    "RUN UNISOLATED: bash runs as you, and reaches all that you reach",
    "use a folder and an account you can spare; the layers below are what this machine could give",
)


@click.command(context_settings=_SETTINGS)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(output: str) -> None:
    """Look at this machine: what works, what is missing, and how to get it.

    Everything is tried, nothing is changed. Exit code 1 when something is broken that nothing works without; what is
    only missing does not count. Keys are named, never shown.
    """
    console = open_console(plain=_plain())
    found = [
        *machine(os.environ),
        *keys(os.environ),
        *programs(),
        *terminal(
            os.environ, colours=console.color_system or "", width=console.width, encoding=sys.stdout.encoding or "?"
        ),
        _UNISOLATED,
        *isolation(),
    ]
    broken = any(each.level == "broken" for each in found)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode({"ok": not broken, "findings": found})))
    else:
        _print(console, found)
    sys.exit(1 if broken else 0)


def _plain() -> bool:
    with suppress(HoldfastError):  # it is among the findings
        return settings().plain
    return True


def _print(console: Console, found: list[Finding]) -> None:
    group = ""
    width = max(len(each.name) for each in found)
    for each in found:
        if each.group != group:
            group = each.group
            console.print(Text(group, "bold") if each is found[0] else Text(f"\n{group}", "bold"))
        mark, style = _MARKS[each.level]
        loud = "bold yellow" if each is _UNISOLATED else "" if each.level != "missing" else "dim"
        line = Text.assemble("  ", (mark, style), f" {each.name:<{width}}  ", (printable(each.found), loud))
        console.print(line, soft_wrap=True)
        if each.next:
            console.print(Text(f"    {'':<{width}}  → {printable(each.next)}", "cyan"), soft_wrap=True)
    counts = {level: sum(each.level == level for each in found) for level in _MARKS}
    said = [f"{number} {level}" for level, number in counts.items() if number]
    console.print(Text(f"\n{' · '.join(said)}", "red" if counts["broken"] else "dim"))
