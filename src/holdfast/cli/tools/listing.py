"""`holdfast tools list`: the built-in tools, or those of modules, a line for each."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.tools.finding import tool_names, tools_of
from holdfast.cli.tools.telling import PLACES, changes, data_of, gist_of
from holdfast.cli.words import count, one_line
from holdfast.tools.binding import Tool

__all__ = ("list_",)

_RISKS = {"low": "dim", "medium": "", "high": "yellow", "critical": "bold red"}


@click.command(
    "list",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="List built-in tools, or those of modules and files.",
)
@click.argument("references", metavar="[REF | MODULE: | FILE.yaml]...", nargs=-1, shell_complete=tool_names)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_(references: tuple[str, ...], output: str) -> None:
    """List the built-in tools; or those that are named: of a module, all of them, where nothing stands behind its
    colon, and of a file all that it declares.

    \b
      holdfast tools list                  what comes with Holdfast
      holdfast tools list shop.tools:      all tools of a module of yours
      holdfast tools list weather.yaml     those that a file declares

    What a call changes is a word: files (of the workspace, which can be put back), keyed, checkable or unsafe (things
    outside), sends (what it is given leaves the machine), by call (its arguments decide), or nothing.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    found = [tool for reference in references or ("builtin:",) for tool in tools_of(reference)]
    if output == "json":
        click.echo(printed([data_of(tool) for tool in found]))
        return
    console = open_console(plain=settings().plain)
    _print(console, found)
    console.print(Text(f"\n{count(len(found), 'tool')}; more of one: holdfast tools describe NAME", "dim"))


def _print(console: Console, found: Sequence[Tool]) -> None:
    """Prints a line for each, on a terminal no longer than it is wide."""
    rows = [[Text(each, "dim") for each in ("tool", "changes", "acts in", "risk", "what it does")]]
    rows += [_row(tool) for tool in found]
    widths = [max(row[column].cell_len for row in rows) for column in range(4)]
    for row in rows:
        line = Text()
        for cell, width in zip(row, widths, strict=False):
            cell.align("left", width)
            line.append_text(cell).append("  ")
        line.append_text(row[-1])
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _row(tool: Tool) -> list[Text]:
    risk, what = tool.spec.governance.risk, changes(tool)
    return [
        Text(one_line(tool.spec.name, 64), "bold"),
        Text(what, {"nothing": "dim", "unsafe": "yellow"}.get(what, "")),
        Text(PLACES[tool.tier], "dim"),
        Text(risk, _RISKS[risk]),
        Text(one_line(gist_of(tool), 200)),
    ]
