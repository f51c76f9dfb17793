"""`holdfast tools describe`: all that a tool declares, and where it is found."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import indented, open_console
from holdfast.cli.tools.finding import tool_names, tool_of
from holdfast.cli.tools.telling import changes_in_words, data_of, kinds_of, limits_of, place_of, standing_of
from holdfast.cli.words import one_line, printable
from holdfast.tools.binding import Tool
from holdfast.tools.declaring import FunctionTool

__all__ = ("describe",)

_LABEL = 11
_NAME = 24
"""Columns that names of parameters, and what they take, get at most."""


@click.command(
    "describe",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Show all that a tool says of itself.",
)
@click.argument("reference", metavar="REF", shell_complete=tool_names)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def describe(reference: str, output: str) -> None:
    """Show what the tool REF does, what it takes, what its calls change, and where it is found.

    \b
      holdfast tools describe edit
      holdfast tools describe shop.tools:pay
      holdfast tools describe edit -o json | jq .parameters
    """  # noqa: D301 - click's own mark for lines that stay as they are
    tool = tool_of(reference)
    source = _source(tool)
    if output == "json":
        click.echo(printed({**data_of(tool), "source": source}))
        return
    console = open_console(plain=settings().plain)
    console.print(Text(one_line(tool.spec.name, 64), "bold"))
    for paragraph in printable(tool.spec.description or "It says nothing of itself.").strip().split("\n\n"):
        indented(console, Text(" ".join(paragraph.split())), 2)
    console.print()
    for label, words in _facts(tool, source):
        indented(console, Text(f"{label:<{_LABEL}}", "dim").append(words), 2, hang=_LABEL)
    console.print()
    _print_parameters(console, tool.spec.parameters)


def _facts(tool: Tool, source: str) -> Iterator[tuple[str, str]]:
    governance = tool.spec.governance
    yield "found", tool.spec.reference + (f"  ({source})" if source else "")
    yield "changes", changes_in_words(tool)
    yield "tier", place_of(tool)
    yield from standing_of(tool)
    yield "risk", f"{governance.risk}; counts as {', '.join(governance.classes)}"
    for label, words in (
        ("needs", ", ".join(f"capability:{each}" for each in governance.capabilities)),
        ("agents", ", ".join(governance.agents)),
        ("given by", "admins alone" if governance.author == "admin" else ""),
        ("shared", "" if governance.shareable else "an agent that has it is not shown to others"),
        ("ends", "the run is over when its call goes well" if tool.spec.terminal else ""),
    ):
        if words:
            yield label, one_line(words)
    yield "bounds", "; ".join(limits_of(tool))


def _source(tool: Tool) -> str:
    """Returns the file and line of a tool's function; empty where there is no such place."""
    if not isinstance(tool, FunctionTool):
        return ""
    function = inspect.unwrap(cast("FunctionTool[..., Any]", tool).function)
    try:
        file = inspect.getsourcefile(function)
        line = inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return ""
    if file is None:
        return ""
    path, here = Path(file), Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"


def _print_parameters(console: Console, schema: dict[str, Any]) -> None:
    given: Any = schema.get("properties") or {}
    properties = cast("dict[str, dict[str, Any]]", given)
    if not properties:
        console.print(Text("  takes nothing", "dim"))
        return
    required = set(cast("list[str]", schema.get("required") or []))
    rows = [[Text(each, "dim") for each in ("takes", "", "")]]
    for name, each in properties.items():
        head = Text(one_line(name, _NAME), "bold" if name in required else "")
        rows.append([head, Text(one_line(kinds_of(each), 40), "cyan"), _default(each, needed=name in required)])
    widths = [max(row[column].cell_len for row in rows) for column in range(3)]
    said = ["", *(" ".join(str(each.get("description", "")).split()) for each in properties.values())]
    left = 2 + sum(width + 2 for width in widths)
    for row, words in zip(rows, said, strict=True):
        line = Text("  ")
        for cell, width in zip(row, widths, strict=True):
            cell.truncate(width, overflow="ellipsis")
            cell.align("left", width)
            line.append_text(cell).append("  ")
        wrapped = Text(printable(words)).wrap(console, max(24, console.width - left)) or [Text()]
        for number, each in enumerate(wrapped):
            whole = Text(" " * left) + each if number else line + each
            whole.rstrip()
            console.print(whole, no_wrap=True, overflow="ignore", crop=False)


def _default(schema: dict[str, Any], *, needed: bool) -> Text:
    if needed:
        return Text("required", "yellow")
    if "default" not in schema or schema["default"] is None:
        return Text("")
    return Text("= " + one_line(msgspec.json.encode(schema["default"]).decode(), 16), "dim")
