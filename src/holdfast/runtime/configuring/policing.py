"""What a runtime's policy says of an agent before any call of it is made: who keeps it, and what it may ask; and what
in the policy looks misspelled from there.

Not here: its calls of tools, which the gateway judges one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from holdfast.errors import PolicyDenied
from holdfast.errors.hinting import closest
from holdfast.models.providers.finding import PROVIDERS
from holdfast.tools.authorising.blocking import holding, judge_model, judge_provider_tool
from holdfast.tools.authorising.decision import Decision
from holdfast.tools.authorising.doubting import PolicyDoubt, doubts_about
from holdfast.tools.authorising.policy import Policies
from holdfast.tools.authorising.stages import may_save
from holdfast.types import AgentSpec, TenantId, ToolSpec

__all__ = ("check_asked", "check_kept", "doubts_of", "warn_of")


def doubts_of(
    policies: Policies, agent: AgentSpec, tenant: str, specs: Sequence[ToolSpec], servers: Iterable[str] = ()
) -> list[str]:
    """Returns what looks misspelled in policies, seen from an agent that has these tools; `servers` are providers that
    somebody described.
    """
    known = [*PROVIDERS, *servers]
    found = [*doubts_about(policies, agent, specs, tenant)]
    for policy in holding(policies, agent.name, tenant):
        for model in policy.allowed_models:
            provider = model.partition("/")[0].strip()
            if "*" not in provider and provider not in known and (near := closest(provider, known, cutoff=0.7)):
                found.append(
                    f"allowed_models have the provider {provider!r}, which nobody knows: did you mean {near!r}?"
                )
    return found


def warn_of(doubts: Iterable[str]) -> None:
    """Warns of what is doubtful about a policy (`PolicyDoubt`), which Python does once for each."""
    for doubt in doubts:
        warnings.warn(f"the policy may be misspelled: {doubt}", PolicyDoubt, stacklevel=2)


def check_kept(policies: Policies, agent: AgentSpec, tenant: TenantId, user: str) -> None:
    """Ends quietly when this user may have an agent with these tools kept.

    Raises:
        PolicyDenied: a tool is for admins to give away, and the policy does not count the user among them.
    """
    held = holding(policies, agent.name, tenant)
    if held:
        _ensure(agent, may_save(any(user in policy.admins for policy in held), agent.tools))


def check_asked(policies: Policies, agent: AgentSpec, tenant: TenantId, models: Iterable[str]) -> None:
    """Ends quietly when an agent may ask each of these models, and the provider may run the tools of its own.

    Raises:
        PolicyDenied: it may not; says by which rule.
    """
    for model in models:
        _ensure(agent, judge_model(policies, agent.name, model, tenant))
    for each in agent.provider_tools:
        _ensure(agent, judge_provider_tool(policies, agent.name, each.type, tenant))


def _ensure(agent: AgentSpec, decision: Decision) -> None:
    if decision.verdict == "deny":
        raise PolicyDenied(f"the policy does not allow agent {agent.name!r} this: {decision.rule}; {decision.advice}")
