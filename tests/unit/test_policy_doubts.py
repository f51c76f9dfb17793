"""Names in a policy that nobody has: said where one looks misspelled, and never a way around a rule."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.runtime.configuring.policing import doubts_of
from holdfast.tools.authorising.deciding import compile_table, judge_call
from holdfast.tools.authorising.parameters import unknown_argument
from holdfast.tools.authorising.policy import OperationRule, Policy, Role, ToolPermission
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.types import AgentSpec, Governance, ProviderTool, ToolSpec

OPEN: dict[str, Any] = {"type": "object"}
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "target": {"anyOf": [{"$ref": "#/$defs/Target"}, {"type": "null"}]},
        "files": {"type": "array", "items": {"$ref": "#/$defs/File"}},
        "more": {"type": "object", "additionalProperties": {"type": "string"}},
        "tree": {"$ref": "#/$defs/Tree"},
        "loop": {"$ref": "#/$defs/Loop"},
    },
    "$defs": {
        "Target": {"type": "object", "properties": {"host": {"type": "string"}}, "additionalProperties": False},
        "File": {"type": "object", "properties": {"path": {"type": "string"}}},
        "Tree": {"type": "object", "properties": {"below": {"$ref": "#/$defs/Tree"}}},
        "Loop": {"$ref": "#/$defs/Loop"},
    },
}


@pytest.mark.parametrize(
    ("schema", "argument", "said"),
    [
        (CLOSED, "amount", ""),
        (CLOSED, "target.host", ""),
        (CLOSED, "files.*.path", ""),
        (CLOSED, "more.anything", ""),
        (CLOSED, "tree.below.below", ""),
        (CLOSED, "loop.x", ""),
        (OPEN, "amount", ""),
        ({}, "amount", ""),
        ({**CLOSED, "additionalProperties": True}, "amonut", ""),
        ({"anyOf": [CLOSED, OPEN]}, "amonut", ""),
        (CLOSED, "amonut", "the tool has no 'amonut': did you mean 'amount'?"),
        (CLOSED, "target.hots", "'target' of its arguments has no 'hots': did you mean 'host'?"),
        (CLOSED, "files.path", "'files' of its arguments has no 'path'"),
        (CLOSED, "files.*.pth", "'files.*' of its arguments has no 'pth': did you mean 'path'?"),
        (CLOSED, "amount.*", "'amount' of its arguments is no list"),
        (CLOSED, "amount.cents", "'amount' of its arguments has no 'cents'"),
        ({"type": "object", "additionalProperties": False}, "x", "the tool has no 'x'"),
    ],
)
def test_a_schema_tells_which_arguments_a_tool_has(schema: dict[str, Any], argument: str, said: str) -> None:
    assert unknown_argument(schema, argument) == said


@pytest.mark.requirement("authorising:unknown-argument-denied")
@pytest.mark.parametrize("verdict", ["deny", "approval_required"])
@pytest.mark.parametrize("patterns", [{"allow": ("1..5",)}, {"deny": ("6..9",)}])
def test_a_scope_of_an_argument_that_the_tool_has_not_got_denies_each_call_whatever_it_says(
    verdict: Any, patterns: dict[str, Any]
) -> None:
    scope = ArgumentScope(argument="amonut", kind="number", verdict=verdict, **patterns)
    policy = Policy(permissions=(ToolPermission(tool="pay", scopes=(scope,)),))
    pay = ToolSpec(name="pay", description="", parameters=CLOSED)
    for allowed in ((), ("pay",)):
        table = compile_table(policy, "me", (), allowed, [pay])
        for arguments in ('{"amount": 9}', '{"amount": 9, "amonut": 3}', "{}"):
            decision = judge_call(table, "pay", arguments)
            assert decision.verdict == "deny"
            assert "did you mean 'amount'?" in decision.rule


def spec(name: str, parameters: dict[str, Any] = OPEN, **governance: Any) -> ToolSpec:
    return ToolSpec(name=name, description="", parameters=parameters, governance=Governance(**governance))


PAY = spec("pay", CLOSED, capabilities=("money",), operations=("write",))
AGENT = AgentSpec(
    model="openai/x",
    name="me",
    roles=("clerk",),
    tools=(PAY, spec("bash")),
    provider_tools=(ProviderTool("web_search"),),
)


def about(tool: str, **fields: Any) -> Policy:
    return Policy(permissions=(ToolPermission(tool=tool, **fields),))


def clerk(*permissions: str) -> Policy:
    return Policy(roles={"clerk": Role(permissions=permissions)})


DENY = {"operations": (OperationRule(operation="delete", verdict="deny"),)}
DOUBTS: dict[str, tuple[Policy, str]] = {
    "a tool in a rule": (
        about("bahs", required=("x",)),
        "a rule is about the tool 'bahs', which agent 'me' has not got",
    ),
    "a blocked tool": (Policy(blocked_tools=("Bassh",)), "did you mean 'bash'?"),
    "a tool in a permission": (clerk("tool:pya:invoke"), "did you mean 'pay'?"),
    "a capability of a role": (clerk("capability:mony"), "did you mean capability:money?"),
    "a capability of a rule": (about("pay", required=("capability:monye",)), "did you mean capability:money?"),
    "a role": (Policy(roles={"clerks": Role()}), "has the role 'clerk', which no policy has: did you mean 'clerks'?"),
    "an argument": (
        about("pay", scopes=(ArgumentScope(argument="amonut", kind="number", allow=("1..5",)),)),
        "names the argument 'amonut', and denies each call: the tool has no 'amonut': did you mean 'amount'?",
    ),
    "a class": (about("pay", **DENY), "is for delete, and never takes hold: the tool counts as write"),
    "a provider": (Policy(allowed_models=("opnai/*",)), "did you mean 'openai'?"),
}
FINE: dict[str, Policy] = {
    "as they are": clerk("tool:PAY:invoke", "capability:Money"),
    "for others": Policy(agents=("another",), blocked_tools=("bahs",)),
    "a rule for others": about("bahs", agents=("another",), required=("x",)),
    "tools that others have": Policy(blocked_tools=("deploy", "git", "web_search", "pa*"), permissions=()),
    "any class": about("pay", operations=(OperationRule(verdict="deny"),)),
    "one class of two": about("pay", operations=(*DENY["operations"], OperationRule(operation="write"))),
    "providers": Policy(allowed_models=("openai/*", "mine/*", "*/x", "*", "elsewhere/y")),
}


@pytest.mark.requirement("authorising:doubts")
@pytest.mark.parametrize("name", DOUBTS)
def test_a_name_that_nobody_has_is_doubted_with_the_one_that_is_meant(name: str) -> None:
    policy, said = DOUBTS[name]
    (doubt,) = doubts_of(policy, AGENT, "local", AGENT.tools)
    assert said in doubt


@pytest.mark.requirement("authorising:doubts")
@pytest.mark.parametrize("name", FINE)
def test_a_policy_that_is_for_other_agents_too_is_not_doubted(name: str) -> None:
    assert doubts_of(FINE[name], AGENT, "local", AGENT.tools, ["mine"]) == []
