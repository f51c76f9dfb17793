"""From policies to one decision for each tool of an agent, before anything is called.

Theory of operation. Seven steps, the first that says something decides (source: Orloj 3.6); what stands before them
takes away whatever they would give, and what comes after holds for each call that they let through:

    0  a policy blocks the tool, or the tool is not for this agent            denied
    1  the agent's own `allowed_tools` name it                                allowed
    2  a role of the agent is in no policy                                    denied
    3  the rules about this tool: for everybody, or for this agent            (looked up)
    4  no such rules, and the agent has no roles                              allowed
    5  roles, but no rules: `tool:<name>:invoke` and `capability:<word>` of   denied without
       each capability of the tool
    6  rules: each one's `required`, from all roles together; a rule that     denied without
       says nothing wants what step 5 wants
    7  rules of operations: for each class of what the tool does, the rule    the most restrictive
       for the class beats `*` of the same policy; then the strictest
    8  scopes of arguments, also of tools that step 1 allows                  denied or asked about

Where rules speak of some classes of operations only, and require nothing, they say nothing of the others: for those
it goes on as if there were no rules (4, 5). So a rule that denies never makes anything more allowed, and the order of
rules never matters. A tool whose name cannot be told from another's as rules write it is denied where rules or roles
count: what was given to the one is not for the other. The tool by which an agent hands in its own answer acts on
nothing, and is always allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, final

import msgspec

from holdfast.tools.authorising.blocking import blocking, holding, unlisted
from holdfast.tools.authorising.decision import STRICTNESS, Check, Decision, Looked, Objection, Verdict, strictest
from holdfast.tools.authorising.policy import Policies, Policy, Role, ToolPermission, normalised
from holdfast.tools.authorising.scopes import arguments_of, compile_scope
from holdfast.tools.authorising.stages import may_run
from holdfast.types import AgentSpec, Operation, ToolSpec, digest_of

__all__ = ("UNGOVERNED", "compile_table", "judge_call", "table_of")

UNGOVERNED: Final[Mapping[str, Decision]] = MappingProxyType({})
"""The table of an agent about whose tools nobody has said anything: it is empty, and nobody need look at it."""


def table_of(
    policies: Policies, agent: AgentSpec, specs: Sequence[ToolSpec], tenant: str = "local"
) -> Mapping[str, Decision]:
    """Returns the decisions about an agent's tools; see `compile_table`."""
    return compile_table(policies, agent.name, agent.roles, agent.allowed_tools, specs, tenant)


def compile_table(
    policies: Policies,
    agent: str,
    roles: Collection[str],
    allowed_tools: Collection[str],
    specs: Sequence[ToolSpec],
    tenant: str = "local",
) -> Mapping[str, Decision]:
    """Returns what becomes of the calls of each tool, by its name; `UNGOVERNED` where nothing is said about any.

    A tool that is not in a table that has others is one that nobody decided about: it may not be called.
    """
    held = holding(policies, agent, tenant)
    if not held and not roles and not any(spec.governance.agents for spec in specs):
        return UNGOVERNED
    asked = _Asked(held, agent, tuple(roles), frozenset(allowed_tools), specs)
    return MappingProxyType({spec.name: asked.decide(spec) for spec in specs})


def judge_call(table: Mapping[str, Decision], name: str, arguments: object, root: str = "") -> Decision:
    """Returns what becomes of one call: the decision about its tool, and what its scopes say of the arguments.

    `arguments` are their JSON as the call is made with it, or what that says; `root` is the folder of the workspace.
    """
    decision = table.get(name)
    if decision is None:
        return _undecided(name)
    if not decision.scopes or decision.verdict == "deny":
        return decision
    given = arguments_of(arguments)
    objections = [found for check in decision.scopes if (found := check(given, root)) is not None]
    return _objected(decision, objections) if objections else decision


def _objected(decision: Decision, objections: Sequence[Objection]) -> Decision:
    """Returns a decision that lets a call through, as it is with what scopes have against it."""
    ordered = sorted(objections, key=lambda each: STRICTNESS[each.verdict])
    worst = ordered[-1]
    both = decision.verdict == worst.verdict
    return msgspec.structs.replace(
        decision,
        verdict=worst.verdict,
        step=8,
        rule=f"{decision.rule}; {worst.words}" if both else worst.words,
        advice=worst.advice,
        trail=(*decision.trail, *(Looked(8, "scopes of arguments", each.words) for each in ordered)),
    )


def _undecided(name: str) -> Decision:
    rule = f"{name!r} was not among the agent's tools when its rules were read"
    advice = "give the agent the tool when it is declared"
    return Decision(verdict="deny", step=0, rule=rule, advice=advice, tool=name, trail=(Looked(0, "the tools", rule),))


