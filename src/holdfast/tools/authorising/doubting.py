"""What in a policy looks misspelled, seen from one agent: names that nobody has and that are like one that it has.

A policy may be for many agents, so a name that this one has not got is no fault by itself, and nothing here refuses
anything. A scope of an argument that the tool does not take denies each call (`scopes.py`); a rule for a class of
operations that the tool is not of never takes hold. Both are said in any case, as the tool is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from holdfast.errors.hinting import closest
from holdfast.tools.authorising.blocking import holding
from holdfast.tools.authorising.parameters import unknown_argument
from holdfast.tools.authorising.policy import Policies, Policy, ToolPermission, normalised
from holdfast.types import AgentSpec, ToolSpec

__all__ = ("PolicyDoubt", "doubts_about")

_ALIKE: Final = 0.75


class PolicyDoubt(UserWarning):
    """A policy names what an agent has not got, and something that it has is called almost so."""


def doubts_about(
    policies: Policies, agent: AgentSpec, specs: Sequence[ToolSpec], tenant: str = "local"
) -> tuple[str, ...]:
    """Returns what is doubtful about policies for an agent with these tools, each with what may be meant."""
    held = holding(policies, agent.name, tenant)
    found = [*_of_roles(held, agent)] if held else []
    for policy in held:
        found += _of_tools(policy, agent, specs)
        for rule in _rules(policy, agent):
            for spec in specs:
                if normalised(spec.name) == normalised(rule.tool):
                    found += _of_rule(rule, spec)
    found += _of_capabilities(held, agent, specs)
    return tuple(dict.fromkeys(found))


def _rules(policy: Policy, agent: AgentSpec) -> list[ToolPermission]:
    return [each for each in policy.permissions if not each.agents or agent.name in each.agents]


def _near(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is meant; empty where the name is known as it is, or is like none."""
    names = {normalised(each): each for each in known}
    wanted = normalised(name)
    return "" if wanted in names else names.get(closest(wanted, names, cutoff=_ALIKE), "")


def _of_roles(held: Sequence[Policy], agent: AgentSpec) -> Iterator[str]:
    known = {name for policy in held for name in policy.roles}
    for name in agent.roles:
        if name not in known and (near := closest(name, known, cutoff=_ALIKE)):
            yield f"agent {agent.name!r} has the role {name!r}, which no policy has: did you mean {near!r}?"


def _of_tools(policy: Policy, agent: AgentSpec, specs: Sequence[ToolSpec]) -> Iterator[str]:
    from holdfast.tools.builtin.table import BUILTIN  # noqa: PLC0415 - names alone, and only with a policy

    own = [spec.name for spec in specs]
    others = {*map(normalised, BUILTIN), *(normalised(each.type) for each in agent.provider_tools)}
    wanted = [("a rule is about", each.tool) for each in _rules(policy, agent)]
    wanted += [("blocked_tools name", each) for each in policy.blocked_tools if "*" not in each]
    for role in (policy.roles[name] for name in agent.roles if name in policy.roles):
        parts = [each.split(":") for each in role.permissions]
        wanted += [
            ("a role has a permission for", each[1])
            for each in parts
            if len(each) == 3 and normalised(each[0]) == "tool"
        ]
    for what, name in wanted:
        if normalised(name) not in others and (near := _near(name, own)):
            yield f"{what} the tool {name!r}, which agent {agent.name!r} has not got: did you mean {near!r}?"


def _of_rule(rule: ToolPermission, spec: ToolSpec) -> Iterator[str]:
    for scope in rule.scopes:
        if wrong := unknown_argument(spec.parameters, scope.argument):
            yield f"a scope about {spec.name!r} names the argument {scope.argument!r}, and denies each call: {wrong}"
    classes = spec.governance.classes
    said = dict.fromkeys(each.operation for each in rule.operations)
    if said and "*" not in said and not {*said} & {*classes}:
        yield (
            f"a rule about {spec.name!r} is for {', '.join(said)}, and never takes hold: the tool counts as "
            f"{', '.join(classes)}"
        )


def _of_capabilities(held: Sequence[Policy], agent: AgentSpec, specs: Sequence[ToolSpec]) -> Iterator[str]:
    mine = [policy.roles[name] for policy in held for name in agent.roles if name in policy.roles]
    given = _words(each for role in mine for each in role.permissions)
    required = _words(each for policy in held for rule in _rules(policy, agent) for each in rule.required)
    needed = {each for spec in specs for each in spec.governance.capabilities}
    yield from _alike("a role gives", given, {*needed, *required})
    yield from _alike("a rule requires", required - needed, {*needed, *given})


def _words(permissions: Iterable[str]) -> set[str]:
    parts = [each.split(":") for each in permissions]
    return {each[1].strip() for each in parts if len(each) == 2 and normalised(each[0]) == "capability"}


def _alike(what: str, words: Collection[str], known: Collection[str]) -> Iterator[str]:
    for word in sorted(words):
        if near := _near(word, sorted(known)):
            yield f"{what} capability:{word}, which nothing here knows: did you mean capability:{near}?"
