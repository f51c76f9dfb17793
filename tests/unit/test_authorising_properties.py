"""What holds for every policy: nothing that forbids ever allows, and order is nothing."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tools.authorising.deciding import compile_table
from holdfast.tools.authorising.decision import STRICTNESS, Verdict
from holdfast.tools.authorising.policy import OperationRule, Policy, Role, ToolPermission, normalised
from holdfast.types import OPERATIONS, Governance, ToolSpec

TOOLS, AGENTS, ROLES = ("deploy", "read", "send"), ("me", "you"), ("ops", "dev", "gone")
PERMISSIONS = (*(f"tool:{each}:invoke" for each in TOOLS), "capability:a", "capability:b", "x")


def some(words: tuple[str, ...], most: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(words), max_size=most, unique=True).map(tuple)


OPERATION_RULES = st.builds(
    OperationRule, operation=st.sampled_from((*OPERATIONS, "*")), verdict=st.sampled_from(get_args(Verdict))
)
RULES = st.builds(
    ToolPermission,
    tool=st.sampled_from(TOOLS),
    required=some(PERMISSIONS, 2),
    agents=some(AGENTS, 1),
    operations=st.lists(OPERATION_RULES, max_size=3).map(tuple),
)
POLICIES = st.builds(
    Policy,
    roles=st.dictionaries(st.sampled_from(ROLES[:2]), st.builds(Role, permissions=some(PERMISSIONS, 5)), max_size=2),
    permissions=st.lists(RULES, max_size=4).map(tuple),
    blocked_tools=some(TOOLS, 1),
)
SPECS = st.builds(
    lambda name, capabilities, operations, agents: ToolSpec(
        name=name,
        description="D.",
        parameters={},
        governance=Governance(capabilities=capabilities, operations=operations, agents=agents),
    ),
    st.sampled_from(TOOLS),
    some(("a", "b"), 2),
    some(OPERATIONS, 3),
    some(AGENTS, 1),
)
DENIALS = st.builds(
    ToolPermission,
    tool=st.sampled_from(TOOLS),
    agents=some(AGENTS, 1),
    operations=st.lists(
        st.builds(OperationRule, operation=st.sampled_from((*OPERATIONS, "*")), verdict=st.just("deny")),
        min_size=1,
        max_size=3,
    ).map(tuple),
)


def strictness(policies: Any, roles: tuple[str, ...], allowed: tuple[str, ...], spec: ToolSpec) -> int:
    table = compile_table(policies, "me", roles, allowed, [spec])
    return STRICTNESS[table[spec.name].verdict] if table else 0


def also(policy: Policy, **changes: Any) -> Policy:
    return msgspec.structs.replace(policy, **changes)


CASE = (POLICIES, some(ROLES), some(TOOLS), SPECS)


@pytest.mark.requirement("authorising:denying-is-monotone")
@given(*CASE, DENIALS)
def test_a_rule_that_denies_never_makes_anything_more_allowed(
    policy: Policy, roles: tuple[str, ...], allowed: tuple[str, ...], spec: ToolSpec, denial: ToolPermission
) -> None:
    denied = also(policy, permissions=(*policy.permissions, denial))
    assert strictness(denied, roles, allowed, spec) >= strictness(policy, roles, allowed, spec)


@pytest.mark.requirement("authorising:denying-is-monotone")
@given(*CASE, st.sampled_from(TOOLS))
def test_blocking_a_tool_never_makes_anything_more_allowed(
    policy: Policy, roles: tuple[str, ...], allowed: tuple[str, ...], spec: ToolSpec, name: str
) -> None:
    blocked = also(policy, blocked_tools=(*policy.blocked_tools, name))
    assert strictness(blocked, roles, allowed, spec) >= strictness(policy, roles, allowed, spec)
    assert spec.name != name or strictness(blocked, roles, allowed, spec) == STRICTNESS["deny"]


@pytest.mark.requirement("authorising:permitting-is-monotone")
@given(*CASE, st.sampled_from(ROLES[:2]), st.sampled_from(PERMISSIONS))
def test_a_permission_that_a_role_has_besides_never_denies_what_was_allowed(
    policy: Policy, roles: tuple[str, ...], allowed: tuple[str, ...], spec: ToolSpec, role: str, permission: str
) -> None:
    had = policy.roles.get(role, Role())
    more = {**policy.roles, role: Role(permissions=(*had.permissions, permission))}
    assert strictness(also(policy, roles=more), roles, allowed, spec) <= strictness(policy, roles, allowed, spec)


@pytest.mark.requirement("authorising:order-is-nothing")
@given(*CASE, st.randoms(use_true_random=False))
def test_the_order_of_rules_roles_and_policies_never_matters(
    policy: Policy, roles: tuple[str, ...], allowed: tuple[str, ...], spec: ToolSpec, random: Any
) -> None:
    def mixed(items: Any) -> tuple[Any, ...]:
        return tuple(random.sample(list(items), len(items)))

    rules = tuple(also_rule(each, mixed) for each in mixed(policy.permissions))
    other = also(policy, permissions=rules, roles=dict(mixed(policy.roles.items())))
    assert strictness(other, mixed(roles), mixed(allowed), spec) == strictness(policy, roles, allowed, spec)
    second = also(policy, permissions=policy.permissions[:1])
    several = [policy, second, Policy(blocked_tools=("nothing",))]
    assert strictness(mixed(several), roles, allowed, spec) == strictness(several, roles, allowed, spec)


def also_rule(rule: ToolPermission, mixed: Any) -> ToolPermission:
    changes = {name: mixed(getattr(rule, name)) for name in ("required", "operations", "agents")}
    return msgspec.structs.replace(rule, **changes)


@given(*CASE, st.sampled_from(TOOLS))
def test_only_allowed_tools_of_the_agent_beat_a_denying_rule_and_never_a_block(
    policy: Policy, roles: tuple[str, ...], allowed: tuple[str, ...], spec: ToolSpec, name: str
) -> None:
    rule = ToolPermission(tool=name, operations=(OperationRule(operation="*", verdict="deny"),))
    strict = Policy(roles=policy.roles, permissions=(rule,))
    if spec.name == name and name not in allowed:
        assert strictness(strict, roles, allowed, spec) == STRICTNESS["deny"]
    if spec.name in policy.blocked_tools:
        assert strictness(policy, roles, TOOLS, spec) == STRICTNESS["deny"]


@pytest.mark.requirement("authorising:names-normalise")
@given(st.text())
def test_normalising_a_permission_twice_is_normalising_it_once(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert not set(once) & set("/\\- \t\n")


@given(POLICIES)
def test_a_policy_is_the_same_after_it_was_written_and_read(policy: Policy) -> None:
    again = msgspec.json.decode(msgspec.json.encode(policy), type=Policy)
    assert again == policy
    assert again.digest == policy.digest