_ANSWER: Final = "answer:"
"""What the reference of a tool begins with whose call is the answer of its agent (`tools/typed/declaring.py`)."""
_Rules = Sequence[tuple[int, ToolPermission]]
"""Rules about a tool, each with the number of its policy."""


class _Found(msgspec.Struct, frozen=True):
    """What a step decided."""

    verdict: Verdict
    step: int
    at: str
    rule: str
    advice: str = ""


@final
class _Asked:
    """One agent, and what is said about it."""

    def __init__(
        self,
        policies: tuple[Policy, ...],
        agent: str,
        roles: tuple[str, ...],
        allowed: frozenset[str],
        specs: Sequence[ToolSpec],
    ) -> None:
        self.policies = policies
        self.agent = agent
        self.roles = roles
        self.allowed = allowed
        given: dict[str, list[Role]] = {}
        self.rules: dict[str, list[tuple[int, ToolPermission]]] = {}
        for number, policy in enumerate(policies):
            for name, role in policy.roles.items():
                given.setdefault(name, []).append(role)
            for rule in policy.permissions:
                if not rule.agents or agent in rule.agents:
                    self.rules.setdefault(normalised(rule.tool), []).append((number, rule))
        self.missing = [name for name in roles if name not in given]
        self.permissions = frozenset(
            normalised(each) for name in roles for role in given.get(name, ()) for each in role.permissions
        )
        self.names = Counter(normalised(spec.name) for spec in specs)
        said = ([each.digest for each in policies], agent, sorted(roles), sorted(allowed))
        self.basis = digest_of(msgspec.json.encode(said))

    def decide(self, spec: ToolSpec) -> Decision:
        """Returns the decision about one tool."""
        rules = self.rules.get(normalised(spec.name), [])
        trail: list[Looked] = []
        found = self._before(spec, trail) or self._first(spec, rules, trail) or self._last(spec, rules, trail)
        trail.append(Looked(found.step, found.at, found.rule))
        scopes: tuple[Check, ...] = ()
        if found.verdict != "deny":
            scopes = tuple(compile_scope(each, spec.name, spec.parameters) for _, rule in rules for each in rule.scopes)
        return Decision(
            verdict=found.verdict,
            step=found.step,
            rule=f"{found.rule}; its scopes hold all the same" if scopes and found.step == 1 else found.rule,
            advice=found.advice,
            tool=spec.name,
            trail=tuple(trail),
            scopes=scopes,
            basis=digest_of(msgspec.json.encode((self.basis, spec.governance))),
        )

    def _before(self, spec: ToolSpec, trail: list[Looked]) -> _Found | None:
        name = spec.name
        if spec.reference.startswith(_ANSWER):
            rule = f"by {name!r} the agent hands in its own answer, and does nothing else"
            return _Found("allow", 0, "the tool", rule, "ask the agent for text instead of a typed answer")
        if (said := blocking(self.policies, name)) is not None:
            rule = f"{name!r} is blocked for everybody by {said!r}"
            return _Found("deny", 0, "blocked_tools", rule, f"take {said!r} out of blocked_tools; nothing else helps")
        trail.append(Looked(0, "blocked_tools", "nothing there blocks it"))
        if (listed := unlisted(self.policies, name)) is not None:
            rule = f"{name!r} is not among {', '.join(listed)}, and nothing else may be called"
            return _Found("deny", 0, "only_tools", rule, f"add {name!r} to only_tools, or do without it")
        stage = may_run(self.agent, spec)
        found = stage.trail[-1].found
        if stage.verdict == "deny":
            return _Found("deny", 0, "the agents of the tool", found, stage.advice)
        trail.append(Looked(0, "the agents of the tool", found))
        return None

    def _first(self, spec: ToolSpec, rules: _Rules, trail: list[Looked]) -> _Found | None:
        """Steps 1 to 5."""
        name = spec.name
        if name in self.allowed:
            rule = f"the agent's allowed_tools name {name!r}"
            return _Found("allow", 1, "allowed_tools", rule, f"take {name!r} out of allowed_tools, or block it")
        trail.append(Looked(1, "allowed_tools", "they do not name it"))
        if self.missing:
            rule = f"no policy has the role {', '.join(map(repr, self.missing))} of this agent"
            return _Found("deny", 2, "roles", rule, "write the role into the policy, or take it from the agent")
        given = f"a policy has {', '.join(map(repr, self.roles))}" if self.roles else "the agent has none"
        trail.append(Looked(2, "roles", given))
        found = f"{len(rules)} about {name!r}" if rules else f"none about {name!r}"
        trail.append(Looked(3, "rules", found))
        if (rules or self.roles) and self.names[normalised(name)] > 1:
            rule = f"another tool of this agent has a name that rules cannot tell from {name!r}"
            return _Found("deny", 3, "rules", rule, "give the tools names that differ in more than case, - and _")
        return None if rules else self._unruled(spec, trail, "no rules")

    def _unruled(self, spec: ToolSpec, trail: list[Looked], why: str) -> _Found:
        """Steps 4 and 5: nothing is said about the tool."""
        if not self.roles:
            advice = f"write a rule about {spec.name!r}, or give the agent roles"
            return _Found("allow", 4, "whether anything is said", f"{why} about {spec.name!r}, and no roles", advice)
        trail.append(Looked(4, "whether anything is said", "the agent has roles"))
        at, wanted = "permissions of the roles", _defaults(spec, "invoke")
        if lacking := self._lacking(wanted):
            return self._refused(5, at, lacking)
        rule = f"{why} about {spec.name!r}, and the roles give {_listed(wanted)}"
        return _Found("allow", 5, at, rule, f"take one of {_listed(wanted)} away")

    def _last(self, spec: ToolSpec, rules: _Rules, trail: list[Looked]) -> _Found:
        """Steps 6 and 7: something is said about the tool."""
        requiring = False
        for number, (_, rule) in enumerate(rules, 1):
            if (found := self._required(spec, rule)) is not None:
                return found
            asks = bool(rule.required) or not (rule.operations or rule.scopes)
            requiring = requiring or asks
            trail.append(Looked(6, f"rule {number} about the tool", _given(rule, asks=asks)))
        said = _said(spec, rules)
        silent = [each for each in spec.governance.classes if each not in said]
        unruled = None
        if silent and not requiring:
            unruled = self._unruled(spec, trail, f"no rules for {_listed(silent)}")
            if unruled.verdict == "deny" or not said:
                return unruled
        worst = strictest(verdict for verdict, _ in said.values())
        return unruled if unruled is not None and worst == "allow" else _by_operations(spec, said, worst)

    def _required(self, spec: ToolSpec, rule: ToolPermission) -> _Found | None:
        at = "permissions of the roles"
        if not rule.required:
            bare = not rule.operations and not rule.scopes
            lacking = self._lacking(_defaults(spec, rule.action)) if bare else []
            return self._refused(6, at, lacking) if lacking else None
        lacking = self._lacking(rule.required)
        if not lacking or (rule.match == "any" and len(lacking) < len(set(rule.required))):
            return None
        return self._refused(6, at, lacking, one="one of " if rule.match == "any" else "")

    def _lacking(self, wanted: Sequence[str]) -> list[str]:
        return [each for each in dict.fromkeys(wanted) if normalised(each) not in self.permissions]

    def _refused(self, step: int, at: str, lacking: Sequence[str], one: str = "") -> _Found:
        whose = f"the roles {', '.join(map(repr, self.roles))} do" if self.roles else "an agent without roles does"
        rule = f"{whose} not have {one}{_listed(lacking)}"
        return _Found("deny", step, at, rule, f"give a role of the agent {one}{_listed(lacking)}")


