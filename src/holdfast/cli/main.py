"""`holdfast`: the commands, each loaded when it is used, so that `--help` stays quick."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, cast

import click

from holdfast import __version__
from holdfast.errors import HoldfastError

__all__ = ("main",)

_COMMANDS = {
    "run": ("holdfast.cli.run", "run", "Give an agent a job in a folder."),
    "runs": ("holdfast.cli.runs", "runs", "List, show and resume runs."),
    "demo": ("holdfast.cli.demo.command", "demo", "Watch an agent repair a small project, and survive a kill."),
    "stub": ("holdfast.cli.stub", "stub", "Serve a scripted model, for tests and trials."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        return cast("click.Command", getattr(import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="holdfast")
def cli() -> None:
    r"""A durable agent runtime: kill it anywhere, it goes on.

    \b
    Exit codes: 0 completed · 1 failed · 2 wrong usage · 3 stopped at a limit
                4 aborted · 130 interrupted
    """


def main() -> None:
    """Runs the command line; an error shows as one line that says what to do."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except HoldfastError as error:
        _complain(error)
        sys.exit(2 if error.audience == "user" else 1)


def _complain(error: HoldfastError) -> None:
    style: dict[str, Any] = {"fg": "red", "bold": True}
    click.echo(f"{click.style('error', **style)} {error} {click.style(f'[{error.code}]', dim=True)}", err=True)
