"""`holdfast config`: what is set, where it comes from, and setting it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.settings.defaults import default_store, profile, settings
from holdfast.cli.settings.editing import remove_key, set_key
from holdfast.cli.terminal import open_console
from holdfast.cli.words import one_line, printable
from holdfast.errors import UsageError
from holdfast.runtime.settings import KEYS, Setting, Settings, parse, project_file, user_file
from holdfast.sandbox.policy.profile import BackendName

__all__ = ("config",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PROJECT = click.option("--project", is_flag=True, help="In the project's file: .holdfast/config.yaml.")


def _keys(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del context, parameter
    return [name for name in KEYS if name.startswith(incomplete)]


_KEY = click.argument("key", shell_complete=_keys)


_EPILOG = "\b\nKeys:\n" + "\n".join(f"  {key.name:<12} {key.about}" for key in KEYS.values())


@click.group(context_settings=_SETTINGS)
def config() -> None:
    """Show and set what commands do by default.

    An option goes before the environment (HOLDFAST_MODEL for model, and so on), that before the project's file
    (.holdfast/config.yaml in this folder or above), that before your own, that before the default.

    A project's file may come with a cloned repository, so it can only be stricter than your own settings: it chooses no
    store, no model, and no freer mode or higher limit.
    """


@config.command("show", context_settings=_SETTINGS, short_help="Show each setting and where it comes from.")
@click.argument("key", required=False, shell_complete=_keys)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(key: str | None, output: str) -> None:
    """Show each setting, its value and where it comes from; of one KEY, only its value."""
    held = settings()
    if key is not None:
        parse(key, "", "config show") if key not in KEYS else None
    shown = [_effective(held.values[name]) for name in KEYS if key in (None, name)]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode({"settings": shown, "notes": held.notes})))
    elif key is not None:
        click.echo(printable(_value(shown[0])))
    else:
        _table(open_console(plain=held.plain), shown, held)


def _effective(setting: Setting) -> Setting:
    default = setting.key == "store" and setting.value is None
    return Setting("store", default_store(), "default", "the data folder") if default else setting


def _value(setting: Setting) -> str:
    if setting.value is None:
        return "none"
    return str(setting.value).lower() if isinstance(setting.value, bool) else str(setting.value)


def _table(console: Console, shown: list[Setting], held: Settings) -> None:
    widths = max(len(each.key) for each in shown), max(len(one_line(_value(each), 60)) for each in shown)
    for each in shown:
        default = each.source == "default"
        line = Text.assemble(
            (f"{each.key:<{widths[0]}}  ", "bold"),
            (f"{one_line(_value(each), 60):<{widths[1]}}  ", "dim" if default else "cyan"),
            each.source,
            (f"  {printable(each.where)}" if each.where else "", "dim"),
        )
        line.rstrip()
        console.print(line, soft_wrap=True)
    for note in held.notes:
        console.print(Text(f"! {printable(note)}", "yellow"), soft_wrap=True)
    console.print(Text("\nchange one: holdfast config set KEY VALUE", "dim"), soft_wrap=True)


@config.command("set", context_settings=_SETTINGS, short_help="Set KEY to VALUE.", epilog=_EPILOG)
@_KEY
@click.argument("value")
@_PROJECT
def set_(key: str, value: str, project: bool) -> None:
    """Set KEY to VALUE, in your own file or in the project's; what else is in the file stays."""
    read = parse(key, value, "config set")
    if project and key == "store":
        raise UsageError("a project does not choose where logs are kept: set the store without --project")
    if project and key == "model":
        raise UsageError("a project does not choose what a run costs and who reads it: set the model without --project")
    if key == "sandbox":
        if project:
            raise UsageError("a project does not choose what keeps its commands in: set the sandbox without --project")
        read = _sandbox(read)
    path = _file(project)
    set_key(path, key, read)
    click.echo(printable(f"{key}: {_value(Setting(key, read, 'user'))}  in {path}"))
    held = _again()
    for note in held.notes:
        click.echo(printable(f"note {note}"), err=True)
    holds = held.values[key]
    if holds.where.rpartition(":")[0] != str(path) and not any(f": {key} " in note for note in held.notes):
        click.echo(printable(f"note {holds.where} goes before it here: {key} is {_value(holds)}"), err=True)


def _sandbox(named: str) -> str:
    """Returns a sandbox's name, or the whole path of a profile's file, which holds in every folder.

    Raises:
        UsageError: there is neither, or the file holds something else.
    """
    profile(named)
    return named if named in get_args(BackendName) else str(Path(named).expanduser().resolve())


@config.command("unset", context_settings=_SETTINGS)
@_KEY
@_PROJECT
def unset(key: str, project: bool) -> None:
    """Take KEY out of your own file, or the project's."""
    parse(key, "", "config unset") if key not in KEYS else None
    path = _file(project)
    removed = remove_key(path, key)
    click.echo(printable(f"{key} is no longer set in {path}" if removed else f"{key} was not set in {path}"))


@config.command("path", context_settings=_SETTINGS)
@_PROJECT
def path_(project: bool) -> None:
    """Print where your own settings are kept, or the project's."""
    click.echo(printable(str(_file(project))))


def _file(project: bool) -> Path:
    if not project:
        return user_file(os.environ)
    return project_file(Path()) or Path().resolve() / ".holdfast" / "config.yaml"


def _again() -> Settings:
    from holdfast.runtime.settings import load_settings

    return load_settings(Path(), os.environ)
