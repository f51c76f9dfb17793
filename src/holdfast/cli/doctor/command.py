"""`holdfast doctor`: looks at the machine and says what is missing and how to get it."""

from __future__ import annotations

import asyncio
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
from holdfast.cli.doctor.storing import storage
from holdfast.cli.settings.defaults import profile, settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import printable
from holdfast.errors import HoldfastError, IsolationMissing, UsageError
from holdfast.sandbox.backends.choosing import open_backend
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import Posture

__all__ = ("doctor",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "missing": ("·", "dim"), "broken": ("✗", "bold red")}


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
        *storage(os.environ),
        *keys(os.environ),
        *programs(),
        *terminal(
            os.environ, colours=console.color_system or "", width=console.width, encoding=sys.stdout.encoding or "?"
        ),
        _sandbox(),
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


def _sandbox() -> Finding:
    """Says what commands run in, as it is set, once it was tried."""
    try:
        posture = asyncio.run(_tried(profile(settings().sandbox)))
    except IsolationMissing as error:
        return Finding("isolation", "commands", "warning", f"REFUSED: {error}", "see holdfast sandbox probe")
    except UsageError as error:
        return Finding("isolation", "commands", "broken", str(error), "set the sandbox to auto")
    if posture.backend == "process":
        hint = "allow namespaces, or see holdfast sandbox probe for what is open"
        return Finding("isolation", "commands", "warning", f"run in process: {', '.join(posture.layers)}", hint)
    if not posture.isolated and "egress-proxy" not in posture.layers:
        hint = "use a folder and an account you can spare, or set the sandbox to auto"
        return Finding("isolation", "commands", "warning", "RUN UNISOLATED: bash runs as you, and reaches all", hint)
    return Finding("isolation", "commands", "ok", f"run in {posture.backend}: {', '.join(posture.layers)}")


async def _tried(wanted: Profile) -> Posture:
    backend = await open_backend(wanted)
    await backend.close()
    return backend.posture


def _print(console: Console, found: list[Finding]) -> None:
    group = ""
    width = max(len(each.name) for each in found)
    for each in found:
        if each.group != group:
            group = each.group
            console.print(Text(group, "bold") if each is found[0] else Text(f"\n{group}", "bold"))
        mark, style = _MARKS[each.level]
        told = each.name == "commands" and each.level == "warning"
        loud = "bold yellow" if told else "dim" if each.level == "missing" else ""
        line = Text.assemble("  ", (mark, style), f" {each.name:<{width}}  ", (printable(each.found), loud))
        console.print(line, soft_wrap=True)
        if each.next:
            console.print(Text(f"    {'':<{width}}  → {printable(each.next)}", "cyan"), soft_wrap=True)
    counts = {level: sum(each.level == level for each in found) for level in _MARKS}
    said = [f"{number} {level}" for level, number in counts.items() if number]
    console.print(Text(f"\n{' · '.join(said)}", "red" if counts["broken"] else "dim"))
