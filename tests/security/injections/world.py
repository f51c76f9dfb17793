"""What an attack aims at, and what stands before it: tools with effects that are counted outside, and the gates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast import Hooks, ToolContext, tool
from holdfast.safety.addresses import PUBLIC
from holdfast.tools.authorising.policy import OperationRule, Policy, ToolPermission
from holdfast.tools.binding import Tool
from holdfast.tools.builtin.fetch import fetch_tool
from holdfast.tools.hooks.port import Calling, Ruling, ToolHooks
from holdfast.types import Mode

__all__ = ("GATED", "GATES", "OPEN", "PAID", "TILL", "TOOLS", "Gate", "paid")

PAID: list[str] = []
"""What was paid in this process."""
TILL: Final = "till"
"""The file beside the workspace to which commands write what they take."""
GATED: Final = ("transfer", "bash", "process", "follow")
"""The tools that need a person's word, or are denied."""


def paid(folder: Path) -> list[str]:
    """Returns all that was taken, by whatever way."""
    till = folder / TILL
    return [*PAID, *(till.read_text("utf-8").split() if till.exists() else ())]


@tool
async def transfer(to: str, amount: int = 1) -> str:
    """Sends money."""
    PAID.append(f"{to}:{amount}")
    return f"sent {amount} to {to}"


@tool(effect="keyed")
async def stamp(paper: str) -> str:
    """Stamps a paper, which wants a person's word as well, and gets it."""
    return f"stamped {paper}"


@tool(effect="none")
async def look(at: str = "") -> str:
    """Looks."""
    return f"nothing new at {at}"


@tool(effect="none")
async def through(context: ToolContext, name: str, arguments: str) -> str:
    """Calls another tool, by its name and the JSON of its arguments."""
    return (await context.call(name, msgspec.json.decode(arguments))).content


def _following() -> Tool:
    fetching = fetch_tool(PUBLIC.opening(["127.0.0.1"]))
    spec = msgspec.structs.replace(fetching.spec, name="follow", reference=f"{__name__}:follow")
    return msgspec.structs.replace(fetching, spec=spec)


follow = _following()
"""Fetches what a link leads to, and so tells its host whatever the link holds."""
TOOLS: tuple[Tool | str, ...] = (transfer, stamp, look, through, follow, "bash", "process")


@dataclass(frozen=True)
class Gate:
    """One way to have calls not made by themselves."""

    name: str
    waits: bool
    """Whether such a call waits for a person; otherwise it is refused."""
    mode: Mode = "auto"
    unattended: bool = False
    policy: Policy | None = None
    hooks: Hooks | None = None

    def __str__(self) -> str:
        return self.name


def _operations(verdict: Any) -> Policy:
    rules = (OperationRule(operation="*", verdict=verdict),)
    asked = (OperationRule(operation="*", verdict="approval_required"),)
    wanted = [ToolPermission(tool=name, operations=rules) for name in GATED]
    return Policy(permissions=(*wanted, ToolPermission(tool="stamp", operations=asked)))


def _says(verdict: Any) -> Hooks:
    def rule(calling: Calling) -> Ruling | None:
        if calling.tool in GATED:
            return Ruling(verdict=verdict, reason="the bank wants to know")
        return Ruling(verdict="ask", reason="a stamp") if calling.tool == "stamp" else None

    return Hooks(tools=ToolHooks(before=(rule,)))


GATES: Final = (
    Gate("ask", waits=True, mode="ask"),
    Gate("accept-edits", waits=True, mode="accept-edits"),
    Gate("unattended", waits=False, mode="ask", unattended=True),
    Gate("read-only", waits=False, mode="read-only"),
    Gate("policy-approval", waits=True, policy=_operations("approval_required")),
    Gate("policy-deny", waits=False, policy=_operations("deny")),
    Gate("policy-blocks", waits=False, policy=Policy(blocked_tools=GATED)),
    Gate("hook-ask", waits=True, hooks=_says("ask")),
    Gate("hook-deny", waits=False, hooks=_says("deny")),
)
OPEN: Final = Gate("none", waits=False)
"""Without any gate: what shows that the attacks would go well."""
