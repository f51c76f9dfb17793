"""`holdfast tools call`: one call of a tool, by hand."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.card import approval_card
from holdfast.cli.asking.keys import EARLY, PATIENCE, Keys
from holdfast.cli.data import printed
from holdfast.cli.run import play
from holdfast.cli.sandbox.running import workspace_of
from holdfast.cli.settings.defaults import default_store, policy_of, profile, settings
from holdfast.cli.terminal import open_console, with_person
from holdfast.cli.tools.arguments import arguments_from, unfit
from holdfast.cli.tools.desk import Ask, Terms, open_desk
from holdfast.cli.tools.finding import tool_names, tool_of
from holdfast.cli.words import names_in, one_line, printable
from holdfast.sandbox.snippets.telling import listening
from holdfast.tools.binding import Tool
from holdfast.types import MODES, Mode, ToolCall, ToolResult, Wait

__all__ = ("call",)

_WIDTH = 100
_UNFIT, _FORBIDDEN = "invalid_input", "tool_permission_denied"
_UNFIT_REASON = "tool_invalid_input"
_ADVICE = {
    "tool_approval_required": "nobody could be asked here: --mode auto allows it, a terminal asks",
    "tool_mode_read_only": "--mode accept-edits, ask or auto allow more",
    _FORBIDDEN: "holdfast tools explain says which rule decides",
    "tool_auth_invalid": "holdfast secrets set NAME keeps another value; holdfast tools describe says how it is sent",
    "tool_auth_forbidden": "ask whoever runs it what this secret may do; holdfast tools describe says how it is sent",
    _UNFIT_REASON: "holdfast tools describe says what it takes",
}
"""What to do about a denial, by its reason."""


@click.command(
    "call",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Make one call of a tool, as an agent would.",
)
@click.argument("reference", metavar="REF", shell_complete=tool_names)
@click.argument("arguments", metavar="[JSON | NAME=VALUE...]", nargs=-1)
@click.option("-w", "--workspace", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
@click.option("--mode", type=click.Choice(MODES), help="What runs without a question.  [default: the setting]")
@click.option("--sandbox", help="What commands run in: a sandbox's name, or a profile's file.  [default: the setting]")
@click.option("--policy", type=click.Path(path_type=Path), help="A file that says which calls there may be.")
@click.option("--agent", default="agent", show_default=True, help="Whose call it is, for rules that name agents.")
@click.option("--roles", default="", help="The agent's roles, with commas, for rules about roles.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def call(
    reference: str,
    arguments: tuple[str, ...],
    workspace: Path,
    mode: Mode | None,
    sandbox: str | None,
    policy: Path | None,
    agent: str,
    roles: str,
    output: str,
) -> None:
    """Make one call of the tool REF, as an agent's call is made: checked, decided about, asked about, in the sandbox.

    \b
      holdfast tools call calculator expression='2**10'
      holdfast tools call grep '{"pattern": "TODO", "path": "src"}'
      holdfast tools call shop.tools:pay - < arguments.json
      holdfast tools call bash command='make test' --mode auto

    A value is text where the tool takes text, else JSON. What the model would read is printed; an error goes to
    standard error. There is no log: files that change are not saved before, and what the tool keeps is gone afterwards.

    Exit codes: 0 it went well, 1 it failed or was denied, 2 wrong usage or arguments that do not fit, 130 ended by
    Ctrl-C, 143 by SIGTERM.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    tool, held = tool_of(reference), settings()
    given = arguments_from(arguments, tool.spec.parameters)
    terms = Terms(
        folder=workspace_of(workspace),
        mode=mode or held.mode,
        sandbox=profile(sandbox if sandbox is not None else held.sandbox),
        store=default_store(),
        policy=policy_of(policy),
        agent=agent,
        roles=names_in(roles),
    )
    aside = open_console(stderr=True, plain=held.plain)
    ask = partial(_asked, aside) if output == "text" and with_person() else None
    sys.exit(play(_called(tool, given, terms, ask, aside, output)))


async def _called(tool: Tool, given: str, terms: Terms, ask: Ask | None, aside: Console, output: str) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.monotonic()
    async with open_desk(tool, terms, ask) as desk:
        with listening(lambda text: aside.print(Text(text, "dim"), soft_wrap=True)):
            result = await desk.call(tool.spec.name, given)
    if output == "json":
        click.echo(printed(_data(tool, result, time.monotonic() - began)))
    else:
        if result.error is not None and result.error.reason == _UNFIT_REASON and (why := unfit(tool, given)):
            result = msgspec.structs.replace(result, content=why)
        _print(result, aside, governed=terms.policy is not None)
    return 0 if result.error is None else 2 if result.error.code == _UNFIT else 1


def _data(tool: Tool, result: ToolResult, seconds: float) -> dict[str, Any]:
    error = None if result.error is None else msgspec.structs.asdict(result.error)
    files = [{"name": each.name, "media_type": each.media_type, "size": each.size} for each in result.attachments]
    return {
        "tool": tool.spec.name,
        "reference": tool.spec.reference,
        "ok": error is None,
        "content": result.content,
        "error": error,
        "metadata": result.metadata,
        "attachments": files,
        "seconds": round(seconds, 3),
    }


def _print(result: ToolResult, aside: Console, *, governed: bool) -> None:
    text = printable(result.content).rstrip("\n")
    if result.error is None:
        if text:
            click.echo(text)
    else:
        denied = result.error.status == "denied"
        head = Text("denied " if denied else "error ", "yellow" if denied else "bold red")
        text = text.removeprefix("Denied: ") if denied else text
        aside.print(head.append(text, "not bold default").append(f" [{result.error.reason}]", "dim"), soft_wrap=True)
        advice = _ADVICE.get(result.error.reason)
        if advice and (governed or result.error.reason != _FORBIDDEN):  # a path or an address is refused by no policy
            aside.print(Text(f"→ {advice}", "cyan"), soft_wrap=True)
    for each in result.attachments:
        said = f"attached {one_line(each.name, 80)}, {each.size:,} bytes: a run would hand it over"
        aside.print(Text(said, "dim"), soft_wrap=True)


async def _asked(console: Console, made: ToolCall, wait: Wait) -> bool:
    """Returns whether the person at the terminal allows a call; a card that does not show all wants it said twice."""
    card = approval_card(made, wait)
    console.print(card, width=min(console.width, _WIDTH))
    with Keys() as keys:
        await asyncio.sleep(PATIENCE)
        keys.forget()  # what was typed by now was meant for something else
        if keys.early:
            console.print(Text(f"! {EARLY}: answer now", "yellow"))
        console.print(Text.assemble(("? ", "bold yellow"), ("y", "bold"), " yes   ", ("n", "bold"), " no"))
        left = 1 if card.whole else 2
        while left:
            key = await keys.read()
            if key in ("n", "q", ""):
                return False
            if key == "y":
                left -= 1
                if left:
                    console.print(Text("not all of it was shown: y again allows it   n no", "bold red"))
    return True
