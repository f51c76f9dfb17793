"""Policies: what agents may call, and which models they may ask, as frozen values.

    roles:
      researcher:
        permissions: [tool:fetch:invoke, capability:web]
    permissions:
      - tool: deploy
        required: [capability:release]
        operations: [{operation: write, verdict: approval_required}, {operation: delete, verdict: deny}]
        scopes: [{argument: target, allow: [staging-*]}]
    blocked_tools: [bash]
    allowed_models: ["anthropic/*"]

A policy that names agents or tenants holds for these alone, any other for everybody; `apply_mode` may say so in words
(source: Orloj, AgentPolicy, AgentRole, ToolPermission). Several hold together: whatever one of them takes away is gone.

Not here: what follows for an agent's tools (`deciding.py`), what is blocked (`blocking.py`), files (`loading.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.tools.authorising.decision import STRICTNESS, Verdict
from holdfast.tools.authorising.scopes import ArgumentScope, scope_faults
from holdfast.types import OPERATIONS, Digest, digest_of

__all__ = (
    "Draft",
    "Fault",
    "OperationRule",
    "Policies",
    "Policy",
    "Role",
    "ToolPermission",
    "normalised",
    "policy_faults",
)

Fault = tuple[tuple[str | int, ...], str]
"""Where in a policy something is wrong, and what to do about it."""

_VERSION: Final = 1
_SEPARATORS: Final = str.maketrans("/\\-", "___")


def normalised(permission: str) -> str:
    """Returns a permission, or the name of a tool, as it is compared: without blanks, in lower case, with `_` for
    slashes and dashes (source: Orloj 3.6).
    """
    return "".join(permission.split()).lower().translate(_SEPARATORS)


class Role(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody of that role may do."""

    description: str = ""
    permissions: tuple[str, ...] = ()
    """Such as `tool:fetch:invoke` and `capability:web`; compared as `normalised` says, and without wildcards."""


class OperationRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of calls of a class of operations; one for the class itself beats `*`."""

    operation: Literal["read", "write", "delete", "admin", "*"] = "*"
    verdict: Verdict = "allow"


class ToolPermission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule about one tool."""

    tool: str = ""
    action: str = "invoke"
    """The last word of the permission `tool:<name>:<action>` that is needed where the rule says nothing else."""
    required: tuple[str, ...] = ()
    """Permissions that the roles of the agent have to give, together."""
    match: Literal["all", "any"] = "all"
    """Whether all of them are needed, or one will do."""
    agents: tuple[str, ...] = ()
    """The agents it is about, by name; empty for all."""
    operations: tuple[OperationRule, ...] = ()
    scopes: tuple[ArgumentScope, ...] = ()
    """What arguments may be, whoever calls; a rule of scopes alone says nothing about who may."""


class Draft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A policy that nobody has looked at yet: it may have faults, and decides nothing."""

    version: int = _VERSION
    """Of this format."""
    apply_mode: Literal["scoped", "global", ""] = ""
    """`scoped` for the agents and tenants that it names, `global` for everybody; empty for whichever fits."""
    agents: tuple[str, ...] = ()
    """Agents it holds for, by name; empty for all."""
    tenants: tuple[str, ...] = ()
    """Tenants it holds for; empty for all."""
    roles: dict[str, Role] = {}
    permissions: tuple[ToolPermission, ...] = ()
    blocked_tools: tuple[str, ...] = ()
    """Tools that nobody may call, whatever else is said; `*` stands for anything."""
    only_tools: tuple[str, ...] = ()
    """The only tools that may be called, also of those that a provider runs; `*` stands for anything. Empty for all."""
    allowed_models: tuple[str, ...] = ()
    """Models that may be asked, as `provider/name`; `*` stands for anything. Empty for all."""
    admins: tuple[str, ...] = ()
    """Users who may keep agents with tools that only an admin gives away (`Governance.author`)."""


class Policy(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What agents may do, as somebody wrote it down for a runtime.

    Raises:
        UsageError: something in it is wrong or would have no effect; says all of it.
    """

    def __post_init__(self) -> None:
        if bare := [f"{_place(place)}: {text}" for place, text in _bare_faults(self)]:
            raise UsageError("this policy cannot be used: " + "; ".join(bare))
        if faults := [f"{_place(place)}: {text}" for place, text in policy_faults(self)]:
            raise UsageError("this policy cannot be used: " + "; ".join(faults))

    @property
    def digest(self) -> Digest:
        """The content address of what it says; the order of its roles does not count."""
        return digest_of(msgspec.json.encode(self, order="sorted"))


Policies = Policy | Sequence[Policy] | None
"""One, several that hold together, or none."""


