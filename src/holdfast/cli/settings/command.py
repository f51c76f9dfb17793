"""`holdfast config`: what is set, where it comes from, and setting it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.settings.defaults import default_store, policy_of, profile, settings
from holdfast.cli.settings.editing import remove_key, set_key
from holdfast.cli.settings.naming import check_providers, model_specs
from holdfast.cli.terminal import open_console
from holdfast.cli.words import one_line, printable
from holdfast.errors import UsageError
from holdfast.models.providers.table import TABLE
from holdfast.models.routing.tiers import TIER
from holdfast.runtime.configuring.naming import ALIAS, check_names
from holdfast.runtime.settings import (
    KEYS,
    MODELS,
    SERVERS,
    Setting,
    Settings,
    key_of,
    parse,
    project_file,
    read_file,
    user_file,
)
from holdfast.sandbox.policy.profile import BackendName
from holdfast.types import LEVELS, MODES

__all__ = ("config",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_NAMED: Mapping[str, tuple[str, ...]] = {
    "thinking": LEVELS,
    "mode": MODES,
    "theme": ("dark", "light"),
    "plain": ("true", "false"),
    "sandbox": get_args(BackendName),
    "provider": tuple(TABLE),
}
"""What a setting can be, where that is a few words."""
_PROJECT = click.option("--project", is_flag=True, help="In the project's file: .holdfast/config.yaml.")


def _keys(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del context, parameter
    return [name for name in KEYS if name.startswith(incomplete)]


def _values(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    key = str(context.params.get("key"))
    if key == "model" or key.startswith((ALIAS, TIER)):
        return model_specs(context, parameter, incomplete)
    return [value for value in _NAMED.get(key, ()) if value.startswith(incomplete)]


_KEY = click.argument("key", shell_complete=_keys)


_EPILOG = (
    "\b\nKeys:\n"
    + "\n".join(f"  {key.name:<12} {key.about}" for key in KEYS.values())
    + (
        "\n  model.alias.NAME, model.tier.NAME\n"
        "               What NAME stands for where a model is named: models with commas. Not in a project's file."
        "\n  models.PROVIDER/NAME.FIELD\n"
        "               What is known better of a model than the catalogue does: input, output, cache_read and\n"
        "               cache_write in dollars per million tokens, context_window, max_output_tokens, inputs,\n"
        "               thinking, prefill. Not in a project's file."
    )
)


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
    if key is not None and key not in held.values:
        parse(key, "", "config show") if key_of(key) is None else None
        raise UsageError(f"{key} is not set: 'holdfast config set {key} VALUE' sets it")
    shown = [_effective(setting) for name, setting in held.values.items() if key in (None, name)]
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
    if isinstance(setting.value, Mapping):
        return f"{setting.value.get('wire', '?')} at {setting.value.get('url', '?')}"
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
@click.argument("value", shell_complete=_values)
@_PROJECT
def set_(key: str, value: str, project: bool) -> None:
    """Set KEY to VALUE, in your own file or in the project's; what else is in the file stays."""
    read = parse(key, value, "config set")
    if project:
        _refuse_project(key)
    if key == "sandbox":
        read = _sandbox(read)
    if key == "policy":
        policy_of(file := Path(read).expanduser())
        read = str(file.resolve())  # which holds in every folder
    path = _file(project)
    _check_names(path, key, read)
    set_key(path, key, read)
    click.echo(printable(f"{key}: {_value(Setting(key, read, 'user'))}  in {path}"))
    held = _again()
    for note in held.notes:
        click.echo(printable(f"note {note}"), err=True)
    _tell_part(key, held)
    holds = held.values[key]
    if holds.where.rpartition(":")[0] != str(path) and not any(f": {key} " in note for note in held.notes):
        click.echo(printable(f"note {holds.where} goes before it here: {key} is {_value(holds)}"), err=True)


_OWN = {
    "store": "a project does not choose where logs are kept: set the store without --project",
    "provider": "a project does not choose which models names stand for: set it without --project",
    "thinking": "a project does not choose what a run costs: set thinking without --project",
    "model": "a project does not choose what a run costs and who reads it: set the model without --project",
    "sandbox": "a project does not choose what keeps its commands in: set the sandbox without --project",
    "policy": "a project does not choose who decides about calls: set the policy without --project",
}
"""What no project's file may say, and why."""


def _refuse_project(key: str) -> None:
    """Raises where a project's file may not say this."""
    if key.startswith(MODELS):
        raise UsageError("a project does not say what models cost: set it without --project")
    if key in _OWN or key not in KEYS:
        raise UsageError(_OWN.get(key, _OWN["provider"]))


def _check_names(path: Path, key: str, value: object) -> None:
    """Raises where a name would stand for itself with this value, or for nobody; nothing was written then."""
    if key != "model" and not key.startswith((ALIAS, TIER)):
        return
    told = {name: (str(each), f"{path}:{line}") for name, (each, line) in read_file(path).items()}
    if key != "model":
        check_names({**told, key: (str(value), "config set")})
    check_providers(str(value), [name.removeprefix(SERVERS) for name in told if name.startswith(SERVERS)])


def _tell_part(key: str, held: Settings) -> None:
    """Says what is missing yet, where a price was given in part."""
    try:
        _ = held.facts if key.startswith(MODELS) else None
    except UsageError as error:
        click.echo(printable(f"note {error}"), err=True)


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
    parse(key, "", "config unset") if key_of(key) is None else None
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
