"""`holdfast secrets`: keeps values for tools, encrypted, and says which there are; a value is never shown.

A value never stands on the command line, where the list of processes and the shell's history would show it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count, printable
from holdfast.errors import HoldfastError, UsageError
from holdfast.errors.hinting import closest
from holdfast.runtime.configuring.equipment import STORE
from holdfast.runtime.opening import data_folder
from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.environment import PREFIX
from holdfast.safety.secrets.port import reference_of
from holdfast.safety.secrets.store import KEY, StoredSecrets

__all__ = ("secrets",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_LARGEST = 64 * 1024
"""Bytes of a value."""


def _place() -> Path:
    return data_folder() / STORE


def _key() -> tuple[str, bool]:
    """Returns where the key is or will be, and whether it is a variable."""
    place = _place()
    return (KEY, True) if os.environ.get(KEY) else (str(place.with_name(f"{place.name}.key")), False)


def _names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    del context, parameter
    try:
        names = [str(each) for each in StoredSecrets(_place()).references()]
    except (HoldfastError, OSError):  # no error in the middle of a line
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_NAME = click.argument("name", shell_complete=_names)


@click.group(context_settings=_SETTINGS)
def secrets() -> None:
    """Keep what tools are authenticated with: encrypted, in your data folder. Values are never shown.

    \b
      holdfast secrets set github-token              typed, and not shown
      pass show github | holdfast secrets set github-token
      holdfast secrets set github-token --from-file token.txt
      holdfast secrets list

    A name is name, name:key or namespace/name:key. A tool that wants github-token gets it from here, or else from the
    variables github-token, GITHUB_TOKEN and HOLDFAST_SECRET_GITHUB_TOKEN.
    """  # noqa: D301 - click's own mark for lines that stay as they are


@secrets.command("set", context_settings=_SETTINGS, short_help="Keep the value of NAME.")
@_NAME
@click.option(
    "--from-file", "file", type=click.Path(path_type=Path, allow_dash=True), help="Read the value from a file."
)
@click.argument("more", nargs=-1, metavar="", type=click.UNPROCESSED)
def set_(name: str, file: Path | None, more: tuple[str, ...]) -> None:
    """Keep the value of NAME: what you type, which is not shown, what comes on standard input, or what a file holds.

    A new line at its end is left out. It takes the place of an earlier value, and is used from the next call on.
    """
    if more or "=" in name:  # perhaps the value: an error repeats none of it
        raise UsageError(
            "only the name stands on the command line, where the history of the shell would keep a value: leave the "
            "rest out, and type the value when it is asked for; one that stood here is best made anew"
        )
    reference = reference_of(name)
    store = StoredSecrets(_place())
    key, variable = _key()
    new = not variable and not Path(key).exists()
    value = _value(str(reference), file)
    replaced = reference in store.references()
    store.set(reference, value)
    console = open_console(plain=settings().plain)
    said = "replaced" if replaced else "kept"
    console.print(Text.assemble(("✓ ", "green"), (str(reference), "bold"), f" {said} in {_place()}"), soft_wrap=True)
    if not Redactor((value,)).knows:
        short = "  so short a value is taken out of no text: tools, logs and models may show it; a longer one is safer"
        console.print(Text(short, "yellow"), soft_wrap=True)
    where = f"the variable {KEY}" if variable else key
    made = "a new key was made: " if new else "the key is in " if not variable else "encrypted with "
    console.print(Text(f"  {made}{printable(where)}", "dim"), soft_wrap=True)
    if new:
        warning = "  whoever loses that file loses every value: keep a copy of it apart from the values"
        console.print(Text(warning, "yellow"), soft_wrap=True)


def _value(name: str, file: Path | None) -> str:
    """Returns a value that a person gives, without the new line at its end."""
    if file is not None and str(file) != "-":
        try:
            with file.open("rb") as opened:
                data = opened.read(_LARGEST + 1)
        except OSError as error:
            raise UsageError(f"the value cannot be read: {error.strerror}: {str(file)!r}") from None
    elif sys.stdin is not None and sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - None when closed
        typed: str = click.prompt(f"value of {name} (not shown)", hide_input=True, err=True)
        data = typed.encode("utf-8", "surrogateescape")
    else:
        data = b"" if sys.stdin is None else sys.stdin.buffer.read(_LARGEST + 1)  # pyright: ignore[reportUnnecessaryComparison] - as above
    if len(data) > _LARGEST:
        raise UsageError(f"a value has {_LARGEST:,} bytes at most, and this has more: is it the right file?")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the value is no text: encode it, for example as base64") from None


@secrets.command("list", context_settings=_SETTINGS, short_help="List names, and where they come from.")
@_OUTPUT
def list_(output: str) -> None:
    """List the names there are values of, and where they come from; never a value.

    Of the environment, only variables that begin with HOLDFAST_SECRET_ are listed: any other may be found by its own
    name.
    """
    place = _place()
    rows = [{"name": str(each), "from": "store", "where": str(place)} for each in StoredSecrets(place).references()]
    variables = sorted(each for each, value in os.environ.items() if each.startswith(PREFIX) and value)
    for each in variables:
        name = each.removeprefix(PREFIX).lower().replace("_", "-")
        rows.append({"name": name, "from": "environment", "where": each})
    if output == "json":
        key, _ = _key()
        click.echo(printed({"store": str(place), "key": key, "secrets": rows}))
        return
    console = open_console(plain=settings().plain)
    if not rows:
        console.print(Text("No secrets yet. Keep one: holdfast secrets set NAME"), soft_wrap=True)
        return
    width = max(len(each["name"]) for each in rows)
    for each in rows:
        line = Text.assemble((f"{each['name']:<{width}}", "bold"), "  ", (each["where"], "dim"))
        console.print(line, soft_wrap=True)
    key, variable = _key()
    said = f"\n{count(len(rows), 'secret')}; the key of the store: {'the variable ' if variable else ''}{key}"
    console.print(Text(printable(said), "dim"), soft_wrap=True)


@secrets.command("remove", context_settings=_SETTINGS, short_help="Forget the value of NAME.")
@_NAME
def remove(name: str) -> None:
    """Forget the value of NAME. Exit code 1 where there is none in the store."""
    reference = reference_of(name)
    store = StoredSecrets(_place())
    if store.remove(reference):
        click.echo(f"{reference} is forgotten")
        return
    near = closest(str(reference), [str(each) for each in store.references()])
    otherwise = f"did you mean {near!r}?" if near else "holdfast secrets list shows what there is"
    click.echo(f"there is no {str(reference)!r} in {_place()}: {otherwise}", err=True)
    sys.exit(1)
