"""`holdfast tools scaffold`: the beginning of a tool that is a service of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import printable
from holdfast.tools.contract.scaffold import scaffold as written

__all__ = ("scaffold",)


@click.command(
    "scaffold",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Begin a tool that is a service of its own.",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What the tool is called: small letters, digits, underscores.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def scaffold(folder: Path, name: str, output: str) -> None:
    """Write the beginning of a tool into FOLDER: a service that speaks the contract, its fixtures and its tests.

    \b
      holdfast tools scaffold weather --name weather

    It is Python with nothing but the standard library, and runs as it is. Nothing that is there is overwritten.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    files = written(folder, name)
    if output == "json":
        click.echo(printed({"name": name, "files": [str(each) for each in files]}))
        return
    console = open_console(plain=settings().plain)
    for each in files:
        console.print(Text.assemble(("✓ ", "green"), printable(str(each))), soft_wrap=True)
    place = shlex.quote(str(folder))
    console.print(Text("\nserve it, then try it from another terminal:", "dim"))
    console.print(Text(f"  python {place}/tool.py --port 8765"), soft_wrap=True)
    console.print(
        Text(f"  holdfast tools test http://127.0.0.1:8765/ {place}/fixtures.yaml --name {name}"), soft_wrap=True
    )
    console.print(Text(f"what it does is `run` in {printable(str(folder / 'tool.py'))}", "dim"), soft_wrap=True)