def _defaults(spec: ToolSpec, action: str) -> tuple[str, ...]:
    capabilities = (f"capability:{each}" for each in spec.governance.capabilities)
    return (f"tool:{spec.name}:{action}", *capabilities)


def _given(rule: ToolPermission, *, asks: bool) -> str:
    if not asks:
        return "asks for no permissions"
    wanted = f" {rule.match} of {_listed(rule.required)}" if rule.required else " what a tool needs"
    return f"the roles have{wanted}"


def _said(spec: ToolSpec, rules: _Rules) -> dict[Operation, tuple[Verdict, str]]:
    """Returns what is said of each class of a tool that something is said of, and in rules for which class."""
    by_policy: dict[int, dict[str, Verdict]] = {}
    for number, rule in rules:
        said = by_policy.setdefault(number, {})
        for each in rule.operations:
            said[each.operation] = strictest((each.verdict, said.get(each.operation, "allow")))
    found: dict[Operation, tuple[Verdict, str]] = {}
    for each in spec.governance.classes:
        for said in by_policy.values():
            by = each if each in said else "*"
            if by in said and (each not in found or STRICTNESS[said[by]] > STRICTNESS[found[each][0]]):
                found[each] = said[by], by
    return found


def _by_operations(spec: ToolSpec, said: Mapping[Operation, tuple[Verdict, str]], worst: Verdict) -> _Found:
    at = "rules of operations"
    if not said:
        rule = f"the roles have what the rules about {spec.name!r} require, and no rule is about what it does"
        return _Found("allow", 7, at, rule, "write an operation rule that denies or asks")
    deciding, by = next((each, by) for each, (verdict, by) in said.items() if verdict == worst)
    rule = f"{spec.name!r} is a tool that can {deciding}, and the rule for {by!r} says {worst}"
    if worst == "allow":
        return _Found(worst, 7, at, rule, "write an operation rule that denies or asks")
    return _Found(worst, 7, at, rule, f"change the operation rule for {by!r}, or name the tool in allowed_tools")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