def policy_faults(policy: Draft) -> Iterator[Fault]:
    """Yields everything that is wrong with a policy, and everything that would have no effect."""
    yield from _reach_faults(policy)
    for field in ("agents", "tenants", "blocked_tools", "only_tools", "allowed_models", "admins"):
        yield from _blank((field,), getattr(policy, field))
    for at, model in enumerate(policy.allowed_models):
        if "/" not in model and model.strip() != "*":
            yield ("allowed_models", at), f"{model!r} is no model: write it as provider/name, or provider/*"
    for name, role in policy.roles.items():
        if not name.strip():
            yield ("roles", name), "a role has no name: write one"
        yield from _permissions(("roles", name, "permissions"), role.permissions)
    for at, rule in enumerate(policy.permissions):
        for place, text in (*_rule_faults(rule), *_part_faults(rule, policy)):
            yield ("permissions", at, *place), text


def _bare_faults(policy: Draft) -> Iterator[Fault]:
    """Yields where a text stands for a list: it would be taken for its letters. A file that has one is not read."""
    yield from _bare((), policy)
    if isinstance(policy.permissions, str):
        return
    for name, role in policy.roles.items():
        yield from _bare(("roles", name), role)
    for at, rule in enumerate(policy.permissions):
        yield from _bare(("permissions", at), rule)
        for each, scope in enumerate(rule.scopes):
            yield from _bare(("permissions", at, "scopes", each), scope)


def _bare(place: tuple[str | int, ...], part: Draft | Role | ToolPermission | ArgumentScope) -> Iterator[Fault]:
    for field in _LISTS:
        if isinstance(given := getattr(part, field, None), str):
            yield (*place, field), f"it is a list, and this is {given!r}: write [{given!r}]"


_LISTS: Final = (
    *("agents", "tenants", "blocked_tools", "only_tools", "allowed_models", "admins"),
    *("permissions", "required", "allow", "deny"),
)


def _reach_faults(policy: Draft) -> Iterator[Fault]:
    if policy.version != _VERSION:
        yield ("version",), f"version {policy.version} is not read here: write {_VERSION}"
    named = bool(policy.agents or policy.tenants)
    if policy.apply_mode not in ("scoped", "global", ""):
        yield ("apply_mode",), f"there is no mode {policy.apply_mode!r}: write scoped or global"
    elif policy.apply_mode == "scoped" and not named:
        yield ("apply_mode",), "it would hold for nobody: name agents or tenants, or write global"
    elif policy.apply_mode == "global" and named:
        yield ("apply_mode",), "it names agents or tenants, so it is not global: write scoped, or take the names away"


def _rule_faults(rule: ToolPermission) -> Iterator[Fault]:
    if not rule.tool.strip() or any(sign in rule.tool for sign in "*?"):
        yield ("tool",), "it is about no one tool: write the name of one, and a rule for each"
    if rule.match not in ("all", "any"):
        yield ("match",), f"there is no match {rule.match!r}: write all or any"
    elif rule.match == "any" and not rule.required:
        yield ("match",), "there is nothing to match: write what is required, or take `match` away"
    if not rule.action.strip() or "*" in rule.action:
        yield ("action",), f"{rule.action!r} is no action: write invoke"
    elif rule.action != "invoke" and (rule.required or rule.operations or rule.scopes):
        yield ("action",), "it counts only in a rule that says nothing else: take it away, or name it in `required`"


def _part_faults(rule: ToolPermission, policy: Draft) -> Iterator[Fault]:
    yield from _permissions(("required",), rule.required)
    yield from _blank(("agents",), rule.agents)
    for at, agent in enumerate(rule.agents):
        if policy.agents and agent not in policy.agents:
            yield ("agents", at), f"the policy does not hold for {agent!r}: add it to the policy's agents"
    for at, each in enumerate(rule.operations):
        if each.operation not in (*OPERATIONS, "*"):
            yield ("operations", at, "operation"), f"there is no class {each.operation!r}: write {_CLASSES}"
        if each.verdict not in STRICTNESS:
            yield ("operations", at, "verdict"), "a verdict is allow, deny or approval_required: write one of them"
    for at, scope in enumerate(rule.scopes):
        for place, text in scope_faults(scope):
            yield ("scopes", at, *place), text


_CLASSES: Final = ", ".join((*OPERATIONS, "*"))


def _permissions(place: tuple[str | int, ...], permissions: Sequence[str]) -> Iterator[Fault]:
    yield from _blank(place, permissions)
    for at, each in enumerate(permissions):
        if "*" in each:
            yield (*place, at), f"{each!r} has a wildcard, and permissions know none: write each permission"


def _blank(place: tuple[str | int, ...], names: Sequence[str]) -> Iterator[Fault]:
    for at, each in enumerate(names):
        if not each.strip():
            yield (*place, at), "it is empty: write a name, or take it away"


def _place(place: tuple[str | int, ...]) -> str:
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)
    return text.removeprefix(".") or "the policy"
