"""`holdfast completion`: the script that makes a shell complete our command lines, and the answers to it.

The shell runs us again at each press of the key, with the line in its environment; `main` then calls `answer`. Names of
commands come from the same table as help; a command is loaded only when the line is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

__all__ = ("answer", "completion")

_VARIABLE = "_HOLDFAST_COMPLETE"
"""What the scripts set; `main` looks at it."""
_HOW = {
    "bash": '# Put this into ~/.bashrc:  eval "$(holdfast completion bash)"\n',
    "zsh": '# Put this into ~/.zshrc, behind compinit:  eval "$(holdfast completion zsh)"\n',
    "fish": "# holdfast completion fish > ~/.config/fish/completions/holdfast.fish\n",
}


class _Program(click.Group):
    """All commands of a table, each loaded when it is needed."""

    def __init__(self, table: Mapping[str, tuple[str, str, str]]) -> None:
        super().__init__("holdfast")
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Without loading any of them.
        names = [(name, text) for name, (_, _, text) in self._table.items() if name.startswith(incomplete)]
        options = ("--help", "--version") if incomplete.startswith("-") else ()
        return [
            *(CompletionItem(name, help=text) for name, text in names),
            *(CompletionItem(option) for option in options if option.startswith(incomplete)),
        ]


def _made(shell: str, table: Mapping[str, tuple[str, str, str]]) -> ShellComplete:
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell!r}: there is for {', '.join(_HOW)}")
    return found(_Program(table), {}, "holdfast", _VARIABLE)


def answer(instruction: str, table: Mapping[str, tuple[str, str, str]]) -> int:
    """Prints what could follow on the line a shell asks about, and returns the exit code.

    `instruction` is what its script gives; `table` has each command's module, its name there, and what it is for.
    """
    shell, _, what = instruction.partition("_")
    if what != "complete" or shell not in _HOW:
        return 1
    print(_made(shell, table).complete())
    return 0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(shell: str) -> None:
    """Print the script that completes commands, options and sessions in SHELL.

    \b
    bash   eval "$(holdfast completion bash)"     in ~/.bashrc
    zsh    eval "$(holdfast completion zsh)"      in ~/.zshrc, behind compinit
    fish   holdfast completion fish > ~/.config/fish/completions/holdfast.fish
    """  # noqa: D301 - click's own mark for lines that stay as they are
    click.echo(_HOW[shell] + _made(shell, {}).source())
