"""The three stages at which a tool may be refused, each by itself: when an agent that has it is kept, when that agent
is shown to others, and when it is called (source: executus B4).

Each looks at another word of the tool's own (`Governance`), and none at what the others found: a tool that passed when
its agent was kept is refused all the same when the agent is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from holdfast.errors import UsageError
from holdfast.tools.authorising.decision import Decision, Looked
from holdfast.types import ToolSpec

__all__ = ("Visibility", "may_run", "may_save", "may_share")

Visibility = Literal["private", "shared", "public"]
"""Who sees an agent: its author alone, some others, everybody."""


def may_save(author_is_admin: bool, specs: Sequence[ToolSpec]) -> Decision:
    """Returns whether this author may keep an agent with these tools."""
    barred = [] if author_is_admin else [spec.name for spec in specs if spec.governance.author == "admin"]
    return _stage(
        "saving",
        "who may give the tools to an agent",
        barred,
        f"only an admin may give an agent {_listed(barred)}",
        "have an admin keep this agent, or take the tool out of it",
        "this author may give an agent all of its tools",
    )


def may_share(visibility: Visibility, specs: Sequence[ToolSpec]) -> Decision:
    """Returns whether an agent with these tools may be seen by others.

    Raises:
        UsageError: `visibility` is no word for who sees it.
    """
    if visibility not in get_args(Visibility):
        raise UsageError(f"there is no visibility {visibility!r}: write {', '.join(get_args(Visibility))}")
    barred = [] if visibility == "private" else [spec.name for spec in specs if not spec.governance.shareable]
    return _stage(
        "sharing",
        "whether the tools may be shared",
        barred,
        f"an agent with {_listed(barred)} may not be {visibility}",
        "keep this agent private, or take the tool out of it",
        "nobody else sees the agent" if visibility == "private" else "all of its tools may be shared",
    )


def may_run(agent: str, spec: ToolSpec) -> Decision:
    """Returns whether the agent of that name may call the tool at all."""
    allowed = spec.governance.agents
    barred = [spec.name] if allowed and agent not in allowed else []
    return _stage(
        "running",
        "which agents the tool is for",
        barred,
        f"the tool {spec.name!r} is for {_listed(allowed)}, and this agent is {agent!r}",
        f"call it from one of those, or add {agent!r} to the agents of the tool",
        f"the tool is for {_listed(allowed)}" if allowed else "the tool is for every agent",
        tool=spec.name,
    )


def _stage(stage: str, at: str, barred: Sequence[str], no: str, advice: str, yes: str, *, tool: str = "") -> Decision:
    rule = no if barred else yes
    return Decision(
        verdict="deny" if barred else "allow",
        step=0,
        rule=f"{stage}: {rule}",
        advice=advice if barred else "",
        tool=tool,
        trail=(Looked(0, at, rule),),
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
