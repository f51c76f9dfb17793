"""What policies take away whatever else is said: tools that are blocked, and models that may not be asked.

Tools are blocked in the table of an agent (`deciding.py`); what the provider runs itself never comes to the gateway,
and is asked about here before a request is made. So is each model, where the chain of a run is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.tools.authorising.decision import Decision, Looked, Verdict
from holdfast.tools.authorising.matching.texts import expression_of
from holdfast.tools.authorising.policy import Policies, Policy, normalised

__all__ = ("blocking", "holding", "judge_model", "judge_provider_tool", "model_allowed", "unlisted")


def holding(policies: Policies, agent: str, tenant: str = "local") -> tuple[Policy, ...]:
    """Returns those policies that hold for an agent of a tenant."""
    several = () if policies is None else (policies,) if isinstance(policies, Policy) else policies
    return tuple(
        each
        for each in several
        if (not each.agents or agent in each.agents) and (not each.tenants or tenant in each.tenants)
    )


def blocking(policies: Sequence[Policy], tool: str) -> str | None:
    """Returns what blocks a tool in policies that hold, as it is written there; None where nothing does."""
    name = normalised(tool)
    for policy in policies:
        for each in policy.blocked_tools:
            if expression_of(normalised(each)).fullmatch(name):
                return each
    return None


def unlisted(policies: Sequence[Policy], *names: str) -> tuple[str, ...] | None:
    """Returns the list of a policy that holds and lets only its own tools be called, where a tool is not among them by
    any of its names; None where it is, or there is no such list.
    """
    known = [normalised(name) for name in names]
    for policy in policies:
        patterns = [expression_of(normalised(each)) for each in policy.only_tools]
        if patterns and not any(pattern.fullmatch(name) for pattern in patterns for name in known):
            return policy.only_tools
    return None


def judge_provider_tool(policies: Policies, agent: str, type_: str, tenant: str = "local") -> Decision:
    """Returns whether the provider may run a tool of its own for an agent: such a tool passes no gateway.

    It is blocked by its type, and by its type without the date at its end.
    """
    held, parts = holding(policies, agent, tenant), normalised(type_).split("_")
    plain = "_".join(parts[:-1] if len(parts) > 1 and parts[-1].isdigit() else parts)
    said = blocking(held, type_) or blocking(held, plain)
    verdict: Verdict = "allow" if said is None else "deny"
    rule = "no policy blocks it" if said is None else f"the provider's tool {type_!r} is blocked by {said!r}"
    advice = "" if said is None else f"take {type_!r} out of the agent's provider tools, or out of blocked_tools"
    trail = (Looked(0, "blocked_tools", rule),)
    if said is None and (listed := unlisted(held, type_, plain)) is not None:
        verdict, rule = "deny", f"the provider's tool {type_!r} is not among {', '.join(listed)}"
        advice = f"take {type_!r} out of the agent's provider tools, or add it to only_tools"
        trail = (*trail, Looked(0, "only_tools", rule))
    return Decision(verdict=verdict, step=0, rule=rule, advice=advice, tool=type_, trail=trail)


def judge_model(policies: Policies, agent: str, model: str, tenant: str = "local") -> Decision:
    """Returns whether an agent may ask a model, by its `provider/name`.

    Each model of a chain is judged by itself, whatever name stands for the chain: a fallback is a model like the first.
    """
    looked: list[Looked] = []
    verdict: Verdict = "allow"
    rule = "no policy says which models may be asked"
    for policy in holding(policies, agent, tenant):
        if not policy.allowed_models:
            continue
        said = next((each for each in policy.allowed_models if expression_of(each).fullmatch(model)), None)
        listed = ", ".join(policy.allowed_models)
        rule = f"the model {model!r} is not among {listed}" if said is None else f"the model {model!r} is {said!r}"
        looked.append(Looked(0, "allowed_models", rule))
        if said is None:
            verdict = "deny"
            break
    advice = f"ask one of them, or add {model!r} to allowed_models" if verdict == "deny" else ""
    trail = tuple(looked) or (Looked(0, "allowed_models", rule),)
    return Decision(verdict=verdict, step=0, rule=rule, advice=advice, trail=trail)


def model_allowed(policies: Policies, agent: str, model: str, tenant: str = "local") -> bool:
    """Whether an agent may ask a model, by its `provider/name`; see `judge_model` for the reason."""
    return judge_model(policies, agent, model, tenant).verdict == "allow"
