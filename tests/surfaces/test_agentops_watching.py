"""Who watches the agent: readers that come back, many at once, slow ones, and what is asked of people."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.agentops import check_events, check_order
from tests.door import Door, Frames, door, events_of
from tests.running import MODEL, asked, until
from tests.surfaces.test_agentops_routes import Gate, look

from holdfast import Agent
from holdfast.server.parts import Bounds
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Cut
from holdfast.tools.authorising.policy import OperationRule, Policy, ToolPermission
from holdfast.types import Control

GATED = Policy(
    permissions=(ToolPermission(tool="look", operations=(OperationRule(verdict="approval_required"),)),),
)
LOOKS = Turn(calls=[Call("look", {"what": "x"})])


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in events]


def words(events: list[dict[str, Any]]) -> str:
    """What a reader has that forgets what it is told to forget."""
    steps: list[str] = [""]
    for event in events:
        if event["type"] == "stream_finish":
            steps.append("")
        elif event["type"] == "text_reset":
            steps[-1] = ""
        elif event["type"] == "text_delta":
            steps[-1] += event["delta"]
    return "|".join(steps)


@pytest.mark.requirement("server:heartbeat-and-resume", "server_agentops:rejoining")
async def test_from_any_event_on_a_reader_that_comes_back_has_the_rest_once_and_in_order() -> None:
    script = [Turn("Let me look.", calls=[Call("look", {"what": "here"})]), "All is well.", "Again."]
    async with door(script, Agent(MODEL, tools=[look])) as d:
        async with d.stream("go") as frames:
            await frames.all()
        whole = [(each, id) for each, id in zip(frames.events, frames.ids, strict=True)]
        marks = [at for at, (_, id) in enumerate(whole) if id]
        for at in marks[:-1]:
            async with d.stream(last=whole[at][1]) as again:
                rest = await again.all()
            check_events(rest)
            told = [each for each in rest if each["type"] != "text_reset"]
            assert _durable(told) == _durable([each for each, _ in whole[at + 1 :]])
            assert words([each for each, _ in whole[: at + 1]] + rest) == "Let me look.|All is well.|"
        async with d.client.get("/prompt/stream", headers={"Last-Event-ID": whole[marks[-1]][1]}) as over:
            assert over.status == 204
        for bad in ("x", "-1", "1:", "9" * 40, "999:5"):
            async with d.client.get("/events", headers={"Last-Event-ID": bad}) as refused:
                assert (refused.status, refused.content_type) == (400, "application/json")


def _durable(events: list[dict[str, Any]]) -> list[str]:
    """What does not depend on how an answer was cut into pieces."""
    pieces = ("text_delta", "reasoning_delta", "tool_input_delta")
    told = [{name: value for name, value in each.items() if name != "context_budget"} for each in events]
    return [json.dumps(each, sort_keys=True) for each in told if each["type"] not in pieces]


@pytest.mark.requirement("server_agentops:rejoining")
async def test_a_reader_that_comes_back_in_the_middle_of_an_answer_reads_no_word_twice() -> None:
    ready, go = asyncio.Event(), asyncio.Event()
    gate = Gate()
    turns = [Turn("one two three", calls=[Call("hold", {})], chunk=4), Turn("four five six", chunk=4)]
    async with door(turns, gate.agent) as d:
        async with d.stream("go") as frames:
            await frames.until("stream_finish")
            ready.set()
            async with d.stream(path="/events") as watcher:
                await watcher.until("stream_finish")
                gate.open.set()
                go.set()
                mine, theirs = await frames.all(), None
                await watcher.until("session_idle")
                theirs = watcher.events
        assert words(mine) == words(theirs) == "one two three|four five six|"
        check_order([each for each in theirs if each["type"] != "session_status"])


@pytest.mark.requirement("server:heartbeat-and-resume", "server:slow-client-explicit")
async def test_a_quiet_stream_beats_and_a_reader_that_stalls_holds_up_nobody() -> None:
    gate = Gate()
    opened = door([Turn(calls=[Call("hold", {})]), "done"], gate.agent, bounds=Bounds(heartbeat=0.05, stall=0.5))
    async with opened as d, d.client.get("/events") as stalled:
        assert stalled.status == 200  # and is never read
        async with d.stream("go") as frames:
            await frames.until("stream_finish")
            reading = asyncio.create_task(frames.all())
            await until(lambda: frames.beats > 1)
            gate.open.set()
            await reading


@pytest.mark.requirement("server:gate-events-everywhere", "server:gate-replies")
async def test_what_is_asked_reaches_every_watcher_and_the_first_answer_counts() -> None:
    opened = door([LOOKS, "done"], Agent(MODEL, tools=[look]), policy=GATED, control=Control(patience=60))
    async with opened as d, d.stream(path="/events") as one, d.stream(path="/events") as two:
        asking = asyncio.create_task(d.prompt("go"))
        gates = [await each.until("permission_asked") for each in (one, two)]
        assert gates[0] == gates[1]
        assert json.loads(gates[0]["input"]) == {"what": "x"}
        path = f"/permission/{gates[0]['id']}/reply"
        status, said = await d.ask("POST", path, json={"response": "perhaps"})
        assert (status, said) == (400, {"error": "response is required (once|always|deny)"})
        assert (await d.ask("POST", path, json={}))[0] == 400
        assert (await d.ask("POST", "/permission/feed/reply", json={"response": "once"}))[0] == 404
        both = await asyncio.gather(*(d.ask("POST", path, json={"response": each}) for each in ("once", "deny")))
        assert sorted(status for status, _ in both) == [200, 404]
        assert (await asking)[0] == 200
        assert (await d.ask("POST", path, json={"response": "once"}))[0] == 404
        for each in (one, two):
            await each.until("session_idle")
            check_events(each.events)
            assert "permission_replied" in kinds(each.events)


@pytest.mark.requirement("server:gate-replies")
@pytest.mark.parametrize(("response", "failed", "gates"), [("once", False, 2), ("always", False, 1), ("deny", True, 2)])
async def test_each_answer_to_a_gate_has_its_effect(response: str, failed: bool, gates: int) -> None:
    again = Turn(calls=[Call("look", {"what": "y"})])
    async with door([LOOKS, again, "done"], Agent(MODEL, tools=[look]), policy=GATED) as d:
        async with d.stream("go") as frames:
            async for event in frames:
                if event["type"] == "permission_asked":
                    await d.ask("POST", f"/permission/{event['id']}/reply", json={"response": response})
        check_events(frames.events)
        check_order(frames.events)
        results = [each for each in frames.events if each["type"] == "tool_result"]
        assert [each["is_error"] for each in results] == [failed, failed]
        assert kinds(frames.events).count("permission_asked") == gates
        if failed:
            assert "Permission denied by user" in results[0]["output"]


@pytest.mark.requirement("server:gate-replies", "server:fep-fields")
async def test_questions_are_answered_by_their_index_and_the_answer_reaches_the_model() -> None:
    questions = [
        {"header": "Colour", "question": "Which?", "options": [{"label": "red"}, {"label": "blue"}]},
        {"header": "Free", "question": "Why?"},
    ]
    turns = [Turn(calls=[Call("question", {"questions": questions})]), "done"]
    async with door(turns, Agent(MODEL, tools=["question"])) as d:
        async with d.stream("go") as frames:
            event = await frames.until("question_asked")
            assert [each["header"] for each in event["questions"]] == ["Colour", "Free"]
            path = f"/question/{event['id']}/reply"
            assert (await d.ask("POST", path, json={}))[1] == {"error": "answers are required"}
            assert (await d.ask("POST", path, json={"answers": [["red"]]}))[0] == 400
            assert await d.ask("POST", path, json={"answers": [["red"], ["so"]]}) == (200, {"ok": True})
            assert (await d.ask("POST", path, json={"answers": [["red"], ["so"]]}))[0] == 404
            await frames.all()
        check_events(frames.events)
        check_order(frames.events)
        assert json.loads(asked(d.s.server)[1][-1]["content"]) == [["red"], ["so"]]


@pytest.mark.requirement("server:fep-order")
async def test_a_retry_in_the_middle_of_an_answer_is_seen_and_no_word_is_doubled() -> None:
    async with door([Turn("one two three four", chunk=4, fault=Cut(after_events=3, times=1))]) as d:
        events = await events_of(d, "go")
    check_events(events)
    check_order(events)
    assert "warnings" in kinds(events)
    assert words(events).startswith("one two three four")


async def test_a_cleared_conversation_is_followed_into_the_next() -> None:
    async with door(["first", "second"]) as d, d.stream(path="/events") as watcher:
        assert (await d.prompt("a"))[0] == 200
        await watcher.until("session_idle")
        await d.ask("DELETE", "/working-memory")
        again = asyncio.create_task(d.prompt("b"))
        while (await watcher.until("agent_start"))["prompt"] != "b":
            pass
        await watcher.until("session_idle")
        await again
        assert watcher.ids[-1].startswith("2:")
        await _rest_after(d, watcher)


async def _rest_after(d: Door, watcher: Frames) -> None:
    """What a reader misses that had the last word of the first conversation."""
    first = [id for id in watcher.ids if id and ":" not in id][-1]
    async with d.stream(path="/events", last=first) as again:
        while (await again.until("agent_start"))["prompt"] != "b":
            pass
        await again.until("session_idle")
        check_events(again.events)


@pytest.mark.requirement("server:fep-fields", "server:fep-order", "server_agentops:delegations")
@pytest.mark.parametrize("many", [1, 3])
async def test_jobs_of_other_agents_are_told_of_as_groups(many: int) -> None:
    child = Agent(MODEL, name="child", instructions="You are the child.")
    calls = Turn(calls=[Call("ask_child", {"prompt": f"job {each}"}) for each in range(many)])

    def script(request: Any) -> Turn:
        if "child" in request.instructions:
            return Turn("child says")
        return Turn("all done") if request.tool_results else calls

    parent = Agent(MODEL, tools=[child.as_tool("ask_child")])
    async with door(script, parent) as d:
        events = await events_of(d, "go")
    check_events(events)
    check_order(events)
    told = [each for each in events if each["type"].startswith("delegation.")]
    begin = "delegation.single" if many == 1 else "delegation.fan_out"
    assert kinds(told) == [
        begin,
        *["delegation.run_completed"] * many,
        "delegation.all_completed",
        "delegation.result",
    ]
    assert [each["remaining"] for each in told if "remaining" in each] == list(range(many - 1, -1, -1))
    assert {each["groupId"] for each in told} == {told[0]["groupId"]}
    assert told[-1]["succeeded"] == many


@pytest.mark.requirement("server:fep-fields", "server_agentops:delegations")
async def test_a_job_that_takes_too_long_is_told_of_as_timed_out() -> None:
    child = Agent(MODEL, name="child", instructions="You are the child.")

    def script(request: Any) -> Turn:
        if "child" in request.instructions:
            return Turn("late", delay=5)
        return Turn("all done") if request.tool_results else Turn(calls=[Call("ask_child", {"prompt": "job"})])

    async with door(script, Agent(MODEL, tools=[child.as_tool("ask_child", seconds=0.2)])) as d:
        events = await events_of(d, "go")
    check_events(events)
    check_order(events)
    told = [each for each in events if each["type"].startswith("delegation.")]
    assert kinds(told)[-2:] == ["delegation.timeout", "delegation.result"]
    assert told[-1]["timedOut"] is True
    (run,) = told[-1]["runs"].values()
    assert run["phase"] == "TimedOut"
