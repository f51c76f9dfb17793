"""Agents in a row and agents that ask others: who reads whose words, and in which order the log tells it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.running import asked, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import PhaseStarted, RunStarted
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Limits

ONCE = Limits(model_retries=0)
NAMES = ("scout", "critic", "writer")


@pytest.mark.requirement("teams:pipeline-order")
async def test_three_agents_in_a_row_each_read_the_answer_before_theirs_and_the_log_has_their_order() -> None:
    agents = [Agent(f"openai/{name}", name=name, limits=ONCE) for name in NAMES]
    prompts = ("Find {query}", "Doubt {scout}", "Write {critic}")
    phases = [Phase(name, agent, prompt) for name, agent, prompt in zip(NAMES, agents, prompts, strict=True)]
    async with scene({"scout": ["it is blue"], "critic": ["or grey"], "writer": ["It is grey."]}) as s:
        result = await soon((await s.runtime.start(Pipeline(phases), "the sky", session="s")).result())
        said = [request[-1]["content"] for request in asked(s.server)]
        log = await s.log()
        started = [each for each in log if isinstance(each.data, PhaseStarted)]
        children = [await s.log(each.wait.subject) for each in of(PhaseStarted, log)]
    assert (result.status, result.output) == ("completed", "It is grey.")
    assert said == ["Find the sky", "Doubt it is blue", "Write or grey"]
    assert [each.phase for each in of(PhaseStarted, log)] == [0, 1, 2]
    assert [each.seq for each in started] == sorted(each.seq for each in started)
    begun = [event.at for child in children for event in child if isinstance(event.data, RunStarted)]
    assert begun == sorted(begun)


@pytest.mark.requirement("teams:delegation")
async def test_a_manager_goes_on_once_with_the_reports_of_all_it_asked_and_nested_ones_reach_who_asked() -> None:
    workers = {name: Agent(f"openai/{name}", name=name, limits=ONCE) for name in ("miner", "smith")}
    heads = {
        name: Agent(f"openai/{name}", name=name, tools=[workers[below].as_tool("ask")], limits=ONCE)
        for name, below in (("north", "miner"), ("south", "smith"))
    }
    tools = [agent.as_tool(name) for name, agent in heads.items()]
    manager = Agent("openai/manager", name="manager", tools=tools, limits=ONCE)

    def head(name: str) -> Any:
        def model(request: ScriptRequest) -> Turn | str:
            if not request.tool_results:
                return Turn(calls=[Call("ask", {"prompt": f"for {name}"})])
            return f"{name} reports"

        return model

    def manages(request: ScriptRequest) -> Turn | str:
        if not request.tool_results:
            return Turn(calls=[Call(name, {"prompt": f"job of {name}"}) for name in heads])
        return "all reported"

    scripts: dict[str, Any] = {"manager": manages, "miner": ["ore"], "smith": ["iron"]}
    scripts |= {name: head(name) for name in heads}
    async with scene(scripts) as s:
        result = await soon((await s.runtime.start(manager, "go", session="s")).result())
        bodies: list[Any] = [request.json() for request in s.server.requests]
    heard: dict[str, list[list[str]]] = {}
    for body in bodies:
        reports = [each["content"] for each in body["messages"] if each["role"] == "tool"]
        heard.setdefault(body["model"], []).append(reports)
    assert (result.status, result.output) == ("completed", "all reported")
    assert heard["manager"] == [[], ["north reports", "south reports"]], "it is asked again once, with all of them"
    assert heard["north"] == [[], ["ore"]]
    assert heard["south"] == [[], ["iron"]]
