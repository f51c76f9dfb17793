"""The three stages by themselves, and the telling of why a call runs or does not."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import UnknownTool, UsageError
from holdfast.tools.authorising.explaining import explain
from holdfast.tools.authorising.policy import OperationRule, Policy, Role, ToolPermission
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.tools.authorising.stages import may_run, may_save, may_share
from holdfast.tools.permitting import Rules
from holdfast.types import AgentSpec, Effect, Governance, ToolSpec


def spec(name: str = "tool", effect: Effect | None = None, **governance: Any) -> ToolSpec:
    made = Governance(**governance)
    return ToolSpec(name=name, description="D.", parameters={}, governance=made, effect=effect or Effect(False, "none"))


# which stage the tool refuses          what each stage then says: save, share, run
STAGES = {
    "save": (spec(author="admin"), ("deny", "allow", "allow")),
    "share": (spec(shareable=False), ("allow", "deny", "allow")),
    "run": (spec(agents=("billing",)), ("allow", "allow", "deny")),
}


@pytest.mark.requirement("tools:permission-stages")
@pytest.mark.parametrize(("tool", "verdicts"), STAGES.values(), ids=STAGES)
def test_a_stage_refuses_by_itself_while_the_two_others_pass(tool: ToolSpec, verdicts: tuple[str, ...]) -> None:
    decisions = (may_save(False, [spec("x"), tool]), may_share("shared", [spec("x"), tool]), may_run("web", tool))
    assert tuple(each.verdict for each in decisions) == verdicts
    for each in decisions:
        assert bool(each.advice) is (each.verdict == "deny"), "a refusal says what to do"
        assert ("'tool'" in each.rule) is (each.verdict == "deny")


@pytest.mark.requirement("tools:permission-stages")
@pytest.mark.parametrize("others", [{"shareable": False}, {"agents": ("billing",)}, {"author": "admin"}, {}])
def test_a_stage_passes_by_itself_whatever_the_others_would_say(others: dict[str, Any]) -> None:
    tool = spec(**others)
    assert may_save(True, [tool]).verdict == "allow", "an admin may give every tool"
    assert may_share("private", [tool]).verdict == "allow", "nobody sees it"
    assert may_run("billing", tool).verdict == "allow"
    assert may_save("author" not in others, [tool]).verdict == ("deny" if "author" in others else "allow")
    for visibility in ("shared", "public"):
        assert may_share(visibility, [tool]).verdict == ("deny" if "shareable" in others else "allow")
    assert may_run("web", tool).verdict == ("deny" if "agents" in others else "allow")


def test_every_tool_that_is_in_the_way_is_named_and_none_is_in_the_way_of_none() -> None:
    decision = may_share("public", [spec("a", shareable=False), spec("b"), spec("c", shareable=False)])
    assert "'a', 'c'" in decision.rule
    assert "'b'" not in decision.rule
    assert may_save(False, []).verdict == may_share("public", []).verdict == "allow"
    assert may_run("", spec(agents=("billing",))).verdict == "deny"
    with pytest.raises(UsageError, match="write private, shared, public"):
        may_share("secret", [])  # pyright: ignore[reportArgumentType]


CHANGES = Effect(workspace=True, outside="none")
POLICY = Policy(
    roles={"dev": Role(permissions=("tool:edit:invoke",))},
    permissions=(
        ToolPermission(tool="deploy", operations=(OperationRule(operation="*", verdict="approval_required"),)),
        ToolPermission(tool="fetch", scopes=(ArgumentScope(argument="url", kind="url", allow=("https://a.b/",)),)),
    ),
    blocked_tools=("bash",),
)
AGENT = AgentSpec(
    model="openai/x",
    name="me",
    roles=("dev",),
    allowed_tools=("fetch",),
    tools=(spec("edit", CHANGES), spec("deploy"), spec("fetch"), spec("bash"), spec("other")),
)
IN, OUT = '{"url": "https://a.b/x"}', {"url": "https://evil.org/"}

# tool, arguments, rules                               verdict               decided by            to change it
TOLD: dict[str, tuple[str, Any, Rules, str, str, str]] = {
    "permitted": ("edit", "{}", Rules(), "allow", "tool:edit:invoke", "take one of"),
    "not permitted": ("other", "{}", Rules(), "deny", "do not have tool:other:invoke", "give a role"),
    "blocked": ("bash", "{}", Rules(), "deny", "blocked for everybody", "take 'bash' out of blocked_tools"),
    "asked about": ("deploy", "{}", Rules(), "approval_required", "'*' says", "change the operation rule"),
    "nobody there": ("deploy", "{}", Rules(unattended=True), "deny", "asked, and nobody can be", "attend the run"),
    "listed": ("fetch", IN, Rules(), "allow", "allowed_tools name 'fetch'", "take 'fetch' out"),
    "out of scope": ("fetch", OUT, Rules(), "deny", "evil.org", "https://a.b/"),
    "scope not asked": ("fetch", None, Rules(), "allow", "scopes hold", "take 'fetch' out"),
    "mode denies": ("edit", "{}", Rules(mode="read-only"), "deny", "'read-only' denies it", "pick a freer mode"),
    "mode asks": ("edit", "{}", Rules(mode="ask"), "approval_required", "'ask' has a person asked", "say yes"),
    "mode lets": ("edit", "{}", Rules(mode="accept-edits"), "allow", "tool:edit:invoke", "take one of"),
    "mode and nobody": ("edit", "{}", Rules(mode="ask", unattended=True), "deny", "asked, and nobody can", "attend"),
    "mode after a denial": ("bash", "{}", Rules(mode="ask"), "deny", "blocked for everybody", "blocked_tools"),
    "user knows better": ("other", "{}", Rules(mode="ask", effects={"other": "none"}), "deny", "other:invoke", "give"),
}


@pytest.mark.requirement("authorising:explained")
@pytest.mark.parametrize("row", TOLD.values(), ids=TOLD)
def test_it_is_told_what_decided_and_what_to_change(row: tuple[str, Any, Rules, str, str, str]) -> None:
    tool, arguments, rules, verdict, rule, advice = row
    told = explain(POLICY, AGENT, tool, arguments, rules=rules)
    assert (told.verdict, told.tool, told.agent) == (verdict, tool, "me")
    assert rule in told.rule
    assert advice in told.advice
    lines = told.lines()
    assert lines[0].startswith(f"{tool!r}, called by 'me', "), "the verdict first"
    assert lines[1] == f"because: {told.rule}", "then the rule that decided"
    assert lines[2].endswith(f": {told.advice}"), "then what to do about it"
    walked = lines[4:]
    assert [line[:2] for line in walked].count("->") == 1, "one line decided"
    assert walked[told.decided].startswith("->")
    assert len(walked) == len(told.trail)
    assert ("if its arguments are within 1 scope" in lines[0]) is bool(told.unasked) is (arguments is None)


@pytest.mark.requirement("authorising:explained")
def test_an_agent_without_rules_is_told_so_and_its_mode_counts_all_the_same() -> None:
    agent = AgentSpec(model="openai/x", name="me", tools=(spec("edit", CHANGES),))
    free, asked = explain(None, agent, "edit", "{}"), explain(None, agent, "edit", "{}", rules=Rules(mode="ask"))
    assert (free.verdict, asked.verdict) == ("allow", "approval_required")
    assert "no policy" in free.rule
    calm = explain(None, agent, "edit", "{}", rules=Rules(mode="ask"), effect=Effect(False, "none"))
    assert calm.verdict == "allow", "the effect of this very call"
    knows = Rules(mode="accept-edits", effects={"edit": "unsafe"})
    assert explain(None, agent, "edit", "{}", rules=knows).verdict == "approval_required"


def test_a_tool_that_the_agent_has_not_got_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownTool, match="'me' has no tool 'fetsch'; did you mean 'fetch'"):
        explain(POLICY, AGENT, "fetsch")
    with pytest.raises(UnknownTool, match="give it one"):
        explain(POLICY, AgentSpec(model="openai/x", name="me"), "fetch")
