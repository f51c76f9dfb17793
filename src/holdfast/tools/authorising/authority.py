"""What a run asks before each call: the table of its agent, and where its workspace stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import msgspec

from holdfast.tools.authorising.deciding import judge_call, table_of
from holdfast.tools.authorising.decision import Decision
from holdfast.tools.authorising.policy import Policies
from holdfast.types import AgentSpec, ToolCall, ToolSpec

__all__ = ("Authority", "authority_of")


@final
class Authority(msgspec.Struct, frozen=True):
    """Who decides about the calls of one agent. It may be shared by all runs of the agent in one workspace."""

    table: Mapping[str, Decision]
    root: str = ""
    """The folder of the workspace; empty where there is none."""

    def judge(self, call: ToolCall) -> Decision:
        """Returns what becomes of a call, made with the arguments it has now: judge it again when they change."""
        decision = self.table.get(call.name)
        if decision is not None and not decision.scopes:
            return decision
        return judge_call(self.table, call.name, call.arguments, self.root)


def authority_of(
    policies: Policies,
    agent: AgentSpec,
    specs: Sequence[ToolSpec] | None = None,
    *,
    tenant: str = "local",
    root: str = "",
) -> Authority | None:
    """Returns who decides about an agent's calls; None where nothing is said about any of its tools.

    `specs` are all tools that it can call, those included that only other tools call; without, those of its spec.
    """
    table = table_of(policies, agent, agent.tools if specs is None else specs, tenant)
    return Authority(table, root) if table else None
