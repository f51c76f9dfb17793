"""What a run came to, inferred from requests that its tools opened."""

from __future__ import annotations

import json

import pytest
from tests.running import MODEL, scene

from holdfast import Agent, Tool, tool
from holdfast.server.doors.agentops.outcomes.inferring import outcome_of
from holdfast.testing import Call, Turn
from holdfast.types import Event

MR = "https://gitlab.example/g/p/-/merge_requests/7"
PR = "https://github.com/o/r/pull/12"


def maker(name: str, answer: str) -> Tool:
    @tool(name=name, effect="none")
    async def make() -> str:
        """Opens a request."""
        if answer == "no":
            raise ValueError(PR)
        return answer

    return make


@pytest.mark.requirement("server_agentops:outcomes", "work:outcome-inferred")
@pytest.mark.parametrize(
    ("name", "answer", "kind", "url"),
    [
        ("gitlab_create_mr", json.dumps({"iid": 7, "web_url": MR}), "mr", MR),
        ("github_create_pr", json.dumps({"html_url": PR}), "pr", PR),
        ("mcp_create_pull_request", f"opened <{PR}>, see there", "pr", PR),
        ("x_create_merge_request", f'see "{MR}".', "mr", MR),
        ("create_pull_request", "no", "", ""),
        ("create_pull_request", "it is open", "", ""),
        ("read_pull_request", PR, "", ""),
    ],
)
async def test_a_request_that_was_opened_is_a_change_with_its_address(
    name: str, answer: str, kind: str, url: str
) -> None:
    async with scene([Turn(calls=[Call(name, {})]), "I did it.\nAll of it."]) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[maker(name, answer)]), "go", session="s")
        events = [item async for item in run.events() if isinstance(item, Event)]
        result = await run.result()
    found = outcome_of(events, result.output, git=True)
    assert found.summary == "I did it."
    if kind:
        assert found.intent == "change"
        assert [(each.kind, each.url) for each in found.artifacts] == [(kind, url)]
    else:
        assert (found.intent, found.artifacts) == ("discovery", ())
