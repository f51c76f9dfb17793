"""What the agent's door has beside prompts: extracts, contexts, origins, and the sessions of its first generation."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.agentops import check_events, check_order
from tests.door import door, events_of
from tests.running import MODEL, asked
from tests.surfaces.test_agentops_routes import Gate

from holdfast import Agent
from holdfast.engine.events import RunStarted
from holdfast.server.doors.agentops.extracting import titler
from holdfast.testing import Call, Turn
from holdfast.types import TenantId

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FOUND = '{"type":"decision","title":"T","content":"C","tags":["a"]}'


@pytest.mark.requirement("server_agentops:extract", "memory:extract")
@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (FOUND, {"type": "decision", "title": "T", "content": "C", "tags": ["a"]}),
        (f"```json\n{FOUND}\n```", {"type": "decision", "title": "T", "content": "C", "tags": ["a"]}),
        ('{"title":"T","content":"C"}', {"type": "pattern", "title": "T", "content": "C", "tags": []}),
        (
            '{"broken',
            {"type": "learning", "title": "Extracted knowledge", "content": '{"broken', "tags": ["auto-extracted"]},
        ),
    ],
)
async def test_what_is_worth_keeping_is_said_and_nothing_is_stored(answer: str, wanted: dict[str, Any]) -> None:
    def script(request: Any) -> Turn:
        return Turn(answer if "worth" in request.instructions else "hello")

    async with door(script, Agent(MODEL)) as d:
        empty = await d.ask("POST", "/memory/extract", json={})
        assert empty == (400, {"error": "working memory is empty — nothing to extract from"})
        await d.prompt("remember the milk")
        before = await d.ask("GET", "/working-memory")
        assert await d.ask("POST", "/memory/extract", json={"focus": "milk", "type": "pattern"}) == (200, wanted)
        sent = asked(d.s.server)[-1]
        assert "[user] remember the milk" in sent[-1]["content"] and "milk" in sent[-1]["content"].split("Task")[1]
        assert '"tools"' not in json.dumps(d.s.server.requests[-1].json())
        assert await d.ask("GET", "/working-memory") == before
        page = await d.s.runtime.sessions()
        assert [each.session for each in page.sessions] == ["coder"]


@pytest.mark.requirement("server_agentops:resource-context", "context:resource-context")
async def test_what_a_person_picked_is_in_the_system_message_of_that_turn_alone() -> None:
    items = [
        {
            "resource_name": "repo",
            "item_type": "file",
            "path": f"a{each}.py",
            "description": "d" * 501,
            "sha": "0123456789",
        }
        for each in range(21)
    ]
    async with door(["one", "two"], Agent(MODEL, instructions="You code.")) as d:
        assert (await d.prompt("go", context=items))[0] == 200
        assert (await d.prompt("again"))[0] == 200
        first, second = asked(d.s.server)
        system = first[0]["content"]
        assert system.startswith("You code.\n\n[")
        assert system.count("\n- file: ") == 20
        assert "d" * 500 + "..." in system and "d" * 501 not in system
        assert "sha 0123456" in system and "01234567" not in system
        assert second[0]["content"] == "You code."


@pytest.mark.requirement("server_agentops:origin")
async def test_where_a_prompt_comes_from_is_in_the_log_the_events_and_the_status() -> None:
    headers = {"Traceparent": TRACE, "X-AgentOps-Parent-Agent": "boss", "X-AgentOps-GitLab-Project": "g/p"}
    async with door(["one", "two"]) as d:
        assert (await d.ask("POST", "/prompt", json={"prompt": "go"}, headers=headers))[0] == 200
        (started,) = [each.data for each in await d.s.log("coder") if isinstance(each.data, RunStarted)]
        assert started.setup.origin == {"traceparent": TRACE, "parent_agent": "boss"}
        assert (await d.ask("GET", "/status"))[1]["trace_id"] == TRACE.split("-")[1]
        async with d.stream(last="1") as frames:
            events = await frames.all()
        assert events[0]["trace_id"] == TRACE.split("-")[1]
        bad = {"Traceparent": "00-xyz", "X-AgentOps-Run-Name": "r" * 9_000}
        assert (await d.ask("POST", "/prompt", json={"prompt": "go"}, headers=bad))[0] == 200
        assert "trace_id" not in (await d.ask("GET", "/status"))[1]


@pytest.mark.requirement("server_agentops:window-size", "context:messages-shown")
async def test_a_window_of_messages_bounds_what_is_sent_and_nothing_of_what_is_kept() -> None:
    def script(request: Any) -> Turn:
        if request.last_user_text == "d" and not request.tool_results:
            return Turn(calls=[Call("hold", {})] * 3)
        return Turn("done")

    gate = Gate()
    gate.open.set()
    async with door(script, gate.agent) as d:
        for size in (1, 0, -5, "x", None):
            status, said = await d.ask("PATCH", "/config/window-size", json={"size": size})
            assert (status, said) == (400, {"error": "size is required: a whole number from 2"})
        for words in ("a", "b"):
            assert (await d.prompt(words))[0] == 200
        assert await d.ask("PATCH", "/config/window-size", json={"size": 2}) == (200, {"ok": True})
        for words in ("c", "d", "e"):
            assert (await d.prompt(words))[0] == 200
        said = [[each["content"] for each in sent if each["role"] == "user"] for sent in asked(d.s.server)]
        assert said == [["a"], ["a", "b"], ["c"], ["d"], ["d"], ["e"]]
        roles = [each["role"] for each in asked(d.s.server)[4]]
        assert roles == ["user", "assistant", "tool", "tool", "tool"], "a turn that is longer is there as a whole"
        _, memory = await d.ask("GET", "/working-memory")
        assert [each["content"][0]["text"] for each in memory if each["role"] == "user"] == ["a", "b", "c", "d", "e"]


@pytest.mark.requirement("server_agentops:sessions-v0")
async def test_sessions_of_the_first_generation_have_titles_and_conversations_of_their_own() -> None:
    gate = Gate()

    def script(request: Any) -> Turn:
        if "titles" in request.instructions:
            return Turn('"A fine title"')
        if request.last_user_text == "hold" and not request.tool_results:
            return Turn(calls=[Call("hold", {})])
        return Turn("done")

    async with door(script, gate.agent, titles=titler(MODEL)) as d:
        status, made = await d.ask("POST", "/sessions", json={"id": "one"})
        assert (status, made["id"], made["busy"]) == (201, "one", False)
        assert (await d.ask("POST", "/sessions", json={"id": "one"}))[0] == 409
        _, other = await d.ask("POST", "/sessions", json={})
        assert (await d.ask("POST", "/sessions/one/prompt", json={"prompt": "first"}))[1]["output"] == "done"
        await d.until(lambda: d.ask("GET", "/sessions/one"), lambda said: said["title"] == "A fine title")
        events = await events_of(d, "hello", path=f"/sessions/{other['id']}/prompt/stream")
        check_events(events)
        check_order(events)
        _, memory = await d.ask("GET", "/sessions/one/messages")
        assert [each["role"] for each in memory] == ["user", "assistant"]
        holding = asyncio.create_task(d.ask("POST", "/sessions/one/prompt", json={"prompt": "hold"}))
        await gate.entered.wait()
        assert (await d.ask("POST", "/sessions/one/prompt", json={"prompt": "x"}))[0] == 429
        assert (await d.prompt("meanwhile"))[0] == 200  # the conversation is not this session
        assert (await d.ask("POST", "/sessions/one/steer", json={"message": "hey"}))[0] == 200
        assert (await d.ask("DELETE", "/sessions/one/abort"))[0] == 200
        assert (await holding)[0] == 500
        ids = [each["id"] for each in (await d.ask("GET", "/sessions"))[1]]
        assert sorted(ids) == sorted(["one", other["id"], "coder"])
        assert await d.ask("DELETE", "/sessions/one") == (200, {"ok": True})
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("DELETE", "/abort")):
            assert (await d.ask(method, f"/sessions/one{path}"))[0] == 404


@pytest.mark.requirement("server_agentops:tenants")
async def test_each_tenant_has_a_conversation_of_its_own() -> None:
    async with door(["one", "two"]) as d:
        await d.prompt("mine")
        other = d.s.runtime.acting_for(tenant="else")
        assert await other.glance("coder") is None
        mine = d.s.runtime.acting_for(tenant=TenantId("local"))
        assert await mine.glance("coder") is not None


@pytest.mark.requirement("server:fep-usage-and-budget", "context:budget-snapshot")
async def test_a_budget_has_its_eleven_numbers_and_those_that_are_known_are_right() -> None:
    async with door([Turn("one")], Agent(MODEL, instructions="x" * 400, tools=["read"])) as d:
        events = await events_of(d, "p" * 40)
    start = events[0]["context_budget"]
    end = next(each["context_budget"] for each in events if each["type"] == "step_finish")
    usage = next(each["usage"] for each in events if each["type"] == "step_finish")
    assert (start["system_prompt_tokens"], start["tool_tokens"], start["prompt_tokens"]) == (100, 150, 10)
    assert start["budget_tokens"] == int(start["context_window"] * 0.75)
    assert (end["actual_input_tokens"], end["actual_output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])
