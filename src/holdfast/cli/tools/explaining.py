"""`holdfast tools explain`: what would become of a call, and which rule decides."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.sandbox.running import workspace_of
from holdfast.cli.settings.defaults import default_store, doubted, policy_of, profile, settings
from holdfast.cli.terminal import indented, open_console
from holdfast.cli.tools.arguments import arguments_from, unfit
from holdfast.cli.tools.finding import agent_names, agent_of, tool_of
from holdfast.cli.words import names_in, printable
from holdfast.errors import UsageError
from holdfast.tools.authorising.explaining import Explanation
from holdfast.tools.authorising.explaining import explain as explained
from holdfast.tools.binding import Tool
from holdfast.tools.permitting import Rules
from holdfast.types import MODES, AgentSpec, Effect, Mode

__all__ = ("explain",)

_VERDICTS = {"allow": "green", "deny": "bold red", "approval_required": "yellow"}


@click.command(
    "explain",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Say whether an agent may make a call, and which rule decides.",
)
@click.argument("words", metavar="[AGENT] TOOL [JSON | NAME=VALUE...]", nargs=-1, shell_complete=agent_names)
@click.option("--tools", default="", help="The tools of an agent that is not written yet, with commas.")
@click.option("--roles", default="", help="Its roles, with commas; of one that is written, in place of its own.")
@click.option("--name", help="What it is called, for rules that name agents.  [default: agent]")
@click.option("--policy", type=click.Path(path_type=Path), help="A file that says which calls there may be.")
@click.option("--mode", type=click.Choice(MODES), help="What runs without a question.  [default: the setting]")
@click.option("--unattended", is_flag=True, help="As where nobody can be asked.")
@click.option("-w", "--workspace", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
@click.option("--sandbox", help="What commands would run in.  [default: the setting]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain(
    words: tuple[str, ...],
    tools: str,
    roles: str,
    name: str | None,
    policy: Path | None,
    mode: Mode | None,
    unattended: bool,
    workspace: Path,
    sandbox: str | None,
    output: str,
) -> None:
    """Say what would become of a call of TOOL by AGENT, and which rule decides; nothing is called.

    \b
      holdfast tools explain coder bash command='rm -rf build'
      holdfast tools explain shop.agents:seller pay amount=12 --policy policy.yaml
      holdfast tools explain --tools pay,read --roles seller pay --policy policy.yaml

    AGENT is coder, the one behind `holdfast run`, or module:agent. Without arguments, rules about arguments are named
    and not asked. Exit code 0 when the call would run, 1 when it would be asked about or denied.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    held = settings()
    agent, tool_name, rest = _asked(words, tools, roles, name)
    tool = _tool(agent, tool_name)
    given = None
    if rest:
        spec = next((each for each in agent.tools if each.name == tool_name), None)
        given = arguments_from(rest, {"additionalProperties": True} if spec is None else spec.parameters)
    folder = workspace_of(workspace)
    effect = None
    if tool is not None and tool.effect is not None and given is not None:
        effect = asyncio.run(_effect(tool, given, sandbox if sandbox is not None else held.sandbox))
    rulings = policy_of(policy)
    doubts = doubted(rulings, agent)
    found = explained(
        rulings,
        agent,
        tool_name,
        given,
        rules=Rules(mode or held.mode, unattended),
        effect=effect,
        root=str(folder),
    )
    if output == "json":
        click.echo(printed({**msgspec.structs.asdict(found), "allowed": found.verdict == "allow", "doubts": doubts}))
    else:
        _print(console := open_console(plain=held.plain), found)
        for doubt in doubts:
            indented(console, Text(f"! {printable(doubt)}", "yellow"), 0, hang=2)
    sys.exit(0 if found.verdict == "allow" else 1)


def _asked(words: tuple[str, ...], tools: str, roles: str, name: str | None) -> tuple[AgentSpec, str, tuple[str, ...]]:
    """Returns the agent, the tool and the arguments that a line names."""
    named = not tools
    if len(words) < 1 + named:
        raise UsageError("an agent and a tool are wanted: explain AGENT TOOL, or explain --tools TOOL,… TOOL")
    if named:
        agent, tool, rest = agent_of(words[0]), words[1], words[2:]
    else:
        specs = tuple(tool_of(each).spec for each in names_in(tools))
        agent, tool, rest = AgentSpec(model="none/none", name="agent", tools=specs), words[0], words[1:]
    changed: dict[str, Any] = {"roles": names_in(roles)} if roles else {}
    if name:
        changed["name"] = name
    return msgspec.structs.replace(agent, **changed) if changed else agent, tool, rest


def _tool(agent: AgentSpec, name: str) -> Tool | None:
    """Returns the tool behind an agent's spec, where its reference leads to one."""
    spec = next((each for each in agent.tools if each.name == name), None)
    if spec is None or ":" not in spec.reference or spec.reference.startswith("agent:"):
        return None
    return tool_of(spec.reference)


async def _effect(tool: Tool, given: str, sandbox: str) -> Effect | None:
    """Returns what a call with these arguments changes, where that depends on them and on what isolates it."""
    from holdfast.runtime.sandboxes import sandboxes_of
    from holdfast.storage.stores.memory import MemoryBlobStore
    from holdfast.tools import authored
    from holdfast.tools.results import Refused

    parsed = authored.parse(tool, given, cut=False)
    if isinstance(parsed, Refused):
        raise UsageError(f"{unfit(tool, given) or parsed.result.content}\n→ holdfast tools describe says what it takes")
    places = sandboxes_of(default_store(), MemoryBlobStore(), profile(sandbox))
    try:
        effect = authored.effect_of(tool, parsed[0], await places.ready())
    finally:
        await places.close()
    if isinstance(effect, Refused):
        raise UsageError(effect.result.content)
    return effect


def _print(console: Console, found: Explanation) -> None:
    verdict, because, *rest = found.lines()
    indented(console, Text(printable(verdict), _VERDICTS[found.verdict]), 0, hang=2)
    indented(console, Text(printable(because), "bold"), 0, hang=2)
    for line in rest:
        walked = line.startswith(("->", "  "))
        style = "bold" if line.startswith("->") else "dim" if walked or line.endswith(":") else "cyan"
        indented(console, Text(printable(line), style), 0, hang=4)
