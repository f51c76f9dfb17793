"""`holdfast sandbox`: probing, running one command, and where its other commands are."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec
from rich.table import Table
from rich.text import Text

from holdfast.cli.history.committing import commit
from holdfast.cli.sandbox.benching import bench
from holdfast.cli.sandbox.files import diff, rollback, snapshots
from holdfast.cli.sandbox.policies import explain, export, lint
from holdfast.cli.sandbox.shell import shell
from holdfast.cli.settings.defaults import profile, settings
from holdfast.cli.terminal import open_console
from holdfast.errors import IsolationMissing, UsageError
from holdfast.sandbox.backends.choosing import NAMES, open_backend, passed_on
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import LAYERS, Missing, Posture
from holdfast.sandbox.processes import Ended

__all__ = ("sandbox",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_SANDBOX = click.option("--sandbox", "named", help="A backend's name, or a profile's file.  [default: auto]")
_KEPT = 4 * 1024 * 1024
_NOT_STARTED = 125


class Probe(msgspec.Struct, frozen=True):
    """What one backend gives on this machine."""

    backend: str
    works: bool
    posture: Posture | None = None
    missing: tuple[Missing, ...] = ()
    reason: str = ""
    """Why it does not work."""


@click.group(context_settings=_SETTINGS)
def sandbox() -> None:
    """Try the sandboxes of this machine, work in one, see and take back what a session did there, look into policies.

    A sandbox is named by its backend, or by the file of a profile, which says what to require, what may be reached, and
    how much may be used.
    """


for _each in (bench, shell, snapshots, diff, rollback, commit, explain, lint, export):
    sandbox.add_command(_each)


@sandbox.command(context_settings=_SETTINGS)
@_SANDBOX
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def probe(named: str | None, output: str) -> None:
    """Try each backend, and say which layers are really on, which are not, and why.

    Exit code 1 when none works.
    """
    wanted = profile(named or settings().sandbox)
    names = NAMES if wanted.backend == "auto" else (wanted.backend,)

    async def go() -> list[Probe]:
        return [await _probe(msgspec.structs.replace(wanted, backend=name)) for name in names]

    found = asyncio.run(go())
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        _print(found)
    sys.exit(0 if any(each.works for each in found) else 1)


async def _probe(wanted: Profile) -> Probe:
    try:
        backend = await open_backend(wanted)
    except IsolationMissing as error:
        return Probe(wanted.backend, works=False, reason=str(error))
    try:
        return Probe(wanted.backend, works=True, posture=backend.posture, missing=tuple(backend.missing))
    finally:
        await backend.close()


def _print(found: list[Probe]) -> None:
    console = open_console(plain=settings().plain)
    working = [each for each in found if each.posture is not None]
    if working:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("layer")
        for each in working:
            table.add_column(each.backend, justify="center")
        table.add_column("what it does", style="dim")
        for layer, about in LAYERS.items():
            table.add_row(layer, *(_mark(each, layer) for each in working), about)
        console.print(table)
    for each in found:
        if each.posture is None:
            console.print(Text.assemble((f"\n✗ {each.backend}  ", "red"), each.reason), soft_wrap=True)
            continue
        console.print(Text.assemble((f"\n✓ {each.backend}  ", "green"), (each.posture.digest, "dim")))
        if each.posture.open:
            console.print(Text(f"  known to be open: {', '.join(each.posture.open)}", "yellow"), soft_wrap=True)
        for missing in each.missing:
            console.print(Text(f"  no {missing.layer}: {missing.reason}", "dim"), soft_wrap=True)


def _mark(probe: Probe, layer: str) -> Text:
    assert probe.posture is not None
    for each in probe.posture.layers:
        name, _, version = each.partition("=")
        if name == layer:
            return Text(version or "✓", "green")
    return Text("·", "dim")


@sandbox.command(context_settings={**_SETTINGS, "ignore_unknown_options": True, "allow_interspersed_args": False})
@_SANDBOX
@click.option("-w", "--workspace", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Wall time.")
@click.argument("command", nargs=-1, required=True)
def run(named: str | None, workspace: Path, seconds: float, command: tuple[str, ...]) -> None:
    """Run COMMAND in a sandbox, in a folder, and print what it prints.

    Exits with the command's exit code, 124 when its time was over, and 125 when there is no such sandbox here.
    """
    folder = workspace.resolve()
    if not folder.is_dir():
        raise UsageError(f"the workspace {str(workspace)!r} is no folder: make it first, or name another")
    wanted = profile(named or settings().sandbox)

    async def go() -> Ended:
        backend = await open_backend(wanted)
        try:
            environment = clean_environment(passed_on(wanted))
            return await backend.run(command, folder=folder, env=environment, timeout=seconds, keep=_KEPT)
        finally:
            await backend.close()

    try:
        ended = asyncio.run(go())
    except IsolationMissing as error:
        click.echo(f"error {error}", err=True)
        sys.exit(_NOT_STARTED)
    click.echo(ended.output.text(), nl=False)
    if ended.breach is not None:
        click.echo(f"\nstopped at the quota of {ended.breach}", err=True)
    elif ended.timed_out:
        click.echo(f"\nstopped after {seconds:g} s", err=True)
    sys.exit(ended.code)
