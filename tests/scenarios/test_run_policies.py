"""A policy decides which calls and models there may be: in every mode, on fallbacks, and below other calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import MODEL, of, scene, seen, soon

from holdfast import Agent, Hooks, ToolContext, tool
from holdfast.engine.events import RunFinished, ToolFinished, ToolWaiting
from holdfast.errors import PolicyDenied
from holdfast.flow.clock import SystemClock
from holdfast.models.routing.routes import Routes
from holdfast.runtime.configuring import policing
from holdfast.testing import Call, Turn
from holdfast.tools.authorising.blocking import judge_model
from holdfast.tools.authorising.doubting import PolicyDoubt
from holdfast.tools.authorising.policy import OperationRule, Policies, Policy, Role, ToolPermission
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.tools.binding import ToolFailure
from holdfast.tools.hooks.port import Calling, Ruling, ToolHooks
from holdfast.types import MODES, Governance, Mode

DONE: list[str] = []


@pytest.fixture(autouse=True)
async def fresh() -> AsyncGenerator[None]:
    DONE.clear()
    yield


@tool(effect="keyed", governance=Governance(capabilities=("release",), operations=("write",)))
async def deploy(target: str) -> str:
    """Deploys."""
    DONE.append(target)
    return f"deployed {target}"


@tool(effect="none")
async def plan(context: ToolContext, target: str) -> str:
    """Deploys through another tool."""
    return (await context.call("deploy", {"target": target})).content


@tool(effect="none", governance=Governance(agents=("captain",)))
async def steer_ship() -> str:
    """Steers."""
    DONE.append("steered")
    return "steered"


ROLES = {"release": Role(permissions=("tool:deploy:invoke", "capability:release"))}
ASK = Policy(permissions=(ToolPermission(tool="deploy", operations=(OperationRule(verdict="approval_required"),)),))
OTHER = msgspec.structs.replace(ASK, blocked_tools=("rm",))
SCOPED = Policy(
    permissions=(ToolPermission(tool="deploy", scopes=(ArgumentScope(argument="target", allow=("staging-*",)),)),)
)
GOES = [Turn(calls=[Call("deploy", {"target": "staging-1"})]), Turn(text="done")]
AGENT = Agent(MODEL, tools=[deploy, plan, steer_ship], name="mate")


async def result_of(
    policy: Policies, script: list[Turn] = GOES, agent: Agent = AGENT, mode: Mode = "auto"
) -> ToolFinished:
    async with scene(script, policy=policy) as s:
        await soon((await s.runtime.start(agent, "go", session="s", mode=mode)).result())
        (finished,) = [each for each in of(ToolFinished, await s.log()) if each.nested is None]
    return finished


@pytest.mark.requirement("tools:policy-blocks")
@pytest.mark.parametrize("mode", MODES)
async def test_a_blocked_tool_is_refused_in_every_mode(mode: Mode) -> None:
    finished = await result_of(Policy(blocked_tools=("deploy",)), mode=mode)
    assert finished.result.error is not None
    assert (finished.result.error.status, finished.result.error.code) == ("denied", "permission_denied")
    assert DONE == []


@tool(effect="none")
async def knock() -> str:
    """Is sent away by somebody else."""
    raise ToolFailure("not for you", code="permission_denied")


@tool(effect="none")
async def ask_twice(context: ToolContext) -> str:
    """Calls two others."""
    await context.call("deploy", {"target": "x"})
    return (await context.call("knock", {})).content


async def refuses(calling: Calling) -> Ruling | None:
    return Ruling(verdict="deny", reason="not today") if calling.tool == "steer_ship" else None


async def stumbles(calling: Calling) -> Ruling | None:
    raise ValueError("it broke")


@pytest.mark.requirement("tools:policy-blocks")
@pytest.mark.parametrize(
    ("calls", "before", "denied"),
    [
        (["deploy"], (), 1),
        (["deploy", "steer_ship"], (refuses,), 2),
        (["knock"], (stumbles,), 1),
        (["knock"], (), 0),
        (["ask_twice"], (), 1),
    ],
    ids=["by a policy", "by a hook", "by a hook that fails", "by what was called", "below another call"],
)
async def test_a_call_that_a_rule_denies_is_counted_and_one_that_was_made_is_not(
    calls: list[str], before: tuple[Any, ...], denied: int
) -> None:
    agent = Agent(MODEL, tools=[deploy, knock, ask_twice, steer_ship], name="captain")
    script = [
        Turn(calls=[Call(each, {"target": "x"} if each == "deploy" else {}) for each in calls]),
        Turn(text="done"),
    ]
    policy, hooks = Policy(blocked_tools=("deploy",)), Hooks(tools=ToolHooks(before=before))
    async with scene(script, policy=policy, hooks=hooks) as s:
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
    assert (result.status, result.denied, DONE) == ("completed", denied, [])
    assert [each.denied for each in of(RunFinished, log)] == [denied]
    reasons = {each.result.error.reason for each in of(ToolFinished, log) if each.result.error is not None}
    assert reasons <= {"tool_permission_denied", "tool_hook_failed"}, "the word for it is the contract's"


@pytest.mark.requirement("tools:policy-blocks")
async def test_a_blocked_tool_is_refused_to_the_tools_that_call_it() -> None:
    script = [Turn(calls=[Call("plan", {"target": "x"})]), Turn(text="done")]
    finished = await result_of(Policy(blocked_tools=("deploy",)), script)
    assert finished.result.content.startswith("Denied: this agent may not call 'deploy'")
    assert DONE == []


@pytest.mark.requirement("tools:authorisation-table")
async def test_roles_decide_who_may_call() -> None:
    policy = Policy(roles=ROLES)
    without = Agent(MODEL, tools=[deploy], roles=["nobody"])
    assert (await result_of(policy, agent=without)).result.error is not None
    assert DONE == []
    given = Agent(MODEL, tools=[deploy], roles=["release"])
    assert (await result_of(policy, agent=given)).result.content == "deployed staging-1"
    listed = Agent(MODEL, tools=[deploy], roles=["nobody"], allowed_tools=["deploy"])
    assert (await result_of(policy, agent=listed)).result.content == "deployed staging-1"


async def test_a_scope_holds_for_the_arguments_of_each_call_also_those_a_person_edited() -> None:
    production = [Turn(calls=[Call("deploy", {"target": "production"})]), Turn(text="done")]
    assert (await result_of(SCOPED)).result.content == "deployed staging-1"
    assert "may not call" in (await result_of(SCOPED, production)).result.content
    async with scene(GOES, policy=SCOPED) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        waiting = (await soon(seen(run, ToolWaiting.type))).data
        assert isinstance(waiting, ToolWaiting)
        await run.approve(waiting.wait.token, arguments={"target": "production"})
        await soon(run.result())
        (finished,) = of(ToolFinished, await s.log())
    assert "may not call" in finished.result.content
    assert DONE == ["staging-1"]


@pytest.mark.parametrize("same", [True, False])
async def test_an_approval_that_a_policy_wanted_does_not_hold_under_another_policy(tmp_path: Path, same: bool) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([GOES[0]], url=url, policy=ASK) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="auto")
        first = (await soon(seen(run, ToolWaiting.type))).data
    assert isinstance(first, ToolWaiting)
    assert DONE == []
    async with scene([GOES[1]], url=url, policy=ASK if same else OTHER) as s:
        run = s.runtime.run("s", run.key)
        await run.approve(first.wait.token)
        assert await s.runtime.sweep() == 1
        if not same:
            again = (await soon(seen(run, ToolWaiting.type, 2))).data
            assert isinstance(again, ToolWaiting)
            assert DONE == [], "it was asked about under another rule"
            await run.approve(again.wait.token)
        await soon(run.result())
    assert DONE == ["staging-1"]


async def test_a_tool_for_other_agents_is_refused_without_any_policy() -> None:
    script = [Turn(calls=[Call("steer_ship")]), Turn(text="done")]
    assert "captain" in (await result_of(None, script)).result.content
    assert DONE == []
    captain = Agent(MODEL, tools=[steer_ship], name="captain")
    assert (await result_of(None, script, captain)).result.content == "steered"


@pytest.mark.requirement("tools:policy-blocks")
@pytest.mark.parametrize("spec", ["openai/other", f"{MODEL},openai/other", "quick"])
async def test_a_model_that_is_not_allowed_is_never_asked_also_as_a_fallback_or_by_another_name(spec: str) -> None:
    policy, clock = Policy(allowed_models=(MODEL,)), SystemClock()
    routes = Routes(clock, aliases={"quick": f"{MODEL},openai/other"})
    async with scene([Turn(text="hi")], policy=policy, routes=routes, clock=clock) as s:
        agent = Agent(spec, name="mate")
        with pytest.raises(PolicyDenied, match="openai/other"):
            await s.runtime.start(agent, "go")
        assert not s.server.requests
        allowed = await s.runtime.start(Agent(MODEL), "go")
        assert (await soon(allowed.result())).output == "hi"


@pytest.mark.requirement("tools:policy-blocks")
async def test_a_blocked_tool_of_the_provider_is_never_sent() -> None:
    async with scene([Turn(text="hi")], policy=Policy(blocked_tools=("web_search",))) as s:
        with pytest.raises(PolicyDenied, match="web_search"):
            await s.runtime.start(Agent(MODEL, provider_tools=["web_search_20250305"]), "go")
        assert not s.server.requests


@pytest.mark.requirement("tools:permission-stages")
async def test_a_tool_that_only_admins_give_away_is_kept_by_admins_alone() -> None:
    @tool(governance=Governance(author="admin"))
    async def wipe() -> str:
        """Wipes."""
        return ""

    async with scene([Turn(text="hi")], policy=Policy(admins=("root",))) as s:
        agent = Agent(MODEL, tools=[wipe])
        with pytest.raises(PolicyDenied, match="only an admin"):
            await s.runtime.start(agent, "go")
        run = await s.runtime.start(agent, "go", user="root")
        assert (await soon(run.result())).output == "hi"


@pytest.mark.requirement("tools:policy-blocks")
async def test_a_policy_is_asked_once_about_a_model_and_again_by_whoever_goes_on_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def judge(policies: Policies, agent: str, model: str, tenant: str) -> Any:
        asked.append(model)
        return judge_model(policies, agent, model, tenant)

    monkeypatch.setattr(policing, "judge_model", judge)
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([GOES[0]], url=url, policy=ASK) as s:
        for _ in range(2):
            await s.runtime.start(AGENT, "go", session="s")
        run = s.runtime.run("s", (await s.runtime.resume("s")).key)
        waiting = (await soon(seen(run, ToolWaiting.type))).data
    assert asked == [MODEL], "for its start, for its tools, and for the other run"
    assert isinstance(waiting, ToolWaiting)
    stricter = Policy(allowed_models=("openai/other",), permissions=ASK.permissions)
    async with scene([GOES[1]], url=url, policy=stricter) as s:
        with pytest.raises(PolicyDenied, match=MODEL):
            await soon((await s.runtime.resume("s")).result())
        assert not s.server.requests
    assert len(asked) >= 2


@pytest.mark.requirement("authorising:doubts")
async def test_a_misspelled_policy_is_warned_of_once_for_an_agent_and_the_run_goes_on() -> None:
    policy = Policy(blocked_tools=("depoly",), permissions=SCOPED.permissions)
    async with scene([*GOES, *GOES], policy=policy) as s:
        with pytest.warns(PolicyDoubt) as told:
            for session in ("one", "two"):
                result = await soon((await s.runtime.start(AGENT, "go", session=session)).result())
                assert result.output == "done"
    assert [str(each.message).endswith("did you mean 'deploy'?") for each in told] == [True]
    assert DONE == ["staging-1"] * 2
