"""The seven steps, row by row, and what stands before and after them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.tools.authorising.authority import authority_of
from holdfast.tools.authorising.deciding import UNGOVERNED, compile_table, judge_call
from holdfast.tools.authorising.policy import OperationRule, Policy, Role, ToolPermission, normalised
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.tools.typed.declaring import answers_of
from holdfast.types import AgentSpec, CallId, Governance, Operation, ToolCall, ToolSpec


def spec(name: str = "deploy", **governance: Any) -> ToolSpec:
    return ToolSpec(name=name, description="D.", parameters={"type": "object"}, governance=Governance(**governance))


def rule(*operations: tuple[Any, Any], tool: str = "deploy", **fields: Any) -> ToolPermission:
    made = tuple(OperationRule(operation=each, verdict=verdict) for each, verdict in operations)
    return ToolPermission(tool=tool, operations=made, **fields)


def policy(*permissions: ToolPermission, blocked: tuple[str, ...] = (), **roles: tuple[str, ...]) -> Policy:
    made = {name: Role(permissions=each) for name, each in roles.items()}
    return Policy(roles=made, permissions=permissions, blocked_tools=blocked)


INVOKE = "tool:deploy:invoke"
ELSEWHERE = rule(agents=("other",), required=("never",))
URL = ArgumentScope(argument="url", kind="url", allow=("https://example.com/",))
DO: tuple[Operation, ...] = ("write", "delete")

# what is looked at                    policy, roles, allowed_tools, the tool                           verdict, step
ROWS: dict[str, tuple[Policy, tuple[str, ...], tuple[str, ...], ToolSpec, str, int]] = {
    "0 blocked": (policy(blocked=("deploy",)), (), (), spec(), "deny", 0),
    "0 blocked though listed": (policy(blocked=("De-Ploy",)), (), ("de_ploy",), spec("de_ploy"), "deny", 0),
    "0 blocked though permitted": (policy(blocked=("dep*",), ops=(INVOKE,)), ("ops",), (), spec(), "deny", 0),
    "0 another is blocked": (policy(blocked=("deplo", "xdeploy")), (), (), spec(), "allow", 4),
    "0 for another agent": (policy(), (), (), spec(agents=("other",)), "deny", 0),
    "0 for another agent though listed": (policy(), (), ("deploy",), spec(agents=("other",)), "deny", 0),
    "0 for this agent": (policy(), (), (), spec(agents=("me", "other")), "allow", 4),
    "1 listed": (policy(), (), ("deploy",), spec(), "allow", 1),
    "1 listed though a role is missing": (policy(), ("gone",), ("deploy",), spec(), "allow", 1),
    "1 listed though a rule denies": (policy(rule(("*", "deny"))), (), ("deploy",), spec(), "allow", 1),
    "1 an alike name is not listed": (policy(rule(("*", "deny"))), (), ("Deploy",), spec(), "deny", 7),
    "2 the role is missing": (policy(), ("gone",), (), spec(), "deny", 2),
    "2 one role is missing": (policy(ops=(INVOKE,)), ("ops", "gone"), (), spec(), "deny", 2),
    "2 missing, though a rule allows": (policy(rule(("*", "allow"))), ("gone",), (), spec(), "deny", 2),
    "2 all roles are there": (policy(ops=(INVOKE,), two=()), ("two", "ops"), (), spec(), "allow", 5),
    "3 a rule about another tool": (policy(rule(("*", "deny"), tool="x")), (), (), spec(), "allow", 4),
    "3 a rule for another agent": (policy(ELSEWHERE), (), (), spec(), "allow", 4),
    "3 a rule for this agent": (policy(rule(("*", "deny"), agents=("me",))), (), (), spec(), "deny", 7),
    "3 a rule for all agents": (policy(rule(("*", "deny"))), (), (), spec(), "deny", 7),
    "4 nothing is said": (policy(), (), (), spec(capabilities=("release",)), "allow", 4),
    "5 no permission": (policy(ops=()), ("ops",), (), spec(), "deny", 5),
    "5 the permission": (policy(ops=(INVOKE,)), ("ops",), (), spec(), "allow", 5),
    "5 of another tool": (policy(ops=("tool:deplo:invoke",)), ("ops",), (), spec(), "deny", 5),
    "5 of another action": (policy(ops=("tool:deploy:list",)), ("ops",), (), spec(), "deny", 5),
    "5 without a capability": (policy(ops=(INVOKE,)), ("ops",), (), spec(capabilities=("release",)), "deny", 5),
    "5 with one of two capabilities": (
        policy(ops=(INVOKE, "capability:a")),
        ("ops",),
        (),
        spec(capabilities=("a", "b")),
        "deny",
        5,
    ),
    "5 from two roles": (
        policy(ops=(INVOKE,), more=("capability:release",)),
        ("ops", "more"),
        (),
        spec(capabilities=("release",)),
        "allow",
        5,
    ),
    "5 spelled another way": (policy(ops=(" TOOL : Deploy:Invoke",)), ("ops",), (), spec(), "allow", 5),
    "6 all, and one is missing": (policy(rule(required=("a", "b")), ops=("a",)), ("ops",), (), spec(), "deny", 6),
    "6 all, from two roles": (
        policy(rule(required=("a", "b")), o=("a",), p=("b",)),
        ("o", "p"),
        (),
        spec(),
        "allow",
        7,
    ),
    "6 any, and one is there": (
        policy(rule(required=("a", "b"), match="any"), ops=("b",)),
        ("ops",),
        (),
        spec(),
        "allow",
        7,
    ),
    "6 any, and none is there": (
        policy(rule(required=("a", "b"), match="any"), ops=(INVOKE,)),
        ("ops",),
        (),
        spec(),
        "deny",
        6,
    ),
    "6 required of who has no roles": (policy(rule(required=("a",))), (), (), spec(), "deny", 6),
    "6 each of two rules": (
        policy(rule(required=("a",)), rule(required=("b",)), ops=("a",)),
        ("ops",),
        (),
        spec(),
        "deny",
        6,
    ),
    "6 spelled another way": (
        policy(rule(required=("Do-It\\now",)), ops=("do_it/NOW",)),
        ("ops",),
        (),
        spec(),
        "allow",
        7,
    ),
    "6 an empty rule wants the defaults": (policy(rule(), ops=()), ("ops",), (), spec(), "deny", 6),
    "6 an empty rule, without roles": (policy(rule()), (), (), spec(), "deny", 6),
    "6 an empty rule has the defaults": (policy(rule(), ops=(INVOKE,)), ("ops",), (), spec(), "allow", 7),
    "6 an empty rule of another action": (
        policy(rule(action="list"), ops=("tool:deploy:list",)),
        ("ops",),
        (),
        spec(),
        "allow",
        7,
    ),
    "7 the class": (policy(rule(("write", "deny"))), (), (), spec(operations=DO), "deny", 7),
    "7 the class beats the star": (
        policy(rule(("*", "deny"), ("write", "allow"))),
        (),
        (),
        spec(operations=("write",)),
        "allow",
        7,
    ),
    "7 the class beats the star downwards": (
        policy(rule(("*", "allow"), ("write", "deny"))),
        (),
        (),
        spec(operations=("write",)),
        "deny",
        7,
    ),
    "7 the star": (policy(rule(("*", "approval_required"))), (), (), spec(), "approval_required", 7),
    "7 deny beats approval": (
        policy(rule(("write", "approval_required"), ("delete", "deny"))),
        (),
        (),
        spec(operations=DO),
        "deny",
        7,
    ),
    "7 approval beats allow": (
        policy(rule(("write", "approval_required"), ("delete", "allow"))),
        (),
        (),
        spec(operations=DO),
        "approval_required",
        7,
    ),
    "7 two rules, the strictest": (
        policy(rule(("write", "allow")), rule(("write", "deny"))),
        (),
        (),
        spec(operations=("write",)),
        "deny",
        7,
    ),
    "7 no permission is asked": (policy(rule(("*", "allow")), ops=()), ("ops",), (), spec(), "allow", 7),
    "7 of a class it is not, without roles": (policy(rule(("delete", "deny"))), (), (), spec(), "allow", 4),
    "7 of a class it is not, with roles": (policy(rule(("delete", "deny")), ops=()), ("ops",), (), spec(), "deny", 5),
    "7 of one of two classes": (
        policy(rule(("write", "allow")), ops=()),
        ("ops",),
        (),
        spec(operations=DO),
        "deny",
        5,
    ),
    "7 says nothing: it reads": (policy(rule(("read", "deny"))), (), (), spec(), "deny", 7),
    "7 says nothing, high risk: it writes": (policy(rule(("write", "deny"))), (), (), spec(risk="high"), "deny", 7),
    "8 scopes alone, without roles": (policy(rule(scopes=(URL,))), (), (), spec(), "allow", 4),
    "8 scopes alone, with roles": (policy(rule(scopes=(URL,)), ops=()), ("ops",), (), spec(), "deny", 5),
}


@pytest.mark.requirement("tools:authorisation-table")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_of_the_table_has_its_verdict_at_its_step(row: Any) -> None:
    given, roles, allowed, tool, verdict, step = row
    decision = compile_table(given, "me", roles, allowed, [tool, spec("other")])[tool.name]
    assert (decision.verdict, decision.step) == (verdict, step), decision
    assert decision.rule
    assert decision.advice
    assert decision.trail[-1].step == step, "the last thing that was looked at decided"
    steps = [each.step for each in decision.trail]
    assert steps[0] == 0
    assert steps == sorted(steps) or step in (4, 5), "rules that say nothing of it send it back to these two"


def test_every_step_has_rows_and_every_verdict_is_reached() -> None:
    assert {int(name[0]) for name in ROWS} == set(range(9))
    assert {row[4] for row in ROWS.values()} == {"allow", "deny", "approval_required"}


@pytest.mark.requirement("authorising:nothing-for-the-ungoverned")
def test_an_agent_about_which_nothing_is_said_has_no_table_at_all() -> None:
    assert compile_table(None, "me", (), (), [spec()]) is UNGOVERNED
    assert compile_table((), "me", (), ("deploy",), [spec()]) is UNGOVERNED
    scoped = Policy(agents=("other",), blocked_tools=("*",))
    assert compile_table(scoped, "me", (), (), [spec()]) is UNGOVERNED
    assert authority_of(scoped, AgentSpec(model="openai/x", name="me"), [spec()]) is None


def test_roles_without_any_policy_are_roles_that_nobody_knows() -> None:
    decision = compile_table(None, "me", ("ops",), (), [spec()])["deploy"]
    assert (decision.verdict, decision.step) == ("deny", 2)
    assert "'ops'" in decision.rule


@pytest.mark.requirement("authorising:policies-reach")
@pytest.mark.parametrize(
    ("agents", "tenants", "agent", "tenant", "holds"),
    [
        ((), (), "me", "local", True),
        (("me",), (), "me", "t", True),
        (("me",), (), "Me", "t", False),
        (("other",), (), "me", "t", False),
        ((), ("t",), "me", "t", True),
        ((), ("t",), "me", "u", False),
        (("me",), ("t",), "me", "t", True),
        (("me",), ("t",), "me", "u", False),
        (("me",), ("t",), "other", "t", False),
    ],
)
def test_a_policy_holds_for_whom_it_names_and_for_nobody_else(
    agents: tuple[str, ...], tenants: tuple[str, ...], agent: str, tenant: str, holds: bool
) -> None:
    given = Policy(agents=agents, tenants=tenants, blocked_tools=("deploy",))
    table = compile_table(given, agent, (), (), [spec()], tenant)
    assert (table["deploy"].verdict == "deny" if table else False) is holds


@pytest.mark.requirement("authorising:policies-together")
def test_a_second_policy_never_gives_back_what_the_first_takes_away() -> None:
    strict, loose = policy(rule(("*", "deny"))), policy(rule(("read", "allow")))
    for given in ([strict, loose], [loose, strict]):
        assert compile_table(given, "me", (), (), [spec()])["deploy"].verdict == "deny"
    together = policy(rule(("*", "deny"), ("read", "allow")))
    assert compile_table(together, "me", (), (), [spec()])["deploy"].verdict == "allow"


def test_roles_of_several_policies_add_up() -> None:
    given = [policy(ops=(INVOKE,)), policy(ops=("capability:a",), more=())]
    tool = spec(capabilities=("a",))
    assert compile_table(given, "me", ("ops", "more"), (), [tool])["deploy"].verdict == "allow"


@pytest.mark.requirement("authorising:alike-names")
def test_a_tool_that_is_named_like_another_does_not_get_what_that_one_was_given() -> None:
    given = policy(ops=("tool:read-file:invoke",))
    tools = [spec("read_file"), spec("Read-File"), spec("else")]
    table = compile_table(given, "me", ("ops",), (), tools)
    assert [table[each.name].verdict for each in tools] == ["deny", "deny", "deny"]
    assert "cannot tell from" in table["Read-File"].rule
    assert compile_table(given, "me", ("ops",), (), tools[:1])["read_file"].verdict == "allow"
    assert compile_table(policy(), "me", (), (), tools)["Read-File"].verdict == "allow", "nothing tells them apart"


@pytest.mark.requirement("authorising:unknown-tool-denied")
def test_a_tool_that_came_after_the_table_is_not_called() -> None:
    agent = AgentSpec(model="openai/x", name="me", roles=("ops",))
    authority = authority_of(policy(ops=(INVOKE,)), agent, [spec()])
    assert authority is not None
    late = authority.judge(ToolCall(CallId("c"), "late", "{}"))
    assert (late.verdict, late.tool) == ("deny", "late")
    assert authority.judge(ToolCall(CallId("c"), "deploy", "{}")).verdict == "allow"


def test_an_agent_may_always_hand_in_its_answer_and_is_judged_by_the_tools_of_its_spec() -> None:
    answering = answers_of(int, "tool", "openai/x", ()).tools
    agent = AgentSpec(model="openai/x", name="me", tools=(spec(), *(each.spec for each in answering)))
    authority = authority_of(policy(blocked=("*",)), agent)
    assert authority is not None
    calls = [ToolCall(CallId("c"), each.name, "{}") for each in agent.tools]
    assert [authority.judge(each).verdict for each in calls] == ["deny", "allow"]


@pytest.mark.requirement("authorising:scopes-always-hold")
@pytest.mark.parametrize(("allowed", "step"), [((), 4), (("deploy",), 1)])
def test_scopes_hold_for_tools_that_are_allowed_whatever_else_is_said(allowed: tuple[str, ...], step: int) -> None:
    table = compile_table(policy(rule(scopes=(URL,))), "me", (), allowed, [spec()])
    assert table["deploy"].step == step
    inside = judge_call(table, "deploy", '{"url": "https://example.com/x"}')
    outside = judge_call(table, "deploy", '{"url": "https://example.org/x"}')
    assert (inside.verdict, outside.verdict, outside.step) == ("allow", "deny", 8)
    assert "url" in outside.rule
    assert ("scopes hold" in table["deploy"].rule) is bool(allowed)


def test_the_strictest_of_table_and_scopes_wins_and_both_are_said() -> None:
    asks = msgspec.structs.replace(URL, verdict="approval_required")
    ask, inside, outside = ("*", "approval_required"), '{"url": "https://example.com"}', '{"url": "https://evil.org"}'
    table = compile_table(policy(rule(ask, scopes=(asks,))), "me", (), (), [spec()])
    assert judge_call(table, "deploy", inside) is table["deploy"]
    both = judge_call(table, "deploy", outside)
    assert both.verdict == "approval_required"
    assert "operation" not in both.advice
    assert "'*' says approval_required" in both.rule
    assert "evil.org" in both.rule
    table = compile_table(policy(rule(ask, scopes=(asks, URL))), "me", (), (), [spec()])
    assert judge_call(table, "deploy", outside).verdict == "deny"
    assert judge_call(table, "deploy", inside).verdict == "approval_required"


def test_a_decision_is_known_by_what_was_asked() -> None:
    def digest(given: Policy, agent: str = "me", **governance: Any) -> str:
        return compile_table(given, agent, ("ops",), (), [spec(**governance)])["deploy"].digest

    one = policy(ops=(INVOKE,))
    assert digest(one) == digest(policy(ops=(INVOKE,)))
    others = {
        digest(policy(ops=(INVOKE, "x"))),
        digest(one, agent="you"),
        digest(one, risk="high"),
        digest(one, agents=("me",)),
    }
    assert len(others | {digest(one)}) == 5


def test_permissions_are_compared_as_the_source_says() -> None:
    assert normalised(" Tool: A/b\\C-d :in voke\n") == "tool:a_b_c_d:invoke"
